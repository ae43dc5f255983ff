package viewtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// documentTests hold for document stores.
var documentTests = map[string]func(*documents){
	"values come back byte for byte":              valuesAreOpaque,
	"get answers in order, nil for nothing":       getInOrder,
	"partitions are apart":                        partitionsAreApart,
	"hostile names are apart":                     hostileNamesAreApart,
	"a set holds an entry once":                   setHoldsAnEntryOnce,
	"a batch changes documents and sets together": documentsAndSetsTogether,
	"a great batch of entries fits":               greatBatchOfEntries,
	"sizes answer in order, 0 for nothing":        sizesInOrder,
	"pages merge sets from the greatest down":     pagesMerge,
	"pages of ties have no gap and no double":     pagesOfTies,
	"a page goes on exactly while entries come":   pageGoesOnExactly,
	"a page goes on behind an entry removed":      pageGoesOnBehindRemoved,
	"the greatest page fits":                      greatestPageFits,
	"a rank counts what is not below":             rankCounts,
	"reads beyond the limits name them":           readLimitsAreNamed,
	"reads end with their context":                readsEndWithTheirContext,
	"an emptied store has no entries":             lostStoreHasNoEntries,
	"a read knows a part that is behind":          readKnowsWhatIsBehind,
	"a read knows a part that was emptied":        readKnowsWhatWasEmptied,
	"a scan brings entries in order":              scanBringsEntries,
	"a scan knows sets that came and went":        scanKnowsSets,
}

// documents is a document store under test.
type documents struct {
	subject
	store view.Documents
}

func (d *documents) get(at ...view.Ref) [][]byte {
	d.Helper()
	got, err := d.store.Get(d.ctx, d.g, at)
	if err != nil {
		d.Fatalf("get: %v", err)
	}
	if len(got) != len(at) {
		d.Fatalf("get of %d refs returned %d values", len(at), len(got))
	}
	return got
}

func (d *documents) sizes(sets ...view.Ref) []int64 {
	d.Helper()
	got, err := d.store.Sizes(d.ctx, d.g, sets)
	if err != nil || len(got) != len(sets) {
		d.Fatalf("sizes of %d sets: %v, %v", len(sets), got, err)
	}
	return got
}

func valuesAreOpaque(d *documents) {
	w := d.writer(0)
	values := map[string]string{
		"empty array":  `{"tags":[],"more":{},"none":null}`,
		"integers":     `{"n":9007199254740993,"m":9223372036854775807,"f":1.0,"e":1e400}`,
		"unicode":      `{"t":"Zürich 東京 🏎️ \u00e9 é"}`,
		"quotes":       `{"q":"\"'\\","lua":"]]..redis.call('FLUSHALL')"}`,
		"spaces":       " {\n\t\"a\" : 1 } \r\n",
		"zero bytes":   "\"a\x00b\x00\x00\"",
		"no text":      "\xff\xfe\x80",
		"number":       "007",
		"large":        `"` + strings.Repeat("0123456789abcdef", view.MaxValue/16)[:view.MaxValue-2] + `"`,
		"large, noise": noise(view.MaxValue),
	}
	b := w.batch(1)
	for k, v := range values {
		b.Puts = append(b.Puts, view.Put{Key: k, Value: []byte(v), Offset: b.From})
	}
	w.must(b)
	for k, v := range values {
		if got := d.get(view.Ref{Key: k})[0]; !bytes.Equal(got, []byte(v)) {
			d.Errorf("%s: got %d bytes %.60q, want %d bytes %.60q", k, len(got), got, len(v), v)
		}
	}
}

// noise returns n bytes of every value, the same each time.
func noise(n int) string {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

func getInOrder(d *documents) {
	d.writer(0).put("a", `"0a"`, "b", `"0b"`)
	d.writer(7).put("a", `"7a"`)
	got := d.get(view.Ref{Key: "b"}, view.Ref{Partition: 7, Key: "a"}, view.Ref{Key: "none"}, view.Ref{Partition: 7, Key: "b"},
		view.Ref{Partition: 9, Key: "a"}, view.Ref{Key: "a"}, view.Ref{Key: "b"})
	for i, want := range []string{`"0b"`, `"7a"`, "", "", "", `"0a"`, `"0b"`} {
		if string(got[i]) != want || (got[i] == nil) != (want == "") {
			d.Errorf("value %d is %q, want %q", i, got[i], want)
		}
	}
	if none := d.get(); len(none) != 0 {
		d.Errorf("get of nothing: %q", none)
	}
}

func partitionsAreApart(d *documents) {
	a, b := d.writer(1), d.writer(11)
	a.put("k", `1`)
	a.add("s", "1", "m")
	b.remove("k")
	e := b.batch(1)
	e.Removes = []view.Entry{{Set: "s", Sort: "1", Member: "m"}}
	b.must(e)
	d.wantDocument(1, "k", `1`)
	d.wantDocument(11, "k", "")
	if got := d.sizes(view.Ref{Partition: 1, Key: "s"}, view.Ref{Partition: 11, Key: "s"}); got[0] != 1 || got[1] != 0 {
		d.Errorf("sizes %v, want 1 and 0", got)
	}
	d.wantMark(1, a.mark)
}

// hostile are names that a store could take apart wrongly. The pattern of ids
// allows the first ones only; keys of views may be anything.
var hostile = []string{
	"a", "A", "a.b", "a_b", "a-b", "a~b", "..", "~", "-", "_", "a.b.c", "0", "00",
	"a:b", "a:b:1", ":", "::", "a:1", "{a}", "{", "}", "}{", "{}", "a}b", "*", "a*", "?", "[a]", "[", "(a", "+", "-inf",
	" ", "a b", " a", "a ", "a\tb", "a\nb", "a\r\nb", "\x00", "a\x00", "a\x00b", "\x01", "\xff", "\xfe\xff", "%7B", "%", "a%3Ab", "a+b",
	"'", "\"", "\\", "/", "a/b", "../a", "é", "e\u0301", "東京", "🏎️", "e", "n", "E", "N", ":a", "=", "s", "d", "epoch", "next", "mark", "_id",
}

// hostileNamesAreApart uses each name as an application's, a view's, a key's
// and a set's, with one partition for all.
func hostileNamesAreApart(d *documents) {
	w := d.writer(0)
	b := w.batch(1)
	for _, name := range hostile {
		b.Puts = append(b.Puts, view.Put{Key: name, Value: fmt.Appendf(nil, "%q", name)})
		b.Adds = append(b.Adds, view.Entry{Set: name, Sort: "1", Member: name})
	}
	w.must(b)
	for _, name := range hostile {
		d.wantDocument(0, name, fmt.Sprintf("%q", name))
		got, err := d.store.Page(d.ctx, d.g, []view.Ref{{Key: name}}, nil, 10)
		if want := (view.Entry{Set: name, Sort: "1", Member: name}); err != nil || len(got) != 1 || got[0] != want {
			d.Errorf("set %q holds %q, %v; want %q", name, got, err, want)
		}
	}
	d.wantMark(0, w.mark)
	for _, name := range hostile {
		for _, g := range []view.Generation{{App: d.g.App + name, View: "card", Number: 1}, {App: d.g.App, View: name, Number: 1},
			{App: d.g.App + ":" + name, View: "", Number: 1}} {
			o := d.writerOf(d.generation(g), 0)
			if o.mark.Next != 0 || o.mark.Epoch != 1 && o.mark.Epoch != w.mark.Epoch {
				d.Errorf("%q opens at %+v", g, o.mark)
			}
			o.put(name, fmt.Sprintf("%q", g))
			got, err := d.store.Get(d.ctx, g, []view.Ref{{Key: name}})
			if want := fmt.Sprintf("%q", g); err != nil || string(got[0]) != want {
				d.Errorf("%q has %q, %v; want %q", g, got, err, want)
			}
		}
	}
	d.wantMark(0, w.mark)
}

func setHoldsAnEntryOnce(d *documents) {
	w := d.writer(0)
	w.add("s", "1", "m")
	w.add("s", "1", "m")
	d.wantSize("s", 1)
	w.add("s", "2", "m")
	w.add("s", "", "m")
	w.add("s", "", "1\x00m")
	d.wantSize("s", 4)
	b := w.batch(1)
	b.Removes = []view.Entry{{Set: "s", Sort: "1", Member: "m"}, {Set: "s", Sort: "9", Member: "m"}, {Set: "none", Sort: "1", Member: "m"}}
	w.must(b)
	d.wantSize("s", 3)
	b.From, b.Next = w.mark.Next, w.mark.Next+1
	w.must(b)
	d.wantSize("s", 3)
	d.wantPage([]view.Ref{{Key: "s"}}, 9, view.Entry{Set: "s", Sort: "2", Member: "m"},
		view.Entry{Set: "s", Member: "m"}, view.Entry{Set: "s", Member: "1\x00m"})
}

func (w *writer) add(set, sort, member string) {
	w.Helper()
	b := w.batch(1)
	b.Adds = []view.Entry{{Set: set, Sort: sort, Member: member}}
	w.must(b)
}

func (d *documents) wantSize(set string, want int64) {
	d.Helper()
	if got := d.sizes(view.Ref{Key: set})[0]; got != want {
		d.Errorf("set %q has %d entries, want %d", set, got, want)
	}
}

func documentsAndSetsTogether(d *documents) {
	w := d.writer(0)
	w.put("a", `1`)
	b := w.batch(3)
	b.Puts = []view.Put{{Key: "b", Value: []byte(`2`)}}
	b.Deletes = []view.Ref{{Key: "a"}}
	b.Adds = []view.Entry{{Set: "s", Sort: "1", Member: "b"}, {Set: "t", Sort: "1", Member: "b"}}
	w.must(b)
	again := *b
	again.Adds = []view.Entry{{Set: "s", Sort: "2", Member: "b"}}
	again.Puts = []view.Put{{Key: "a", Value: []byte(`3`)}}
	if err := w.try(&again); !isBehind(err) {
		d.Errorf("the same run again: %v, want a BehindError", err)
	}
	d.wantDocument(0, "a", "")
	d.wantDocument(0, "b", `2`)
	d.wantSize("s", 1)
	d.wantSize("t", 1)
}

// greatBatchOfEntries spreads the greatest batch over one large and many small
// sets, adds and then removes.
func greatBatchOfEntries(d *documents) {
	w := d.writer(0)
	var entries []view.Entry
	for i := range view.MaxBatch {
		set := "large"
		if i%4 == 0 {
			set = fmt.Sprintf("small-%d", i%1000)
		}
		entries = append(entries, view.Entry{Set: set, Sort: fmt.Sprintf("%05d", i), Member: "m"})
	}
	b := w.batch(1)
	b.Adds = entries
	w.must(b)
	got := d.sizes(view.Ref{Key: "large"}, view.Ref{Key: "small-0"}, view.Ref{Key: "small-996"})
	if got[0] != view.MaxBatch*3/4 || got[1] != 10 || got[2] != 10 {
		d.Errorf("sizes %v, want 7500, 10 and 10", got)
	}
	b = w.batch(1)
	b.Removes = entries[:view.MaxBatch-1]
	w.must(b)
	d.wantSize("small-0", 0)
	d.wantPage([]view.Ref{{Key: "large"}, {Key: "small-996"}}, 9, entries[view.MaxBatch-1])
}

func sizesInOrder(d *documents) {
	w := d.writer(3)
	w.add("s", "1", "a")
	w.add("s", "1", "b")
	w.add("t", "1", "a")
	got := d.sizes(view.Ref{Partition: 3, Key: "t"}, view.Ref{Partition: 3, Key: "none"}, view.Ref{Partition: 2, Key: "s"}, view.Ref{Partition: 3, Key: "s"})
	for i, want := range []int64{1, 0, 0, 2} {
		if got[i] != want {
			d.Errorf("size %d is %d, want %d", i, got[i], want)
		}
	}
}

func readLimitsAreNamed(d *documents) {
	many := make([]view.Ref, view.MaxPage+1)
	for i := range many {
		many[i].Key = "a"
	}
	one := many[:1]
	for name, call := range map[string]func() error{
		"get":   func() error { _, err := d.store.Get(d.ctx, d.g, many); return err },
		"sizes": func() error { _, err := d.store.Sizes(d.ctx, d.g, many); return err },
		"refs":  func() error { _, err := d.store.Page(d.ctx, d.g, many, nil, 1); return err },
		"page":  func() error { _, err := d.store.Page(d.ctx, d.g, one, nil, view.MaxPage+1); return err },
		"n = 0": func() error { _, err := d.store.Page(d.ctx, d.g, one, nil, 0); return err },
		"n < 0": func() error { _, err := d.store.Page(d.ctx, d.g, one, nil, -1); return err },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "1000") {
			d.Errorf("%s beyond the limit: %v, want an error that names 1000", name, err)
		}
	}
	w := d.writer(0)
	long := "over-" + strings.Repeat("k", view.MaxKey)
	for name, e := range map[string]view.Entry{"set": {Set: long, Member: "m"}, "member": {Set: "s", Member: long}} {
		for _, b := range []view.Batch{{Adds: []view.Entry{e}}, {Removes: []view.Entry{e}}} {
			c := w.batch(1)
			c.Adds, c.Removes = b.Adds, b.Removes
			wantNamed(&d.subject, w.try(c), name, "512", "over-")
		}
	}
	b := w.batch(1)
	b.Adds = []view.Entry{{Set: "s", Sort: "a\x00b", Member: "m"}}
	wantNamed(&d.subject, w.try(b), "zero byte", `a\x00b`)
	all := d.get(many[:view.MaxPage]...)
	if len(all) != view.MaxPage {
		d.Errorf("get of the greatest number of refs: %d values", len(all))
	}
}

func readsEndWithTheirContext(d *documents) {
	ctx, cancel := context.WithCancel(d.ctx)
	cancel()
	at := []view.Ref{{Key: "a"}}
	for name, call := range map[string]func() error{
		"get":   func() error { _, err := d.store.Get(ctx, d.g, at); return err },
		"sizes": func() error { _, err := d.store.Sizes(ctx, d.g, at); return err },
		"page":  func() error { _, err := d.store.Page(ctx, d.g, at, nil, 1); return err },
		"rank":  func() error { _, err := d.store.Rank(ctx, d.g, at[0], view.Entry{Member: "m"}); return err },
	} {
		wantCanceled(&d.subject, name, call)
	}
}

func lostStoreHasNoEntries(d *documents) {
	e, ok := d.Store.(Emptier)
	if !ok {
		return
	}
	d.writer(0).add("s", "1", "m")
	e.Empty(d.T, d.g)
	d.wantSize("s", 0)
	d.wantPage([]view.Ref{{Key: "s"}}, 9)
}

// reading reads a document and a set of parts by every method, each part to be at an
// offset at least.
func (d *documents) reading(least map[int32]int64) map[string]error {
	var documents, sets []view.Ref
	for p, offset := range least {
		documents = append(documents, view.Ref{Partition: p, Key: "a", Least: offset}, view.Ref{Partition: p, Key: "b"})
		sets = append(sets, view.Ref{Partition: p, Key: "s"}, view.Ref{Partition: p, Key: "t", Least: offset})
	}
	errs := make(map[string]error)
	_, errs["get"] = d.store.Get(d.ctx, d.g, documents)
	_, errs["get one"] = d.store.Get(d.ctx, d.g, documents[:1])
	_, errs["sizes"] = d.store.Sizes(d.ctx, d.g, sets)
	_, errs["page"] = d.store.Page(d.ctx, d.g, sets, nil, 1)
	if len(least) == 1 {
		_, errs["rank"] = d.store.Rank(d.ctx, d.g, sets[1], view.Entry{Set: "t", Sort: "1", Member: "m"})
	} else {
		delete(errs, "get one")
	}
	return errs
}

// wantBehind checks that every read fails for a part that is at mark; with none, that
// every read goes well.
func (d *documents) wantBehind(mark *view.Mark, least map[int32]int64) {
	d.Helper()
	for name, err := range d.reading(least) {
		var behind *view.BehindError
		switch {
		case mark == nil && err != nil:
			d.Errorf("%s of parts at %v at least: %v", name, least, err)
		case mark != nil && (!errors.As(err, &behind) || behind.Mark != *mark):
			d.Errorf("%s of parts at %v at least: %v, want a BehindError with mark %+v", name, least, err, *mark)
		}
	}
}

func readKnowsWhatIsBehind(d *documents) {
	one, two := d.writer(1), d.writer(2)
	for range 3 {
		one.put("a", `1`)
	}
	two.add("t", "1", "m")
	d.wantBehind(nil, map[int32]int64{1: 3})
	d.wantBehind(nil, map[int32]int64{1: 3, 2: 1})
	d.wantBehind(&one.mark, map[int32]int64{1: 4})
	d.wantBehind(&one.mark, map[int32]int64{1: 4, 2: 1})
	d.wantBehind(&two.mark, map[int32]int64{1: 3, 2: 1 << 40})
	d.wantBehind(&view.Mark{}, map[int32]int64{7: 1})
	d.wantBehind(nil, map[int32]int64{7: 0})
}

func readKnowsWhatWasEmptied(d *documents) {
	e, ok := d.Store.(Emptier)
	if !ok {
		return
	}
	w := d.writer(0)
	w.add("t", "1", "m")
	e.Empty(d.T, d.g)
	d.wantBehind(&view.Mark{}, map[int32]int64{0: 1})
	w = d.writer(0)
	d.wantBehind(&w.mark, map[int32]int64{0: 1})
	w.add("t", "1", "m")
	d.wantBehind(nil, map[int32]int64{0: 1})
}

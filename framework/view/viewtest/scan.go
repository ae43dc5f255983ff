package viewtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// scan walks a part of g in pages of some n, and gives up when it has brought more
// than most.
func (s *subject) scan(g view.Generation, partition int32, n, most int) (documents map[string]string, entries []view.Entry, mark view.Mark) {
	s.Helper()
	documents = make(map[string]string)
	for from, first := "", true; first || from != ""; first = false {
		page, err := s.Scan(s.ctx, g, partition, from, n)
		if err != nil {
			s.Fatalf("scan at %q: %v", from, err)
		}
		if !first && page.Mark != mark {
			s.Errorf("the page at %q is of mark %+v, those before of %+v", from, page.Mark, mark)
		}
		mark, from = page.Mark, page.Next
		for _, d := range page.Documents {
			if _, twice := documents[d.Key]; twice {
				s.Errorf("document %q comes twice", d.Key)
			}
			documents[d.Key] = string(d.Value)
		}
		if len(page.Documents) > 0 && len(entries) > 0 {
			s.Errorf("documents come behind entries")
		}
		entries = append(entries, page.Entries...)
		if len(documents)+len(entries) > most {
			s.Fatalf("a scan by %d does not end: %d documents and %d entries of %d", n, len(documents), len(entries), most)
		}
	}
	return documents, entries, mark
}

func getByKey(s *subject) {
	s.writer(0).put("a", document("a", 1), "b", document("b", 1))
	w := s.writer(7)
	w.put("a", document("a", 7), "gone", document("gone", 1))
	w.remove("gone")
	got, err := s.Get(s.ctx, s.g, []view.Ref{{Key: "b"}, {Partition: 7, Key: "a"}, {Key: "none"}, {Partition: 7, Key: "gone"}, {Partition: 9, Key: "a"}, {Key: "a"}})
	if err != nil || len(got) != 6 {
		s.Fatalf("get: %q, %v", got, err)
	}
	for i, want := range []string{document("b", 1), document("a", 7), "", "", "", document("a", 1)} {
		if string(got[i]) != want || (got[i] == nil) != (want == "") {
			s.Errorf("value %d is %q, want %q", i, got[i], want)
		}
	}
	if none, err := s.Get(s.ctx, s.g, nil); err != nil || len(none) != 0 {
		s.Errorf("get of nothing: %q, %v", none, err)
	}
}

// scanBringsAll has parts side by side, whose keys a store could take apart wrongly.
func scanBringsAll(s *subject) {
	want := make(map[int32]map[string]string)
	marks := make(map[int32]view.Mark)
	for i, p := range []int32{0, 1, 10, 11} {
		w := s.writer(p)
		b := w.batch(3)
		want[p] = make(map[string]string)
		for j, key := range append(hostile, strings.Repeat("k", view.MaxKey), strings.Repeat("\xff", view.MaxKey)) {
			if j%4 == i { // not each has all
				continue
			}
			want[p][key] = fmt.Sprintf(`{"id":"%x","n":%d}`, key, p)
			b.Puts = append(b.Puts, view.Put{Key: key, Value: []byte(want[p][key]), Offset: b.From})
		}
		w.must(b)
		w.put("changed", document("changed", 1), "gone", document("gone", 1))
		w.put("changed", document("changed", 2))
		w.remove("gone")
		want[p]["changed"] = document("changed", 2)
		marks[p] = w.mark
	}
	for p := range want {
		for _, n := range []int{1, 7, view.MaxPage} {
			got, entries, mark := s.scan(s.g, p, n, len(want[p]))
			if mark != marks[p] || len(entries) > 0 {
				s.Errorf("partition %d: a scan of mark %+v with %d entries, want %+v and none", p, mark, len(entries), marks[p])
			}
			for key, value := range want[p] {
				if got[key] != value {
					s.Errorf("partition %d, pages of %d: %q has %q, want %q", p, n, key, got[key], value)
				}
			}
			if len(got) != len(want[p]) {
				s.Errorf("partition %d, pages of %d: %d documents, want %d", p, n, len(got), len(want[p]))
			}
		}
	}
}

func scanOfMany(s *subject) {
	const documents = 3000
	w := s.writer(0)
	b := w.batch(1)
	for i := range documents {
		key := fmt.Sprintf("key-%05d", i)
		b.Puts = append(b.Puts, view.Put{Key: key, Value: []byte(document(key, i)), Offset: b.From})
	}
	w.must(b)
	for _, n := range []int{100, 999, view.MaxPage} {
		got, _, _ := s.scan(s.g, 0, n, documents)
		for i := range documents {
			if key := fmt.Sprintf("key-%05d", i); got[key] != document(key, i) {
				s.Fatalf("pages of %d: %s has %q", n, key, got[key])
			}
		}
	}
	page, err := s.Scan(s.ctx, s.g, 0, "", 10)
	if err != nil || page.Next == "" {
		s.Errorf("the first of many pages: next %q, %v", page.Next, err)
	}
}

func scanOfNothing(s *subject) {
	got, entries, mark := s.scan(s.g, 3, 10, 0)
	if len(got)+len(entries) > 0 || mark != (view.Mark{}) {
		s.Errorf("a part never opened has %d documents and %d entries, and is at %+v", len(got), len(entries), mark)
	}
	w := s.writer(3)
	w.put("a", document("a", 1))
	w.remove("a")
	if got, _, mark := s.scan(s.g, 3, 10, 0); len(got) > 0 || mark != w.mark {
		s.Errorf("an emptied part has %d documents and is at %+v, want none at %+v", len(got), mark, w.mark)
	}
}

func scanLimitsAreNamed(s *subject) {
	many := make([]view.Ref, view.MaxPage+1)
	for i := range many {
		many[i].Key = "a"
	}
	for _, n := range []int{-1, 0, view.MaxPage + 1} {
		_, err := s.Scan(s.ctx, s.g, 0, "", n)
		wantNamed(s, err, "1000")
	}
	_, err := s.Get(s.ctx, s.g, many)
	wantNamed(s, err, "1000")
}

func dropRemovesOne(s *subject) {
	other := s.generation(view.Generation{App: s.g.App, View: s.g.View, Number: 10})
	kept := s.writerOf(other, 0)
	kept.put("a", document("a", 10))
	for p := range int32(3) {
		s.writer(p).put("a", document("a", 1))
	}
	for range 2 {
		if err := s.Drop(s.ctx, s.g); err != nil {
			s.Fatalf("drop: %v", err)
		}
	}
	if s.prepare != nil {
		s.prepare(s.g)
	}
	for p := range int32(3) {
		s.wantMark(p, view.Mark{})
		s.wantDocument(p, "a", "")
	}
	if got, _, mark := s.scan(other, 0, 10, 1); got["a"] != document("a", 10) || mark != kept.mark {
		s.Errorf("another generation has %q and is at %+v, want what it had at %+v", got, mark, kept.mark)
	}
	s.writer(0).put("a", document("a", 2))
	s.wantDocument(0, "a", document("a", 2))
}

// scanBringsEntries has one large set, many small ones, and sorts and members that
// are ordered by their bytes.
func scanBringsEntries(d *documents) {
	w := d.writer(4)
	b := w.batch(1)
	var want []view.Entry
	for i := range 150 {
		want = append(want, view.Entry{Set: fmt.Sprint("small-", i), Sort: "1", Member: "m"})
		want = append(want, view.Entry{Set: "large", Sort: fmt.Sprint(i % 7), Member: fmt.Sprint(i)})
	}
	for i, name := range hostile {
		want = append(want, view.Entry{Set: name, Sort: spread[i%len(spread)], Member: name}, view.Entry{Set: name, Sort: "~", Member: name})
	}
	b.Adds = want
	b.Puts = []view.Put{{Key: "a", Value: []byte(document("a", 1))}}
	w.must(b)
	d.writer(5).add("large", "9", "of another partition")
	want = slices.Clone(want)
	slices.SortFunc(want, func(a, b view.Entry) int {
		return cmp.Or(strings.Compare(a.Set, b.Set), strings.Compare(a.Sort, b.Sort), strings.Compare(a.Member, b.Member))
	})
	want = slices.Compact(want)
	for _, n := range []int{2, 33, view.MaxPage} {
		got, entries, _ := d.scan(d.g, 4, n, len(want)+1)
		if len(got) != 1 || !slices.Equal(entries, want) {
			i := 0
			for i < min(len(entries), len(want)) && entries[i] == want[i] {
				i++
			}
			d.Errorf("pages of %d: %d entries, want %d; from place %d on %q, want %q", n, len(entries), len(want), i, entries[i:min(i+3, len(entries))], want[i:min(i+3, len(want))])
		}
	}
}

func scanKnowsSets(d *documents) {
	w := d.writer(0)
	w.add("s", "1", "a")
	w.add("s", "1", "b")
	w.add("t", "1", "a")
	b := w.batch(1)
	b.Removes = []view.Entry{{Set: "s", Sort: "1", Member: "a"}, {Set: "s", Sort: "1", Member: "b"}, {Set: "none", Sort: "1", Member: "b"}}
	b.Adds = []view.Entry{{Set: "u", Sort: "1", Member: "a"}}
	w.must(b)
	of := func(set string) view.Entry { return view.Entry{Set: set, Sort: "1", Member: "a"} }
	if _, got, _ := d.scan(d.g, 0, 10, 9); !slices.Equal(got, []view.Entry{of("t"), of("u")}) {
		d.Errorf("a scan brings %q, want the entries of t and u", got)
	}
	b = w.batch(1)
	b.Removes = []view.Entry{of("t"), of("u")}
	b.Adds = []view.Entry{of("s"), of("u")}
	w.must(b)
	if _, got, _ := d.scan(d.g, 0, 10, 9); !slices.Equal(got, []view.Entry{of("s"), of("u")}) {
		d.Errorf("a scan brings %q, want the entries of s and u", got)
	}
}

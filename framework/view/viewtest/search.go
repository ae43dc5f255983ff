package viewtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// searchTests hold for search stores.
var searchTests = map[string]func(*index){
	"prepare again keeps what is there":           prepareAgain,
	"an empty text finds every document":          emptyTextFindsAll,
	"all words must occur, in whatever field":     allWordsMustOccur,
	"letters' case does not matter":               caseDoesNotMatter,
	"words are whole":                             wordsAreWhole,
	"operators are plain words":                   operatorsArePlain,
	"a text without a word finds nothing":         wordlessFindsNothing,
	"keywords are exact":                          keywordsAreExact,
	"lists are searched by each element":          listsAreSearched,
	"fields not named are kept, not searched":     unnamedFieldsAreKept,
	"documents come back byte for byte":           foundByteForByte,
	"deleted and changed documents vanish":        goneDocumentsVanish,
	"the greater offset of a key wins":            greaterOffsetWins,
	"better hits come first":                      betterHitsFirst,
	"pages are cut from one order":                pagesAreCut,
	"five thousand documents are found":           manyDocuments,
	"queries beyond the limits name them":         queryLimitsAreNamed,
	"queries end with their context":              queriesEndWithTheirContext,
	"a batch that is no JSON changes nothing":     noJSONChangesNothing,
	"a search knows a part that is behind":        searchKnowsWhatIsBehind,
	"a search knows a part that was emptied":      searchKnowsWhatWasEmptied,
	"a search finds what it asks to be shown":     searchShowsWhatIsAsked,
	"searching while writing finds whole batches": searchingWhileWriting,
}

// fields of the suite's documents; "secret" is not named.
var fields = view.Fields{"id": view.Keyword, "title": view.Text, "body": view.Text, "tribe": view.Keyword}

// index is a search store under test.
type index struct {
	subject
	store view.Search
}

func (x *index) prepareFields(g view.Generation) {
	x.Helper()
	if err := x.store.Prepare(x.ctx, g, fields); err != nil {
		x.Fatalf("prepare: %v", err)
	}
}

func (x *index) readByID(_ int32, key string) []byte {
	x.Helper()
	hits := x.find(view.Query{Is: map[string]string{"id": key}, Size: 2})
	switch {
	case len(hits.Items) == 0:
		return nil
	case len(hits.Items) > 1 || hits.Items[0].Key != key:
		x.Fatalf("document %.80q: found %.200q", key, hits.Items)
	}
	return hits.Items[0].Value
}

// find refreshes and asks.
func (x *index) find(q view.Query) view.Hits {
	x.Helper()
	if err := x.store.Refresh(x.ctx, x.g); err != nil {
		x.Fatalf("refresh: %v", err)
	}
	return x.findAsIs(q)
}

// findAsIs asks without a refresh.
func (x *index) findAsIs(q view.Query) view.Hits {
	x.Helper()
	hits, err := x.store.Find(x.ctx, x.g, q)
	if err != nil {
		x.Fatalf("find %.200q: %v", q.Text, err)
	}
	if len(hits.Items) > q.Size || int64(len(hits.Items)) > hits.Total {
		x.Fatalf("find %.200q: %d hits of %d, asked for %d", q.Text, len(hits.Items), hits.Total, q.Size)
	}
	return hits
}

// wantFound checks which keys a query finds, whatever their order.
func (x *index) wantFound(text string, is map[string]string, want ...string) {
	x.Helper()
	hits := x.find(view.Query{Text: text, Is: is, Size: 100})
	got := keysOf(hits)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || hits.Total != int64(len(want)) {
		x.Errorf("%q with %q finds %q of %d, want %q", text, is, got, hits.Total, want)
	}
}

func keysOf(h view.Hits) []string {
	keys := make([]string, len(h.Items))
	for i := range h.Items {
		keys[i] = h.Items[i].Key
	}
	return keys
}

// post writes a document with title, body and tribe.
func post(title, body, tribe string) string {
	return fmt.Sprintf(`{"title":%q,"body":%q,"tribe":%q}`, title, body, tribe)
}

func prepareAgain(x *index) {
	w := x.writer(0)
	w.put("a", post("alpha", "", ""))
	x.prepareFields(x.g)
	x.wantFound("alpha", nil, "a")
	x.wantMark(0, w.mark)
	w.put("b", post("alpha", "", ""))
	x.wantFound("alpha", nil, "a", "b")
}

func emptyTextFindsAll(x *index) {
	x.wantFound("", nil)
	x.writer(0).put("b", post("alpha", "", ""), "a", `{}`)
	x.writer(1).put("c", post("beta", "", "t"))
	x.wantFound("", nil, "a", "b", "c")
	x.wantFound(" \t\n", nil, "a", "b", "c")
	if got := keysOf(x.find(view.Query{Size: 100})); !slices.Equal(got, []string{"a", "b", "c"}) {
		x.Errorf("equally good hits come as %q, want them by key", got)
	}
}

func allWordsMustOccur(x *index) {
	x.writer(0).put(
		"both", post("fast red cars", "", ""),
		"spread", post("red", "very fast", ""),
		"one", post("red", "red cars", ""))
	x.wantFound("red", nil, "both", "spread", "one")
	x.wantFound("fast red", nil, "both", "spread")
	x.wantFound("red   fast,cars", nil, "both")
	x.wantFound("red red red", nil, "both", "spread", "one")
	x.wantFound("fast blue", nil)
}

func caseDoesNotMatter(x *index) {
	x.writer(0).put(
		"fr", post("École ÉTÉ", "", ""),
		"de", post("Zürich", "ÜBER Straße", ""),
		"ru", post("Быстрая МАШИНА", "", ""),
		"jp", post("東京タワー", "", ""))
	x.wantFound("école été", nil, "fr")
	x.wantFound("ZÜRICH über straße", nil, "de")
	x.wantFound("машина быстрая", nil, "ru")
	x.wantFound("東京", nil, "jp")
	x.wantFound("ecole", nil)
}

func wordsAreWhole(x *index) {
	x.writer(0).put("a", post("racing drivers", "the running of it", ""))
	for _, text := range []string{"rac", "driver", "acing", "drivers2", "race", "run", "ran", "rac*", "drivr"} {
		x.wantFound(text, nil)
	}
	x.wantFound("the of it", nil, "a") // no stop words
}

func operatorsArePlain(x *index) {
	x.writer(0).put(
		"ab", post("alpha beta", "", ""),
		"a", post("alpha", "", "hikers"),
		"abc", post("beta gamma alpha", "", ""),
		"or", post("alpha or beta", "", ""),
		"named", post("title alpha", "", ""),
		"spelled", post("title:alpha", "", ""))
	x.wantFound(`+alpha -beta`, nil, "ab", "abc", "or")
	x.wantFound(`+alpha -beta "gamma`, nil, "abc")
	x.wantFound(`"alpha beta"`, nil, "ab", "abc", "or")
	x.wantFound(`alpha OR gamma`, nil)
	x.wantFound(`alpha OR beta`, nil, "or")
	x.wantFound(`alpha AND beta`, nil)
	x.wantFound(`alpha || gamma && (beta)`, nil, "abc")
	x.wantFound(`al* be?a`, nil)
	x.wantFound(`alpha~2 beta^5`, nil)
	x.wantFound(`/al.*/ beta`, nil)
	x.wantFound(`tribe:hikers`, nil)
	x.wantFound(`id:a`, nil)
	hits := keysOf(x.find(view.Query{Text: `title:alpha`, Size: 100}))
	if !slices.Contains(hits, "spelled") || slices.Contains(hits, "a") || slices.Contains(hits, "ab") {
		x.Errorf("title:alpha finds %q, want what holds it, not alpha in the field title", hits)
	}
	for _, text := range []string{`{"match_all":{}}`, `\`, `\"`, `alpha \`, `[a TO z]`, `alpha>1`, `<script>`, `alpha" OR "1"="1`, "alpha\x00gamma delta"} {
		if got := x.find(view.Query{Text: text, Size: 100}); strings.Contains(text, "script") && got.Total != 0 {
			x.Errorf("%q finds %q", text, keysOf(got))
		}
	}
}

func wordlessFindsNothing(x *index) {
	x.writer(0).put("a", post("alpha", "", ""))
	for _, text := range []string{"*", "?", "+", "-", `"`, `""`, "!!! ...", "()", "*:*"} {
		x.wantFound(text, nil)
	}
}

func keywordsAreExact(x *index) {
	w := x.writer(0)
	w.put("a", post("alpha", "", "Road Bikes"), "b", post("alpha", "", "road bikes"), "c", post("alpha beta", "", "Road"),
		"d", post("", "", ""), "e", `{"title":"alpha"}`, "f", post("", "", `"*:?+`))
	x.wantFound("", map[string]string{"tribe": "Road Bikes"}, "a")
	x.wantFound("", map[string]string{"tribe": "Road"}, "c")
	x.wantFound("", map[string]string{"tribe": "bikes"})
	x.wantFound("", map[string]string{"tribe": "Road*"})
	x.wantFound("", map[string]string{"tribe": `"*:?+`}, "f")
	x.wantFound("alpha", map[string]string{"tribe": "road bikes"}, "b")
	x.wantFound("beta", map[string]string{"tribe": "road bikes"})
	x.wantFound("bikes", nil) // a keyword is not text
	w.put("g", `{"id":"one","title":"alpha","tribe":"Road"}`)
	x.wantFound("", map[string]string{"tribe": "Road", "id": "one"}, "g")
	x.wantFound("alpha", map[string]string{"tribe": "Road", "id": "two"})
}

func listsAreSearched(x *index) {
	x.writer(0).put("a", `{"title":["alpha one","beta"],"tribe":["red","Blue Sky"]}`, "b", `{"title":[],"tribe":[]}`)
	x.wantFound("beta alpha", nil, "a")
	x.wantFound("", map[string]string{"tribe": "red"}, "a")
	x.wantFound("one", map[string]string{"tribe": "Blue Sky"}, "a")
	x.wantFound("", map[string]string{"tribe": "Sky"})
}

func unnamedFieldsAreKept(x *index) {
	value := `{"title":"alpha","secret":"hidden words","deep":{"title":"buried"}}`
	x.writer(0).put("a", value)
	for _, text := range []string{"hidden", "words", "buried", "secret", "title", "a"} {
		x.wantFound(text, nil)
	}
	if hits := x.find(view.Query{Text: "alpha", Size: 1}); len(hits.Items) != 1 || string(hits.Items[0].Value) != value {
		x.Errorf("found %q, want %q", hits.Items, value)
	}
}

func foundByteForByte(x *index) {
	values := map[string]string{
		"spaces":   "{ \"title\" : \"alpha\",\n\t\"n\":1.0 }",
		"integers": `{"title":"alpha","n":9007199254740993,"e":1e400,"tags":[],"none":null}`,
		"escapes":  `{"title":"\u0061lpha \u00e9","q":"\"\\\/"}`,
		"twice":    `{"secret":1,"title":"alpha","secret":2}`,
		"large":    `{"title":"alpha","secret":"` + strings.Repeat("long ", 900<<10/5-20) + `"}`,
	}
	w := x.writer(0)
	b := w.batch(1)
	for k, v := range values {
		b.Puts = append(b.Puts, view.Put{Key: k, Value: []byte(v)})
	}
	w.must(b)
	hits := x.find(view.Query{Text: "ALPHA", Size: 100})
	if len(hits.Items) != len(values) {
		x.Errorf("found %q, want %d documents", keysOf(hits), len(values))
	}
	for _, h := range hits.Items {
		if string(h.Value) != values[h.Key] {
			x.Errorf("%s: got %d bytes %.80q, want %d bytes %.80q", h.Key, len(h.Value), h.Value, len(values[h.Key]), values[h.Key])
		}
	}
}

func goneDocumentsVanish(x *index) {
	w := x.writer(0)
	w.put("a", post("alpha", "", "red"), "b", post("alpha", "", "red"))
	x.wantFound("alpha", nil, "a", "b")
	w.put("a", post("beta", "", "blue"))
	x.wantFound("alpha", nil, "b")
	x.wantFound("", map[string]string{"tribe": "red"}, "b")
	x.wantFound("beta", map[string]string{"tribe": "blue"}, "a")
	w.remove("b")
	x.wantFound("alpha", nil)
	x.wantFound("", nil, "a")
	w.put("b", post("gamma", "", ""))
	x.wantFound("", nil, "a", "b")
}

// greaterOffsetWins brings puts late: the offset of the record that changed a
// document decides, not the order of arrival.
func greaterOffsetWins(x *index) {
	w := x.writer(0)
	late := func(offset int64, title string) *view.Batch {
		b := w.batch(1)
		b.Puts = []view.Put{{Key: "a", Value: []byte(post(title, "", "")), Offset: offset}}
		return b
	}
	w.must(w.batch(100))
	w.must(late(50, "second"))
	w.must(late(20, "first"))
	x.wantFound("", nil, "a")
	x.wantFound("second", nil, "a")
	x.wantFound("first", nil)
	b := w.batch(1)
	b.Deletes = []view.Ref{{Key: "a", Offset: 60}}
	w.must(b)
	w.must(late(55, "back"))
	x.wantFound("", nil)
	w.must(late(70, "third"))
	x.wantFound("third", nil, "a")
	b = w.batch(1)
	b.Deletes = []view.Ref{{Key: "a", Offset: 65}}
	w.must(b)
	x.wantFound("third", nil, "a")
	w.must(late(70, "again"))
	x.wantFound("", nil, "a")
	x.wantFound("again", nil, "a")
	x.wantMark(0, w.mark)
}

func betterHitsFirst(x *index) {
	w := x.writer(0)
	w.put("z-best", post("carburettor", "", ""),
		"a-weak", post("a long title in which the word carburettor is one of very many words", "", ""))
	for i := range 20 {
		w.put(fmt.Sprint("other", i), post("engine parts", "", ""))
	}
	if got := keysOf(x.find(view.Query{Text: "carburettor", Size: 10})); !slices.Equal(got, []string{"z-best", "a-weak"}) {
		x.Errorf("found %q, want the better one first", got)
	}
}

func pagesAreCut(x *index) {
	a, b := x.writer(0), x.writer(1)
	for i := range 40 {
		title := "alpha" + strings.Repeat(" filler", i%3)
		[]*writer{a, b}[i%2].put(fmt.Sprintf("key-%02d", (i*7)%40), post(title, "", ""))
	}
	whole := keysOf(x.find(view.Query{Text: "alpha", Size: 100}))
	if len(whole) != 40 {
		x.Fatalf("found %d documents, want 40", len(whole))
	}
	for _, size := range []int{1, 3, 7, 39} {
		var got []string
		for skip := 0; skip < 45; skip += size {
			hits := x.find(view.Query{Text: "alpha", Skip: skip, Size: size})
			got = append(got, keysOf(hits)...)
			if hits.Total != 40 {
				x.Errorf("skip %d: total %d, want 40", skip, hits.Total)
			}
		}
		if !slices.Equal(got, whole) {
			x.Errorf("pages of %d: %q, want %q", size, got, whole)
		}
	}
}

func manyDocuments(x *index) {
	const count, batch = 5000, 1000
	w := x.writer(0)
	for from := 0; from < count; from += batch {
		b := w.batch(batch)
		for i := from; i < from+batch; i++ {
			value := post(fmt.Sprintf("common number%d", i), "", fmt.Sprint("tribe-", i%50))
			b.Puts = append(b.Puts, view.Put{Key: fmt.Sprintf("key-%04d", i), Value: []byte(value), Offset: int64(i)})
		}
		w.must(b)
	}
	if hits := x.find(view.Query{Text: "common", Size: 1}); hits.Total != count {
		x.Errorf("total %d, want %d", hits.Total, count)
	}
	x.wantFound("number4321 common", nil, "key-4321")
	if hits := x.find(view.Query{Text: "common", Is: map[string]string{"tribe": "tribe-7"}, Skip: 90, Size: 20}); hits.Total != 100 || len(hits.Items) != 10 {
		x.Errorf("a tribe's documents: %d of %d, want 10 of 100", len(hits.Items), hits.Total)
	}
	hits := x.find(view.Query{Skip: count - 2, Size: view.MaxPage})
	if got := keysOf(hits); !slices.Equal(got, []string{"key-4998", "key-4999"}) {
		x.Errorf("the last documents are %q", got)
	}
	if hits := x.find(view.Query{Skip: 1000, Size: view.MaxPage}); len(hits.Items) != view.MaxPage || hits.Items[0].Key != "key-1000" {
		x.Errorf("the greatest page has %d hits", len(hits.Items))
	}
}

func queryLimitsAreNamed(x *index) {
	for _, c := range []struct {
		q    view.Query
		want string
	}{
		{view.Query{Size: 0}, "1000"},
		{view.Query{Size: -1}, "1000"},
		{view.Query{Size: view.MaxPage + 1}, "1000"},
		{view.Query{Size: 10, Skip: -1}, "-1"},
		{view.Query{Size: 10, Skip: 9_991}, "9991"},
		{view.Query{Size: 10, Text: distinctWords(view.MaxWords + 1)}, "at most 100"},
		{view.Query{Size: 10, Text: strings.Repeat("東 ", view.MaxText/4+1)}, "16384"},
		{view.Query{Size: 10, Is: map[string]string{"title": "alpha"}}, `"title"`},
		{view.Query{Size: 10, Is: map[string]string{"none": "alpha"}}, `"none"`},
	} {
		_, err := x.store.Find(x.ctx, x.g, c.q)
		wantNamed(&x.subject, err, c.want)
	}
	x.find(view.Query{Size: 10, Skip: 9_990})
	x.writer(0).put("a", post(distinctWords(view.MaxWords), "", ""))
	x.wantFound(distinctWords(view.MaxWords), nil, "a")
	x.wantFound(strings.Repeat("word0 Word1 ", view.MaxWords), nil, "a")
}

func distinctWords(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "word%d ", i)
	}
	return text.String()
}

func queriesEndWithTheirContext(x *index) {
	ctx, cancel := context.WithCancel(x.ctx)
	cancel()
	for name, call := range map[string]func() error{
		"prepare": func() error { return x.store.Prepare(ctx, x.g, fields) },
		"refresh": func() error { return x.store.Refresh(ctx, x.g) },
		"find":    func() error { _, err := x.store.Find(ctx, x.g, view.Query{Size: 1}); return err },
	} {
		wantCanceled(&x.subject, name, call)
	}
}

func noJSONChangesNothing(x *index) {
	w := x.writer(0)
	w.put("a", post("alpha", "", ""))
	for _, bad := range []string{`{"title":`, `nonsense`, ``, `{} {}`} {
		b := w.batch(1)
		b.Puts = []view.Put{{Key: "b", Value: []byte(post("alpha", "", ""))}, {Key: "broken", Value: []byte(bad)}}
		wantNamed(&x.subject, w.try(b), "broken")
	}
	x.wantMark(0, w.mark)
	x.wantFound("alpha", nil, "a")
}

// wantBehind checks that a search of parts at these offsets at least, or that are shown up
// to there, fails for one that is at mark; with none, that it goes well.
func (x *index) wantBehind(mark *view.Mark, least map[int32]int64) {
	x.Helper()
	for what, q := range map[string]view.Query{"at": {Size: 1, Least: least}, "shown to": {Size: 1, Shown: least}} {
		_, err := x.store.Find(x.ctx, x.g, q)
		var behind *view.BehindError
		switch {
		case mark == nil && err != nil:
			x.Errorf("a search of parts %s %v at least: %v", what, least, err)
		case mark != nil && (!errors.As(err, &behind) || behind.Mark != *mark):
			x.Errorf("a search of parts %s %v at least: %v, want a BehindError with mark %+v", what, least, err, *mark)
		}
	}
}

// wantShown asks for what was written to partition 1 below an offset, without a refresh,
// and checks how many documents are found at least, and that it is said so.
func (x *index) wantShown(below int64, documents int64) {
	x.Helper()
	hits := x.findAsIs(view.Query{Text: "alpha", Size: 100, Shown: map[int32]int64{1: below}})
	if hits.Total < documents || hits.Seen[1] < below {
		x.Errorf("shown to %d: %d documents, seen to %d; want %d at least", below, hits.Total, hits.Seen[1], documents)
	}
}

func searchShowsWhatIsAsked(x *index) {
	one, two := x.writer(1), x.writer(2)
	for i := range int64(5) {
		one.put(fmt.Sprint("a", i), post("alpha", "", ""))
		x.wantShown(one.mark.Next, i+1)
		two.put(fmt.Sprint("b", i), post("beta", "", "")) // of which nobody asks
		x.wantShown(1, i+1)
	}
	one.remove("a0")
	if hits := x.findAsIs(view.Query{Text: "alpha", Size: 100, Shown: map[int32]int64{1: one.mark.Next, 2: two.mark.Next, 3: 0}}); hits.Total != 4 {
		x.Errorf("%d documents, want the 4 that were not deleted", hits.Total)
	}
	if hits := x.findAsIs(view.Query{Text: "alpha", Size: 100}); hits.Seen != nil {
		x.Errorf("a search that asks for nothing says that it has seen %v", hits.Seen)
	}
}

func searchKnowsWhatIsBehind(x *index) {
	one, two := x.writer(1), x.writer(2)
	for range 3 {
		one.put("a", post("alpha", "", ""))
	}
	two.put("b", post("beta", "", ""))
	x.wantBehind(nil, map[int32]int64{1: 3})
	x.wantBehind(nil, map[int32]int64{1: 3, 2: 1})
	x.wantBehind(&one.mark, map[int32]int64{1: 4})
	x.wantBehind(&one.mark, map[int32]int64{1: 4, 2: 1})
	x.wantBehind(&two.mark, map[int32]int64{1: 3, 2: 1 << 40})
	x.wantBehind(&view.Mark{}, map[int32]int64{7: 1})
	x.wantBehind(nil, map[int32]int64{7: 0})
}

func searchKnowsWhatWasEmptied(x *index) {
	e, ok := x.Store.(Emptier)
	if !ok {
		return
	}
	lost, other := x.writer(0), x.writer(1)
	lost.put("a", post("alpha", "", ""))
	other.put("b", post("beta", "", ""))
	x.wantBehind(nil, map[int32]int64{0: 1, 1: 1})
	e.Empty(x.T, x.g)
	x.prepareFields(x.g)
	other = x.writer(1) // has noticed, the other not yet
	other.put("b", post("beta", "", ""))
	x.wantBehind(&view.Mark{}, map[int32]int64{0: 1, 1: 1})
	lost = x.writer(0)
	x.wantBehind(&lost.mark, map[int32]int64{0: 1, 1: 1})
	lost.put("a", post("alpha", "", ""))
	x.wantBehind(nil, map[int32]int64{0: 1, 1: 1})
	if hits := x.findAsIs(view.Query{Text: "alpha", Size: 1, Shown: map[int32]int64{0: 1}}); hits.Total != 1 {
		x.Errorf("%d documents of a part that was filled again, want 1", hits.Total)
	}
}

// searchingWhileWriting asks while batches of three documents are written.
// Stores may show a batch's documents one by one; what they must not do is fail
// or return a document that does not match.
func searchingWhileWriting(x *index) {
	const rounds = 30
	w := x.writer(0)
	done := make(chan error, 1)
	go func() {
		for i := range rounds {
			b := w.batch(1)
			for _, key := range []string{"a", "b", "c"} {
				b.Puts = append(b.Puts, view.Put{Key: key, Value: []byte(post(fmt.Sprintf("common round%d", i), "", "")), Offset: b.From})
			}
			if err := w.try(b); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				x.Fatalf("write: %v", err)
			}
			running = false
		default:
		}
		for _, h := range x.find(view.Query{Text: "common", Size: 10}).Items {
			if !strings.Contains(string(h.Value), `"common round`) {
				x.Errorf("%s came with %q", h.Key, h.Value)
			}
		}
	}
	x.wantFound(fmt.Sprintf("round%d", rounds-1), nil, "a", "b", "c")
	if err := w.Write(x.ctx, x.g, &view.Batch{Epoch: w.mark.Epoch}); !errors.As(err, new(*view.BehindError)) {
		x.Errorf("after all, a batch from the start: %v", err)
	}
}

package viewtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// fieldTests hold for the kinds of field of search stores.
var fieldTests = map[string]func(*index){
	"stems find one another":                            stemsFind,
	"prefixes find words":                               prefixesFind,
	"parts of a text may be in fields of several kinds": partsInSeveralFields,
	"caseless keywords ignore letters' case":            caselessKeywords,
	"ranges include their ends":                         rangesIncludeTheirEnds,
	"what does not fit a kind is kept, not found":       unfitIsKept,
	"hits are sorted by any field that sorts":           hitsAreSorted,
	"what is missing comes last":                        missingComesLast,
	"lists are sorted by their least or greatest":       listsAreSorted,
	"long keywords are sorted by their first bytes":     longKeywordsAreSorted,
	"fields of every kind make faults by name":          faultsAreNamed,
	"an index of other fields is refused":               otherFieldsAreRefused,
}

// kindFields are one of each kind.
var kindFields = view.Fields{"id": view.Keyword, "text": view.Text, "tag": view.Keyword, "handle": view.Caseless, "members": view.Number,
	"founded": view.Time, "name": view.Prefix, "en": view.English, "de": view.German, "fr": view.French, "es": view.Spanish}

// generationOf prepares one more generation, with these fields.
func (x *index) generationOf(number int, fields view.Fields) *index {
	x.Helper()
	other := &index{store: x.store}
	other.subject = x.subject
	other.read = other.readKey
	other.subject.prepare = func(g view.Generation) {
		x.Helper()
		if err := x.store.Prepare(x.ctx, g, fields); err != nil {
			x.Fatalf("prepare: %v", err)
		}
	}
	other.g = other.generation(view.Generation{App: x.g.App, View: x.g.View, Number: number})
	return other
}

// kinds returns an index with fields of every kind.
func (x *index) kinds() *index { return x.generationOf(2, kindFields) }

// wantKeys checks which keys a query finds, in their order.
func (x *index) wantKeys(q view.Query, want ...string) {
	x.Helper()
	q.Size = 100
	hits := x.find(q)
	if got := keysOf(hits); !slices.Equal(got, want) || hits.Total != int64(len(want)) {
		x.Errorf("%+v finds %q of %d, want %q", q, got, hits.Total, want)
	}
}

func stemsFind(x *index) {
	x = x.kinds()
	for _, c := range []struct{ field, written, asked string }{
		{"en", "driving the fastest cars", "drives car"},
		{"en", "hikers' boots and a hiker’s map", "hiker map"},
		{"en", "the tribe's meetings", "tribes meeting"},
		{"en", "generously", "generous"},
		{"de", "schnelle Rennen", "schnell rennens"},
		{"de", "Die Häuser", "haus"},
		{"fr", "les voitures rapides", "voiture rapide"},
		{"fr", "continuellement", "continuelle"},
		{"es", "los coches rápidos", "coche rápido"},
		{"es", "bibliotecas", "biblioteca"},
	} {
		w := x.writer(0)
		w.put("a", fmt.Sprintf(`{%q:%q}`, c.field, c.written))
		x.wantFound(c.asked, nil, "a")
		x.wantFound(strings.ToUpper(c.asked), nil, "a")
		x.wantFound("zebra "+c.asked, nil)
		w.put("a", fmt.Sprintf(`{"text":%q}`, c.written)) // words there are whole
		x.wantFound(c.asked, nil)
	}
	x.writer(0).put("a", `{"en":"to be or not to be"}`)
	x.wantFound("to not be", nil, "a") // no stop words
}

func prefixesFind(x *index) {
	x = x.kinds()
	long := strings.Repeat("a", view.MaxLead) + "bc"
	x.writer(0).put("a", `{"name":"Sunday Chess"}`, "b", `{"name":["Chestnut Row","École"]}`, "c", `{"text":"chess"}`, "d", fmt.Sprintf(`{"name":%q}`, long))
	for text, want := range map[string][]string{
		"che": {"a", "b"}, "CHES": {"a", "b"}, "chess": {"a", "c"}, "chess sun": {"a"}, "s": {"a"}, "é": {"b"}, "éco ch": {"b"}, "ess": nil, "chessboard": nil,
		long: {"d"}, long[:view.MaxLead]: {"d"}, long + "other": {"d"}, strings.Repeat("a", view.MaxLead-1) + "x": nil} {
		x.wantFound(text, nil, want...)
	}
}

// partsInSeveralFields asks for words that lie in fields of several kinds; what stands
// between two spaces lies in one.
func partsInSeveralFields(x *index) {
	x = x.kinds()
	x.writer(0).put(
		"spread", `{"text":"ridge","en":"hiking","name":"Sunday Club"}`,
		"joined", `{"text":"ridge,club"}`)
	x.wantFound("ridge hikes sund", nil, "spread")
	x.wantFound("ridge * hikes -- ", nil, "spread")
	x.wantFound("ridge club", nil, "spread", "joined")
	x.wantFound("ridge,club", nil, "joined")
	x.wantFound("ridge hikes mond", nil)
	for _, text := range []string{"*", "- +", "…"} {
		x.wantFound(text, nil)
	}
}

func caselessKeywords(x *index) {
	x = x.kinds()
	x.writer(0).put("a", `{"handle":"Maya.O"}`, "b", `{"handle":["ÉMILE","maya.o"]}`, "c", `{"handle":"maya"}`)
	x.wantFound("", map[string]string{"handle": "mAYA.o"}, "a", "b")
	x.wantFound("", map[string]string{"handle": "émile"}, "b")
	x.wantFound("", map[string]string{"handle": "MAYA"}, "c")
	x.wantFound("maya", nil)
}

func rangesIncludeTheirEnds(x *index) {
	x = x.kinds()
	x.writer(0).put("a", `{"members":-2.5,"founded":"2026-01-31T09:30:00Z"}`, "b", `{"members":0,"founded":"2026-01-31T10:30:00.0005+01:00"}`,
		"c", `{"members":[7,1e300],"founded":["1931-01-01T00:00:00Z","2026-02-01T00:00:00Z"]}`, "d", `{"members":9007199254740993}`, "e", `{}`)
	in := func(field, from, to string, want ...string) {
		x.Helper()
		x.wantKeys(view.Query{Ranges: map[string]view.Range{field: {From: from, To: to}}}, want...)
	}
	in("members", "-2.5", "0", "a", "b")
	in("members", "-2.4999", "6.9", "b")
	in("members", "-0", "-0.0", "b")
	in("members", "7", "", "c", "d")
	in("members", "", "7", "a", "b", "c")
	in("members", "9e15", "1e16", "d")
	in("members", "1e300", "", "c")
	in("members", "-1.7e308", "1.7e308", "a", "b", "c", "d")
	in("founded", "2026-01-31T09:30:00Z", "2026-01-31T09:30:00Z", "a", "b")
	in("founded", "2026-01-31T09:30:00.001Z", "", "c")
	in("founded", "", "1969-12-31T23:59:59.999Z", "c")
	in("founded", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "a", "b", "c")
	x.wantKeys(view.Query{Ranges: map[string]view.Range{"members": {From: "-5"}, "founded": {From: "2026-02-01T00:00:00Z"}}}, "c")
}

func unfitIsKept(x *index) {
	x = x.kinds()
	value := `{"members":"12","founded":1769000000000,"tag":12.50,"handle":true,"text":-3}`
	x.writer(0).put("a", value, "b", `{"members":null,"founded":"yesterday","tag":{"x":1}}`, "c", `{"members":1e400,"founded":"9999-12-31T23:59:59-01:00"}`)
	x.wantKeys(view.Query{Ranges: map[string]view.Range{"members": {From: "-1e308"}}})
	x.wantKeys(view.Query{Ranges: map[string]view.Range{"founded": {From: "0000-01-01T00:00:00Z"}}})
	x.wantFound("", map[string]string{"tag": "12.50", "handle": "true"}, "a")
	x.wantFound("3", nil, "a")
	x.wantDocument(0, "a", value)
}

func (x *index) readKey(partition int32, key string) []byte {
	x.Helper()
	docs, err := x.store.Get(x.ctx, x.g, []view.Ref{{Partition: partition, Key: key}})
	if err != nil {
		x.Fatalf("get: %v", err)
	}
	return docs[0]
}

func hitsAreSorted(x *index) {
	x = x.kinds()
	x.writer(0).put("k1", `{"tag":"b","handle":"Alf","members":10,"founded":"2026-01-01T00:00:00Z","text":"oak"}`,
		"k2", `{"tag":"B","handle":"beta","members":-3.5,"founded":"1931-01-01T00:00:00Z","text":"oak oak"}`,
		"k3", `{"tag":"é","handle":"ALF","members":9,"founded":"2026-01-01T01:00:00+01:00","text":"elm"}`)
	x.writer(1).put("k0", `{"tag":"b","handle":"zeta","members":10,"founded":"0001-01-01T00:00:00Z","text":"oak"}`)
	for by, want := range map[string]string{"tag": "k2 k0 k1 k3", "-tag": "k3 k0 k1 k2", "handle": "k1 k3 k2 k0", "-handle": "k0 k2 k1 k3",
		"members": "k2 k3 k0 k1", "-members": "k0 k1 k3 k2", "founded": "k0 k2 k1 k3", "-founded": "k1 k3 k2 k0"} {
		field, desc := strings.CutPrefix(by, "-")
		x.wantKeys(view.Query{Sort: field, Desc: desc}, strings.Fields(want)...)
		x.wantKeys(view.Query{Sort: field, Desc: desc, Text: "OAK"}, strings.Fields(strings.ReplaceAll(want, "k3", ""))...)
	}
}

func missingComesLast(x *index) {
	x = x.kinds()
	x.writer(0).put("a", `{}`, "b", `{"tag":"","members":1.7e308}`, "c", `{"tag":"\uffff","members":-1.7e308}`, "d", `{"tag":null,"members":"x"}`)
	x.wantKeys(view.Query{Sort: "tag"}, "b", "c", "a", "d")
	x.wantKeys(view.Query{Sort: "tag", Desc: true}, "c", "b", "a", "d")
	x.wantKeys(view.Query{Sort: "members"}, "c", "b", "a", "d")
	x.wantKeys(view.Query{Sort: "members", Desc: true}, "b", "c", "a", "d")
}

func listsAreSorted(x *index) {
	x = x.kinds()
	x.writer(0).put("a", `{"members":[1,9],"tag":["m"]}`, "b", `{"members":[2,3,2],"tag":["z","a","q"]}`, "c", `{"members":5,"tag":"n"}`)
	x.wantKeys(view.Query{Sort: "members"}, "a", "b", "c")
	x.wantKeys(view.Query{Sort: "members", Desc: true}, "a", "c", "b")
	x.wantKeys(view.Query{Sort: "tag"}, "b", "a", "c")
	x.wantKeys(view.Query{Sort: "tag", Desc: true}, "b", "c", "a")
}

func longKeywordsAreSorted(x *index) {
	x = x.kinds()
	same := strings.Repeat("é", view.MaxOrder/2)
	x.writer(0).put("a", fmt.Sprintf(`{"tag":%q}`, same+"z"), "b", fmt.Sprintf(`{"tag":%q}`, same+"a"), "c", fmt.Sprintf(`{"tag":%q}`, same[2:]+"z"))
	x.wantKeys(view.Query{Sort: "tag"}, "c", "a", "b")
	if got := x.pages(view.Query{Sort: "tag"}, 1, nil); !slices.Equal(got, []string{"c", "a", "b"}) {
		x.Errorf("pages of one: %q", got)
	}
}

func faultsAreNamed(x *index) {
	x = x.kinds()
	ranges := func(field, from, to string) map[string]view.Range {
		return map[string]view.Range{field: {From: from, To: to}}
	}
	for _, c := range []struct {
		q    view.Query
		want string
	}{
		{view.Query{Sort: "text"}, `"text"`},
		{view.Query{Sort: "none"}, `"none"`},
		{view.Query{Desc: true}, "Sort"},
		{view.Query{Is: map[string]string{"members": "1"}}, `"members"`},
		{view.Query{Ranges: ranges("tag", "a", "b")}, `"tag"`},
		{view.Query{Ranges: ranges("members", "", "")}, "From, To or both"},
		{view.Query{Ranges: ranges("members", "ten", "")}, `"ten"`},
		{view.Query{Ranges: ranges("members", "Inf", "")}, `"Inf"`},
		{view.Query{Ranges: ranges("members", "", "0x10")}, `"0x10"`},
		{view.Query{Ranges: ranges("members", "2", "1")}, "before"},
		{view.Query{Ranges: ranges("founded", "2026-01-31", "")}, "RFC 3339"},
		{view.Query{Skip: 1, After: &view.Place{Key: "a"}}, "After"},
		{view.Query{After: &view.Place{}}, "key"},
		{view.Query{After: &view.Place{Key: "a", Partition: -1}}, "-1"},
	} {
		c.q.Size = 10
		_, err := x.store.Find(x.ctx, x.g, c.q)
		wantNamed(&x.subject, err, c.want)
	}
}

func otherFieldsAreRefused(x *index) {
	x = x.kinds()
	for name, kind := range kindFields {
		other := maps.Clone(kindFields)
		if other[name] = kind%view.Spanish + 1; name == "id" {
			delete(other, name)
		}
		err := x.store.Prepare(x.ctx, x.g, other)
		wantNamed(&x.subject, err, "new generation")
	}
}

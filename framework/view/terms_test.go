package view_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

func TestTermsAreWhatFitsAFieldsKind(t *testing.T) {
	fields := view.Fields{"text": view.Text, "tag": view.Keyword, "handle": view.Caseless, "members": view.Number, "founded": view.Time}
	for document, want := range map[string]string{
		`{"text":["a",[1,{"b":2}],null],"tag":true}`:              `tag [true] [] "true" "true"; text [a 1] [] "" ""`,
		`{"handle":["B","aÉ"],"tag":""}`:                          `handle [b aé] [] "aé" "b"; tag [] [] "" ""`,
		`{"members":[3,-0.0,"4",false,1e400]}`:                    `members [] [3 0] "8000000000000000" "c008000000000000"`,
		`{"founded":["1970-01-01T00:00:00.0019Z",5,"yesterday"]}`: `founded [] [1] "bff0000000000000" "bff0000000000000"`,
		`{"members":null,"tag":{}}`:                               ``,
	} {
		all, err := fields.Terms([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, name := range fields.Of(func(view.FieldKind) bool { return true }) {
			if terms := all[name]; terms != nil {
				got = append(got, fmt.Sprintf("%s %v %v %q %q", name, terms.Texts, terms.Numbers, terms.Least, terms.Greatest))
			}
		}
		if strings.Join(got, "; ") != want {
			t.Errorf("%s has the terms\n%s, want\n%s", document, strings.Join(got, "; "), want)
		}
	}
	for _, bad := range []string{``, `[]`, `null`, `{"a":`} {
		if _, err := fields.Terms([]byte(bad)); err == nil {
			t.Errorf("%q is taken for an object", bad)
		}
	}
}

// TestTermsReadWhatTheStandardLibraryReads compares with encoding/json, on documents
// and on what is left of them when a byte is changed.
func TestTermsReadWhatTheStandardLibraryReads(t *testing.T) {
	names := []string{`"a"`, `"b"`, `"\u0061"`, `"A"`, `""`, "\"\xff\""}
	values := []string{`"x"`, `""`, `"\ud83d\ude00 \ud800"`, "\"\xff\xc3\u00e9\"", `"\/\t"`, `1`, `-0`, `1.5e3`, `1e400`, `true`, `null`,
		`{"a":1,"a":"z"}`, `["x",[2,{"b":[]}],null]`, ` [ ] `}
	broken := []string{"", "", "", `"`, `\`, "\x00", `{`, `]`, `,`, `0`}
	compared, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var members []string
		for range rapid.IntRange(0, 4).Draw(t, "members") {
			members = append(members, rapid.SampledFrom(names).Draw(t, "name")+":"+rapid.SampledFrom(values).Draw(t, "value"))
		}
		document := "{" + strings.Join(members, ",") + "}"
		if bad := rapid.SampledFrom(broken).Draw(t, "broken"); bad != "" {
			at := rapid.IntRange(0, len(document)-1).Draw(t, "at")
			document = document[:at] + bad + document[at+1:]
		}
		var object map[string]any
		standard := json.NewDecoder(strings.NewReader(document))
		standard.UseNumber()
		valid := standard.Decode(&object) == nil && object != nil && json.Valid([]byte(document))
		all, err := view.Fields{"a": view.Keyword, "b": view.Text}.Terms([]byte(document))
		if valid != (err == nil) {
			t.Fatalf("%q: %v, and by encoding/json it is an object: %t", document, err, valid)
		}
		if !valid {
			refused++
			return
		}
		for _, name := range []string{"a", "b"} {
			var got []string
			if all[name] != nil {
				got = all[name].Texts
			}
			want := textsOf(object[name])
			if !slices.Equal(got, want) {
				t.Fatalf("%q: field %s has %q, want %q", document, name, got, want)
			}
			compared += len(want)
		}
	})
	if compared == 0 || refused == 0 {
		t.Errorf("%d texts were compared and %d documents refused; want some of both", compared, refused)
	}
}

func textsOf(value any) (texts []string) {
	switch v := value.(type) {
	case string, json.Number, bool:
		return []string{fmt.Sprint(v)}
	case []any:
		for _, e := range v {
			texts = append(texts, textsOf(e)...)
		}
	}
	return texts
}

// Orders compare as values do, whatever their signs and sizes.
func TestOrdersCompareAsValuesDo(t *testing.T) {
	order := func(n float64) string {
		all, err := view.Fields{"n": view.Number}.Terms(fmt.Appendf(nil, `{"n":%g}`, n))
		if err != nil || all["n"] == nil {
			t.Fatalf("%g: %v, %v", n, all, err)
		}
		return all["n"].Least
	}
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64)
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		if (a < b) != (order(a) < order(b)) || (a == b) != (order(a) == order(b)) {
			t.Fatalf("%g and %g are ordered by %s and %s", a, b, order(a), order(b))
		}
	})
	sizes := []float64{-math.MaxFloat64, -1, -math.SmallestNonzeroFloat64, 0, math.SmallestNonzeroFloat64, 1, math.MaxFloat64}
	if !slices.IsSortedFunc(sizes, func(a, b float64) int { return strings.Compare(order(a), order(b)) }) {
		t.Error("numbers and their orders do not agree")
	}
}

func TestKindsHaveNamesThatStay(t *testing.T) {
	var names []string
	for kind := view.Text; kind <= view.Spanish; kind++ {
		names = append(names, fmt.Sprintf("%v %t%t%t%t", kind, kind.Worded(), kind.Exact(), kind.Measured(), kind.Sorts()))
	}
	want := "text truefalsefalsefalse, keyword falsetruefalsetrue, caseless falsetruefalsetrue, number falsefalsetruetrue, time falsefalsetruetrue, " +
		"prefix truefalsefalsefalse, english truefalsefalsefalse, german truefalsefalsefalse, french truefalsefalsefalse, spanish truefalsefalsefalse"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("kinds are %s, want %s", got, want)
	}
	if view.FieldKind(77).Sorts() || view.FieldKind(0).Worded() || (view.Fields{"x": 77}).Check() == nil {
		t.Error("what is no kind passes for one")
	}
}

func BenchmarkTerms(b *testing.B) {
	fields := view.Fields{"last": view.Keyword, "note": view.Text}
	document := []byte(`{"id":"tribe-00001234","members":123,"guests":41,"last":"member-00012345","note":"comes with two friends, and leaves early"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fields.Terms(document); err != nil {
			b.Fatal(err)
		}
	}
}

package view_test

import (
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

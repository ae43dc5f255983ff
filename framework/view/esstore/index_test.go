package esstore_test

import (
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/esstore"
)

func TestNamesOfIndicesStay(t *testing.T) {
	for g, want := range map[view.Generation]string{
		{App: "drivetribe", View: "tribe-card", Number: 12}: "drivetrain.drivetribe.tribe-card.12",
		{App: "Drive.tribe", View: "a_b", Number: 1}:        "drivetrain._44rive_2etribe.a_5fb.1",
		{App: "*", View: "é,", Number: 1}:                   "drivetrain._2a._c3_a9_2c.1",
	} {
		if got := esstore.IndexName(g); got != want {
			t.Errorf("%q is called %s, want %s", g, got, want)
		}
	}
}

// TestNamesAreApart uses names that could be taken for one another.
func TestNamesAreApart(t *testing.T) {
	names := []string{"", "a", "A", "_41", "_", "__", "_5f", "-", ".", "..", "a.b", "a_b", "a-b", "a/b", "*", "a*", ",", " ", "#", "\x00", "é", "\xc3", "+",
		strings.Repeat("a", 300), strings.Repeat("a", 301), strings.Repeat("é", 300)}
	seen := make(map[string]view.Generation)
	for _, app := range names {
		for _, v := range names {
			g := view.Generation{App: app, View: v, Number: 1}
			name := esstore.IndexName(g)
			if other, ok := seen[name]; ok {
				t.Errorf("%q and %q are both called %s", g, other, name)
			}
			seen[name] = g
			if len(name) > 240 || name != strings.ToLower(name) || strings.ContainsAny(name, `\/*?"<>| ,#:+`) {
				t.Errorf("%q is called %q, which Elasticsearch refuses", g, name)
			}
		}
	}
	fields := make(map[string]string)
	for _, name := range names {
		if other, ok := fields[esstore.FieldName(name)]; ok {
			t.Errorf("fields %q and %q are one", name, other)
		}
		fields[esstore.FieldName(name)] = name
	}
}

package main

import (
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
)

// cards is the world as its views show it, once they have seen all.
func cards(t *testing.T, app *framework.App, at eventlog.Positions) string {
	t.Helper()
	out := ""
	for _, x := range tribes {
		out += frameworktest.Ask(t, app, "tribe-card", framework.Query{Key: x.id, Min: at}) + "\n"
		out += frameworktest.Ask(t, app, "tribe-feed", framework.Query{Key: x.id, Limit: 100, Min: at}) + "\n"
	}
	return out + frameworktest.Ask(t, app, "search", framework.Query{Text: "rye", Limit: 100, Min: at})
}

// ends sends one command that does nothing to each partition, and returns where
// these are.
func ends(t *testing.T, app *framework.App) eventlog.Positions {
	t.Helper()
	at := eventlog.NewPositions()
	for n := 0; len(at.Offsets) < app.Config().Partitions; n++ {
		r, err := app.Execute(t.Context(), framework.Call{Aggregate: "tribe", ID: "none-" + string(rune('a'+n)), Command: "leave", Actor: "maya"})
		if err != nil {
			t.Fatal(err)
		}
		at.Offsets[r.Position.Partition] = max(r.Position.Offset, at.Offsets[r.Position.Partition])
	}
	return at
}

// TestADemoWhoseKeysAreForgottenDoublesNothing sends the whole demo world again
// when the log remembers none of its keys any more.
func TestADemoWhoseKeysAreForgottenDoublesNothing(t *testing.T) {
	app, clock := frameworktest.Start(t, register)
	if filled, err := fill(t.Context(), app); !filled || err != nil {
		t.Fatalf("filled %v, %v", filled, err)
	}
	before := cards(t, app, ends(t, app))
	clock.Advance(48 * time.Hour)
	for n := range 20 { // new events, so that the old keys are forgotten
		id := "late-" + string(rune('a'+n))
		if _, err := app.Execute(t.Context(), framework.Call{Aggregate: "user", ID: id, Command: "register", Body: []byte(`{"name":"Late"}`), Actor: id}); err != nil {
			t.Fatal(err)
		}
	}
	if err := fillAll(t.Context(), app, world()); err != nil {
		t.Fatal(err)
	}
	if after := cards(t, app, ends(t, app)); after != before {
		t.Errorf("the world was\n%s\nand is\n%s", before, after)
	}
}

// TestTheDemoWorldIsShown looks at some of what the views show of it.
func TestTheDemoWorldIsShown(t *testing.T) {
	app, _ := frameworktest.Start(t, register)
	if _, err := fill(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	at := ends(t, app)
	for _, c := range []struct {
		view string
		q    framework.Query
		want string
	}{
		{"tribe-card", framework.Query{Key: "hikers"}, `{"id":"hikers","name":"Ridge Walkers","members":9,"posts":12}`},
		{"post-card", framework.Query{Key: "hut-soup"}, `{"id":"hut-soup","tribe":"hikers","author":"nora","text":"The hut has lentil soup again and they let you fill a flask for the way down.","bumps":7,"comments":1}`},
		{"post-reach", framework.Query{Key: "hut-soup"}, `{"id":"hut-soup","people":8,"talkers":[{"key":"ines","count":1,"error":0}]}`},
		{"membership", framework.Query{Key: "amara"}, `{"member":"amara","tribes":["allotment","film35","hikers","synths"]}`},
		{"top-tribes", framework.Query{Key: "members", Limit: 1}, `{"items":[{"rank":1,"key":"hikers","score":9,"item":{"id":"hikers","name":"Ridge Walkers","members":9,"posts":12}}],"next":"YzAyMjAwMDAwMDAwMDAwMABoaWtlcnM"}`},
		{"search", framework.Query{Text: "ROBIN"}, `{"items":[{"kind":"post","id":"quiet-evening","text":"Seven in the evening, nobody there but a robin waiting for me to dig. A good office."}],"total":1,"next":""}`},
		{"search", framework.Query{Is: map[string]string{"kind": "tribe"}, Text: "chess"}, `{"items":[{"kind":"tribe","id":"chess","text":"Sunday Chess"}],"total":1,"next":""}`},
		{"find-tribe", framework.Query{Text: "che sun"}, `{"items":[{"id":"chess","name":"Sunday Chess","members":4,"founded":"2017-01-01T12:00:00Z"}],"total":1,"next":""}`},
		{"find-post", framework.Query{Text: "waited robins"}, `{"items":[{"id":"quiet-evening","tribe":"allotment","author":"nora","text":"Seven in the evening, nobody there but a robin waiting for me to dig. A good office.","published":"2017-01-01T12:00:00Z"}],"total":1,"next":""}`},
	} {
		c.q.Min = at
		if got := frameworktest.Ask(t, app, c.view, c.q); got != c.want {
			t.Errorf("%s %q%q:\n got %s\nwant %s", c.view, c.q.Key, c.q.Text, got, c.want)
		}
	}
}

package main

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/api"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
	"github.com/drivetrain-go/drivetrain/projections"
)

type said struct {
	Text string `json:"text"`
}

type say struct {
	Text string `json:"text"`
	aggregates.Meta
}

type note struct {
	Text string `json:"text"`
}

var noteType = &aggregates.Type[note, said]{Name: "note", Evolve: func(n note, _ said) note { return n },
	Events: event.Types[said]{"note.said": event.As[said, said]()}}

// poisoned runs an application whose view cannot fold "bad", until it is mended, and
// returns the URL of its admin listener.
func poisoned(t *testing.T) (admin string, app *framework.App, mended *atomic.Bool) {
	mended = &atomic.Bool{}
	app, _ = frameworktest.Start(t, func(app *framework.App) {
		commands.Handle(app, noteType, "say", func(_ note, c say) ([]said, error) { return []said{{c.Text}}, nil })
		projections.Register(app, &projections.View[note, said]{Name: "notes", From: noteType.Stream(), Fold: func(n note, e projections.Event[said]) note {
			if e.Fact.Text == "bad" && !mended.Load() {
				panic("it is bad")
			}
			return note{n.Text + e.Fact.Text + "."}
		}})
	})
	s := httptest.NewServer(api.Admin(app))
	t.Cleanup(s.Close)
	return s.URL, app, mended
}

func tell(t *testing.T, app *framework.App, id, text string) framework.Result {
	data, _ := json.Marshal(map[string]string{"text": text})
	return frameworktest.Send(t, app, framework.Call{Aggregate: "note", ID: id, Command: "say", Body: data})
}

func TestDeadLettersAreListedShownRetriedAndDiscarded(t *testing.T) {
	admin, app, mended := poisoned(t)
	if got := drivetrain(t, "dead-letters", "list", "--admin", admin); got.code != 0 || got.out != "" || !strings.Contains(got.problems, "nothing is parked") {
		t.Errorf("with nothing parked: %+v", got)
	}
	var last framework.Result
	for _, text := range []string{"a", "bad", "b"} {
		tell(t, app, "one", text)
		last = tell(t, app, "two", text)
	}
	frameworktest.Ask(t, app, "notes", framework.Query{Key: "two", Min: frameworktest.After(last)})
	ids := listed(t, admin, 2)
	if got := drivetrain(t, "dead-letters", "list", "--admin", admin); got.code != 0 || !strings.Contains(got.out, "note/one") || !strings.Contains(got.out, "it is bad") {
		t.Errorf("the list: %+v", got)
	}
	one, two := ids["note/one"], ids["note/two"]
	if got := drivetrain(t, "dead-letters", "show", one, "--admin", admin); got.code != 0 || !strings.Contains(got.out, `{"text":"bad"}`) || !strings.Contains(got.out, `{"text":"b"}`) {
		t.Errorf("one of them: %+v", got)
	}
	if got := drivetrain(t, "dead-letters", "retry", one, "--admin", admin); got.code != 1 || !strings.Contains(got.problems, "still parked") {
		t.Errorf("a retry that fails: %+v", got)
	}
	if got := drivetrain(t, "dead-letters", "discard", one, "--admin", admin); got.code != 2 {
		t.Errorf("a discard without a reason: %+v", got)
	}
	if got := drivetrain(t, "dead-letters", "discard", one, "--reason", "typed twice", "--admin", admin, "--json"); got.code != 0 || !strings.Contains(got.out, `"freed":true`) {
		t.Errorf("a discard: %+v", got)
	}
	mended.Store(true)
	if got := drivetrain(t, "dead-letters", "retry", two, "--admin", admin); got.code != 0 || !strings.HasPrefix(got.out, "freed; recorded at ") {
		t.Errorf("a retry that succeeds: %+v", got)
	}
	for id, want := range map[string]string{"one": `{"text":"a.b."}`, "two": `{"text":"a.bad.b."}`} {
		if got := frameworktest.Ask(t, app, "notes", framework.Query{Key: id, Min: frameworktest.After(tellNothing(t, app))}); got != want {
			t.Errorf("%s is %s, want %s", id, got, want)
		}
	}
	listed(t, admin, 0)
	if got := drivetrain(t, "dead-letters", "show", one, "--admin", admin); got.code != 1 || !strings.Contains(got.problems, "Not found (404)") {
		t.Errorf("one that is free: %+v", got)
	}
}

// tellNothing returns a result whose position both notes have passed.
func tellNothing(t *testing.T, app *framework.App) framework.Result {
	return tell(t, app, "three", "x")
}

// listed returns the ids of what is parked, by key.
func listed(t *testing.T, admin string, want int) map[string]string {
	t.Helper()
	got := drivetrain(t, "dead-letters", "list", "--admin", admin, "--json")
	ids := map[string]string{}
	for text := range strings.Lines(got.out) {
		var l deadLetter
		if err := json.Unmarshal([]byte(text), &l); err != nil || l.State != "parked" || l.View != "notes" || l.Parked != 2 || l.Event.Type != "note.said" {
			t.Errorf("listed is %s, %v", text, err)
		}
		ids[l.Key] = l.ID
	}
	if got.code != 0 || len(ids) != want {
		t.Fatalf("listed are %d, want %d: %+v", len(ids), want, got)
	}
	return ids
}

func TestDeadLettersOfNoAdminListenerAreAClearError(t *testing.T) {
	s := httptest.NewServer(nil)
	defer s.Close()
	for url, want := range map[string]string{s.URL: "is it the admin listener", "http://127.0.0.1:1": "--admin"} {
		if got := drivetrain(t, "dead-letters", "list", "--admin", url); got.code != 1 || !strings.Contains(got.problems, want) {
			t.Errorf("%s: %+v, want %q", url, got, want)
		}
	}
}

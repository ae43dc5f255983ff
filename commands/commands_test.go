package commands_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
)

type fact interface{ note() }

type written struct {
	By   string `json:"by"`
	Text string `json:"text"`
}

func (written) note() {}

type note struct {
	Text string `json:"text"`
}

var notes = &aggregates.Type[note, fact]{
	Name:   "note",
	Events: event.Types[fact]{"note.written": event.As[fact, written]()},
	Evolve: func(n note, f fact) note { return note{f.(written).Text} },
}

type write struct {
	Text string `json:"text"`
	commands.Meta
}

func (n note) write(c write) ([]fact, error) {
	switch {
	case c.Text == n.Text:
		return nil, nil
	case c.Text == "panic":
		panic("as asked")
	case c.Text == "":
		return nil, commands.Reject("nothing to write")
	}
	return []fact{written{c.By(), c.Text}}, nil
}

func start(t *testing.T, options ...commands.Option[write]) *framework.App {
	app, _ := frameworktest.Start(t, func(app *framework.App) { commands.Handle(app, notes, "write", note.write, options...) })
	return app
}

func call(body string) framework.Call {
	return framework.Call{Aggregate: "note", ID: "a", Command: "write", Body: []byte(body), Actor: "maya"}
}

func TestABodyCannotSayWhoAsks(t *testing.T) {
	app := start(t)
	for _, body := range []string{`{"text":"x","by":"eve"}`, `{"text":"x","Meta":{}}`, `{"text":"x","given":{"by":"eve"}}`, `{"text":"x"}{}`, `[]`} {
		if _, err := app.Execute(context.Background(), call(body)); !errors.Is(err, framework.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", body, err)
		}
	}
	if _, err := app.Execute(context.Background(), call(`{"text":"x"}`)); err != nil {
		t.Fatal(err)
	}
	events, _, err := app.History(context.Background(), "note", "a", 0, 10, frameworktest.After())
	if err != nil || len(events) != 1 || string(events[0].Data) != `{"by":"maya","text":"x"}` || events[0].Actor != "maya" {
		t.Fatalf("recorded %+v, %v", events, err)
	}
}

func TestARetryGetsTheAnswerOfTheFirstAndRunsOnce(t *testing.T) {
	app := start(t)
	c := call(`{"text":"x"}`)
	c.Key = "order 1"
	if _, err := app.Execute(context.Background(), c); !errors.Is(err, framework.ErrInvalid) {
		t.Fatalf("a key with a blank: %v", err)
	}
	c.Key = "order-1"
	first, err := app.Execute(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	again, err := app.Execute(context.Background(), c)
	if err != nil || fmt.Sprint(again) != fmt.Sprint(first) {
		t.Fatalf("the retry got %v, %v; the first %v", again, err, first)
	}
	other := c
	other.Body = []byte(`{"text":"y"}`)
	if _, err := app.Execute(context.Background(), other); !errors.Is(err, cluster.ErrKeyReused) {
		t.Fatalf("another body under the key: %v", err)
	}
	other.Actor = "tomasz"
	if res, err := app.Execute(context.Background(), other); err != nil || res.Version != 2 {
		t.Fatalf("the same key of another caller: %v, %v", res, err)
	}
}

func TestWhatADecisionComesToReachesTheCaller(t *testing.T) {
	app := start(t)
	ctx := context.Background()
	first, err := app.Execute(ctx, call(`{"text":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	if same, err := app.Execute(ctx, call(`{"text":"x"}`)); err != nil || same.Version != first.Version || len(same.Events) != 0 {
		t.Errorf("a no-op: %v, %v", same, err)
	}
	if _, err := app.Execute(ctx, call(`{"text":""}`)); !aggregates.IsRejection(err) {
		t.Errorf("got %v, want a rejection", err)
	}
	if _, err := app.Execute(ctx, call(`{"text":"panic"}`)); err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("got %v, want the panic as an error", err)
	}
	version := uint64(7)
	c := call(`{"text":"y"}`)
	c.Expected = &version
	var conflict *cluster.ConflictError
	if _, err := app.Execute(ctx, c); !errors.As(err, &conflict) || conflict.Actual != 1 {
		t.Errorf("got %v, want a conflict with version 1", err)
	}
	version = 1
	if res, err := app.Execute(ctx, c); err != nil || res.Version != 2 {
		t.Errorf("got %v, %v, want version 2", res, err)
	}
	if _, err := app.Execute(ctx, framework.Call{Aggregate: "note", ID: "a", Command: "burn"}); !errors.Is(err, framework.ErrUnknown) {
		t.Errorf("got %v, want ErrUnknown", err)
	}
	if _, err := app.Execute(ctx, framework.Call{Aggregate: "note", ID: "a/b", Command: "write"}); !errors.Is(err, framework.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
}

func TestPrepareSeesTheCommandFirst(t *testing.T) {
	app := start(t, commands.Prepare(func(_ context.Context, c *write) error {
		if c.By() != c.ID() {
			return aggregates.Forbid("not yours")
		}
		c.Text += "!"
		return nil
	}))
	c := call(`{"text":"x"}`)
	var rejection *aggregates.Rejection
	if _, err := app.Execute(context.Background(), c); !errors.As(err, &rejection) || !rejection.Forbidden {
		t.Fatalf("got %v, want it forbidden", err)
	}
	c.ID = "maya"
	res, err := app.Execute(context.Background(), c)
	if err != nil || string(res.Events[0].Data) != `{"by":"maya","text":"x!"}` {
		t.Fatalf("got %v, %v", res, err)
	}
}

func TestWhatWasAcceptedIsNotPreparedAgain(t *testing.T) {
	calls := 0
	app := start(t, commands.Prepare(func(_ context.Context, c *write) error {
		if calls++; calls > 1 {
			return commands.Forbid("rights were taken away")
		}
		return nil
	}))
	c := call(`{"text":"x"}`)
	c.Key = "once"
	first, err := app.Execute(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := app.Execute(context.Background(), c); err != nil || fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("the retry got %v, %v; the first %v", again, err, first)
	}
	c.Body = []byte(`{"text":"y"}`)
	if _, err := app.Execute(context.Background(), c); !errors.Is(err, cluster.ErrKeyReused) {
		t.Errorf("another body under the key: %v", err)
	}
	c.Key = "twice"
	if _, err := app.Execute(context.Background(), c); !aggregates.IsRejection(err) {
		t.Errorf("a new command: %v, want it forbidden", err)
	}
}

type tags struct {
	Set map[string]bool `json:"set"`
}

func TestADecisionThatChangesItsStateIsFoundInATest(t *testing.T) {
	sets := &aggregates.Type[tags, fact]{Name: "tags", Events: notes.Events, Evolve: func(s tags, f fact) tags {
		if s.Set == nil {
			s.Set = map[string]bool{}
		}
		s.Set[f.(written).Text] = true
		return s
	}}
	app, _ := frameworktest.Start(t, func(app *framework.App) {
		commands.Handle(app, sets, "write", func(s tags, c write) ([]fact, error) {
			if c.Text == "slip" {
				s.Set["slip"] = true
			}
			return []fact{written{c.By(), c.Text}}, nil
		})
	})
	c := call(`{"text":"x"}`)
	c.Aggregate = "tags"
	if _, err := app.Execute(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	c.Body = []byte(`{"text":"slip"}`)
	if _, err := app.Execute(context.Background(), c); err == nil || !strings.Contains(err.Error(), "has changed the state") {
		t.Errorf("got %v, want the slip named", err)
	}
	if s, err := app.State(context.Background(), "tags", "a", frameworktest.After()); err != nil || string(s.JSON) != `{"set":{"x":true}}` {
		t.Errorf("the state is %s, %v", s.JSON, err)
	}
}

func TestARegistrationThatCannotWorkPanicsWithTheFix(t *testing.T) {
	type bare struct {
		Text string `json:"text"`
	}
	type untagged struct {
		Text string
		commands.Meta
	}
	app := framework.New(framework.Config{Open: func(context.Context) (framework.Resources, error) { return framework.Resources{}, nil }})
	for want, register := range map[string]func(){
		"embeds aggregates.Meta": func() { commands.Handle(app, notes, "a", func(note, bare) ([]fact, error) { return nil, nil }) },
		"json tag":               func() { commands.Handle(app, notes, "b", func(note, untagged) ([]fact, error) { return nil, nil }) },
		"must match":             func() { commands.Handle(app, notes, "Write", note.write) },
		`not be "events"`:        func() { commands.Handle(app, notes, "events", note.write) },
		"registered twice": func() {
			commands.Handle(app, notes, "write", note.write)
			commands.Handle(app, notes, "write", note.write)
		},
	} {
		func() {
			defer func() {
				if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), want) {
					t.Errorf("panicked with %v, want %q", p, want)
				}
			}()
			register()
		}()
	}
}

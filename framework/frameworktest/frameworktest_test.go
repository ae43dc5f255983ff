package frameworktest_test

import (
	"context"
	"testing"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
	"github.com/drivetrain-go/drivetrain/projections"
)

type fact interface{ counter() }

type added struct {
	N int `json:"n"`
}

func (added) counter() {}

type counter struct {
	Sum int `json:"sum"`
}

type add struct {
	N int `json:"n"`
	aggregates.Meta
}

var counters = &aggregates.Type[counter, fact]{
	Name:   "counter",
	Events: event.Types[fact]{"counter.added": event.As[fact, added]()},
	Evolve: func(c counter, e fact) counter { return counter{c.Sum + e.(added).N} },
}

var sums = &projections.View[counter, fact]{
	Name: "sum",
	From: counters.Stream(),
	Fold: func(c counter, e projections.Event[fact]) counter { return counter{c.Sum + e.Fact.(added).N} },
}

func (c counter) add(cmd add) ([]fact, error) {
	if c.Sum+cmd.N < 0 {
		return nil, aggregates.Reject("%d is all there is", c.Sum)
	}
	return []fact{added{cmd.N}}, nil
}

func TestACommandIsFoldedAndShown(t *testing.T) {
	app, _ := frameworktest.Start(t, func(app *framework.App) {
		commands.Handle(app, counters, "add", counter.add)
		projections.Register(app, sums)
	})
	ctx := context.Background()
	call := framework.Call{Aggregate: "counter", ID: "a", Command: "add", Body: []byte(`{"n":3}`), Actor: "eve"}
	for range 2 {
		if _, err := app.Execute(ctx, call); err != nil {
			t.Fatal(err)
		}
	}
	call.Body = []byte(`{"n":-7}`)
	if _, err := app.Execute(ctx, call); !aggregates.IsRejection(err) {
		t.Fatalf("got %v, want a rejection", err)
	}
	call.Body = []byte(`{"n":-6}`)
	res, err := app.Execute(ctx, call)
	if err != nil || res.Version != 3 {
		t.Fatalf("got version %d, %v; want 3", res.Version, err)
	}
	if got := frameworktest.Ask(t, app, "sum", framework.Query{Key: "a", Min: frameworktest.After(res)}); got != `{"sum":0}` {
		t.Fatalf("the view shows %s", got)
	}
	s, err := app.State(ctx, "counter", "a", frameworktest.After(res))
	if err != nil || string(s.JSON) != `{"sum":0}` || s.Version != 3 {
		t.Fatalf("the state is %s at version %d, %v", s.JSON, s.Version, err)
	}
	events, _, err := app.History(ctx, "counter", "a", 1, 10, frameworktest.After(res))
	if err != nil || len(events) != 2 || string(events[1].Data) != `{"n":-6}` {
		t.Fatalf("the history is %v, %v", events, err)
	}
}

package framework_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
)

// notified registers a channel for a query.
func notified(t *testing.T, app *framework.App, view, key string) (c chan struct{}, forget func()) {
	t.Helper()
	c = make(chan struct{}, 1)
	forget, err := app.Notify(view, framework.Query{Key: key}, c)
	if err != nil {
		t.Fatal(err)
	}
	return c, forget
}

func hears(c <-chan struct{}, d time.Duration) bool {
	select {
	case <-c:
		return true
	case <-time.After(d):
		return false
	}
}

func TestWhoeverShowsAnAnswerHearsThatItMayBeAnotherInEveryProcess(t *testing.T) {
	c := newCrew(t)
	a, _, _ := c.start(0)
	b, _, _ := c.start(1)
	c.ready(a, b)
	ids := idsOf()
	for name, app := range map[string]*framework.App{"owner": a, "other": b} {
		first, forget := notified(t, app, "shown", ids[0])
		second, forgetSecond := notified(t, app, "shown", ids[1])
		for hears(second, 1500*time.Millisecond) { // until all have seen the claims
			forgetSecond()
			second, forgetSecond = notified(t, app, "shown", ids[1])
		}
		taken, forgetTaken := notified(t, app, "shown", ids[0])
		forgetTaken()
		res, err := a.Execute(context.Background(), call(ids[0]))
		if err != nil {
			t.Fatal(err)
		}
		want := frameworktest.Ask(t, app, "shown", framework.Query{Key: ids[0], Min: frameworktest.After(res)})
		for began := time.Now(); ; { // it may hear first of what came before
			if !hears(first, 10*time.Second) {
				t.Fatalf("%s: nobody said that partition 0 has moved", name)
			}
			again, forgetAgain := notified(t, app, "shown", ids[0])
			defer forgetAgain()
			if first = again; frameworktest.Ask(t, app, "shown", framework.Query{Key: ids[0]}) == want {
				t.Logf("%s: heard after %v", name, time.Since(began))
				break
			}
		}
		if hears(second, 300*time.Millisecond) || hears(taken, 0) {
			t.Errorf("%s: it heard of another partition, or after it had taken that back", name)
		}
		forget()
		forgetSecond()
	}
}

func TestWhoeverShowsAnAnswerHearsThatTheApplicationStops(t *testing.T) {
	app, stop := run(t, embedded.Config(t.TempDir()))
	c, forget := notified(t, app, "shown", "x")
	defer forget()
	stop()
	if !hears(c, time.Second) {
		t.Error("it did not hear of the end")
	}
	var unavailable *cluster.UnavailableError
	if _, err := app.Notify("shown", framework.Query{Key: "x"}, c); !errors.As(err, &unavailable) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := app.Notify("hidden", framework.Query{Key: "x"}, c); !errors.Is(err, framework.ErrUnknown) {
		t.Errorf("of a view that is not there: %v", err)
	}
}

func TestAnAnswerThatThereIsNothingSaysWhereThatWasSo(t *testing.T) {
	app, _ := frameworktest.Start(t, register)
	res := frameworktest.Send(t, app, call("a"))
	a, err := app.Ask(context.Background(), "shown", framework.Query{Key: "b"})
	if !errors.Is(err, framework.ErrNotFound) || a.Generation != 1 || a.JSON != nil {
		t.Errorf("%+v, %v", a, err)
	}
	a, err = app.Ask(context.Background(), "shown", framework.Query{Key: "a", Min: frameworktest.After(res)})
	if err != nil || a.Positions.Offsets[res.Position.Partition] < res.Position.Offset {
		t.Errorf("%+v, %v: want at least %v", a, err, res.Position)
	}
}

package framework_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
)

func TestAStateIsShownAsOfAVersionATimeAndAPosition(t *testing.T) {
	app, clock := frameworktest.Start(t, register)
	ctx := context.Background()
	began := clock.Now()
	var sent []framework.Result
	for range 4 {
		sent = append(sent, frameworktest.Send(t, app, call("a")))
		frameworktest.Send(t, app, call("b"))
		clock.Advance(time.Minute)
	}
	part := sent[0].Position.Partition
	at := func(n int, more int64) eventlog.Positions {
		p := sent[n].Position
		p.Offset += more
		return eventlog.NewPositions(p, eventlog.Position{Partition: (part + 1) % 4})
	}
	for _, c := range []struct {
		as      framework.AsOf
		version uint64 // 0: not found
	}{
		{framework.AsOf{}, 4},
		{framework.AsOf{Version: 1}, 1}, {framework.AsOf{Version: 4}, 4}, {framework.AsOf{Version: 5}, 0},
		{framework.AsOf{At: began.Add(-1)}, 0}, {framework.AsOf{At: began}, 1}, {framework.AsOf{At: began.Add(time.Minute - 1)}, 1},
		{framework.AsOf{At: began.Add(2 * time.Minute)}, 3}, {framework.AsOf{At: began.Add(time.Hour)}, 4},
		{framework.AsOf{Position: at(0, -1)}, 0}, {framework.AsOf{Position: at(0, 0)}, 1}, {framework.AsOf{Position: at(2, -1)}, 2}, {framework.AsOf{Position: at(3, 0)}, 4},
	} {
		s, err := app.StateAsOf(ctx, "tally", "a", framework.StateQuery{AsOf: c.as})
		switch {
		case c.version == 0 && !errors.Is(err, framework.ErrNotFound):
			t.Errorf("as of %+v: %s, %v, want none", c.as, s.JSON, err)
		case c.version == 0 || err == nil && s.Version == c.version && string(s.JSON) == fmt.Sprintf(`{"n":%d}`, c.version) &&
			(c.as.IsZero() || s.Position == sent[c.version-1].Position):
		default:
			t.Errorf("as of %+v: version %d, %s at %v, %v, want version %d", c.as, s.Version, s.JSON, s.Position, err, c.version)
		}
	}
	if s, err := app.StateAsOf(ctx, "tally", "a", framework.StateQuery{Strong: true}); err != nil || s.Version != 4 || s.Position.Offset <= sent[3].Position.Offset {
		t.Errorf("a strong read: version %d at %v, %v, want it behind the last commit", s.Version, s.Position, err)
	}
}

func TestAMomentThatCannotBeIsRefused(t *testing.T) {
	app, _ := frameworktest.Start(t, register)
	res := frameworktest.Send(t, app, call("a"))
	elsewhere := eventlog.NewPositions(eventlog.Position{Partition: (res.Position.Partition + 1) % 4})
	for want, as := range map[string]framework.AsOf{
		"not 2":                  {Version: 1, At: time.Unix(0, 0)},
		"not 3":                  {Version: 1, At: time.Unix(0, 0), Position: elsewhere},
		"does not name":          {Position: elsewhere},
		"there are partitions 0": {Position: eventlog.NewPositions(eventlog.Position{Partition: 4})},
	} {
		_, err := app.StateAsOf(context.Background(), "tally", "a", framework.StateQuery{AsOf: as})
		if !errors.Is(err, framework.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", as, err, want)
		}
	}
	_, err := app.StateAsOf(context.Background(), "tally", "b", framework.StateQuery{AsOf: framework.AsOf{Version: 1}})
	if !errors.Is(err, framework.ErrNotFound) {
		t.Errorf("no events at all: %v", err)
	}
}

func TestAPositionOfThePastThatIsToComeIsWaitedFor(t *testing.T) {
	app, stop := run(t, framework.Config{App: "test", Partitions: 1, ReadWait: 50 * time.Millisecond,
		Open: func(context.Context) (framework.Resources, error) { return embedded.With(memlog.New()) }})
	defer stop()
	res := frameworktest.Send(t, app, call("a"))
	res.Position.Offset += 1000
	var unavailable *cluster.UnavailableError
	_, err := app.StateAsOf(context.Background(), "tally", "a", framework.StateQuery{AsOf: framework.AsOf{Position: frameworktest.After(res)}})
	if !errors.As(err, &unavailable) || !strings.Contains(unavailable.Reason, "was not reached") {
		t.Errorf("got %v", err)
	}
}

// The offsets come from a snapshot then, and the events from the log.
func TestThePastIsThereAfterARestart(t *testing.T) {
	dir := t.TempDir()
	for n := range 3 {
		app, stop := run(t, embedded.Config(dir))
		frameworktest.Send(t, app, call("a"))
		for v := 1; v <= n+1; v++ {
			s, err := app.StateAsOf(context.Background(), "tally", "a", framework.StateQuery{AsOf: framework.AsOf{Version: uint64(v)}})
			if err != nil || string(s.JSON) != fmt.Sprintf(`{"n":%d}`, v) {
				t.Errorf("run %d, version %d: %s, %v", n, v, s.JSON, err)
			}
		}
		stop()
	}
}

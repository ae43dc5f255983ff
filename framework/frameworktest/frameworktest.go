// Package frameworktest runs an application in a test: the log in memory, stores
// in the process, and a clock that the test moves.
//
//	app, clock := frameworktest.Start(t, func(app *framework.App) {
//		commands.Handle(app, Tribes, "found", Tribe.Found)
//		projections.Register(app, Cards)
//	})
//	res := frameworktest.Send(t, app, framework.Call{Aggregate: "tribe", ID: "hikers", Command: "found", …})
//	card := frameworktest.Ask(t, app, "tribe-card", framework.Query{Key: "hikers", Min: frameworktest.After(res)})
//
// The clock's time stands still until the test moves it; pauses and timeouts take
// real time.
package frameworktest

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
)

// Start runs an application with four partitions on a log in memory until the
// test ends, and returns it once it is ready, with its clock.
func Start(t testing.TB, register func(*framework.App)) (*framework.App, *Clock) {
	t.Helper()
	return StartOn(t, memlog.New(), register)
}

// StartOn is Start on a log that the test brings, such as one with faults. The
// log is closed when the test ends.
func StartOn(t testing.TB, log eventlog.Log, register func(*framework.App)) (*framework.App, *Clock) {
	t.Helper()
	clock := NewClock()
	app := framework.New(framework.Config{App: "test", Partitions: 4, Clock: clock,
		CheckDecisions: true, ReplaceViews: true, Logger: slog.New(slog.DiscardHandler),
		Open: func(context.Context) (framework.Resources, error) { return embedded.With(log) }})
	register(app)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	for began := time.Now(); len(app.Unready()) > 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("not ready after 30 s: %v", app.Unready())
		}
	}
	return app, clock
}

// Send sends a command and fails the test if it is not accepted.
func Send(t testing.TB, app *framework.App, c framework.Call) framework.Result {
	t.Helper()
	res, err := app.Execute(context.Background(), c)
	if err != nil {
		t.Fatalf("%s %s %s: %v", c.Command, c.Aggregate, c.ID, err)
	}
	return res
}

// Ask asks a view and fails the test if it does not answer.
func Ask(t testing.TB, app *framework.App, view string, q framework.Query) string {
	t.Helper()
	a, err := app.Ask(context.Background(), view, q)
	if err != nil {
		t.Fatalf("ask %s for %q%q: %v", view, q.Key, q.Text, err)
	}
	return string(a.JSON)
}

// After returns the positions at which a view shows what a command did.
func After(results ...framework.Result) eventlog.Positions {
	at := make([]eventlog.Position, len(results))
	for i, r := range results {
		at[i] = r.Position
	}
	return eventlog.NewPositions(at...)
}

// Clock is a clock whose time only the test moves; pauses are real. Its
// randomness is the same at each run.
type Clock struct {
	mu     sync.Mutex
	now    time.Time
	random *rand.Rand
}

// NewClock returns a clock at 2017-01-01 12:00 UTC.
func NewClock() *Clock {
	return &Clock{now: time.Date(2017, 1, 1, 12, 0, 0, 0, time.UTC), random: rand.New(rand.NewPCG(1, 1))}
}

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock forward.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// After waits for d by the machine's clock.
func (c *Clock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Entropy returns the next of a fixed sequence of random bytes.
func (c *Clock) Entropy() (b [10]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range b {
		b[i] = byte(c.random.Uint32())
	}
	return b
}

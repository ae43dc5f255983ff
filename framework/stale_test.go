package framework_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/projections"
)

// slow lets the writes of a store wait while it is held.
type slow struct{ gate sync.RWMutex }

type slowDocuments struct {
	view.Documents
	*slow
}

type slowSearch struct {
	view.Search
	*slow
}

func (s slowDocuments) Write(ctx context.Context, g view.Generation, b *view.Batch) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	return s.Documents.Write(ctx, g, b)
}

func (s slowSearch) Write(ctx context.Context, g view.Generation, b *view.Batch) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	return s.Search.Write(ctx, g, b)
}

// ends is a log that counts how often it is asked for the end of its events.
type ends struct {
	*memlog.Log
	asked atomic.Int64
}

func (l *ends) End(ctx context.Context, topic string, part int32) (int64, error) {
	if topic == "test.events" && part == 0 {
		l.asked.Add(1)
	}
	return l.Log.End(ctx, topic, part)
}

// stale runs an application on real time whose stores can be held.
func stale(t *testing.T) (app *framework.App, store *slow, log *ends) {
	store, log = &slow{}, &ends{Log: memlog.New()}
	app = framework.New(framework.Config{App: "test", Partitions: 4, ReadWait: 300 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		Open: func(context.Context) (framework.Resources, error) {
			r, err := embedded.With(log)
			r.Documents, r.Search = slowDocuments{r.Documents, store}, slowSearch{r.Search, store}
			return r, err
		}})
	commands.Handle(app, tallies, "count", func(tally, count) ([]fact, error) { return []fact{counted{}}, nil })
	projections.Register(app, cardsOf(1), latestOf(1), foundOf(1))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for began := time.Now(); len(app.Unready()) > 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("not ready: %v", app.Unready())
		}
	}
	return app, store, log
}

// staleQueries are of each kind of view.
var staleQueries = map[string]framework.Query{"cards": {Key: "a"}, "latest": {Key: "all"}, "found": {Text: "oak"}}

// TestAnAnswerIsNoOlderThanItMayBe holds what the stores are written with, so that
// views fall behind: those who bear that are answered, the others wait, or are refused.
func TestAnAnswerIsNoOlderThanItMayBe(t *testing.T) {
	app, store, _ := stale(t)
	ctx := context.Background()
	for name, q := range staleQueries {
		t.Run(name, func(t *testing.T) {
			ask := func(age time.Duration) (framework.Answer, error) {
				q := q
				q.MaxStaleness = age
				return app.Ask(ctx, name, q)
			}
			now := func(age time.Duration) string {
				t.Helper()
				a, err := ask(age)
				if err != nil {
					t.Fatalf("no older than %v: %v", age, err)
				}
				return string(a.JSON)
			}
			first := frameworktest.Send(t, app, call("a"))
			before := now(1)
			store.gate.Lock()
			release := sync.OnceFunc(store.gate.Unlock)
			defer release()
			written := time.Now()
			last := frameworktest.Send(t, app, call("a"))
			if got := now(0); got != before {
				t.Errorf("without a bound %s, want %s: the store is held", got, before)
			}
			if got := now(time.Minute); got != before {
				t.Errorf("no older than a minute %s, want %s", got, before)
			}
			var unavailable *framework.UnavailableError
			if _, err := ask(1); !errors.As(err, &unavailable) || !strings.Contains(err.Error(), "not older than") || unavailable.RetryAfter == 0 {
				t.Errorf("no older than now: %v, want it refused", err)
			}
			for age := 50 * time.Millisecond; time.Since(written) < 2*age; {
				time.Sleep(age)
			}
			if _, err := ask(50 * time.Millisecond); !errors.As(err, &unavailable) {
				t.Errorf("no older than 50 ms, when the last event is: %v, want it refused", err)
			}
			time.AfterFunc(100*time.Millisecond, release)
			began := time.Now()
			a, err := ask(50 * time.Millisecond)
			if err != nil || string(a.JSON) == before || time.Since(began) < 50*time.Millisecond {
				t.Errorf("while the store goes on: %s, %v after %v; want another than %s once it does", a.JSON, err, time.Since(began), before)
			}
			if at, ok := a.Positions.Offsets[last.Position.Partition]; !ok || at < last.Position.Offset || first.Position.Offset >= last.Position.Offset {
				t.Errorf("it says that it is at %v, want %v at least", a.Positions, last.Position)
			}
		})
	}
}

func TestAStateIsNoOlderThanItMayBe(t *testing.T) {
	app, _, _ := stale(t)
	ctx := context.Background()
	for n := range 3 {
		res := frameworktest.Send(t, app, call("a"))
		s, err := app.StateAsOf(ctx, "tally", "a", framework.StateQuery{MaxStaleness: 1})
		if err != nil || s.Version != uint64(n+1) || s.Position.Offset < res.Position.Offset {
			t.Errorf("version %d at %v, %v, want %d at %v", s.Version, s.Position, err, n+1, res.Position)
		}
	}
	for _, age := range []time.Duration{-1, framework.MaxStaleness + 1} {
		if _, err := app.Held(ctx, age); !errors.Is(err, framework.ErrInvalid) {
			t.Errorf("%v: %v, want it invalid", age, err)
		}
		if _, err := app.Ask(ctx, "cards", framework.Query{Key: "a", MaxStaleness: age}); !errors.Is(err, framework.ErrInvalid) {
			t.Errorf("%v: %v, want it invalid", age, err)
		}
	}
}

// TestManyWhoBoundStalenessAskTheLogSeldom has many queries at once: they share what
// the log says, and none of them waits for it but the first.
func TestManyWhoBoundStalenessAskTheLogSeldom(t *testing.T) {
	app, _, log := stale(t)
	ctx := context.Background()
	frameworktest.Send(t, app, call("a"))
	if _, err := app.Held(ctx, time.Second); err != nil {
		t.Fatal(err)
	}
	log.asked.Store(0)
	began, asked := time.Now(), atomic.Int64{}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for time.Since(began) < 600*time.Millisecond {
				if _, err := app.Ask(ctx, "cards", framework.Query{Key: "a", MaxStaleness: 200 * time.Millisecond}); err != nil {
					t.Error(err)
				}
				asked.Add(1)
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	if n, most := log.asked.Load(), int64(took/(100*time.Millisecond))+2; n > most || n < 2 || asked.Load() < 100 {
		t.Errorf("%d queries in %v asked the log %d times, want 2 to %d", asked.Load(), took, n, most)
	}
	log.asked.Store(0)
	for range 20 {
		all.Go(func() {
			if _, err := app.Held(ctx, 0); err != nil {
				t.Error(fmt.Errorf("at once: %w", err))
			}
		})
	}
	all.Wait()
	if n := log.asked.Load(); n > 20 {
		t.Errorf("20 at once asked the log %d times", n)
	}
}

// TestAnAnswerIsNoOlderThanItMayBeWhoeverAppended asks the process that does not own the
// partition, which hears of its events by the store alone.
func TestAnAnswerIsNoOlderThanItMayBeWhoeverAppended(t *testing.T) {
	c := newCrew(t)
	a, _, _ := c.start(0)
	b, _, _ := c.start(1)
	c.ready(a, b)
	for n, id := range idsOf() {
		owner, other := a, b
		if n == 1 {
			owner, other = b, a
		}
		for times := 1; times <= 5; times++ {
			frameworktest.Send(t, owner, call(id))
			if got, want := frameworktest.Ask(t, other, "shown", framework.Query{Key: id, MaxStaleness: 1}), fmt.Sprintf(`{"n":%d}`, times); got != want {
				t.Errorf("partition %d: the other process shows %s as of now, want %s", n, got, want)
			}
		}
		for name, app := range map[string]*framework.App{"owner": owner, "other": other} {
			x, err := app.Explain(context.Background(), "shown", id, framework.Explain{Documents: true})
			if err != nil || len(x.Events) != 5 || string(x.Document) != `{"n":5}` || string(x.Events[4].Document) != `{"n":5}` || x.Next != "" {
				t.Errorf("partition %d: the %s explains it by %+v, %v", n, name, x, err)
			}
		}
	}
}

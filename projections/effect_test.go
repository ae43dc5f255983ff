package projections_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
	"github.com/drivetrain-go/drivetrain/projections"
)

// mailbox is where an effect's calls arrive.
type mailbox struct {
	mu    sync.Mutex
	calls []projections.Event[bookFact]
	fails func(projections.Event[bookFact]) error
}

func (m *mailbox) do(_ context.Context, e projections.Event[bookFact]) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, e)
	if m.fails == nil {
		return nil
	}
	return m.fails(e)
}

func (m *mailbox) effect() *projections.Effect[bookFact] {
	return &projections.Effect[bookFact]{Name: "mail", From: books.Stream(), Do: m.do}
}

// ids returns the events' ids in the order of calls.
func (m *mailbox) ids() (ids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.calls {
		ids = append(ids, e.EventID.String())
	}
	return ids
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("after 20 s: %s", what)
		}
	}
}

// stacks registers commands on books and shelves beside what else is given.
func stacks(more ...projections.Registered) func(*framework.App) {
	return func(app *framework.App) {
		commands.Handle(app, books, "put", func(none, putCommand) ([]bookFact, error) {
			return []bookFact{put{"a", "b"}, removed{}}, nil
		})
		commands.Handle(app, shelves, "build", func(none, buildCommand) ([]shelfFact, error) { return []shelfFact{built{"oak"}}, nil })
		projections.Register(app, more...)
	}
}

func sendPut(t *testing.T, app *framework.App, id string) framework.Result {
	t.Helper()
	return frameworktest.Send(t, app, framework.Call{Aggregate: "book", ID: id, Command: "put", Actor: "maya", Body: []byte(`{"shelf":"a","title":"b"}`)})
}

func TestAnEffectGetsEachEventAsItWasRecorded(t *testing.T) {
	m := &mailbox{}
	app, clock := frameworktest.Start(t, stacks(m.effect()))
	frameworktest.Send(t, app, framework.Call{Aggregate: "shelf", ID: "s", Command: "build", Body: []byte(`{"wood":"oak"}`)})
	res := sendPut(t, app, "emma")
	eventually(t, "two calls", func() bool { return len(m.ids()) == 2 })
	first, second := m.calls[0], m.calls[1]
	want := projections.Event[bookFact]{Fact: put{"a", "b"}, Aggregate: "book", ID: "emma", Version: 1, Time: clock.Now().UTC(),
		Actor: "maya", EventID: res.Events[0].ID, Name: "book.put"}
	if first != want {
		t.Errorf("got %+v, want %+v", first, want)
	}
	if second.EventID != res.Events[1].ID || second.Name != "book.removed" || second.Version != 2 {
		t.Errorf("then %+v", second)
	}
}

// oldBooks wrote under another name what books writes as book.put.
func TestAnEventOfAnOldNameComesUnderTodays(t *testing.T) {
	log := memlog.New()
	old := &aggregates.Type[none, bookFact]{Name: "book", Evolve: books.Evolve,
		Events: event.Types[bookFact]{"book.placed": event.As[bookFact, put](), "book.removed": event.As[bookFact, removed]()}}
	renamed := &aggregates.Type[none, bookFact]{Name: "book", Evolve: books.Evolve,
		Events: event.Types[bookFact]{"book.put": event.As[bookFact, put](), "book.placed": event.Was[bookFact, put]("book.put"), "book.removed": event.As[bookFact, removed]()}}
	t.Run("written", func(t *testing.T) {
		app, _ := frameworktest.StartOn(t, log.Connect(), func(app *framework.App) {
			commands.Handle(app, old, "put", func(none, putCommand) ([]bookFact, error) { return []bookFact{put{"a", "b"}}, nil })
		})
		sendPut(t, app, "emma")
	})
	m := &mailbox{}
	f := m.effect()
	f.From = renamed.Stream()
	frameworktest.StartOn(t, log.Connect(), stacks(f))
	eventually(t, "a call", func() bool { return len(m.ids()) == 1 })
	if m.calls[0].Name != "book.put" {
		t.Errorf("name %s", m.calls[0].Name)
	}
}

func TestAnEffectIsNotRepeatedByARestart(t *testing.T) {
	dir, m := t.TempDir(), &mailbox{}
	var want []string
	for n := range 3 {
		app, stop := runBooks(t, embedded.Config(dir), stacks(m.effect()))
		for range 5 {
			for _, e := range sendPut(t, app, fmt.Sprint("book", n)).Events {
				want = append(want, e.ID.String())
			}
		}
		eventually(t, "all calls", func() bool { return len(m.ids()) >= len(want) })
		stop()
	}
	if got := m.ids(); !slices.Equal(got, want) {
		t.Errorf("effects of\n%v, want\n%v", got, want)
	}
}

// runBooks runs an application until stop is called, and waits until it is ready.
func runBooks(t *testing.T, cfg framework.Config, register func(*framework.App)) (app *framework.App, stop func()) {
	t.Helper()
	app = framework.New(cfg)
	register(app)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	eventually(t, "it is ready", func() bool { return len(app.Unready()) == 0 })
	return app, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

func TestEventsBeforeSinceAreLeftOut(t *testing.T) {
	m, log := &mailbox{}, memlog.New()
	app, clock := frameworktest.StartOn(t, log, stacks())
	sendPut(t, app, "early")
	clock.Advance(time.Hour)
	late := sendPut(t, app, "late")
	f := m.effect()
	f.Since = clock.Now()
	frameworktest.StartOn(t, log.Connect(), stacks(f))
	eventually(t, "the late ones", func() bool { return len(m.ids()) >= 2 })
	if got, want := m.ids(), []string{late.Events[0].ID.String(), late.Events[1].ID.String()}; !slices.Equal(got, want) {
		t.Errorf("effects of %v, want %v", got, want)
	}
}

func TestAnEffectThatFailsKeepsNobodyElse(t *testing.T) {
	m, metrics := &mailbox{}, prometheus.NewRegistry()
	m.fails = func(e projections.Event[bookFact]) error {
		if e.ID == "bad" {
			return errors.New("no")
		}
		return nil
	}
	cfg := framework.Config{Partitions: 4, Metrics: metrics, Open: func(context.Context) (framework.Resources, error) { return embedded.With(memlog.New()) }}
	app, stop := runBooks(t, cfg, stacks(m.effect(), bookCards))
	bad := sendPut(t, app, "bad")
	waits, goesOn := "", ""
	for n := 0; waits == "" || goesOn == ""; n++ {
		id := fmt.Sprint("book", n)
		if eventlog.PartitionOf([]byte("book/"+id), 4) == bad.Position.Partition {
			waits = id
		} else {
			goesOn = id
		}
	}
	behind, other := sendPut(t, app, waits), sendPut(t, app, goesOn)
	frameworktest.Send(t, app, framework.Call{Aggregate: "book", ID: waits, Command: "put", Body: []byte(`{"shelf":"a","title":"b"}`)})
	eventually(t, "the other partition's and two attempts", func() bool {
		ids := m.ids()
		return slices.Contains(ids, other.Events[1].ID.String()) && len(ids) >= 4
	})
	if _, err := app.Ask(t.Context(), "book", framework.Query{Key: waits, Min: frameworktest.After(behind)}); !errors.Is(err, framework.ErrNotFound) {
		t.Errorf("the view of the partition that waits: %v, want it to know that the book is gone", err)
	}
	if slices.Contains(m.ids(), behind.Events[0].ID.String()) {
		t.Error("what lies behind was delivered before it")
	}
	if why := app.Unready(); len(why) > 0 {
		t.Errorf("unready: %v", why)
	}
	if failed, done := counter(t, metrics, "drivetrain_effect_failures_total"), counter(t, metrics, "drivetrain_effect_events_total"); failed < 2 || done != 2 {
		t.Errorf("%v failures, %v done, want 2 or more, and 2", failed, done)
	}
	stop()
}

func counter(t *testing.T, from prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return -1
}

func TestAnEffectThatHasStoppedIsNamed(t *testing.T) {
	log := memlog.New()
	app, _ := frameworktest.StartOn(t, log, stacks())
	sendPut(t, app, "emma")
	forgot := &aggregates.Type[none, bookFact]{Name: "book", Evolve: books.Evolve,
		Events: event.Types[bookFact]{"book.removed": event.As[bookFact, removed]()}}
	m := &mailbox{}
	f := m.effect()
	f.From = forgot.Stream()
	cfg := framework.Config{App: "test", Partitions: 4, Open: func(context.Context) (framework.Resources, error) { return embedded.With(log.Connect()) }}
	other := framework.New(cfg)
	projections.Register(other, f)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- other.Run(ctx) }()
	eventually(t, "it is named", func() bool {
		return slices.ContainsFunc(other.Unready(), func(s string) bool {
			return strings.HasPrefix(s, "effect mail, partition ") && strings.Contains(s, `unknown event type "book.put"`)
		})
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// plain is a log without progress.
type plain struct{ eventlog.Log }

func TestAnEffectOnALogThatKeepsNoProgressIsRefused(t *testing.T) {
	app := framework.New(framework.Config{Open: func(context.Context) (framework.Resources, error) { return embedded.With(plain{memlog.New()}) }})
	projections.Register(app, (&mailbox{}).effect())
	if err := app.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "effect mail needs a log that keeps its progress") {
		t.Errorf("run: %v", err)
	}
}

func TestEffectsThatCannotWorkAreRefused(t *testing.T) {
	m := &mailbox{}
	twice := func(a, b projections.Registered) []projections.Registered { return []projections.Registered{a, b} }
	asView := &projections.View[book, bookFact]{Name: "mail", From: books.Stream(), Fold: bookCards.Fold}
	for want, declared := range map[string][]projections.Registered{
		"set Do":                   {&projections.Effect[bookFact]{Name: "mail", From: books.Stream()}},
		"From: a stream of no":     {&projections.Effect[bookFact]{Name: "mail", Do: m.do}},
		"a name must match":        {&projections.Effect[bookFact]{Name: "Mail", From: books.Stream(), Do: m.do}},
		"registered twice":         twice(m.effect(), m.effect()),
		"effect mail: views and":   twice(asView, m.effect()),
		"view mail: views and eff": twice(m.effect(), asView),
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
					t.Errorf("panicked with %v, want %q", got, want)
				}
			}()
			projections.Register(framework.New(framework.Config{Open: func(context.Context) (framework.Resources, error) { return framework.Resources{}, nil }}), declared...)
		}()
	}
}

// An effect tells of each new book, also after a restart.
func ExampleEffect() {
	told := make(chan string, 1)
	mail := &projections.Effect[bookFact]{
		Name: "mail",
		From: books.Stream(),
		Do: func(_ context.Context, e projections.Event[bookFact]) error {
			if e.Name == "book.put" {
				told <- e.ID
			}
			return nil // else it is called again
		},
	}
	app := framework.New(framework.Config{Open: func(context.Context) (framework.Resources, error) { return embedded.With(memlog.New()) }})
	stacks(mail)(app)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	for len(app.Unready()) > 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := app.Execute(ctx, framework.Call{Aggregate: "book", ID: "emma", Command: "put", Body: []byte(`{"shelf":"a","title":"Emma"}`)}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("there is a new book:", <-told)
	cancel()
	fmt.Println(<-ended)
	// Output:
	// there is a new book: emma
	// <nil>
}

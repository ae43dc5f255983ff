package framework_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
	"github.com/drivetrain-go/drivetrain/projections"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fact interface{ tally() }

type counted struct{}

func (counted) tally() {}

type tally struct {
	N int `json:"n"`
}

type count struct{ aggregates.Meta }

var tallies = &aggregates.Type[tally, fact]{
	Name: "tally", Events: event.Types[fact]{"tally.counted": event.As[fact, counted]()},
	Evolve: func(t tally, _ fact) tally { return tally{t.N + 1} },
}

var shown = &projections.View[tally, fact]{
	Name: "shown", From: tallies.Stream(),
	Fold: func(t tally, _ projections.Event[fact]) tally { return tally{t.N + 1} },
}

func register(app *framework.App) {
	commands.Handle(app, tallies, "count", func(tally, count) ([]fact, error) { return []fact{counted{}}, nil })
	projections.Register(app, shown)
}

func call(id string) framework.Call {
	return framework.Call{Aggregate: "tally", ID: id, Command: "count", Actor: "maya"}
}

// run runs an application of cfg until stop is called, and waits until it is ready.
func run(t *testing.T, cfg framework.Config) (app *framework.App, stop func()) {
	t.Helper()
	app = framework.New(cfg)
	register(app)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	for began := time.Now(); len(app.Unready()) > 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("not ready: %v", app.Unready())
		}
	}
	return app, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

func TestARestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	c := call("a")
	c.Key = "once"
	var first cluster.Result
	for n := 1; n <= 3; n++ {
		app, stop := run(t, embedded.Config(dir))
		res, err := app.Execute(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			first = res
		}
		if fmt.Sprint(res) != fmt.Sprint(first) {
			t.Errorf("after restart %d the retry got %v, the first %v", n-1, res, first)
		}
		if res, err = app.Execute(ctx, call("a")); err != nil || res.Version != uint64(n+1) {
			t.Errorf("run %d: version %d, %v, want %d", n, res.Version, err, n+1)
		}
		want := fmt.Sprintf(`{"n":%d}`, n+1)
		if got := frameworktest.Ask(t, app, "shown", framework.Query{Key: "a", Min: frameworktest.After(res)}); got != want {
			t.Errorf("run %d: the view shows %s, want %s", n, got, want)
		}
		stop()
	}
}

func TestADataFolderInUseIsRefusedByName(t *testing.T) {
	dir := t.TempDir()
	_, stop := run(t, embedded.Config(dir))
	defer stop()
	began := time.Now()
	err := framework.New(embedded.Config(dir)).Run(context.Background())
	var inUse *boltlog.InUseError
	if !errors.As(err, &inUse) || !strings.Contains(err.Error(), dir) || time.Since(began) > 5*time.Second {
		t.Fatalf("after %v: %v", time.Since(began), err)
	}
}

func TestWhatIsUnknownOrAbsentIsToldApart(t *testing.T) {
	app, _ := frameworktest.Start(t, register)
	ctx := context.Background()
	none := eventlog.NewPositions()
	for _, c := range []struct {
		name string
		want error
		ask  func() error
	}{
		{"unknown aggregate type", framework.ErrUnknown, func() error { _, err := app.State(ctx, "x", "a", none); return err }},
		{"unknown view", framework.ErrUnknown, func() error { _, err := app.Ask(ctx, "x", framework.Query{}); return err }},
		{"no events", framework.ErrNotFound, func() error { _, err := app.State(ctx, "tally", "a", none); return err }},
		{"no history", framework.ErrNotFound, func() error { _, _, err := app.History(ctx, "tally", "a", 0, 1, none); return err }},
		{"no document", framework.ErrNotFound, func() error { _, err := app.Ask(ctx, "shown", framework.Query{Key: "a"}); return err }},
		{"bad id", framework.ErrInvalid, func() error { _, err := app.State(ctx, "tally", "a b", none); return err }},
		{"bad limit", framework.ErrInvalid, func() error { _, _, err := app.History(ctx, "tally", "a", 0, 1001, none); return err }},
		{"bad page", framework.ErrInvalid, func() error { _, err := app.Ask(ctx, "shown", framework.Query{Limit: 101}); return err }},
		{"no such partition", framework.ErrInvalid, func() error {
			_, err := app.State(ctx, "tally", "a", eventlog.NewPositions(eventlog.Position{Partition: 4}))
			return err
		}},
		{"key from the future", framework.ErrInvalid, func() error {
			c := call("a")
			c.Key = event.NewID(frameworktest.NewClock().Now().Add(time.Hour), [10]byte{}).String()
			_, err := app.Execute(ctx, c)
			return err
		}},
	} {
		if err := c.ask(); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

func TestAPositionThatIsNotReachedIsUnavailable(t *testing.T) {
	app, stop := run(t, framework.Config{App: "test", Partitions: 1, ReadWait: 50 * time.Millisecond,
		Open: func(context.Context) (framework.Resources, error) { return embedded.With(memlog.New()) }})
	defer stop()
	res, err := app.Execute(context.Background(), call("a"))
	if err != nil {
		t.Fatal(err)
	}
	res.Position.Offset += 1000
	beyond := frameworktest.After(res)
	var unavailable *cluster.UnavailableError
	if _, err := app.State(context.Background(), "tally", "a", beyond); !errors.As(err, &unavailable) || unavailable.RetryAfter <= 0 {
		t.Errorf("state: %v", err)
	}
	if _, err := app.Ask(context.Background(), "shown", framework.Query{Key: "a", Min: beyond}); !errors.As(err, &unavailable) {
		t.Errorf("view: %v", err)
	}
}

func TestWhatKeepsAnApplicationFromRunningIsReturned(t *testing.T) {
	broken := errors.New("no disk")
	app := framework.New(framework.Config{Open: func(context.Context) (framework.Resources, error) { return framework.Resources{}, broken }})
	if err := app.Run(context.Background()); !errors.Is(err, broken) {
		t.Errorf("got %v, want what Open said", err)
	}
	if err := app.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "called before") {
		t.Errorf("a second Run: %v", err)
	}
	var unavailable *cluster.UnavailableError
	register(app)
	if _, err := app.Execute(context.Background(), call("a")); !errors.As(err, &unavailable) {
		t.Errorf("a command to an application that does not run: %v", err)
	}
	log := memlog.New()
	if err := log.Ensure(context.Background(), eventlog.Topic{Name: "test.events", Partitions: 3}); err != nil {
		t.Fatal(err)
	}
	app = framework.New(framework.Config{App: "test", Partitions: 4,
		Open: func(context.Context) (framework.Resources, error) { return embedded.With(log) }})
	var topic *eventlog.TopicError
	if err := app.Run(context.Background()); !errors.As(err, &topic) {
		t.Errorf("another number of partitions: %v", err)
	}
}

func TestNoBodyAndAnEmptyOneAreTheSameCommand(t *testing.T) {
	app, _ := frameworktest.Start(t, register)
	c := call("a")
	c.Key = "once"
	for _, body := range []string{"", "{}", " {}\n"} {
		c.Body = []byte(body)
		if res, err := app.Execute(context.Background(), c); err != nil || res.Version != 1 {
			t.Errorf("body %q: version %d, %v", body, res.Version, err)
		}
	}
}

func TestAConfigThatCannotWorkPanics(t *testing.T) {
	open := func(context.Context) (framework.Resources, error) { return framework.Resources{}, nil }
	for want, cfg := range map[string]framework.Config{
		"Config.App":        {App: "My App", Open: open},
		"Config.Partitions": {Partitions: 5000, Open: open},
		"Config.Open":       {},
		"Config.Heartbeat":  {Heartbeat: time.Millisecond, Open: open},
		"Config.MaxQueue":   {MaxQueue: -1, Open: open},
	} {
		func() {
			defer func() {
				if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), want) {
					t.Errorf("panicked with %v, want %q", p, want)
				}
			}()
			framework.New(cfg)
		}()
	}
}

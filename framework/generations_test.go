package framework_test

import (
	"context"
	"encoding/json"
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
	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/projections"
)

// card is a tally as a version of its fold shows it.
type card struct {
	ID   string `json:"id"`
	N    int    `json:"n"`    // ten times as many in version 2
	Made int    `json:"made"` // the version that made it
	Word string `json:"word"`
}

func foldCard(version int) func(card, projections.Event[fact]) card {
	factor := 1
	if version > 1 {
		factor = 10
	}
	return func(c card, e projections.Event[fact]) card {
		return card{ID: e.ID, N: c.N + factor, Made: version, Word: "oak"}
	}
}

// The views of these tests, in each of their versions: documents, a feed of these, and
// a search.
func cardsOf(version int) *projections.View[card, fact] {
	return &projections.View[card, fact]{Name: "cards", Version: version, From: tallies.Stream(), Fold: foldCard(version)}
}

func latestOf(version int) *projections.Feed[fact] {
	return &projections.Feed[fact]{Name: "latest", Version: version, From: tallies.Stream(), Cards: cardsOf(1),
		Place: func(e projections.Event[fact]) (projections.Place, bool) {
			return projections.Place{Set: "all", Key: e.ID, At: time.Unix(1, 0)}, true
		}}
}

func foundOf(version int) *projections.View[card, fact] {
	return &projections.View[card, fact]{Name: "found", Version: version, From: tallies.Stream(), Fold: foldCard(version),
		Search: view.Fields{"word": view.Text}}
}

// world is what outlasts the processes of an application: its log, stores and
// snapshots.
type world struct {
	*testing.T
	log       *memlog.Log
	stores    framework.Resources
	snapshots *snapshot.MemoryStore
	program   func(*framework.App) // registers what it carries
	alter     func(*framework.Config)
}

func newWorld(t *testing.T, versions ...int) *world {
	stores, err := embedded.With(memlog.New())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stores.Close() })
	w := &world{T: t, log: memlog.New(), stores: stores, snapshots: snapshot.Memory(), alter: func(*framework.Config) {}}
	w.carry(versions...)
	return w
}

// carry lets the programs that are started from now on carry these versions.
func (w *world) carry(versions ...int) {
	w.program = func(app *framework.App) {
		commands.Handle(app, tallies, "count", func(tally, count) ([]fact, error) { return []fact{counted{}}, nil })
		for _, v := range versions {
			projections.Register(app, cardsOf(v), latestOf(v), foundOf(v))
		}
	}
}

func (w *world) config(log eventlog.Log) framework.Config {
	cfg := framework.Config{App: "test", Partitions: 4, ReadWait: 5 * time.Second, SnapshotEvery: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		Open: func(context.Context) (framework.Resources, error) {
			return framework.Resources{Log: log, Documents: w.stores.Documents, Search: w.stores.Search, Snapshots: w.snapshots}, nil
		}}
	w.alter(&cfg)
	return cfg
}

// start runs a program until end is called, which returns what Run did.
func (w *world) start() (app *framework.App, end func() error) {
	w.Helper()
	app = framework.New(w.config(w.log.Connect()))
	w.program(app)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	end = sync.OnceValue(func() error { cancel(); return <-ended })
	w.Cleanup(func() { end() })
	return app, end
}

// up is start, and waits until it is ready.
func (w *world) up() (app *framework.App, end func() error) {
	w.Helper()
	app, end = w.start()
	eventually(w.T, func() bool { return len(app.Unready()) == 0 })
	return app, end
}

// count sends commands to tallies t0, t1, …, and returns where the last of each lies.
func (w *world) count(app *framework.App, tallies, times int) eventlog.Positions {
	w.Helper()
	at := eventlog.NewPositions()
	for n := range tallies * times {
		res, err := app.Execute(context.Background(), call(fmt.Sprint("t", n%tallies)))
		if err != nil {
			w.Fatal(err)
		}
		at.Offsets[res.Position.Partition] = res.Position.Offset
	}
	return at
}

// ask returns a document of cards, and where the answer says that it is from.
func (w *world) ask(app *framework.App, id string, min eventlog.Positions) (card, framework.Answer) {
	w.Helper()
	a, err := app.Ask(context.Background(), "cards", framework.Query{Key: id, Min: min})
	if err != nil {
		w.Fatalf("ask for %s: %v", id, err)
	}
	var c card
	if err := json.Unmarshal(a.JSON, &c); err != nil {
		w.Fatal(err)
	}
	return c, a
}

// states returns the generations of a view, such as "1v1 retired, 2v2 read".
func states(t *testing.T, app *framework.App, view string) string {
	t.Helper()
	list, err := app.Generations(context.Background(), view)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, g := range list {
		texts = append(texts, fmt.Sprintf("%dv%d %s", g.Number, g.Version, g.State))
	}
	return strings.Join(texts, ", ")
}

func becomes(t *testing.T, app *framework.App, view, want string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("the generations of %s are %s, want %s", view, states(t, app, view), want)
		}
	}()
	eventually(t, func() bool { return states(t, app, view) == want })
}

var all3 = []string{"cards", "latest", "found"}

// fire keeps commands and queries going until it is stopped, and fails the test if one
// of them does, if an answer is older than what its reader has written, or if it is of
// two generations at once.
type fire struct {
	*world
	app     *framework.App
	tallies []atomic.Int64 // commands accepted, by tally
	reads   atomic.Int64
	writes  atomic.Int64
	made    [3]atomic.Int64 // answers, by the version that made them
}

func (w *world) fire(app *framework.App, tallies []atomic.Int64) (f *fire, stop func()) {
	f = &fire{world: w, app: app, tallies: tallies}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, work := range []func(context.Context, int){f.write, f.write, f.page, f.search} {
		for n := range 2 {
			all.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					work(ctx, n+2*i)
					time.Sleep(time.Millisecond)
				}
			})
		}
	}
	stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	w.Cleanup(stop)
	return f, stop
}

// write counts, and reads its own write.
func (f *fire) write(ctx context.Context, n int) {
	n %= len(f.tallies)
	res, err := f.app.Execute(context.WithoutCancel(ctx), call(fmt.Sprint("t", n))) // one that is given up may count all the same
	if err != nil {
		f.failed(ctx, err)
		return
	}
	f.tallies[n].Add(1)
	f.writes.Add(1)
	a, err := f.app.Ask(ctx, "cards", framework.Query{Key: fmt.Sprint("t", n), Min: eventlog.NewPositions(res.Position)})
	var c card
	if err == nil {
		err = json.Unmarshal(a.JSON, &c)
	}
	if err != nil {
		f.failed(ctx, err)
		return
	}
	f.reads.Add(1)
	f.made[c.Made].Add(1)
	counted := c.N
	if c.Made == 2 {
		counted /= 10
	}
	if counted < int(res.Version) || a.Generation != c.Made {
		f.Errorf("generation %d shows %+v behind version %d of it", a.Generation, c, res.Version)
	}
}

func (f *fire) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		f.Errorf("under fire: %v", err)
	}
}

// page reads the feed, whose documents are of another view.
func (f *fire) page(ctx context.Context, _ int) {
	a, err := f.app.Ask(ctx, "latest", framework.Query{Key: "all", Limit: 50})
	var page projections.Page[card]
	if err == nil {
		err = json.Unmarshal(a.JSON, &page)
	}
	f.same(ctx, page.Items, err)
}

func (f *fire) search(ctx context.Context, _ int) {
	a, err := f.app.Ask(ctx, "found", framework.Query{Text: "oak", Limit: 50})
	var found projections.Found[card]
	if err == nil {
		err = json.Unmarshal(a.JSON, &found)
	}
	f.same(ctx, found.Items, err)
	for _, c := range found.Items {
		if c.Made != a.Generation {
			f.Errorf("generation %d shows %+v", a.Generation, c)
		}
	}
}

func (f *fire) same(ctx context.Context, items []card, err error) {
	if err != nil {
		f.failed(ctx, err)
		return
	}
	f.reads.Add(1)
	for _, c := range items {
		if c.Made != items[0].Made {
			f.Errorf("an answer of two generations: %+v and %+v", items[0], c)
		}
		f.made[c.Made].Add(1)
	}
}

// audit compares what a view shows with the tally of what was accepted.
func (f *fire) audit(factor int) {
	f.Helper()
	for n := range f.tallies {
		state, err := f.app.State(context.Background(), "tally", fmt.Sprint("t", n), eventlog.Positions{})
		if err != nil {
			f.Fatal(err)
		}
		if c, _ := f.ask(f.app, fmt.Sprint("t", n), eventlog.NewPositions(state.Position)); c.N != factor*int(f.tallies[n].Load()) {
			f.Errorf("tally %d shows %d, want %d times %d", n, c.N, factor, f.tallies[n].Load())
		}
	}
}

// A view is rebuilt by another version, switched to, rolled back and switched to again
// while it is written and read; the former generation is retired then, and nothing is
// left of it.
func TestAViewIsRebuiltAndSwitchedWhileItIsUsed(t *testing.T) {
	w := newWorld(t, 1)
	app, end := w.up()
	f, stop := w.fire(app, make([]atomic.Int64, 20))
	eventually(t, func() bool { return f.writes.Load() > 200 })
	stop()
	if err := end(); err != nil {
		t.Fatal(err)
	}
	w.carry(1, 2)
	app, _ = w.up()
	f, stop = w.fire(app, f.tallies)
	ctx := context.Background()
	for _, name := range all3 {
		number, err := app.Rebuild(ctx, name, framework.Rebuild{Rate: 400, By: "maya"})
		if err != nil || number != 2 {
			t.Fatalf("rebuild %s: %d, %v", name, number, err)
		}
	}
	if why := app.Unready(); len(why) > 0 {
		t.Errorf("one that is being built makes the application unready: %v", why)
	}
	for _, name := range all3 {
		becomes(t, app, name, "1v1 read, 2v2 ready")
		eventually(t, func() bool {
			return app.Switch(ctx, name, 2, framework.Switch{Force: true, Reason: "they differ by ten", By: "maya"}) == nil
		})
		becomes(t, app, name, "1v1 ready, 2v2 read")
	}
	before := f.made[2].Load()
	eventually(t, func() bool { return f.made[2].Load() > before+100 })
	if number, err := app.Rollback(ctx, "cards", "maya"); err != nil || number != 1 {
		t.Errorf("rolled back to %d, %v", number, err)
	}
	if _, a := w.ask(app, "t0", eventlog.Positions{}); a.Generation != 1 {
		t.Errorf("after the rollback generation %d is read", a.Generation)
	}
	if err := app.Switch(ctx, "cards", 2, framework.Switch{Force: true, Reason: "after all"}); err != nil {
		t.Error(err)
	}
	for _, name := range all3 {
		if err := app.Retire(ctx, name, 1, "maya"); err != nil {
			t.Fatal(err)
		}
	}
	w.gone(app, 1)
	stop()
	f.audit(10)
	t.Logf("%d commands and %d queries; %d and %d documents shown by the two versions", f.writes.Load(), f.reads.Load(), f.made[1].Load(), f.made[2].Load())
}

// gone waits until nothing is left of a generation of each view.
func (w *world) gone(app *framework.App, number int) {
	w.Helper()
	ctx := context.Background()
	eventually(w.T, func() bool {
		for _, name := range all3 {
			if w.left(ctx, name, number) != "" {
				return false
			}
		}
		return true
	})
}

// left says what there is of a generation.
func (w *world) left(ctx context.Context, name string, number int) string {
	w.Helper()
	g := view.Generation{App: "test", View: name, Number: number}
	partitions := []int32{0, 1, 2, 3}
	var store view.Store = w.stores.Documents
	if name == "found" {
		store = w.stores.Search
	}
	marks, err := store.Marks(ctx, g, partitions)
	if err != nil && !strings.Contains(err.Error(), "no index") {
		w.Fatal(err)
	}
	for _, m := range marks {
		if m != (view.Mark{}) {
			return fmt.Sprint("marks ", marks)
		}
	}
	for _, op := range []string{"events", "sets"} {
		names, err := w.snapshots.List(ctx, fmt.Sprintf("test.%s/%s/v%d/", name, op, number))
		if err != nil || len(names) > 0 {
			return fmt.Sprint("snapshots ", names, err)
		}
	}
	topic := fmt.Sprintf("test.%s.sets.%d", name, number)
	if _, err := w.log.Partitions(ctx, topic); !errors.Is(err, eventlog.ErrUnknownTopic) {
		return "topic " + topic
	}
	return ""
}

// Whatever step a process dies behind, its next run goes on from there, and the step may
// be taken again.
func TestEachStepOutlastsTheProcessAndMayBeRepeated(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.alter = func(cfg *framework.Config) { cfg.ReadWait = 500 * time.Millisecond }
	w.carry(1)
	app, end := w.up()
	w.count(app, 5, 3)
	end()
	w.carry(1, 2)
	ctx := context.Background()
	steps := []struct {
		do   func(*framework.App) error
		want string
	}{
		{func(app *framework.App) error {
			number, err := app.Rebuild(ctx, "cards", framework.Rebuild{})
			if err == nil && number != 2 {
				err = fmt.Errorf("it is generation %d", number)
			}
			return err
		}, "1v1 read, 2v2 ready"},
		{func(app *framework.App) error {
			return app.Switch(ctx, "cards", 2, framework.Switch{Force: true, Reason: "tens"})
		}, "1v1 ready, 2v2 read"},
		{func(app *framework.App) error { _, err := app.Rollback(ctx, "cards", ""); return err }, "1v1 read, 2v2 ready"},
		{func(app *framework.App) error {
			return app.Switch(ctx, "cards", 2, framework.Switch{Force: true, Reason: "tens"})
		}, "1v1 ready, 2v2 read"},
		{func(app *framework.App) error { return app.Retire(ctx, "cards", 1, "") }, "1v1 retired, 2v2 read"},
	}
	for n, step := range steps {
		app, end := w.start()
		eventually(t, func() bool { return len(app.Unready()) == 0 })
		if n > 0 {
			becomes(t, app, "cards", steps[n-1].want) // a generation that is read again from its start is whole by then
		}
		before := len(w.log.Records(controlTopic, 0))
		if err := step.do(app); err != nil {
			t.Fatalf("step %d: %v", n, err)
		}
		end() // before anything comes of it
		app, end = w.up()
		becomes(t, app, "cards", step.want)
		if err := step.do(app); err != nil {
			t.Errorf("step %d again: %v", n, err)
		}
		if now := len(w.log.Records(controlTopic, 0)); now > before+2 {
			t.Errorf("step %d and its repetition made %d records", n, now-before)
		}
		becomes(t, app, "cards", step.want)
		end()
	}
	app, _ = w.up()
	eventually(t, func() bool { return w.left(ctx, "cards", 1) == "" })
	if c, _ := w.ask(app, "t0", w.count(app, 1, 1)); c.N != 40 || c.Made != 2 {
		t.Errorf("it shows %+v", c)
	}
}

func TestWhatMayNotBeDoneWithAGenerationIsSaid(t *testing.T) {
	w := newWorld(t, 1, 2)
	app, _ := w.up()
	w.count(app, 3, 1)
	ctx := context.Background()
	refused := func(what string, err error, state framework.GenerationState) {
		t.Helper()
		var e *framework.GenerationError
		if !errors.As(err, &e) || e.State != state || e.Reason == "" {
			t.Errorf("%s: %v, want a GenerationError of one that is %s", what, err, state)
		}
	}
	is := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	_, err := app.Rollback(ctx, "cards", "")
	refused("roll back what was never switched", err, framework.Reading)
	refused("retire what is read", app.Retire(ctx, "cards", 2, ""), framework.Reading)
	is("switch to what is not there", app.Switch(ctx, "cards", 9, framework.Switch{}), framework.ErrUnknown)
	is("retire what is not there", app.Retire(ctx, "cards", 9, ""), framework.ErrUnknown)
	is("force without a reason", app.Switch(ctx, "cards", 2, framework.Switch{Force: true, Reason: " "}), framework.ErrInvalid)
	is("a long name", app.Retire(ctx, "cards", 9, strings.Repeat("x", 257)), framework.ErrInvalid)
	if err := app.Switch(ctx, "cards", 2, framework.Switch{}); err != nil {
		t.Errorf("switch to what is read: %v", err)
	}
	_, err = app.Rebuild(ctx, "cards", framework.Rebuild{Version: 7})
	is("rebuild by a version that nobody carries", err, framework.ErrInvalid)
	_, err = app.Rebuild(ctx, "books", framework.Rebuild{})
	is("rebuild what is no view", err, framework.ErrUnknown)
	_, err = app.Generations(ctx, "books")
	is("list what is no view", err, framework.ErrUnknown)

	slow, err := app.Rebuild(ctx, "cards", framework.Rebuild{Version: 1, Rate: 1})
	if err != nil {
		t.Fatal(err)
	}
	refused("switch to what is being built", app.Switch(ctx, "cards", slow, framework.Switch{Force: true, Reason: "soon"}), framework.Building)
	if err := app.Retire(ctx, "cards", slow, ""); err != nil {
		t.Fatal(err)
	}
	refused("switch to what is retired", app.Switch(ctx, "cards", slow, framework.Switch{Force: true, Reason: "back"}), framework.Retired)
	if err := app.Retire(ctx, "cards", slow, ""); err != nil {
		t.Errorf("retire what is retired: %v", err)
	}
}

// What is built by a rate takes as long as that says, though the machine could do more.
func TestARebuildKeepsToItsRate(t *testing.T) {
	w := newWorld(t, 1)
	app, _ := w.up()
	w.count(app, 20, 20)
	began := time.Now()
	if _, err := app.Rebuild(context.Background(), "cards", framework.Rebuild{Rate: 200}); err != nil {
		t.Fatal(err)
	}
	becomes(t, app, "cards", "1v1 read, 2v1 ready")
	if took := time.Since(began); took < 1500*time.Millisecond {
		t.Errorf("400 events at 200 a second took %v", took)
	}
}

// A program that carries the new version only refuses to start where the former one is
// read, or replaces it, once the new one is whole, if it is told to.
func TestAProgramOfTheNewVersionAlone(t *testing.T) {
	w := newWorld(t, 1)
	app, end := w.up()
	w.ask(app, "t0", w.count(app, 5, 2))
	end()
	w.carry(2)
	refusing := framework.New(w.config(w.log.Connect()))
	w.program(refusing)
	if err := refusing.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "version 1") || !strings.Contains(err.Error(), "ReplaceViews") {
		t.Errorf("a program without version 1 ended with %v", err)
	}
	w.alter = func(cfg *framework.Config) { cfg.ReplaceViews, cfg.ReadWait = true, 300*time.Millisecond }
	app, _ = w.up()
	ctx := context.Background()
	for _, name := range all3 {
		becomes(t, app, name, "1v1 retired, 2v2 read")
	}
	if c, a := w.ask(app, "t0", w.count(app, 5, 1)); c.N != 30 || a.Generation != 2 {
		t.Errorf("generation %d shows %+v", a.Generation, c)
	}
	var forced control.Switch
	for _, r := range w.log.Records(controlTopic, 0) {
		if control.Kind(r.Header[1]) == control.KindSwitch {
			if err := json.Unmarshal(r.Value, &forced); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !forced.Forced || forced.Reason != "the program carries no fold of version 1" {
		t.Errorf("the switch was recorded as %+v", forced)
	}
	w.gone(app, 1)
	if _, err := app.Generations(ctx, "cards"); err != nil {
		t.Error(err)
	}
}

// Until the new one is whole, such a program answers from the former as it stands.
func TestWhatIsReplacedIsReadAsItStandsUntilThen(t *testing.T) {
	w := newWorld(t, 1)
	app, end := w.up()
	at := w.count(app, 5, 2)
	for n := range 5 {
		w.ask(app, fmt.Sprint("t", n), at)
	}
	end()
	w.carry(2)
	hold := true
	w.alter = func(cfg *framework.Config) {
		cfg.ReplaceViews = true
		open := cfg.Open
		cfg.Open = func(ctx context.Context) (framework.Resources, error) {
			r, err := open(ctx)
			r.Documents = &held{Documents: r.Documents, number: 2, held: &hold}
			return r, err
		}
	}
	app, end = w.up()
	if c, a := w.ask(app, "t0", eventlog.Positions{}); c.N != 2 || a.Generation != 1 {
		t.Errorf("generation %d shows %+v", a.Generation, c)
	}
	if got := states(t, app, "cards"); got != "1v1 read, 2v2 building" {
		t.Errorf("generations %s", got)
	}
	list, err := app.Generations(context.Background(), "cards")
	if err != nil || list[0].Carried || list[0].Err == nil || !list[1].Carried {
		t.Errorf("generations %+v, %v", list, err)
	}
	end()
}

// held is a store that takes no writes of one generation of cards.
type held struct {
	view.Documents
	number int
	held   *bool
}

func (h *held) Open(ctx context.Context, g view.Generation, part int32) (view.Mark, error) {
	if *h.held && g.View == "cards" && g.Number == h.number {
		return view.Mark{}, errors.New("held")
	}
	return h.Documents.Open(ctx, g, part)
}

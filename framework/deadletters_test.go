package framework_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/internal/clock"
	"github.com/drivetrain-go/drivetrain/projections"
)

// mended is the version of the folds of poisonWorld that takes all events. The others
// cannot fold the second one of t3.
const mended = 2

// poisonWorld is a world of which version 3 is read at first. Its views are documents,
// and documents of several tallies behind a shuffle: that of t3 is g3.
func poisonWorld(t *testing.T) *world {
	w := newWorld(t, 1)
	w.program = func(app *framework.App) {
		commands.Handle(app, tallies, "count", func(tally, count) ([]fact, error) { return []fact{counted{}}, nil })
		for _, version := range []int{1, mended, 3} {
			fold := func(c card, e projections.Event[fact]) card {
				if c = (card{ID: e.Key, N: c.N + 1}); version != mended && e.ID == "t3" && e.Version == 2 {
					panic("it cannot be folded")
				}
				return c
			}
			projections.Register(app,
				&projections.View[card, fact]{Name: "cards", Version: version, From: tallies.Stream(), Fold: fold},
				&projections.View[card, fact]{Name: "groups", Version: version, From: tallies.Stream(), Fold: fold,
					Key: func(e projections.Event[fact]) []string { return []string{"g" + e.ID[len(e.ID)-1:]} }})
		}
	}
	return w
}

// letters returns what is parked, such as "cards/3 tally/t3 4", by what it is of.
func (w *world) letters(app *framework.App, state framework.DeadLetterState) (list []string, ids map[string]string) {
	w.Helper()
	all, err := app.DeadLetters(context.Background(), "", 100)
	if err != nil {
		w.Fatal(err)
	}
	ids = make(map[string]string)
	for _, l := range all {
		if l.State == state {
			list = append(list, fmt.Sprintf("%s/%d %s %d", l.View, l.Generation, l.Key, l.Parked))
			ids[fmt.Sprintf("%s/%d", l.View, l.Generation)] = l.ID
		}
	}
	return list, ids
}

func (w *world) parks(app *framework.App, want ...string) (ids map[string]string) {
	w.Helper()
	var list []string
	defer func() {
		if w.Failed() {
			w.Logf("parked are %q, want %q", list, want)
		}
	}()
	eventually(w.T, func() bool { list, ids = w.letters(app, framework.LetterParked); return slices.Equal(list, want) })
	return ids
}

// compared compares, and returns how many keys each side holds back and whether they are
// equal.
func (w *world) compared(app *framework.App, view string, number int) (parked [2]int, equal bool, differences int) {
	w.Helper()
	c, err := app.Compare(context.Background(), view, number)
	if err != nil {
		w.Fatalf("compare generation %d of %s: %v", number, view, err)
	}
	return c.Parked, c.Equal, len(c.Differences)
}

// TestAGenerationThatHoldsKeysBackIsNotWhole: generations 3 and 4 cannot fold an event,
// 5 can. What is parked belongs to one generation: another one does not inherit it, a
// ruling on one is none on another, and a retired one has none.
func TestAGenerationThatHoldsKeysBackIsNotWhole(t *testing.T) {
	ctx := context.Background()
	for view, key := range map[string]string{"cards": "tally/t3", "groups": "g3"} {
		t.Run(view, func(t *testing.T) {
			w := poisonWorld(t)
			app, _ := w.up()
			w.count(app, 10, 4)
			at := func(number int) string { return fmt.Sprintf("%s/%d %s 3", view, number, key) }
			only := func(want ...string) map[string]string {
				t.Helper()
				var list []string
				var ids map[string]string
				eventually(t, func() bool {
					list, ids = w.letters(app, framework.LetterParked)
					list = slices.DeleteFunc(list, func(s string) bool { return !strings.HasPrefix(s, view) })
					return slices.Equal(list, want)
				})
				return ids
			}
			only(at(3))
			same, whole := w.rebuilt(app, view, 1), w.rebuilt(app, view, mended)
			ids := only(at(3), at(same))
			if parked, equal, differences := w.compared(app, view, same); parked != [2]int{1, 1} || equal || differences > 0 {
				t.Errorf("two that hold the same back: %d parked, equal %v, %d differences", parked, equal, differences)
			}
			var refused *framework.GenerationError
			if err := app.Switch(ctx, view, same, framework.Switch{}); !errors.As(err, &refused) || !strings.Contains(err.Error(), "holds back 1 key") {
				t.Errorf("a switch to what holds a key back: %v", err)
			}
			if parked, equal, differences := w.compared(app, view, whole); parked != [2]int{1, 0} || equal || differences != 1 {
				t.Errorf("the mended one: %d parked, equal %v, %d differences", parked, equal, differences)
			}
			list, err := app.Generations(ctx, view)
			if err != nil || list[0].Parked != 1 || list[1].Parked != 1 || list[2].Parked != 0 {
				t.Errorf("%+v, %v", list, err)
			}
			letter := ids[fmt.Sprintf("%s/%d", view, same)]
			if r, err := app.Rule(ctx, letter, stream.Discard, "of no use", "maya"); err != nil || !r.Freed {
				t.Fatalf("%+v, %v", r, err)
			}
			only(at(3))
			if parked, equal, differences := w.compared(app, view, same); parked != [2]int{1, 0} || equal || differences != 1 {
				t.Errorf("once that is discarded: %d parked, equal %v, %d differences", parked, equal, differences)
			}
			if err := app.Switch(ctx, view, whole, framework.Switch{Force: true, Reason: "the fold is mended"}); err != nil {
				t.Fatal(err)
			}
			a, err := app.Ask(ctx, view, framework.Query{Key: strings.TrimPrefix(key, "tally/")})
			if err != nil || !strings.Contains(string(a.JSON), `"n":4,`) {
				t.Errorf("the document of the mended one is %s, %v", a.JSON, err)
			}
			letter = only(at(3))[view+"/3"]
			if err := app.Retire(ctx, view, 3, "maya"); err != nil {
				t.Fatal(err)
			}
			only()
			if _, err := app.Rule(ctx, letter, stream.Retry, "", ""); !errors.Is(err, framework.ErrNotFound) {
				t.Errorf("a ruling on what is retired: %v", err)
			}
		})
	}
}

// TestWhatAnotherProcessHoldsBackIsComparedToo asks a process that serves neither what
// is parked nor its shuffle.
func TestWhatAnotherProcessHoldsBackIsComparedToo(t *testing.T) {
	w := poisonWorld(t)
	events, shuffle := eventlog.PartitionOf([]byte("tally/t3"), 4), eventlog.PartitionOf([]byte("g3"), 4)
	var busy, others []int32
	for n := range int32(4) {
		if n == events || n == shuffle {
			busy = append(busy, n)
		} else {
			others = append(others, n)
		}
	}
	here, _ := w.shared(busy...)
	asked, _ := w.shared(others...)
	eventually(t, func() bool { return len(here.Unready())+len(asked.Unready()) == 0 })
	for range 3 {
		if _, err := here.Execute(context.Background(), call("t3")); err != nil {
			t.Fatal(err)
		}
	}
	for _, view := range []string{"cards", "groups"} {
		for _, version := range []int{1, mended} { // both at once, for a watched store is looked at each second
			if _, err := asked.Rebuild(context.Background(), view, framework.Rebuild{Version: version}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, view := range []string{"cards", "groups"} {
		if parked, equal, _ := w.compared(asked, view, w.rebuilt(asked, view, 1)); parked != [2]int{1, 1} || equal {
			t.Errorf("%s: %d parked, equal %v", view, parked, equal)
		}
		if parked, equal, _ := w.compared(asked, view, w.rebuilt(asked, view, mended)); parked != [2]int{1, 0} || equal {
			t.Errorf("%s: %d parked beside the mended one, equal %v", view, parked, equal)
		}
	}
	w.parks(asked)
	w.parks(here, "cards/3 tally/t3 2", "cards/4 tally/t3 2", "groups/3 g3 2", "groups/4 g3 2")
}

// TestAViewStopsWhereMoreKeysFailThanMayBe: the second key that fails in a partition is
// one too many.
func TestAViewStopsWhereMoreKeysFailThanMayBe(t *testing.T) {
	w := newWorld(t, 1)
	w.alter = func(c *framework.Config) { c.Partitions, c.MaxParkedKeys = 1, 1 }
	w.program = func(app *framework.App) {
		commands.Handle(app, tallies, "count", func(tally, count) ([]fact, error) { return []fact{counted{}}, nil })
		projections.Register(app, &projections.View[card, fact]{Name: "cards", From: tallies.Stream(), Fold: func(c card, e projections.Event[fact]) card {
			if e.ID != "t1" {
				panic("it cannot be folded")
			}
			return card{ID: e.ID, N: c.N + 1}
		}})
	}
	app, _ := w.up()
	w.count(app, 1, 2) // t0 alone
	res, err := app.Execute(context.Background(), call("t1"))
	if err != nil {
		t.Fatal(err)
	}
	if c, _ := w.ask(app, "t1", eventlog.NewPositions(res.Position)); c.N != 1 {
		t.Errorf("the key beside the parked one is %+v", c)
	}
	w.parks(app, "cards/1 tally/t0 2")
	if _, err := app.Execute(context.Background(), call("t2")); err != nil {
		t.Errorf("commands go on: %v", err)
	}
	eventually(t, func() bool { return len(app.Unready()) > 0 })
	all, err := app.DeadLetters(context.Background(), "", 100)
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	stopped := all[slices.IndexFunc(all, func(l framework.DeadLetter) bool { return l.State == framework.LetterStopped })]
	if !strings.Contains(stopped.Error, "Park.MaxKeys") || !strings.Contains(strings.Join(app.Unready(), ""), "Park.MaxKeys") {
		t.Errorf("it stopped as %+v; unready are %q", stopped, app.Unready())
	}
	var no *framework.DeadLetterError
	if _, err := app.Rule(context.Background(), stopped.ID, stream.Retry, "", ""); !errors.As(err, &no) {
		t.Errorf("a ruling on what has stopped: %v", err)
	}
}

// hasty lets five seconds pass at once.
type hasty struct{ clock.Clock }

func (h hasty) After(d time.Duration) <-chan time.Time {
	if d == 5*time.Second {
		d = 20 * time.Millisecond
	}
	return h.Clock.After(d)
}

// TestMetricsOfParkedKeysAreOfTheirGeneration: they are there while the generation is.
func TestMetricsOfParkedKeysAreOfTheirGeneration(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := poisonWorld(t)
	w.alter = func(c *framework.Config) {
		c.Metrics, c.Clock, c.ReadWait = registry, hasty{clock.System}, 3*time.Second
	}
	app, _ := w.up()
	w.count(app, 20, 4)
	shows := func(want string) {
		t.Helper()
		var got string
		defer func() {
			if t.Failed() {
				t.Logf("metrics are %s, want %s", got, want)
			}
		}()
		eventually(t, func() bool { got = viewFigures(t, registry, "cards"); return got == want })
	}
	shows("3: keys 1, lag 0, stalled 0, events 3")
	number := w.rebuilt(app, "cards", mended)
	shows("3: keys 1, lag 0, stalled 0, events 3; 4: keys 0, lag 0, stalled 0, events 0")
	if err := app.Switch(t.Context(), "cards", number, framework.Switch{Force: true, Reason: "the fold is mended"}); err != nil {
		t.Fatal(err)
	}
	if err := app.Retire(t.Context(), "cards", 3, ""); err != nil {
		t.Fatal(err)
	}
	shows("3: events 3; 4: keys 0, lag 0, stalled 0, events 0")
}

// viewFigures returns what the metrics say of a view, by generation.
func viewFigures(t *testing.T, registry *prometheus.Registry, view string) string {
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			labels := make(map[string]string)
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["view"] != view || labels["generation"] == "" {
				continue
			}
			of := labels["generation"]
			if found[of] == nil {
				found[of] = make(map[string]float64)
			}
			found[of][f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	var texts []string
	for of, figures := range found {
		var parts []string
		for _, name := range []string{"parked_keys", "lag_events", "stalled_seconds", "parked_events_total"} {
			if n, ok := figures["drivetrain_view_"+name]; ok {
				short := map[string]string{"parked_keys": "keys", "lag_events": "lag", "stalled_seconds": "stalled", "parked_events_total": "events"}[name]
				parts = append(parts, fmt.Sprintf("%s %g", short, n))
			}
		}
		texts = append(texts, of+": "+strings.Join(parts, ", "))
	}
	slices.Sort(texts)
	return strings.Join(texts, "; ")
}

package framework_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/view"
)

// lazy is a search store that says to have looked through what it is asked to show and no
// more, as one does that has spared a refresh.
type lazy struct {
	view.Search
	asked atomic.Pointer[map[int32]int64]
}

func (l *lazy) Find(ctx context.Context, g view.Generation, q view.Query) (view.Hits, error) {
	asked := maps.Clone(q.Shown)
	l.asked.Store(&asked)
	hits, err := l.Search.Find(ctx, g, q)
	hits.Seen = asked
	return hits, err
}

// TestASearchClaimsNoMoreThanItsStoreHasLookedThrough counts in all partitions and asks for
// some of it.
func TestASearchClaimsNoMoreThanItsStoreHasLookedThrough(t *testing.T) {
	w := newWorld(t, 1)
	store := &lazy{Search: w.stores.Search}
	w.stores.Search = store
	app, _ := w.up()
	early := w.count(app, 20, 1)
	find := func(min eventlog.Positions) framework.Answer {
		t.Helper()
		a, err := app.Ask(t.Context(), "found", framework.Query{Text: "oak", Min: min})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	told := find(early).Positions
	late := w.count(app, 20, 1)
	eventually(t, func() bool {
		list, err := app.Generations(t.Context(), "found")
		return err == nil && list[0].Lag == 0
	})
	one := eventlog.NewPositions()
	one.Offsets[2] = early.Offsets[2]
	a := find(one)
	if asked := *store.asked.Load(); len(asked) != 1 || asked[2] != early.Offsets[2]+1 {
		t.Errorf("the store is asked to show %v, want what lies below %d of partition 2", asked, early.Offsets[2]+1)
	}
	if !maps.Equal(a.Positions.Offsets, told.Offsets) {
		t.Errorf("as of %v of partition 2: position %v; want no more than the store has looked through, and no less than was told, %v", early.Offsets[2], a.Positions, told)
	}
	if a := find(late); len(a.Positions.Offsets) != 4 {
		t.Errorf("as of %v: position %v; want all partitions", late, a.Positions)
	} else {
		for n, offset := range late.Offsets {
			if a.Positions.Offsets[n] < offset {
				t.Errorf("as of %v: position %v", late, a.Positions)
			}
		}
	}
	if a := find(eventlog.NewPositions()); len(a.Positions.Offsets) > 0 || len(*store.asked.Load()) > 0 {
		t.Errorf("a search that asks for nothing: position %v, the store is asked to show %v", a.Positions, *store.asked.Load())
	}
}

// silent is a search store that does not answer before a query is given up.
type silent struct{ view.Search }

func (s silent) Find(ctx context.Context, _ view.Generation, _ view.Query) (view.Hits, error) {
	<-ctx.Done()
	return view.Hits{}, ctx.Err()
}

func TestAQueryThatRunsOutOfTimeSaysSo(t *testing.T) {
	var logged safeBuffer
	w := newWorld(t, 1)
	w.stores.Search = silent{w.stores.Search}
	w.alter = func(c *framework.Config) {
		c.ReadWait, c.Logger = 200*time.Millisecond, slog.New(slog.NewTextHandler(&logged, nil))
	}
	app, _ := w.up()
	var unavailable *framework.UnavailableError
	if _, err := app.Ask(t.Context(), "found", framework.Query{Text: "oak"}); !errors.As(err, &unavailable) || !strings.Contains(unavailable.Reason, "within 200ms") {
		t.Errorf("%v; want how long it waited", err)
	}
	if !strings.Contains(logged.String(), "a query failed") {
		t.Errorf("logged: %s; want that a query failed", logged.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	before := logged.String()
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := app.Ask(ctx, "found", framework.Query{Text: "oak"}); !errors.As(err, &unavailable) || logged.String() != before {
		t.Errorf("%v for a caller who has gone, and logged: %s", err, logged.String())
	}
}

// safeBuffer is a buffer that several may write to.
type safeBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

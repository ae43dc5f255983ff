package projections_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/blevestore"
	"github.com/drivetrain-go/drivetrain/projections"
)

// unhurried is a search store that finds nothing of what was written since the last
// Refresh, and can be emptied.
type unhurried struct {
	mu        sync.Mutex
	now       *blevestore.Store
	unseen    bool
	refreshed int
}

func (u *unhurried) store() *blevestore.Store {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.now
}

func (u *unhurried) empty() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.now = blevestore.New()
}

func (u *unhurried) Open(ctx context.Context, g view.Generation, part int32) (view.Mark, error) {
	return u.store().Open(ctx, g, part)
}

func (u *unhurried) Write(ctx context.Context, g view.Generation, b *view.Batch) error {
	u.mu.Lock()
	u.unseen = u.unseen || len(b.Puts) > 0
	u.mu.Unlock()
	return u.store().Write(ctx, g, b)
}

func (u *unhurried) Marks(ctx context.Context, g view.Generation, parts []int32) ([]view.Mark, error) {
	return u.store().Marks(ctx, g, parts)
}

func (u *unhurried) Get(ctx context.Context, g view.Generation, at []view.Ref) ([][]byte, error) {
	return u.store().Get(ctx, g, at)
}

func (u *unhurried) Scan(ctx context.Context, g view.Generation, part int32, from string, n int) (view.Scanned, error) {
	return u.store().Scan(ctx, g, part, from, n)
}

func (u *unhurried) Drop(ctx context.Context, g view.Generation) error { return u.store().Drop(ctx, g) }

func (u *unhurried) Ping(ctx context.Context) error { return u.store().Ping(ctx) }

func (u *unhurried) Prepare(ctx context.Context, g view.Generation, f view.Fields) error {
	return u.store().Prepare(ctx, g, f)
}

func (u *unhurried) Refresh(ctx context.Context, g view.Generation) error {
	u.mu.Lock()
	u.unseen = false
	u.refreshed++
	u.mu.Unlock()
	return u.store().Refresh(ctx, g)
}

func (u *unhurried) Find(ctx context.Context, g view.Generation, q view.Query) (view.Hits, error) {
	if len(q.Shown) > 0 {
		if err := u.Refresh(ctx, g); err != nil {
			return view.Hits{}, err
		}
	}
	u.mu.Lock()
	unseen := u.unseen
	u.mu.Unlock()
	if unseen {
		return view.Hits{}, nil
	}
	return u.store().Find(ctx, g, q)
}

func (u *unhurried) refreshes() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.refreshed
}

// What the view held before its store lost it must not be missing once it is said to
// be there again, though nobody asks for a position; and that is looked after once.
func TestWhatASearchStoreHadLostIsFoundAsSoonAsTheViewIsWhole(t *testing.T) {
	r, err := embedded.With(memlog.New())
	if err != nil {
		t.Fatal(err)
	}
	store := &unhurried{now: blevestore.New()}
	r.Search = store
	// One partition: of several, each finds its own loss by itself, within a second.
	app := framework.New(framework.Config{Partitions: 1, Open: func(context.Context) (framework.Resources, error) { return r, nil }})
	commands.Handle(app, books, "put", func(_ none, c putCommand) ([]bookFact, error) { return []bookFact{put{c.Shelf, c.Title}}, nil })
	commands.Handle(app, shelves, "build", func(_ none, c buildCommand) ([]shelfFact, error) { return []shelfFact{built{c.Wood}}, nil })
	projections.Register(app, search)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	ready := func() {
		for began := time.Now(); len(app.Unready()) > 0; time.Sleep(time.Millisecond) {
			if time.Since(began) > 20*time.Second {
				t.Fatalf("not ready: %v", app.Unready())
			}
		}
	}
	ready()
	done, err := app.Execute(ctx, framework.Call{Aggregate: "book", ID: "1", Command: "put", Body: []byte(`{"shelf":"a","title":"oak"}`)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Ask(ctx, "search", framework.Query{Text: "oak", Min: eventlog.NewPositions(done.Position)}); err != nil {
		t.Fatal(err) // what was never there cannot be lost
	}
	store.empty()
	for began := time.Now(); len(app.Unready()) == 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatal("the loss was not noticed")
		}
	}
	for {
		a, err := app.Ask(ctx, "search", framework.Query{Text: "oak"})
		var unavailable *framework.UnavailableError
		if errors.As(err, &unavailable) {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil || !strings.Contains(string(a.JSON), `"total":1`) {
			t.Fatalf("the view is whole again and answers %s, %v", a.JSON, err)
		}
		break
	}
	before := store.refreshes()
	for range 10 {
		if _, err := app.Ask(ctx, "search", framework.Query{Text: "oak"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := store.refreshes(); n > before+1 {
		t.Errorf("%d refreshes for ten queries after that", n-before)
	}
}

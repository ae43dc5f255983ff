package projections_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// reads counts what queries ask a store, each of which is one round trip.
type reads struct {
	view.Documents
	n atomic.Int64
}

func (r *reads) Get(ctx context.Context, g view.Generation, at []view.Ref) ([][]byte, error) {
	r.n.Add(1)
	return r.Documents.Get(ctx, g, at)
}

func (r *reads) Sizes(ctx context.Context, g view.Generation, sets []view.Ref) ([]int64, error) {
	r.n.Add(1)
	return r.Documents.Sizes(ctx, g, sets)
}

func (r *reads) Page(ctx context.Context, g view.Generation, sets []view.Ref, after *view.Entry, n int) ([]view.Entry, error) {
	r.n.Add(1)
	return r.Documents.Page(ctx, g, sets, after, n)
}

// TestAPageOfAFeedCostsTwoCallsOfItsStore asks for pages of every size of sets of
// several, and follows their cursors.
func TestAPageOfAFeedCostsTwoCallsOfItsStore(t *testing.T) {
	r, err := embedded.With(memlog.New())
	if err != nil {
		t.Fatal(err)
	}
	counted := &reads{Documents: r.Documents}
	r.Documents = counted
	app, stop := runBooks(t, framework.Config{Open: func(context.Context) (framework.Resources, error) { return r, nil }}, putBooks(bookCards, byShelf))
	defer stop()
	var put []framework.Result
	sizes := map[string]int{"none": 0, "one": 1, "some": 17, "many": 230}
	for shelf, size := range sizes {
		for n := range size {
			put = append(put, frameworktest.Send(t, app, framework.Call{Aggregate: "book", ID: fmt.Sprint(shelf, n), Command: "put", Body: fmt.Appendf(nil, `{"shelf":%q,"title":"Dune"}`, shelf)}))
		}
	}
	last := frameworktest.After(put...)
	ask := func(q framework.Query) (page projections.Page[book]) {
		t.Helper()
		before := counted.n.Load()
		a, err := app.Ask(t.Context(), "by-shelf", q)
		if err == nil {
			err = json.Unmarshal(a.JSON, &page)
		}
		if calls := counted.n.Load() - before; err != nil || calls != 2 {
			t.Fatalf("%+v costs %d calls, want 2; %v", q, calls, err)
		}
		return page
	}
	for shelf, size := range sizes {
		for limit := 1; limit <= 100; limit++ {
			if page := ask(framework.Query{Key: shelf, Limit: limit, Min: last}); len(page.Items) != min(limit, size) {
				t.Fatalf("%d of %s are %d", limit, shelf, len(page.Items))
			}
		}
		left := size
		for first, after := true, ""; first || after != ""; first = false {
			page := ask(framework.Query{Key: shelf, Limit: 9, After: after, Min: last})
			left, after = left-len(page.Items), page.Next
		}
		if left != 0 {
			t.Errorf("the pages of %s lack %d", shelf, left)
		}
	}
}

// putBooks registers the command that puts books, and views of them.
func putBooks(views ...projections.Registered) func(*framework.App) {
	return func(app *framework.App) {
		commands.Handle(app, books, "put", func(_ none, c putCommand) ([]bookFact, error) { return []bookFact{put{c.Shelf, c.Title}}, nil })
		projections.Register(app, views...)
	}
}

// lossy is a store that may have lost all, and hold little of it again, both so far
// unknown to whoever fills it: it answers queries from another generation.
type lossy struct {
	view.Documents
	lost atomic.Bool
}

func (l *lossy) of(g view.Generation) view.Generation {
	if l.lost.Load() {
		g.App = "emptied"
	}
	return g
}

func (l *lossy) Get(ctx context.Context, g view.Generation, at []view.Ref) ([][]byte, error) {
	return l.Documents.Get(ctx, l.of(g), at)
}

func (l *lossy) Sizes(ctx context.Context, g view.Generation, sets []view.Ref) ([]int64, error) {
	return l.Documents.Sizes(ctx, l.of(g), sets)
}

func (l *lossy) Page(ctx context.Context, g view.Generation, sets []view.Ref, after *view.Entry, n int) ([]view.Entry, error) {
	return l.Documents.Page(ctx, l.of(g), sets, after, n)
}

func (l *lossy) Rank(ctx context.Context, g view.Generation, set view.Ref, at view.Entry) (int64, error) {
	return l.Documents.Rank(ctx, l.of(g), set, at)
}

// refill makes the emptied generation of a view begin to be filled again: its parts are
// open, and hold what the first record made, if there is a document.
func (l *lossy) refill(t *testing.T, name, key string) {
	t.Helper()
	g := view.Generation{App: "emptied", View: name, Number: 1}
	for n := range int32(16) {
		mark, err := l.Open(t.Context(), g, n)
		if err == nil {
			b := &view.Batch{Partition: n, Epoch: mark.Epoch, Next: 1, Puts: []view.Put{{Key: key, Value: []byte(`{"title":"An older one"}`)}},
				Adds: []view.Entry{{Set: "all", Sort: "8000000000000000", Member: "older"}, {Set: "a", Sort: "0", Member: "older"}}}
			err = l.Write(t.Context(), g, b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// lossyBooks runs books on a store that may lose all, with a view of every kind that it
// keeps, and returns a function that asks one.
func lossyBooks(t *testing.T) (store *lossy, ask func(view string, q framework.Query) error) {
	r, err := embedded.With(memlog.New())
	if err != nil {
		t.Fatal(err)
	}
	store = &lossy{Documents: r.Documents}
	r.Documents = store
	ranks := &projections.Ranking[bookFact]{Name: "ranks", From: books.Stream(), Cards: bookCards,
		Scores: func(e projections.Event[bookFact]) []projections.Score {
			return []projections.Score{{Set: "all", Key: e.ID, Score: 1}}
		}}
	stands := &projections.View[shelf, bookFact]{Name: "stand", From: books.Stream(),
		Key:   func(e projections.Event[bookFact]) []string { return []string{e.Fact.(put).Shelf} },
		Fold:  func(s shelf, e projections.Event[bookFact]) shelf { return s },
		Sizes: []projections.Size[shelf]{{Of: byShelf, Put: func(s *shelf, n int64) { s.Books = n }}}}
	app, stop := runBooks(t, framework.Config{Open: func(context.Context) (framework.Resources, error) { return r, nil }}, putBooks(bookCards, byShelf, ranks, stands))
	t.Cleanup(stop)
	var put []framework.Result
	for n := range 200 { // some in every partition
		put = append(put, frameworktest.Send(t, app, framework.Call{Aggregate: "book", ID: fmt.Sprint(n), Command: "put", Body: []byte(`{"shelf":"a","title":"Dune"}`)}))
	}
	min := frameworktest.After(put...)
	return store, func(view string, q framework.Query) error {
		q.Min = min
		_, err := app.Ask(t.Context(), view, q)
		return err
	}
}

// What a store has lost is not said to be missing, whether it is empty or has begun to
// be filled again behind the back of who answers, as by another process.
func TestWhatIsLostIsNotSaidToBeMissing(t *testing.T) {
	store, ask := lossyBooks(t)
	queries := map[string]struct {
		view  string
		q     framework.Query
		never bool // there is no such thing
	}{
		"a document":               {"book", framework.Query{Key: "1"}, false},
		"a document never made":    {"book", framework.Query{Key: "never"}, true},
		"a document with a size":   {"stand", framework.Query{Key: "a"}, false},
		"a feed":                   {"by-shelf", framework.Query{Key: "a"}, false},
		"a full page of a feed":    {"by-shelf", framework.Query{Key: "a", Limit: 1}, false},
		"a ranking":                {"ranks", framework.Query{Key: "all"}, false},
		"a full page of a ranking": {"ranks", framework.Query{Key: "all", Limit: 1}, false},
		"a ranking from a key":     {"ranks", framework.Query{Key: "all", From: "1"}, false},
		"a ranking from no key":    {"ranks", framework.Query{Key: "all", From: "never"}, true},
	}
	each := func(how string, unavailable bool) {
		t.Helper()
		for name, c := range queries {
			err := ask(c.view, c.q)
			if is := errors.As(err, new(*framework.UnavailableError)); is != unavailable || !is && errors.Is(err, framework.ErrNotFound) != c.never {
				t.Errorf("%s of a store that %s: %v", name, how, err)
			}
		}
	}
	each("has all", false)
	store.lost.Store(true)
	each("is empty", true)
	for name, key := range map[string]string{"book": "1", "stand": "a", "by-shelf": "x", "ranks": "all\x00never"} {
		store.refill(t, name, key)
	}
	each("holds little again", true)
}

// Who asks a feed for the first time, without a Min-Position, is told how far it is, not
// how far it was when nothing had happened yet.
func TestTheFirstAnswerSaysHowFarAFeedIs(t *testing.T) {
	app, stop := runBooks(t, embedded.Config(t.TempDir()), putBooks(bookCards, byShelf))
	defer stop()
	var put []framework.Result
	for n := range 40 {
		put = append(put, frameworktest.Send(t, app, framework.Call{Aggregate: "book", ID: fmt.Sprint(n), Command: "put", Body: []byte(`{"shelf":"a","title":"Dune"}`)}))
	}
	eventually(t, "the feed has caught up", func() bool {
		all, err := app.Generations(t.Context(), "by-shelf")
		return err == nil && all[0].Lag == 0
	})
	time.Sleep(1200 * time.Millisecond) // what is known is old by then
	a, err := app.Ask(t.Context(), "by-shelf", framework.Query{Key: "a"})
	for n, want := range frameworktest.After(put...).Offsets {
		if at, ok := a.Positions.Offsets[n]; !ok || at < want || err != nil {
			t.Errorf("the first answer is at %v (%v), want %d@%d", a.Positions, err, n, want)
		}
	}
}

package projections_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

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

// lossy is a store that may have lost all, so far unknown to whoever fills it.
type lossy struct {
	view.Documents
	lost atomic.Bool
}

func (l *lossy) Get(ctx context.Context, g view.Generation, at []view.Ref) ([][]byte, error) {
	if l.lost.Load() {
		return make([][]byte, len(at)), nil
	}
	return l.Documents.Get(ctx, g, at)
}

func (l *lossy) Marks(ctx context.Context, g view.Generation, partitions []int32) ([]view.Mark, error) {
	if l.lost.Load() {
		return make([]view.Mark, len(partitions)), nil
	}
	return l.Documents.Marks(ctx, g, partitions)
}

func TestADocumentThatIsLostIsNotSaidToBeMissing(t *testing.T) {
	r, err := embedded.With(memlog.New())
	if err != nil {
		t.Fatal(err)
	}
	store := &lossy{Documents: r.Documents}
	r.Documents = store
	ranks := &projections.Ranking[bookFact]{Name: "ranks", From: books.Stream(), Cards: bookCards,
		Scores: func(e projections.Event[bookFact]) []projections.Score {
			return []projections.Score{{Set: "all", Key: e.ID, Score: 1}}
		}}
	app, stop := runBooks(t, framework.Config{Open: func(context.Context) (framework.Resources, error) { return r, nil }}, putBooks(bookCards, ranks))
	defer stop()
	min := frameworktest.After(frameworktest.Send(t, app, framework.Call{Aggregate: "book", ID: "1", Command: "put", Body: []byte(`{"shelf":"a","title":"Dune"}`)}))
	ask := func(view, key, from string) error {
		_, err := app.Ask(t.Context(), view, framework.Query{Key: key, From: from, Min: min})
		return err
	}
	for _, c := range []struct{ view, key, from, never, neverFrom string }{{"book", "1", "", "2", ""}, {"ranks", "all", "1", "all", "2"}} {
		if err := ask(c.view, c.key, c.from); err != nil {
			t.Errorf("%s: %v", c.view, err)
		}
		if err := ask(c.view, c.never, c.neverFrom); !errors.Is(err, framework.ErrNotFound) {
			t.Errorf("%s, of a book that was never put: %v", c.view, err)
		}
		store.lost.Store(true)
		var unavailable *framework.UnavailableError
		if err := ask(c.view, c.key, c.from); !errors.As(err, &unavailable) {
			t.Errorf("%s of a store that was emptied: %v, want that it is unavailable", c.view, err)
		}
		store.lost.Store(false)
	}
}

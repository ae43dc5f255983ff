package projections_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/projections"
)

type bookFact interface{ book() }

type put struct {
	Shelf string `json:"shelf"`
	Title string `json:"title"`
}
type removed struct{}

func (put) book()     {}
func (removed) book() {}

type none struct{}

type putCommand struct {
	Shelf string `json:"shelf"`
	Title string `json:"title"`
	aggregates.Meta
}
type removeCommand struct{ aggregates.Meta }

var books = &aggregates.Type[none, bookFact]{
	Name: "book", Evolve: func(n none, _ bookFact) none { return n },
	Events: event.Types[bookFact]{"book.put": event.As[bookFact, put](), "book.removed": event.As[bookFact, removed]()},
}

type shelfFact interface{ shelf() }

type built struct {
	Wood string `json:"wood"`
}

func (built) shelf() {}

type buildCommand struct {
	Wood string `json:"wood"`
	aggregates.Meta
}

var shelves = &aggregates.Type[none, shelfFact]{
	Name: "shelf", Evolve: func(n none, _ shelfFact) none { return n },
	Events: event.Types[shelfFact]{"shelf.built": event.As[shelfFact, built]()},
}

type book struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Moves int    `json:"moves"`
	Gone  bool   `json:"-"`
}

type shelf struct {
	Wood  string `json:"wood"`
	Books int64  `json:"books"`
}

type found struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	Text string `json:"text"`
}

var (
	bookCards = &projections.View[book, bookFact]{
		Name: "book", From: books.Stream(), Gone: func(b book) bool { return b.Gone },
		Fold: func(b book, e projections.Event[bookFact]) book {
			switch f := e.Fact.(type) {
			case put:
				if f.Title == "cursed" {
					panic("as asked")
				}
				b.ID, b.Title, b.Gone = e.ID, f.Title, false
				b.Moves++
			case removed:
				b.Gone = true
			}
			return b
		},
	}
	byShelf = &projections.Feed[bookFact]{
		Name: "by-shelf", From: books.Stream(), Cards: bookCards,
		Place: func(e projections.Event[bookFact]) (projections.Place, bool) {
			f, ok := e.Fact.(put)
			return projections.Place{Set: f.Shelf, Key: e.ID, At: e.Time}, ok
		},
	}
	shelfCards = &projections.View[shelf, shelfFact]{
		Name: "shelf", From: shelves.Stream(),
		Fold:  func(s shelf, e projections.Event[shelfFact]) shelf { return shelf{Wood: e.Fact.(built).Wood} },
		Sizes: []projections.Size[shelf]{{Of: byShelf, Put: func(s *shelf, n int64) { s.Books = n }}},
	}
	search = &projections.View[found, any]{
		Name: "search", From: aggregates.Merge(books.Stream().Any(), shelves.Stream().Any()),
		Search: view.Fields{"text": view.Text, "kind": view.Keyword},
		Fold: func(d found, e projections.Event[any]) found {
			d.Kind, d.ID = e.Aggregate, e.ID
			switch f := e.Fact.(type) {
			case put:
				d.Text = f.Title
			case built:
				d.Text = f.Wood
			}
			return d
		},
	}
	grown = &projections.View[shelf, shelfFact]{
		Name: "grown", From: shelves.Stream(),
		Fold: func(s shelf, e projections.Event[shelfFact]) shelf { return shelf{Wood: s.Wood + e.Fact.(built).Wood} },
	}
	everything = &projections.View[found, any]{Name: "everything", From: search.From, Fold: search.Fold}
)

type library struct {
	*testing.T
	app   *framework.App
	clock *frameworktest.Clock
	seen  []cluster.Result
}

func open(t *testing.T) *library {
	app, clock := frameworktest.Start(t, func(app *framework.App) {
		commands.Handle(app, books, "put", func(_ none, c putCommand) ([]bookFact, error) { return []bookFact{put{c.Shelf, c.Title}}, nil })
		commands.Handle(app, books, "remove", func(none, removeCommand) ([]bookFact, error) { return []bookFact{removed{}}, nil })
		commands.Handle(app, shelves, "build", func(_ none, c buildCommand) ([]shelfFact, error) { return []shelfFact{built{c.Wood}}, nil })
		projections.Register(app, bookCards, byShelf, shelfCards, search, everything, grown)
	})
	return &library{T: t, app: app, clock: clock}
}

func (l *library) do(aggregate, id, command, body string) {
	l.Helper()
	l.clock.Advance(time.Second)
	res, err := l.app.Execute(context.Background(), framework.Call{Aggregate: aggregate, ID: id, Command: command, Body: []byte(body)})
	if err != nil {
		l.Fatalf("%s %s %s: %v", command, aggregate, id, err)
	}
	l.seen = append(l.seen, res)
}

func (l *library) shows(view string, q framework.Query, want string) {
	l.Helper()
	q.Min = frameworktest.After(l.seen...)
	if got := frameworktest.Ask(l.T, l.app, view, q); got != want {
		l.Errorf("%s of %q%q shows\n%s, want\n%s", view, q.Key, q.Text, got, want)
	}
}

func TestADocumentFollowsItsAggregateUntilItIsGone(t *testing.T) {
	l := open(t)
	l.do("book", "1", "put", `{"shelf":"a","title":"Dune"}`)
	l.do("book", "1", "put", `{"shelf":"b","title":"Dune"}`)
	l.shows("book", framework.Query{Key: "1"}, `{"id":"1","title":"Dune","moves":2}`)
	l.shows("everything", framework.Query{Key: "book.1"}, `{"kind":"book","id":"1","text":"Dune"}`)
	l.do("book", "1", "remove", "")
	_, err := l.app.Ask(context.Background(), "book", framework.Query{Key: "1", Min: frameworktest.After(l.seen...)})
	if !errors.Is(err, framework.ErrNotFound) {
		t.Errorf("a document that is gone: %v", err)
	}
}

func TestAFeedIsPagedWholeAndItsSizeShownElsewhere(t *testing.T) {
	l := open(t)
	l.do("shelf", "a", "build", `{"wood":"oak"}`)
	var want []string
	for i := range 7 {
		l.do("book", fmt.Sprint(i), "put", fmt.Sprintf(`{"shelf":"a","title":"Part %d"}`, i))
		want = append([]string{fmt.Sprintf(`{"id":"%d","title":"Part %d","moves":1}`, i, i)}, want...)
	}
	l.do("book", "9", "put", `{"shelf":"b","title":"elsewhere"}`)
	l.shows("shelf", framework.Query{Key: "a"}, `{"wood":"oak","books":7}`)
	var got []string
	for q, pages := (framework.Query{Key: "a", Limit: 3, Min: frameworktest.After(l.seen...)}), 0; ; pages++ {
		a, err := l.app.Ask(context.Background(), "by-shelf", q)
		if err != nil || pages > 3 {
			t.Fatalf("page %d: %v", pages, err)
		}
		items, rest, _ := strings.Cut(strings.TrimPrefix(string(a.JSON), `{"items":[`), `],"next":"`)
		if items != "" {
			got = append(got, strings.Split(strings.ReplaceAll(items, "},{", "}|{"), "|")...)
		}
		if q.After = strings.TrimSuffix(rest, `"}`); q.After == "" {
			break
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the pages show\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := l.app.Ask(context.Background(), "by-shelf", framework.Query{Key: "a", After: "nonsense"}); !errors.Is(err, framework.ErrInvalid) {
		t.Errorf("a cursor that is none: %v", err)
	}
	l.shows("by-shelf", framework.Query{Key: "nowhere"}, `{"items":[],"next":""}`)
}

// Its entries lie elsewhere than the events, so how far an answer has come is found
// out, not read off.
func TestAFeedSaysHowFarItHasComeThoughNobodyAskedItTo(t *testing.T) {
	l := open(t)
	for i := range 20 {
		l.do("book", fmt.Sprint(i), "put", `{"shelf":"a","title":"x"}`)
	}
	want := frameworktest.After(l.seen...)
	for tries := 0; ; tries++ {
		a, err := l.app.Ask(context.Background(), "by-shelf", framework.Query{Key: "a"})
		if err != nil {
			t.Fatal(err)
		}
		var page struct{ Items []json.RawMessage }
		if err := json.Unmarshal(a.JSON, &page); err != nil {
			t.Fatal(err)
		}
		if claims(a.Positions, want) {
			if len(page.Items) != 20 {
				t.Fatalf("it says that it has come to %v and shows %d entries", a.Positions, len(page.Items))
			}
			return
		}
		if tries == 2000 {
			t.Fatalf("it says %v, want %v at last", a.Positions, want)
		}
		l.clock.Advance(time.Second)
		time.Sleep(5 * time.Millisecond)
	}
}

// claims reports whether at is at or behind all of want.
func claims(at, want eventlog.Positions) bool {
	for n, offset := range want.Offsets {
		if got, ok := at.Offsets[n]; !ok || got < offset {
			return false
		}
	}
	return true
}

func TestSearchFindsWhatWasJustWritten(t *testing.T) {
	l := open(t)
	l.do("book", "1", "put", `{"shelf":"a","title":"The Oak and the Reed"}`)
	l.do("shelf", "a", "build", `{"wood":"oak"}`)
	l.shows("search", framework.Query{Text: "oak", Is: map[string]string{"kind": "shelf"}}, `{"items":[{"kind":"shelf","id":"a","text":"oak"}],"total":1,"next":""}`)
	l.shows("search", framework.Query{Text: "OAK reed"}, `{"items":[{"kind":"book","id":"1","text":"The Oak and the Reed"}],"total":1,"next":""}`)
	l.shows("search", framework.Query{Text: "elm"}, `{"items":[],"total":0,"next":""}`)
	words := strings.Join(strings.Split("abcdefghijklmnopqrstuvwxyz0123456789", ""), " a")
	for _, q := range []framework.Query{{Text: words + " " + strings.ReplaceAll(words, "a", "b") + " " + strings.ReplaceAll(words, "a", "c")}, {Is: map[string]string{"text": "x"}}} {
		if _, err := l.app.Ask(context.Background(), "search", q); !errors.Is(err, framework.ErrInvalid) {
			t.Errorf("%.40q %v: %v, want ErrInvalid", q.Text, q.Is, err)
		}
	}
}

func TestAViewThatCannotWorkPanicsWithTheFix(t *testing.T) {
	type untagged struct{ Title string }
	fold := func(b book, _ projections.Event[bookFact]) book { return b }
	for want, v := range map[string]projections.Registered{
		"set Fold":        &projections.View[book, bookFact]{Name: "x", From: books.Stream()},
		"From":            &projections.View[book, bookFact]{Name: "x", Fold: fold},
		"must match":      &projections.View[book, bookFact]{Name: "X", From: books.Stream(), Fold: fold},
		"json tag":        &projections.View[untagged, bookFact]{Name: "x", From: books.Stream(), Fold: func(u untagged, _ projections.Event[bookFact]) untagged { return u }},
		"not for Search":  &projections.View[book, bookFact]{Name: "x", From: books.Stream(), Fold: fold, Search: view.Fields{}, Sizes: []projections.Size[book]{{}}},
		"Place and Cards": &projections.Feed[bookFact]{Name: "x", From: books.Stream()},
		"one aggregate":   &projections.Feed[bookFact]{Name: "x", From: books.Stream(), Cards: everything, Place: byShelf.Place},
	} {
		app := framework.New(framework.Config{Open: func(context.Context) (framework.Resources, error) { return framework.Resources{}, nil }})
		func() {
			defer func() {
				if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), want) {
					t.Errorf("panicked with %v, want %q", p, want)
				}
			}()
			projections.Register(app, v)
		}()
	}
}

// writes counts the documents that a store is given.
type writes struct {
	view.Documents
	puts atomic.Int64
}

func (w *writes) Write(ctx context.Context, g view.Generation, b *view.Batch) error {
	w.puts.Add(int64(len(b.Puts)))
	return w.Documents.Write(ctx, g, b)
}

func TestADocumentThatAnEventLeavesAsItIsIsNotWrittenAgain(t *testing.T) {
	log := memlog.New()
	r, err := embedded.With(log)
	if err != nil {
		t.Fatal(err)
	}
	counted := &writes{Documents: r.Documents}
	r.Documents = counted
	app := framework.New(framework.Config{Partitions: 1, Open: func(context.Context) (framework.Resources, error) { return r, nil }})
	commands.Handle(app, shelves, "build", func(_ none, c buildCommand) ([]shelfFact, error) { return []shelfFact{built{c.Wood}}, nil })
	projections.Register(app, &projections.View[shelf, shelfFact]{Name: "shelf", From: shelves.Stream(), Fold: shelfCards.Fold})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	defer func() { stop(); <-ended }()
	for len(app.Unready()) > 0 {
		time.Sleep(time.Millisecond)
	}
	for _, c := range []struct {
		wood string
		want int64
	}{{"oak", 1}, {"oak", 1}, {"oak", 1}, {"elm", 2}, {"elm", 2}} {
		res, err := app.Execute(ctx, framework.Call{Aggregate: "shelf", ID: "a", Command: "build", Body: []byte(`{"wood":"` + c.wood + `"}`)})
		if err != nil {
			t.Fatal(err)
		}
		got := frameworktest.Ask(t, app, "shelf", framework.Query{Key: "a", Min: frameworktest.After(res)})
		if got != `{"wood":"`+c.wood+`","books":0}` || counted.puts.Load() != c.want {
			t.Errorf("%s: shown %s after %d puts, want %d", c.wood, got, counted.puts.Load(), c.want)
		}
	}
}

func TestADocumentThatIsTooLargeStopsItsViewByName(t *testing.T) {
	l := open(t)
	half := `{"wood":"` + strings.Repeat("x", 500<<10) + `"}`
	for range 2 {
		l.do("shelf", "a", "build", half)
	}
	l.do("shelf", "b", "build", half)
	eventually := time.Now().Add(10 * time.Second)
	for !strings.Contains(strings.Join(l.app.Unready(), " "), `document "a" of view grown: it has 1024`) {
		if time.Now().After(eventually) {
			t.Fatalf("not ready because of %v", l.app.Unready())
		}
		time.Sleep(time.Millisecond)
	}
}

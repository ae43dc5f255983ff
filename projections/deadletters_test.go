package projections_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/projections"
)

// titles is a document that a fold changes in place, before it fails.
type titles struct {
	Titles []string       `json:"titles"`
	Words  map[string]int `json:"words"`
}

// forgetful is one that JSON does not bring back: a fold that fails is undone otherwise.
type forgetful struct {
	Titles []string `json:"titles"`
	count  []int
}

// poison folds "cursed" for as long as the cause lasts, which lies outside.
type poison struct{ mended atomic.Bool }

func (p *poison) check(title string) {
	if strings.HasPrefix(title, "cursed") && !p.mended.Load() {
		panic("the title is cursed")
	}
}

func (p *poison) views() []projections.Registered {
	return []projections.Registered{
		&projections.View[titles, bookFact]{Name: "titles", From: books.Stream(), Fold: func(d titles, e projections.Event[bookFact]) titles {
			f := e.Fact.(put)
			if d.Words == nil {
				d.Words = map[string]int{}
			}
			d.Words[f.Title]++
			if len(d.Titles) > 0 {
				d.Titles[0] = f.Title + "!"
			}
			d.Titles = append(d.Titles, f.Title)
			p.check(f.Title)
			return d
		}},
		&projections.View[forgetful, bookFact]{Name: "forgetful", From: books.Stream(), Fold: func(d forgetful, e projections.Event[bookFact]) forgetful {
			f := e.Fact.(put)
			if d.count = append(d.count, len(f.Title)); len(d.Titles) > 0 {
				d.Titles[0] = f.Title + "!"
			}
			d.Titles = append(d.Titles, fmt.Sprint(f.Title, d.count))
			p.check(f.Title)
			return d
		}},
		&projections.View[titles, bookFact]{Name: "shelves", From: books.Stream(),
			Key: func(e projections.Event[bookFact]) []string { return []string{e.Fact.(put).Shelf} },
			Fold: func(d titles, e projections.Event[bookFact]) titles {
				d.Titles = append(d.Titles, e.Fact.(put).Title)
				p.check(e.Fact.(put).Title)
				return d
			}},
	}
}

// shop is an application with poison, on real stores in the process.
type shop struct {
	*library
	p    *poison
	stop func()
}

func openShop(t *testing.T, dir string, p *poison) *shop {
	cfg := embedded.Config(dir)
	cfg.App, cfg.Partitions, cfg.SnapshotEvery, cfg.Logger = "shop", 2, 20*time.Millisecond, slog.New(slog.DiscardHandler)
	app := framework.New(cfg)
	commands.Handle(app, books, "put", func(_ none, c putCommand) ([]bookFact, error) { return []bookFact{put{c.Shelf, c.Title}}, nil })
	projections.Register(app, p.views()...)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	s := &shop{library: &library{T: t, app: app, clock: frameworktest.NewClock()}, p: p}
	s.stop = func() {
		if stop(); ended != nil {
			if err := <-ended; err != nil {
				t.Errorf("run: %v", err)
			}
			ended = nil
		}
	}
	t.Cleanup(s.stop)
	for began := time.Now(); len(app.Unready()) > 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("not ready: %v", app.Unready())
		}
	}
	return s
}

func (s *shop) put(id, shelf, title string) {
	s.Helper()
	s.do("book", id, "put", fmt.Sprintf(`{"shelf":%q,"title":%q}`, shelf, title))
}

// parked returns what is parked, as "view key n".
func (s *shop) parked() (list []string, ids []string) {
	s.Helper()
	letters, err := s.app.DeadLetters(context.Background(), "", 100)
	if err != nil {
		s.Fatal(err)
	}
	for _, l := range letters {
		list, ids = append(list, fmt.Sprintf("%s %s %d", l.View, l.Key, l.Parked)), append(ids, l.ID)
	}
	return list, ids
}

func (s *shop) holds(want ...string) (ids []string) {
	s.Helper()
	list, ids := s.parked()
	if !slices.Equal(list, want) {
		s.Errorf("parked are %q, want %q", list, want)
	}
	return ids
}

func (s *shop) rule(id string, act stream.Act) framework.Ruled {
	s.Helper()
	r, err := s.app.Rule(context.Background(), id, act, "a test", "tester")
	if err != nil || !r.Obeyed {
		s.Fatalf("%s %s: %+v, %v", act, id, r, err)
	}
	s.seen = append(s.seen, framework.Result{Position: r.Position})
	return r
}

// fill puts good and cursed events, and looks at what the views make of them.
func (s *shop) fill() []string {
	s.Helper()
	s.put("1", "a", "Dune")
	s.put("2", "b", "Emma")
	s.put("1", "a", "cursed")
	s.put("1", "a", "Dune II")
	s.put("2", "b", "Emma II")
	return s.stands()
}

func (s *shop) stands() []string {
	s.Helper()
	s.shows("titles", framework.Query{Key: "1"}, `{"titles":["Dune"],"words":{"Dune":1}}`)
	s.shows("titles", framework.Query{Key: "2"}, `{"titles":["Emma II!","Emma II"],"words":{"Emma":1,"Emma II":1}}`)
	s.shows("forgetful", framework.Query{Key: "1"}, `{"titles":["Dune[4]"]}`)
	s.shows("forgetful", framework.Query{Key: "2"}, `{"titles":["Emma II!","Emma II[4 7]"]}`)
	s.shows("shelves", framework.Query{Key: "a"}, `{"titles":["Dune"],"words":null}`)
	s.shows("shelves", framework.Query{Key: "b"}, `{"titles":["Emma","Emma II"],"words":null}`)
	return s.holds("forgetful book/1 2", "shelves a 2", "titles book/1 2")
}

func TestAnEventThatCannotBeFoldedParksItsKeyAndAllOthersGoOn(t *testing.T) {
	s := openShop(t, t.TempDir(), &poison{})
	ids := s.fill()
	if why := s.app.Unready(); len(why) > 0 {
		t.Errorf("not ready: %v", why)
	}
	l, held, err := s.app.DeadLetter(context.Background(), ids[2])
	if err != nil || l.Event == nil || l.Event.Type != "book.put" || !strings.Contains(l.Error, "the title is cursed") {
		t.Fatalf("the letter is %+v, %v", l, err)
	}
	if len(held) != 2 || string(held[0].Data) != `{"shelf":"a","title":"cursed"}` || string(held[1].Data) != `{"shelf":"a","title":"Dune II"}` || held[1].Version != 3 {
		t.Errorf("held back are %+v", held)
	}
	if _, _, err := s.app.DeadLetter(context.Background(), "titles.1.events.0.7.0"); !errors.Is(err, framework.ErrNotFound) {
		t.Errorf("a letter that there is not: %v", err)
	}
}

func TestWhatIsParkedSurvivesARestartAndIsFoldedOnceTheCauseIsGone(t *testing.T) {
	dir, p := t.TempDir(), &poison{}
	s := openShop(t, dir, p)
	ids := s.fill()
	for _, id := range ids {
		if r := s.rule(id, stream.Retry); r.Freed || r.Letter.Attempts != 1 {
			t.Errorf("a retry while the cause lasts: %+v", r)
		}
	}
	time.Sleep(200 * time.Millisecond) // snapshots
	seen := s.seen
	s.stop()
	s = openShop(t, dir, p)
	s.seen = seen
	ids = s.stands()
	p.mended.Store(true)
	for _, id := range ids {
		if r := s.rule(id, stream.Retry); !r.Freed {
			t.Errorf("a retry once the cause is gone: %+v", r)
		}
	}
	s.holds()
	s.put("1", "a", "Dune III")
	s.shows("titles", framework.Query{Key: "1"}, `{"titles":["Dune III!","cursed","Dune II","Dune III"],"words":{"Dune":1,"Dune II":1,"Dune III":1,"cursed":1}}`)
	s.shows("forgetful", framework.Query{Key: "1"}, `{"titles":["Dune III!","cursed[4 6]","Dune II[4 6 7]","Dune III[4 6 7 8]"]}`)
	s.shows("shelves", framework.Query{Key: "a"}, `{"titles":["Dune","cursed","Dune II","Dune III"],"words":null}`)
}

func TestWhatIsDiscardedStaysSoWhenTheLogIsFoldedAgain(t *testing.T) {
	dir, p := t.TempDir(), &poison{}
	s := openShop(t, dir, p)
	for _, id := range s.fill() {
		if r := s.rule(id, stream.Discard); !r.Freed {
			t.Errorf("a discard: %+v", r)
		}
		if _, err := s.app.Rule(context.Background(), id, stream.Discard, "again", "tester"); !errors.Is(err, framework.ErrNotFound) {
			t.Errorf("a discard of what is free: %v", err)
		}
	}
	for range 2 {
		s.holds()
		s.shows("titles", framework.Query{Key: "1"}, `{"titles":["Dune II!","Dune II"],"words":{"Dune":1,"Dune II":1}}`)
		s.shows("forgetful", framework.Query{Key: "1"}, `{"titles":["Dune II!","Dune II[4 7]"]}`)
		s.shows("shelves", framework.Query{Key: "a"}, `{"titles":["Dune","Dune II"],"words":null}`)
		seen := s.seen
		s.stop()
		s = openShop(t, dir, p) // its stores begin empty
		s.seen = seen
	}
}

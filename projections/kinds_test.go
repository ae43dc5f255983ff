package projections_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/projections"
)

type gameFact interface{ game() }

// played says that a player has won points from a rival.
type played struct {
	Player string  `json:"player"`
	Rival  string  `json:"rival"`
	Points float64 `json:"points"`
}

// left says that a player plays no more.
type left struct {
	Player string `json:"player"`
}

func (played) game() {}
func (left) game()   {}

type playCommand struct {
	Player string  `json:"player"`
	Rival  string  `json:"rival"`
	Points float64 `json:"points"`
	aggregates.Meta
}

type leaveCommand struct {
	Player string `json:"player"`
	aggregates.Meta
}

var games = &aggregates.Type[none, gameFact]{
	Name: "game", Evolve: func(n none, _ gameFact) none { return n },
	Events: event.Types[gameFact]{"game.played": event.As[gameFact, played](), "game.left": event.As[gameFact, left]()},
}

type player struct {
	Name   string             `json:"name"`
	Rivals projections.Unique `json:"rivals"`
	Often  projections.Top    `json:"often"`
	Won    float64            `json:"won"`
	Lost   int                `json:"lost"`
	Games  []string           `json:"games"`
	Gone   bool               `json:"gone"`
}

// folds counts the calls of a fold.
var folds atomic.Int64

func (p player) fold(e projections.Event[gameFact]) player {
	folds.Add(1)
	p.Name = e.Key
	switch f := e.Fact.(type) {
	case left:
		p.Gone = true
	case played:
		p.Gone = false
		p.Rivals.Add(f.Rival)
		if p.Often.IsNew() {
			p.Often = projections.NewTop(1, 4)
		}
		p.Often.Add(e.ID)
		if p.Games = append(p.Games, e.ID); e.Key != f.Player {
			p.Lost++
			break
		}
		if p.Won += f.Points; f.Points == 666 {
			panic("as asked")
		}
	}
	return p
}

func playersOf(e projections.Event[gameFact]) []string {
	switch f := e.Fact.(type) {
	case played:
		if f.Rival == "" {
			return []string{f.Player, f.Player}
		}
		return []string{f.Player, f.Rival, f.Player}
	case left:
		return []string{f.Player}
	}
	return nil
}

var (
	players = &projections.View[player, gameFact]{Name: "player", From: games.Stream(), Key: playersOf, Fold: player.fold,
		Gone: func(p player) bool { return p.Gone }}
	findPlayers = &projections.View[player, gameFact]{Name: "find-player", From: games.Stream(), Key: playersOf, Fold: player.fold,
		Gone: func(p player) bool { return p.Gone }, Search: view.Fields{"games": view.Keyword, "name": view.Text}}
	recent = &projections.Feed[gameFact]{Name: "recent", From: games.Stream(), Cards: players,
		Places: func(e projections.Event[gameFact]) []projections.Place {
			switch f := e.Fact.(type) {
			case played:
				return []projections.Place{{Set: "all", Key: f.Player, At: e.Time}, {Set: e.ID, Key: f.Player, At: e.Time}}
			case left:
				return []projections.Place{{Set: "all", Key: f.Player, Remove: true}, {Set: e.ID, Key: f.Player, Remove: true}}
			}
			return nil
		}}
	best = &projections.Ranking[gameFact]{Name: "best", From: games.Stream(), Cards: players,
		Scores: func(e projections.Event[gameFact]) []projections.Score {
			switch f := e.Fact.(type) {
			case played:
				return []projections.Score{{Set: "sum", Key: f.Player, Score: f.Points, Add: true}, {Set: "last", Key: f.Player, Score: f.Points},
					{Set: e.ID, Key: f.Player, Score: 1, Add: true}}
			case left:
				return []projections.Score{{Set: "sum", Key: f.Player, Remove: true}, {Set: "last", Key: f.Player, Remove: true}}
			}
			return nil
		}}
	gameCards = &projections.View[tally, gameFact]{Name: "game", From: games.Stream(), Fold: tally.add,
		Sizes: []projections.Size[tally]{{Of: best, Put: func(t *tally, n int64) { t.Players = n }}}}
	byKind = &projections.View[total, any]{Name: "by-kind", From: aggregates.Merge(games.Stream().Any(), shelves.Stream().Any()),
		Key:  func(e projections.Event[any]) []string { return []string{e.Aggregate, "all"} },
		Fold: func(t total, e projections.Event[any]) total { return total{t.Facts + 1} }}
	kindsFeed = &projections.Ranking[any]{Name: "kinds", From: byKind.From, Cards: byKind,
		Scores: func(e projections.Event[any]) []projections.Score {
			return []projections.Score{{Set: "facts", Key: e.Aggregate, Score: 1, Add: true}}
		}}
)

type total struct {
	Facts int `json:"facts"`
}

type tally struct {
	Rounds  int   `json:"rounds"`
	Players int64 `json:"players"`
}

func (t tally) add(projections.Event[gameFact]) tally { t.Rounds++; return t }

func registerGames(app *framework.App) {
	commands.Handle(app, games, "play", func(_ none, c playCommand) ([]gameFact, error) {
		return []gameFact{played{c.Player, c.Rival, c.Points}}, nil
	})
	commands.Handle(app, games, "leave", func(_ none, c leaveCommand) ([]gameFact, error) { return []gameFact{left{c.Player}}, nil })
	commands.Handle(app, shelves, "build", func(_ none, c buildCommand) ([]shelfFact, error) { return []shelfFact{built{c.Wood}}, nil })
	projections.Register(app, players, findPlayers, recent, best, gameCards, byKind, kindsFeed)
}

func openGames(t *testing.T) *library {
	app, clock := frameworktest.Start(t, registerGames)
	return &library{T: t, app: app, clock: clock}
}

func (l *library) play(game, player, rival string, points float64) {
	l.Helper()
	l.do("game", game, "play", fmt.Sprintf(`{"player":%q,"rival":%q,"points":%v}`, player, rival, points))
}

func TestAViewMayBeKeyedOtherwiseThanItsEvents(t *testing.T) {
	l := openGames(t)
	l.play("chess", "ann", "bob", 3)
	l.play("go", "ann", "", 2)
	l.play("go", "bob", "ann", 1)
	l.shows("player", framework.Query{Key: "ann"}, `{"name":"ann","rivals":3,"often":[{"key":"go","count":2,"error":0}],"won":5,"lost":1,"games":["chess","go","go"],"gone":false}`)
	l.shows("player", framework.Query{Key: "bob"}, `{"name":"bob","rivals":2,"often":[{"key":"chess","count":1,"error":0}],"won":1,"lost":1,"games":["chess","go"],"gone":false}`)
	l.shows("find-player", framework.Query{Text: "bob", Is: map[string]string{"games": "chess"}},
		`{"items":[{"name":"bob","rivals":2,"often":[{"key":"chess","count":1,"error":0}],"won":1,"lost":1,"games":["chess","go"],"gone":false}],"total":1,"next":""}`)
	l.do("game", "go", "leave", `{"player":"bob"}`)
	_, err := l.app.Ask(context.Background(), "player", framework.Query{Key: "bob", Min: frameworktest.After(l.seen...)})
	if !errors.Is(err, framework.ErrNotFound) {
		t.Errorf("a player who has left: %v", err)
	}
	l.shows("find-player", framework.Query{Text: "bob"}, `{"items":[],"total":0,"next":""}`)
	l.do("shelf", "a", "build", `{"wood":"oak"}`)
	l.shows("by-kind", framework.Query{Key: "game"}, `{"facts":4}`)
	l.shows("by-kind", framework.Query{Key: "all"}, `{"facts":5}`)
	l.shows("kinds", framework.Query{Key: "facts"},
		`{"items":[{"rank":1,"key":"game","score":4,"item":{"facts":4}},{"rank":2,"key":"shelf","score":1,"item":{"facts":1}}],"next":""}`)
}

func TestAFeedsEntriesMoveAndLeave(t *testing.T) {
	l := openGames(t)
	names := func(key string) string {
		var out []string
		for _, part := range strings.Split(frameworktest.Ask(t, l.app, "recent", framework.Query{Key: key, Min: frameworktest.After(l.seen...)}), `"name":"`)[1:] {
			out = append(out, part[:strings.IndexByte(part, '"')])
		}
		return strings.Join(out, " ")
	}
	for i, c := range []struct{ player, want string }{{"ann", "ann"}, {"bob", "bob ann"}, {"cid", "cid bob ann"}, {"ann", "ann cid bob"}, {"", "ann bob"}, {"cid", "cid ann bob"}} {
		if c.player == "" {
			l.do("game", "go", "leave", `{"player":"cid"}`)
		} else {
			l.play("go", c.player, "", 1)
		}
		if all, one := names("all"), names("go"); all != c.want || one != c.want {
			t.Errorf("after step %d the sets hold %q and %q, want %q", i, all, one, c.want)
		}
	}
}

func TestARankingFollowsScoresUpAndDown(t *testing.T) {
	l := openGames(t)
	ranks := func(q framework.Query) string {
		t.Helper()
		q.Min = frameworktest.After(l.seen...)
		var out []string
		for _, part := range strings.Split(frameworktest.Ask(t, l.app, "best", q), `{"rank":`)[1:] {
			rank, rest, _ := strings.Cut(part, `,"key":"`)
			key, rest, _ := strings.Cut(rest, `","score":`)
			out = append(out, rank+" "+key+" "+rest[:strings.IndexByte(rest, ',')])
		}
		return strings.Join(out, "; ")
	}
	want := func(q framework.Query, want string) {
		t.Helper()
		if got := ranks(q); got != want {
			t.Errorf("%+v: %s, want %s", q, got, want)
		}
	}
	l.play("go", "ann", "", 10)
	l.play("chess", "bob", "", 2.5)
	l.play("go", "cid", "", -3)
	want(framework.Query{Key: "sum"}, "1 ann 10; 2 bob 2.5; 3 cid -3")
	l.play("go", "bob", "", 8)
	l.play("go", "ann", "", 0.25)
	want(framework.Query{Key: "sum"}, "1 bob 10.5; 2 ann 10.25; 3 cid -3")
	want(framework.Query{Key: "last"}, "1 bob 8; 2 ann 0.25; 3 cid -3")
	want(framework.Query{Key: "sum", From: "ann", Limit: 1}, "2 ann 10.25")
	want(framework.Query{Key: "sum", From: "ann"}, "2 ann 10.25; 3 cid -3")
	want(framework.Query{Key: "go"}, "1 ann 2; 2 cid 1; 3 bob 1")
	l.play("go", "cid", "", 13)
	want(framework.Query{Key: "sum"}, "1 bob 10.5; 2 ann 10.25; 3 cid 10")
	l.do("game", "go", "leave", `{"player":"bob"}`)
	want(framework.Query{Key: "sum"}, "1 ann 10.25; 2 cid 10")
	l.play("go", "bob", "", 10)
	want(framework.Query{Key: "sum"}, "1 ann 10.25; 2 cid 10; 3 bob 10")
	l.shows("game", framework.Query{Key: "go"}, `{"rounds":7,"players":3}`)
	l.shows("best", framework.Query{Key: "nowhere"}, `{"items":[],"next":""}`)
	for name, q := range map[string]framework.Query{
		"not found": {Key: "sum", From: "dan"}, "invalid query": {Key: "sum", From: "ann", After: "AAA"}, "invalid: after": {Key: "sum", After: "nonsense!"},
	} {
		if _, err := l.app.Ask(context.Background(), "best", q); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v, want %q", q, err, name)
		}
	}
	var paged []string
	for q := (framework.Query{Key: "sum", Limit: 2}); len(paged) < 5; {
		paged = append(paged, ranks(q))
		a := frameworktest.Ask(t, l.app, "best", q)
		if q.After = strings.TrimSuffix(a[strings.LastIndex(a, `"next":"`)+8:], `"}`); q.After == "" {
			break
		}
	}
	if got := strings.Join(paged, " | "); got != "1 ann 10.25; 2 cid 10 | 3 bob 10" {
		t.Errorf("paged: %s", got)
	}
}

// Whoever is not in the Cards any more is still ranked.
func TestAnEntryWithoutACardIsRankedWithoutIt(t *testing.T) {
	l := openGames(t)
	l.play("go", "ann", "", 1)
	l.do("game", "chess", "leave", `{"player":"ann"}`)
	l.shows("best", framework.Query{Key: "go"}, `{"items":[{"rank":1,"key":"ann","score":1,"item":null}],"next":""}`)
}

// said returns what is wrong: why the application is not ready, and what is parked.
func (l *library) said() string {
	l.Helper()
	all := l.app.Unready()
	letters, err := l.app.DeadLetters(context.Background(), "", 100)
	if err != nil {
		l.Fatal(err)
	}
	for _, d := range letters {
		all = append(all, d.View+" "+d.Key+": "+d.Error)
	}
	return strings.Join(all, "; ")
}

// says waits until all the parts are said.
func (l *library) says(parts ...string) {
	l.Helper()
	for _, part := range parts {
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(l.said(), part); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				l.Fatalf("it is said %q, want %q", l.said(), part)
			}
		}
	}
}

func TestAFoldOfAKeyThatPanicsNamesTheEvent(t *testing.T) {
	l := openGames(t)
	l.play("go", "ann", "", 666)
	l.says("player ann: ", `game.played of game/go, for the document "ann"`, "as asked")
}

func TestWhatAnEventMayNotDoIsSaidByName(t *testing.T) {
	many := make([]string, projections.MaxKeys+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	score := func(s projections.Score) projections.Registered {
		return &projections.Ranking[gameFact]{Name: "bad", From: games.Stream(), Cards: players,
			Scores: func(projections.Event[gameFact]) []projections.Score { return []projections.Score{s} }}
	}
	place := func(p ...projections.Place) projections.Registered {
		return &projections.Feed[gameFact]{Name: "bad", From: games.Stream(), Cards: players,
			Places: func(projections.Event[gameFact]) []projections.Place { return p }}
	}
	keyed := func(keys ...string) projections.Registered {
		return &projections.View[player, gameFact]{Name: "bad", From: games.Stream(), Fold: player.fold,
			Key: func(projections.Event[gameFact]) []string { return keys }}
	}
	for want, v := range map[string]projections.Registered{
		"1001 keys, at most 1000": keyed(many...),
		"a key of 0 bytes":        keyed("a", ""),
		"a key of 513 bytes":      keyed(strings.Repeat("k", 513)),
		"NaN":                     score(projections.Score{Set: "s", Key: "k", Score: nan()}),
		"have 0 and 1 bytes":      score(projections.Score{Key: "k"}),
		"510 together":            score(projections.Score{Set: strings.Repeat("s", 300), Key: strings.Repeat("k", 300)}),
		"grows beyond":            score(projections.Score{Set: "s", Key: "k", Score: 1.7e308, Add: true}),
		"1970 or later":           place(projections.Place{Set: "s", Key: "k", At: time.Unix(-1, 0)}),
		"Place.Set and Place.Key": place(projections.Place{Set: "s"}),
		"1001 of one event":       place(make([]projections.Place, 1001)...),
	} {
		app, clock := frameworktest.Start(t, func(app *framework.App) {
			registerGames(app)
			projections.Register(app, v)
		})
		l := &library{T: t, app: app, clock: clock}
		l.play("go", "ann", "", 1)
		l.play("go", "ann", "", 1)
		l.says(want)
	}
}

func nan() float64 { zero := 0.0; return zero / zero }

// world is an application whose log and stores outlive it.
type world struct {
	*testing.T
	log       *memlog.Log
	resources framework.Resources
	snapshots *snapshot.MemoryStore // nil: none
	random    *rand.Rand
}

func (w *world) newStores() {
	r, err := embedded.With(w.log)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = r.Close() })
	w.resources = r
	w.resources.Close, w.resources.Fleeting = nil, false
}

// live runs the application, does something with it, and stops it.
func (w *world) live(do func(l *library)) {
	w.Helper()
	r := w.resources
	if w.snapshots != nil {
		r.Snapshots = w.snapshots
	}
	app := framework.New(framework.Config{App: "test", Partitions: 4, SnapshotEvery: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		Open: func(context.Context) (framework.Resources, error) { return r, nil }})
	registerGames(app)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	for began := time.Now(); len(app.Unready()) > 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			w.Fatalf("not ready: %v", app.Unready())
		}
	}
	do(&library{T: w.T, app: app, clock: frameworktest.NewClock()})
	stop()
	if err := <-ended; err != nil {
		w.Fatal(err)
	}
}

// act has players play and leave, at random.
func (w *world) act(l *library, n int) {
	for range n {
		name, rival := fmt.Sprint("p", w.random.Intn(12)), fmt.Sprint("p", w.random.Intn(12))
		game := fmt.Sprint("g", w.random.Intn(5))
		if w.random.Intn(8) == 0 {
			l.do("game", game, "leave", fmt.Sprintf(`{"player":%q}`, name))
		} else {
			l.play(game, name, rival, float64(w.random.Intn(40)-10)/4)
		}
	}
}

// settle waits until no more snapshots are made.
func (w *world) settle() {
	last := ""
	for since := time.Now(); time.Since(since) < 300*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		names, err := w.snapshots.List(w.Context(), "")
		if err != nil {
			w.Fatal(err)
		}
		if now := fmt.Sprint(names); now != last {
			last, since = now, time.Now()
		}
	}
}

// all is what every view answers to a list of questions.
func (w *world) all(l *library) string {
	var out strings.Builder
	ask := func(view string, q framework.Query) {
		q.Min = frameworktest.After(l.seen...)
		q.Limit = 100
		a, err := l.app.Ask(context.Background(), view, q)
		if err != nil && !errors.Is(err, framework.ErrNotFound) {
			w.Fatalf("%s %+v: %v", view, q, err)
		}
		fmt.Fprintf(&out, "%s %s: %s\n", view, q.Key, a.JSON)
	}
	for i := range 12 {
		ask("player", framework.Query{Key: fmt.Sprint("p", i)})
	}
	for i := range 5 {
		ask("best", framework.Query{Key: fmt.Sprint("g", i)})
		ask("recent", framework.Query{Key: fmt.Sprint("g", i)})
		ask("game", framework.Query{Key: fmt.Sprint("g", i)})
	}
	ask("best", framework.Query{Key: "sum"})
	ask("best", framework.Query{Key: "last"})
	ask("recent", framework.Query{Key: "all"})
	ask("by-kind", framework.Query{Key: "all"})
	ask("kinds", framework.Query{Key: "facts"})
	ask("find-player", framework.Query{})
	return out.String()
}

// TestKindsAreTheSameWhateverTheirTasksBeganWith has the same events folded by a
// process that restarts from snapshots into stores that are there, by one whose
// stores have come back empty, and by one that has nothing but the log.
func TestKindsAreTheSameWhateverTheirTasksBeganWith(t *testing.T) {
	w := &world{T: t, log: memlog.New(), snapshots: snapshot.Memory(), random: rand.New(rand.NewSource(4))}
	w.newStores()
	w.live(func(l *library) {
		w.act(l, 150)
		w.all(l)
		w.settle()
	})
	first := folds.Swap(0)
	var restarted, refilled, anew string
	w.live(func(l *library) {
		w.act(l, 50)
		restarted = w.all(l)
	})
	if n := folds.Load(); n >= first { // for a third as many events, and some that the newest snapshot may lack
		t.Errorf("after a restart %d folds, before it %d: all of them again", n, first)
	}
	w.newStores()
	w.live(func(l *library) { refilled = w.all(l) })
	w.newStores()
	w.snapshots = nil
	w.live(func(l *library) { anew = w.all(l) })
	if restarted != anew || refilled != anew {
		t.Errorf("restarted it shows\n%s\nrefilled\n%s\nanew\n%s", restarted, refilled, anew)
	}
}

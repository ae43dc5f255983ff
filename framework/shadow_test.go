package framework_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/projections"
)

// shadowTallies is how many tallies the tests of shadows have; one in 50 of them is shown
// wrongly by version mistaken.
const shadowTallies = 100

func isMistaken(version int, id string) bool {
	n, _ := strconv.Atoi(strings.TrimPrefix(id, "t"))
	return version == mistaken && n%50 == 7
}

// crowd is who has counted, by the last digit of the tally's name.
type crowd struct {
	Who  projections.Unique `json:"who"`
	Most projections.Top    `json:"most"`
}

// shadowKinds are the views of these tests, of each kind there is, in a version.
func shadowKinds(version int) []projections.Registered {
	fold := func(c card, e projections.Event[fact]) card {
		c = card{ID: e.ID, N: c.N + 1, Word: "oak"}
		if isMistaken(version, e.ID) {
			c.Made, c.Word = 1, "elm"
		}
		return c
	}
	cards := &projections.View[card, fact]{Name: "cards", Version: version, From: tallies.Stream(), Fold: fold}
	return []projections.Registered{cards,
		&projections.View[card, fact]{Name: "found", Version: version, From: tallies.Stream(), Fold: fold,
			Search: view.Fields{"word": view.Text, "n": view.Number, "id": view.Keyword}},
		&projections.View[crowd, fact]{Name: "crowd", Version: version, From: tallies.Stream(),
			Key: func(e projections.Event[fact]) []string { return []string{e.ID[len(e.ID)-1:]} },
			Fold: func(c crowd, e projections.Event[fact]) crowd {
				who := e.ID
				if isMistaken(version, e.ID) {
					who = "nobody"
				}
				c.Who.Add(who)
				c.Most.Add(who)
				return c
			}},
		&projections.Feed[fact]{Name: "latest", Version: version, From: tallies.Stream(), Cards: cards,
			Place: func(e projections.Event[fact]) (projections.Place, bool) {
				return projections.Place{Set: "all", Key: e.ID, At: time.Unix(int64(e.Version), 0)}, !isMistaken(version, e.ID)
			}},
		&projections.Ranking[fact]{Name: "ranked", Version: version, From: tallies.Stream(), Cards: cards,
			Scores: func(e projections.Event[fact]) []projections.Score {
				score := 1.0
				if isMistaken(version, e.ID) {
					score = 1.5
				}
				return []projections.Score{{Set: "all", Key: e.ID, Score: score, Add: true}}
			}},
	}
}

// shadowQueries are questions to each of these views, the n-th of each.
var shadowQueries = map[string]func(n int) framework.Query{
	"cards":  func(n int) framework.Query { return framework.Query{Key: fmt.Sprint("t", n%(shadowTallies+1))} }, // one is not there
	"crowd":  func(n int) framework.Query { return framework.Query{Key: fmt.Sprint(n % 10)} },
	"latest": func(n int) framework.Query { return framework.Query{Key: "all", Limit: 1 + 5*n%100} },
	"ranked": func(n int) framework.Query {
		q := framework.Query{Key: "all", Limit: 10}
		if n%2 == 0 {
			q.From = fmt.Sprint("t", n%shadowTallies)
		}
		return q
	},
	"found": func(n int) framework.Query {
		return []framework.Query{{Text: "oak", Limit: 100}, {Text: "oak", Limit: 5}, {Sort: "-n", Limit: 7}, {Is: map[string]string{"id": fmt.Sprint("t", n%shadowTallies)}},
			{Ranges: map[string]view.Range{"n": {From: "2"}}, Sort: "id"}}[n%5]
	},
}

// shadowWorld is a world of these views. Versions 2 and 3 fold alike; 3 is read at first.
func shadowWorld(t *testing.T) *world {
	w := newWorld(t)
	w.program = func(app *framework.App) {
		commands.Handle(app, tallies, "count", func(tally, count) ([]fact, error) { return []fact{counted{}}, nil })
		for _, version := range []int{mistaken, 2, 3} {
			projections.Register(app, shadowKinds(version)...)
		}
	}
	return w
}

// writing sends commands, with a little pause between, until end is called.
func (w *world) writing(app *framework.App) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			if _, err := app.Execute(context.Background(), call(fmt.Sprint("t", n*37%shadowTallies))); err != nil {
				w.Errorf("a command: %v", err)
				return
			}
			time.Sleep(shadowPause)
		}
	})
	end = sync.OnceFunc(func() { cancel(); work.Wait() })
	w.Cleanup(end)
	return end
}

// shadowed returns what came of asking a generation too, zero if it is not.
func (w *world) shadowed(app *framework.App, name string, number int) (s framework.Shadowed) {
	w.Helper()
	list, err := app.Generations(context.Background(), name)
	if err != nil {
		w.Fatal(err)
	}
	for _, g := range list {
		if g.Number == number && g.Shadowed != nil {
			s = *g.Shadowed
		}
	}
	return s
}

// shadow lets a generation be asked a share of the queries.
func (w *world) shadow(app *framework.App, name string, number int, share float64) {
	w.Helper()
	if err := app.Shadow(context.Background(), name, number, framework.Shadow{Share: share, By: "maya"}); err != nil {
		w.Fatal(err)
	}
}

// asks asks a view until so many queries were taken to be asked of a generation too, calls
// then, and waits until it is known what came of them.
func (w *world) asks(app *framework.App, name string, number int, times int64, then ...func()) framework.Shadowed {
	w.Helper()
	ctx := context.Background()
	n, before := 0, w.shadowed(app, name, number)
	for began := time.Now(); before.Asked < times; {
		for range min(20, times) {
			if _, err := app.Ask(ctx, name, shadowQueries[name](n)); err != nil && !errors.Is(err, framework.ErrNotFound) {
				w.Fatalf("%s: %v", name, err)
			}
			n++
		}
		now := w.shadowed(app, name, number)
		if time.Since(began) > time.Minute {
			w.Fatalf("%s: after a minute %+v", name, now)
		}
		for before = now; before.Asked-before.Equal-before.Different-before.Moved-before.Failed > 20; before = w.shadowed(app, name, number) {
			time.Sleep(2 * time.Millisecond)
		}
	}
	for _, f := range then {
		f()
	}
	return w.settled(app, name, number)
}

// settled waits until it is known what came of all that was asked.
func (w *world) settled(app *framework.App, name string, number int) (s framework.Shadowed) {
	w.Helper()
	eventually(w.T, func() bool {
		time.Sleep(5 * time.Millisecond)
		s = w.shadowed(app, name, number)
		return s.Equal+s.Different+s.Moved+s.Failed == s.Asked
	})
	return s
}

// shadowTimes is how many queries of a view are asked of both generations: SHADOW_ASKS,
// else shadowAsks; of one whose answer changes with each event, so that it is seldom settled at once,
// a fifth.
func shadowTimes(t *testing.T, name string) int64 {
	times := int64(shadowAsks)
	if given := os.Getenv("SHADOW_ASKS"); given != "" {
		var err error
		if times, err = strconv.ParseInt(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if name == "latest" || name == "ranked" {
		times /= 5
	}
	return times
}

// Of two generations that fold alike, no answer is found to be another one while events
// come, whatever the kind of view.
func TestGenerationsThatFoldAlikeAnswerAlikeWhileEventsCome(t *testing.T) {
	w := shadowWorld(t)
	app, _ := w.up()
	w.count(app, shadowTallies, 1)
	for name := range shadowQueries {
		w.shadow(app, name, w.rebuilt(app, name, 2), 1)
		end := w.writing(app)
		s := w.asks(app, name, 4, shadowTimes(t, name), end)
		if s.Different > 0 || name == "cards" && s.Equal < s.Asked/2 || s.Share != 1 || len(s.First) > 0 {
			t.Errorf("%s: %+v, want none different, and of documents most equal", name, s)
		}
		if err := app.Switch(context.Background(), name, 4, framework.Switch{}); err != nil {
			t.Errorf("switch %s: %v", name, err)
		}
		t.Logf("%s: %d asked, %d equal, %d moved, %d dropped", name, s.Asked, s.Equal, s.Moved, s.Dropped)
	}
}

// A version that shows one key in 50 wrongly is found to, by questions to each kind of
// view, and is not switched to but by force. What it was asked ends with the switch.
func TestAMistakeInAVersionIsSeenInItsAnswers(t *testing.T) {
	w := shadowWorld(t)
	app, _ := w.up()
	w.count(app, shadowTallies, 2)
	ctx := context.Background()
	for name := range shadowQueries {
		number := w.rebuilt(app, name, mistaken)
		w.shadow(app, name, number, 1)
		times, end := int64(20), func() {}
		if name == "cards" { // which are seen to differ while events come
			times, end = 102, w.writing(app)
		}
		s := w.asks(app, name, number, times)
		end()
		if s.Different == 0 || len(s.First) == 0 || s.Equal == 0 && name != "ranked" {
			t.Errorf("%s: %+v, want some that differ, and not all", name, s)
			continue
		}
		for _, d := range s.First {
			if d.At.IsZero() || len(d.ReadAt.Offsets) == 0 || len(d.OtherAt.Offsets) == 0 || d.Refused != "" || string(d.Read) == string(d.Other) {
				t.Errorf("%s, asked for %q%q: %.100s and %.100s at %v and %v, %s", name, d.Question.Key, d.Question.Text, d.Read, d.Other, d.ReadAt, d.OtherAt, d.Refused)
			}
			if text := string(d.Read) + string(d.Other); name == "cards" &&
				(!isMistaken(mistaken, d.Question.Key) || !strings.Contains(text, `"word":"oak"}{`) || !strings.Contains(text, `"word":"elm"}`)) {
				t.Errorf("%+v: %s, want the keys with a mistake, and both documents", d.Question, text)
			}
		}
		var refused *framework.GenerationError
		if err := app.Switch(ctx, name, number, framework.Switch{}); !errors.As(err, &refused) || !strings.Contains(err.Error(), "asked too") {
			t.Errorf("a switch of %s to what answers otherwise: %v; want a GenerationError that says so", name, err)
		}
		if err := app.Switch(ctx, name, number, framework.Switch{Force: true, Reason: "on purpose"}); err != nil {
			t.Errorf("a forced switch of %s: %v", name, err)
		}
		if got := w.shadowed(app, name, number); got.Asked > 0 || got.Share > 0 {
			t.Errorf("%s: what is read is asked too: %+v", name, got)
		}
		if _, err := app.Rollback(ctx, name, ""); err != nil {
			t.Error(err)
		}
		if got := w.shadowed(app, name, number); got.Different != s.Different || got.Share > 0 {
			t.Errorf("%s: after it was rolled back %+v, want what was found, and that it is asked no more", name, got)
		}
	}
}

// Where counting begins anew, what was found before keeps nobody from the switch.
func TestAskingAnewForgetsWhatWasFound(t *testing.T) {
	w := shadowWorld(t)
	app, _ := w.up()
	w.count(app, shadowTallies, 1)
	number := w.rebuilt(app, "cards", mistaken)
	w.shadow(app, "cards", number, 1)
	if s := w.asks(app, "cards", number, 101); s.Different == 0 {
		t.Fatalf("%+v", s)
	}
	w.shadow(app, "cards", number, 0.5)
	if s := w.shadowed(app, "cards", number); s.Different == 0 || s.Share != 0.5 {
		t.Errorf("with another share %+v, want it to go on", s)
	}
	w.shadow(app, "cards", number, 0)
	before := w.shadowed(app, "cards", number)
	if _, err := app.Ask(context.Background(), "cards", framework.Query{Key: "t1"}); err != nil {
		t.Fatal(err)
	}
	if s := w.shadowed(app, "cards", number); s.Different == 0 || s.Share != 0 || s.Asked != before.Asked {
		t.Errorf("once it has ended %+v, want what was found", s)
	}
	w.shadow(app, "cards", number, 1)
	if s := w.shadowed(app, "cards", number); s.Asked != 0 || s.Different != 0 || len(s.First) > 0 || s.Share != 1 {
		t.Errorf("begun anew: %+v", s)
	}
}

// tardy is a document store that takes its time for the writes of one generation.
type tardy struct {
	view.Documents
	number int
	delay  time.Duration
}

func (s *tardy) Write(ctx context.Context, g view.Generation, b *view.Batch) error {
	if g.Number == s.number {
		time.Sleep(s.delay)
	}
	return s.Documents.Write(ctx, g, b)
}

// documents lets the applications of w work on another document store, which is made of
// their own.
func (w *world) documents(of func(view.Documents) view.Documents) {
	before := w.alter
	w.alter = func(cfg *framework.Config) {
		before(cfg)
		open := cfg.Open
		cfg.Open = func(ctx context.Context) (framework.Resources, error) {
			r, err := open(ctx)
			r.Documents = of(r.Documents)
			return r, err
		}
	}
}

// A generation that is behind is waited for: nothing differs that is only late.
func TestAGenerationThatIsBehindIsWaitedFor(t *testing.T) {
	w := shadowWorld(t)
	w.documents(func(d view.Documents) view.Documents { return &tardy{d, 4, 200 * time.Millisecond} })
	app, _ := w.up()
	w.count(app, 20, 1)
	number := w.rebuilt(app, "cards", 2)
	w.shadow(app, "cards", number, 1)
	for round := range 2 {
		at := w.count(app, 20, 1)
		for n := range 20 {
			if c, _ := w.ask(app, fmt.Sprint("t", n), at); c.N != round+2 {
				t.Errorf("it shows %+v", c)
			}
		}
		if s := w.settled(app, "cards", number); s.Equal != int64(20*(round+1)) {
			t.Errorf("%+v, want all to be equal", s)
		}
	}
}

// stuck is a document store that does not answer reads of one generation while it is
// locked.
type stuck struct {
	view.Documents
	number int
	gate   sync.RWMutex
}

func (s *stuck) Get(ctx context.Context, g view.Generation, refs []view.Ref) ([][]byte, error) {
	if g.Number == s.number {
		passed := make(chan struct{})
		go func() {
			s.gate.RLock()
			defer s.gate.RUnlock()
			close(passed)
		}()
		select {
		case <-passed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.Documents.Get(ctx, g, refs)
}

// A generation whose store does not answer delays and fails nobody who asks: what finds no
// room is dropped, and what does not end in time has failed.
func TestAGenerationThatDoesNotAnswerDelaysNobody(t *testing.T) {
	w := shadowWorld(t)
	store := &stuck{number: 4}
	w.alter = func(cfg *framework.Config) { cfg.ReadWait = time.Second }
	w.documents(func(d view.Documents) view.Documents {
		store.Documents = d
		return store
	})
	app, _ := w.up()
	w.count(app, shadowTallies, 1)
	number := w.rebuilt(app, "cards", 2)
	store.gate.Lock()
	release := sync.OnceFunc(store.gate.Unlock)
	defer release()
	w.shadow(app, "cards", number, 1)
	var longest time.Duration
	const times = framework.MaxShadowWaiting + framework.MaxShadowAtOnce + 200
	for n := range times {
		began := time.Now()
		if _, err := app.Ask(context.Background(), "cards", framework.Query{Key: fmt.Sprint("t", n%shadowTallies)}); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(began))
	}
	s := w.shadowed(app, "cards", number)
	if s.Dropped < 100 || s.Asked < framework.MaxShadowWaiting || s.Asked+s.Dropped != times || longest > time.Second/2 {
		t.Errorf("%+v, the longest answer took %v; want some dropped and none delayed", s, longest)
	}
	eventually(t, func() bool { return w.shadowed(app, "cards", number).Failed >= framework.MaxShadowAtOnce })
	release()
	if s = w.settled(app, "cards", number); s.Equal < framework.MaxShadowWaiting/2 || s.Different > 0 {
		t.Errorf("once it answers: %+v", s)
	}
	t.Logf("the longest of %d answers took %v; %+v", times, longest, s)
}

// All processes ask what one of them was told to, those that are started later too, until
// one is told that it ends.
func TestAllProcessesAskAGenerationToo(t *testing.T) {
	w := shadowWorld(t)
	a, _ := w.shared(0, 1)
	b, _ := w.shared(2, 3)
	eventually(t, func() bool { return len(a.Unready())+len(b.Unready()) == 0 })
	number := w.rebuilt(a, "cards", 2)
	w.shadow(a, "cards", number, 1)
	shares := func(app *framework.App, want float64) {
		t.Helper()
		eventually(t, func() bool { return w.shadowed(app, "cards", number).Share == want })
	}
	ask := func(app *framework.App) {
		t.Helper()
		eventually(t, func() bool {
			_, err := app.Ask(context.Background(), "cards", framework.Query{Key: "t1"})
			return errors.Is(err, framework.ErrNotFound) && w.shadowed(app, "cards", number).Equal > 0
		})
	}
	ask(a)
	shares(b, 1)
	ask(b)
	c, _ := w.shared()
	eventually(t, func() bool { return len(c.Unready()) == 0 })
	shares(c, 1)
	ask(c)
	w.shadow(b, "cards", number, 0)
	for _, app := range []*framework.App{a, b, c} {
		shares(app, 0)
	}
	w.shadow(c, "cards", number, 0.5)
	shares(a, 0.5)
	if err := b.Retire(context.Background(), "cards", number, ""); err != nil {
		t.Fatal(err)
	}
	for _, app := range []*framework.App{a, b, c} {
		shares(app, 0)
		if _, err := app.Ask(context.Background(), "cards", framework.Query{Key: "t1"}); !errors.Is(err, framework.ErrNotFound) {
			t.Error(err)
		}
	}
}

// A process that is started again goes on with it; what the former run has found is gone.
func TestAskingAGenerationTooOutlastsTheProcess(t *testing.T) {
	w := shadowWorld(t)
	app, end := w.up()
	w.count(app, shadowTallies, 1)
	number := w.rebuilt(app, "cards", mistaken)
	w.shadow(app, "cards", number, 1)
	if s := w.asks(app, "cards", number, 101); s.Different == 0 {
		t.Fatalf("%+v", s)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	app, _ = w.up()
	eventually(t, func() bool { return w.shadowed(app, "cards", number).Share == 1 })
	becomes(t, app, "cards", fmt.Sprintf("3v3 read, %dv1 ready", number))
	if s := w.shadowed(app, "cards", number); s.Asked > 0 || s.Different > 0 {
		t.Errorf("it begins with %+v", s)
	}
	if s := w.asks(app, "cards", number, 101); s.Different == 0 {
		t.Errorf("%+v", s)
	}
}

func TestWhatCannotBeAskedToo(t *testing.T) {
	w := shadowWorld(t)
	app, _ := w.up()
	w.count(app, 20, 1)
	ctx := context.Background()
	shadow := func(name string, number int, share float64, by string) error {
		return app.Shadow(ctx, name, number, framework.Shadow{Share: share, By: by})
	}
	number := w.rebuilt(app, "cards", 2)
	slow, err := app.Rebuild(ctx, "cards", framework.Rebuild{Version: mistaken, Rate: 1})
	if err != nil {
		t.Fatal(err)
	}
	before := len(w.log.Records(controlTopic, 0))
	for what, got := range map[string]struct{ err, want error }{
		"a view that is not there":       {shadow("books", 4, 0.1, ""), framework.ErrUnknown},
		"a generation that is not there": {shadow("cards", 9, 0.1, ""), framework.ErrUnknown},
		"none of what is not there":      {shadow("cards", 9, 0, ""), framework.ErrUnknown},
		"more than all":                  {shadow("cards", number, 1.1, ""), framework.ErrInvalid},
		"less than none":                 {shadow("cards", number, -0.1, ""), framework.ErrInvalid},
		"no number":                      {shadow("cards", number, math.NaN(), ""), framework.ErrInvalid},
		"a long name":                    {shadow("cards", number, 0.1, strings.Repeat("x", 257)), framework.ErrInvalid},
		"what has not begun has ended":   {shadow("cards", number, 0, ""), nil},
		"also of what is read":           {shadow("cards", 3, 0, ""), nil},
	} {
		if !errors.Is(got.err, got.want) {
			t.Errorf("%s: %v, want %v", what, got.err, got.want)
		}
	}
	refused := func(what string, number int, state framework.GenerationState) {
		t.Helper()
		var e *framework.GenerationError
		if err := shadow("cards", number, 0.1, ""); !errors.As(err, &e) || e.State != state || e.Reason == "" {
			t.Errorf("%s: %v, want a GenerationError of one that is %s", what, err, state)
		}
	}
	refused("what is read", 3, framework.Reading)
	refused("what is being filled", slow, framework.Building)
	if n := len(w.log.Records(controlTopic, 0)); n != before {
		t.Errorf("%d records of what is refused", n-before)
	}
	for range 3 {
		w.shadow(app, "cards", number, 0.1)
	}
	if n := len(w.log.Records(controlTopic, 0)); n != before+1 {
		t.Errorf("%d records of one share", n-before)
	}
	if err := app.Retire(ctx, "cards", number, ""); err != nil {
		t.Fatal(err)
	}
	refused("what is retired", number, framework.Retired)
	if err := shadow("cards", number, 0, ""); err != nil {
		t.Errorf("none of what is retired: %v", err)
	}
}

// A version that panics where it is asked, or does not take a question that the other one
// answers, differs; whoever asks sees nothing of it.
func TestAVersionThatCannotAnswerDiffers(t *testing.T) {
	w := newWorld(t)
	w.program = func(app *framework.App) {
		commands.Handle(app, tallies, "count", func(tally, count) ([]fact, error) { return []fact{counted{}}, nil })
		for _, version := range []int{1, 2} {
			latest, fields := latestOf(version), view.Fields{"word": view.Keyword}
			if version == 1 {
				fields = view.Fields{"id": view.Keyword}
			}
			cards := cardsOf(version)
			cards.Fold = foldCard(1)
			cards.Sizes = []projections.Size[card]{{Of: latest, Put: func(c *card, _ int64) {
				if version == 1 {
					panic("out of order")
				}
			}}}
			projections.Register(app, cards, latest, &projections.View[card, fact]{Name: "found", Version: version, From: tallies.Stream(), Fold: foldCard(1), Search: fields})
		}
	}
	app, _ := w.up()
	w.count(app, 1, 1)
	for name, c := range map[string]struct {
		q    framework.Query
		want string
	}{"cards": {framework.Query{Key: "t0"}, "it panics: out of order"}, "found": {framework.Query{Is: map[string]string{"word": "oak"}}, `"word"`}} {
		number := w.rebuilt(app, name, 1)
		w.shadow(app, name, number, 1)
		a, err := app.Ask(context.Background(), name, c.q)
		if err != nil || !strings.Contains(string(a.JSON), `"t0"`) {
			t.Errorf("%s: %s, %v", name, a.JSON, err)
		}
		if s := w.settled(app, name, number); s.Different != 1 || len(s.First) != 1 || !strings.Contains(s.First[0].Refused, c.want) || s.First[0].Other != nil {
			t.Errorf("%s: %+v, want that it is refused: %s", name, s, c.want)
		}
	}
}

// TestAskingCostsTheSameWhereNothingIsChosen counts allocations of a query, of which some
// are the application's own that go on beside it.
func TestAskingCostsTheSameWhereNothingIsChosen(t *testing.T) {
	w := shadowWorld(t)
	app, _ := w.up()
	w.ask(app, "t1", w.count(app, 20, 1))
	number := w.rebuilt(app, "cards", 2)
	cost := func() float64 {
		return testing.AllocsPerRun(2000, func() { w.ask(app, "t1", eventlog.Positions{}) })
	}
	before := cost()
	for _, share := range []float64{1e-12, 0} {
		w.shadow(app, "cards", number, share)
		if now := cost(); now > before+1 {
			t.Errorf("at a share of %v a query takes %v allocations, without %v", share, now, before)
		}
	}
}

// Of the share the control log has no more than its changes.
func TestTheRecordOfAShareSaysWhoWantedIt(t *testing.T) {
	w := shadowWorld(t)
	app, _ := w.up()
	w.shadow(app, "cards", w.rebuilt(app, "cards", 2), 0.25)
	records := w.log.Records(controlTopic, 0)
	last := records[len(records)-1]
	if got := string(last.Value); control.Kind(last.Header[1]) != control.KindShadow || !strings.HasPrefix(got, `{"view":"cards","number":4,"turn":1,"share":0.25,"by":"maya","at":"`) {
		t.Errorf("%v %s", last.Header, got)
	}
}

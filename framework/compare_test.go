package framework_test

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/esstore"
	"github.com/drivetrain-go/drivetrain/framework/view/redisstore"
	"github.com/drivetrain-go/drivetrain/projections"
)

// mistaken is the version of the folds of compareWorld that has a mistake: every
// tally named t3 is shown with one too many, and is placed in a set of its own.
const mistaken = 1

// compareWorld is a world whose versions 2 and 3 fold alike; 3 is read at first.
// Its stores are those of the servers that the environment names, if it names both.
func compareWorld(t *testing.T) *world {
	w := newWorld(t, 1)
	if addr, url := os.Getenv("REDIS_ADDR"), os.Getenv("ELASTICSEARCH_URL"); addr != "" && url != "" {
		w.onServers(addr, url)
	}
	w.program = func(app *framework.App) {
		commands.Handle(app, tallies, "count", func(tally, count) ([]fact, error) { return []fact{counted{}}, nil })
		for _, version := range []int{mistaken, 2, 3} {
			fold := func(c card, e projections.Event[fact]) card {
				c = card{ID: e.ID, N: c.N + 1, Word: "oak"}
				if version == mistaken && e.ID == "t3" {
					c.Made = 1
				}
				return c
			}
			cards := &projections.View[card, fact]{Name: "cards", Version: version, From: tallies.Stream(), Fold: fold}
			projections.Register(app, cards,
				&projections.View[card, fact]{Name: "found", Version: version, From: tallies.Stream(), Fold: fold, Search: view.Fields{"word": view.Text}},
				&projections.Feed[fact]{Name: "latest", Version: version, From: tallies.Stream(), Cards: cards,
					Place: func(e projections.Event[fact]) (projections.Place, bool) {
						set := "all"
						if version == mistaken && e.ID == "t3" {
							set = "mistaken"
						}
						return projections.Place{Set: set, Key: e.ID, At: e.Time}, true
					}})
		}
	}
	return w
}

// onServers lets an application of a name of its own be kept in Redis and Elasticsearch.
func (w *world) onServers(addr, url string) {
	name := fmt.Sprintf("compare-%x", maphash.String(maphash.MakeSeed(), w.Name()))
	w.alter = func(c *framework.Config) { c.App = name }
	client := redis.NewClient(&redis.Options{Addr: addr})
	search, err := esstore.New(esstore.Config{URLs: []string{url}})
	if err != nil {
		w.Fatal(err)
	}
	w.stores.Documents, w.stores.Search = redisstore.New(client), search
	w.Cleanup(func() {
		for _, store := range []view.Store{w.stores.Documents, search} {
			for _, of := range []string{"cards", "found", "latest"} {
				for number := range 6 {
					if err := store.Drop(context.Background(), view.Generation{App: name, View: of, Number: number}); err != nil {
						w.Error(err)
					}
				}
			}
		}
		if err := errors.Join(search.Close(), client.Close()); err != nil {
			w.Error(err)
		}
	})
}

// rebuilt returns a generation of a version once it is ready.
func (w *world) rebuilt(app *framework.App, name string, version int) int {
	w.Helper()
	number, err := app.Rebuild(context.Background(), name, framework.Rebuild{Version: version})
	if err != nil {
		w.Fatal(err)
	}
	eventually(w.T, func() bool {
		list, err := app.Generations(context.Background(), name)
		for _, g := range list {
			if g.Number == number && g.State == framework.Ready {
				return true
			}
		}
		return err != nil
	})
	return number
}

// counting sends commands until end is called, which returns how many were accepted
// and waits longest.
func (w *world) counting(app *framework.App) (end func() (accepted int, longest time.Duration)) {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	var accepted int
	var longest time.Duration
	work.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			res, err := app.Execute(context.Background(), call(fmt.Sprint("t", n%20)))
			if err != nil {
				w.Errorf("a command while generations are compared: %v", err)
				return
			}
			accepted++
			began, min := time.Now(), eventlog.NewPositions()
			min.Offsets[res.Position.Partition] = res.Position.Offset
			if _, err := app.Ask(context.Background(), "cards", framework.Query{Key: fmt.Sprint("t", n%20), Min: min}); err != nil {
				w.Errorf("a query while generations are compared: %v", err)
				return
			}
			longest = max(longest, time.Since(began))
		}
	})
	return func() (int, time.Duration) {
		cancel()
		work.Wait()
		return accepted, longest
	}
}

func TestGenerationsThatFoldAlikeAreEqualWhileEventsCome(t *testing.T) {
	w := compareWorld(t)
	app, _ := w.up()
	w.count(app, 20, 3)
	for _, name := range []string{"cards", "found", "latest"} {
		number := w.rebuilt(app, name, 2)
		end := w.counting(app)
		for range 3 {
			c, err := app.Compare(context.Background(), name, number)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !c.Equal || c.Digests[0] != c.Digests[1] || len(c.Differences) > 0 || c.Documents[0]+c.Entries[0] < 20 || c.Documents[0] != c.Documents[1] {
				t.Errorf("%s: %+v; want 20 documents or entries at least, all alike", name, c)
			}
		}
		accepted, longest := end()
		t.Logf("%s: %d commands meanwhile, each seen within %v", name, accepted, longest)
		if err := app.Switch(context.Background(), name, number, framework.Switch{}); err != nil {
			t.Errorf("switch %s: %v", name, err)
		}
	}
	w.count(app, 20, 1) // all go on
	at := w.count(app, 20, 1)
	for _, name := range []string{"cards", "latest"} {
		if _, err := app.Ask(context.Background(), name, framework.Query{Key: map[string]string{"cards": "t1", "latest": "all"}[name], Min: at}); err != nil {
			t.Errorf("%s after it was compared: %v", name, err)
		}
	}
}

func TestAVersionWithAMistakeIsRefusedByTheCompare(t *testing.T) {
	w := compareWorld(t)
	app, _ := w.up()
	w.count(app, 20, 3)
	for name, differs := range map[string]struct {
		key         string
		differences int
	}{"cards": {"t3", 1}, "found": {"t3", 1}, "latest": {"", 6}} {
		number := w.rebuilt(app, name, mistaken)
		end := w.counting(app)
		c, err := app.Compare(context.Background(), name, number)
		end()
		if err != nil || c.Equal || c.Digests[0] == c.Digests[1] || len(c.Differences) < differs.differences {
			t.Fatalf("%s: %+v, %v; want %d differences at least", name, c, err, differs.differences)
		}
		for _, d := range c.Differences {
			switch text := string(d.Read) + "|" + string(d.Other); {
			case name != "latest" && (d.Key != "t3" || !strings.Contains(string(d.Read), `"made":0`) || !strings.Contains(string(d.Other), `"made":1`)):
				t.Errorf("%s: %s differs by %s; want t3, with what both have", name, d.Key, text)
			case name == "latest" && (!strings.Contains(text, `"member":"t3"`) || (d.Key == "all") != (d.Other == nil) || (d.Key == "mistaken") != (d.Read == nil)):
				t.Errorf("%s: %s differs by %s; want the places of t3", name, d.Key, text)
			}
		}
		var refused *framework.GenerationError
		if err := app.Switch(context.Background(), name, number, framework.Switch{}); !errors.As(err, &refused) || refused.State != framework.Ready {
			t.Errorf("a switch of %s to what differs: %v; want a GenerationError", name, err)
		}
		if err := app.Switch(context.Background(), name, number, framework.Switch{Force: true, Reason: "on purpose"}); err != nil {
			t.Errorf("a forced switch of %s: %v", name, err)
		}
	}
}

func TestWhatCannotBeComparedSaysWhy(t *testing.T) {
	w := compareWorld(t)
	app, _ := w.up()
	w.count(app, 5, 1)
	number := w.rebuilt(app, "cards", 2)
	var refused *framework.GenerationError
	if _, err := app.Compare(t.Context(), "cards", 3); !errors.As(err, &refused) || refused.State != framework.Reading {
		t.Errorf("what is read, with itself: %v", err)
	}
	for _, err := range []error{
		func() error { _, err := app.Compare(t.Context(), "cards", 9); return err }(),
		func() error { _, err := app.Compare(t.Context(), "none", 1); return err }(),
	} {
		if !errors.Is(err, framework.ErrUnknown) {
			t.Errorf("what is not there: %v", err)
		}
	}
	if err := app.Retire(t.Context(), "cards", number, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := app.Compare(t.Context(), "cards", number); !errors.As(err, &refused) || refused.State != framework.Retired {
		t.Errorf("what is retired: %v", err)
	}
}

// TestACutWhoseMakerIsGoneEndsByItself puts a cut into the control log and forgets it.
func TestACutWhoseMakerIsGoneEndsByItself(t *testing.T) {
	w := newWorld(t, 1)
	app, _ := w.up()
	w.count(app, 5, 1)
	at := map[int32]int64{0: 0, 1: 0, 2: 0, 3: 0}
	until := time.Now().Add(2 * time.Second)
	cut := control.Cut{View: "cards", ID: event.ID{1}, Generations: []int{1}, At: at, Until: until}
	if _, err := w.log.Connect().Append(t.Context(), "test.control", 0, []eventlog.Record{cut.Record()}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)   // until it is read
	w.ask(app, "t1", w.count(app, 5, 1)) // within Config.ReadWait, or it fails
	if early := time.Until(until); early > 50*time.Millisecond {
		t.Errorf("what came behind the cut was seen %v before its end", early)
	}
}

// TestMoreDifferencesThanAreShown compares with the folds of newWorld, which differ in
// every document.
func TestMoreDifferencesThanAreShown(t *testing.T) {
	w := newWorld(t, 1, 2)
	app, _ := w.up()
	w.count(app, 50, 1)
	c, err := app.Compare(t.Context(), "cards", w.rebuilt(app, "cards", 1))
	if err != nil || c.Equal || len(c.Differences) != 20 || c.Documents != [2]int64{50, 50} {
		t.Errorf("%d differences, %+v, %v; want 20 of 50", len(c.Differences), c.Documents, err)
	}
}

// gated is a store whose scans go on when they are let.
type gated struct {
	view.Documents
	scanned chan int32 // gets the partition of each scan
	pass    func(ctx context.Context, partition int32) error
}

func (g *gated) Scan(ctx context.Context, of view.Generation, partition int32, from string, n int) (view.Scanned, error) {
	g.scanned <- partition
	if err := g.pass(ctx, partition); err != nil {
		return view.Scanned{}, err
	}
	return g.Documents.Scan(ctx, of, partition, from, n)
}

// seenWithin asks for what was just counted of a tally, and returns whether it is seen
// within some time.
func (w *world) seenWithin(app *framework.App, id string, within time.Duration) bool {
	w.Helper()
	res, err := app.Execute(context.Background(), call(id))
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	_, err = app.Ask(ctx, "cards", framework.Query{Key: id, Min: eventlog.NewPositions(res.Position)})
	return err == nil
}

func TestAPartitionThatIsReadSlowlyKeepsNoOtherHeld(t *testing.T) {
	w := compareWorld(t)
	slow := make(chan struct{})
	g := &gated{Documents: w.stores.Documents, scanned: make(chan int32, 100)}
	g.pass = func(ctx context.Context, partition int32) error {
		if partition == 0 {
			<-slow
		}
		return nil
	}
	w.stores.Documents = g
	app, _ := w.up()
	ids := make([]string, 4) // a tally of each partition
	for n := 0; n < 40; n++ {
		id := fmt.Sprint("t", n)
		ids[eventlog.PartitionOf([]byte("tally/"+id), 4)] = id
	}
	w.count(app, 40, 1)
	number := w.rebuilt(app, "cards", 2)
	result := make(chan framework.Comparison, 1)
	go func() {
		c, err := app.Compare(context.Background(), "cards", number)
		if err != nil {
			t.Error(err)
		}
		result <- c
	}()
	for scans := 0; scans < 8; scans++ { // of two generations, while partition 0 is held
		select {
		case <-g.scanned:
		case <-time.After(10 * time.Second):
			t.Fatalf("%d scans have begun while the first partition's do not end; want all 8", scans)
		}
	}
	for n, id := range ids[1:] {
		if !w.seenWithin(app, id, 5*time.Second) {
			t.Errorf("partition %d is held after it was compared", n+1)
		}
	}
	if w.seenWithin(app, ids[0], 100*time.Millisecond) {
		t.Error("partition 0 is not held while it is compared")
	}
	close(slow)
	if c := <-result; !c.Equal || c.Documents != [2]int64{40, 40} || len(c.Positions.Offsets) != 4 {
		t.Errorf("%+v; want 40 documents in 4 partitions, all alike", c)
	}
	if !w.seenWithin(app, ids[0], 5*time.Second) {
		t.Error("partition 0 is held after the comparison")
	}
}

// TestAComparisonThatFailsHoldsNothing has one partition fail while two others are held.
func TestAComparisonThatFailsHoldsNothing(t *testing.T) {
	w := compareWorld(t)
	g := &gated{Documents: w.stores.Documents, scanned: make(chan int32, 100)}
	var others atomic.Int32
	ready := make(chan struct{}) // closed once two others are scanned, of two generations each
	g.pass = func(ctx context.Context, partition int32) error {
		if partition == 1 {
			<-ready
			return errors.New("as asked")
		}
		if others.Add(1) == 4 {
			close(ready)
		}
		<-ctx.Done()
		return ctx.Err()
	}
	w.stores.Documents = g
	app, _ := w.up()
	w.count(app, 20, 1)
	number := w.rebuilt(app, "cards", 2)
	began := time.Now()
	var unavailable *framework.UnavailableError
	if _, err := app.Compare(context.Background(), "cards", number); !errors.As(err, &unavailable) || !strings.Contains(err.Error(), "as asked") {
		t.Errorf("%v; want an UnavailableError that says what failed", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v to end the other partitions", d)
	}
	partitions := make(map[int32]bool)
	for len(g.scanned) > 0 {
		partitions[<-g.scanned] = true
	}
	if len(partitions) > 3 {
		t.Errorf("partitions %v were held at once; want 3 at most", partitions)
	}
	for n := range 20 {
		if id := fmt.Sprint("t", n); !w.seenWithin(app, id, 5*time.Second) {
			t.Fatalf("%s is held after the comparison", id)
		}
	}
}

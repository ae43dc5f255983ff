package replay

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	json "github.com/goccy/go-json"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/projections"
)

// goalOfBoth is the goal of a rebuild: of the rate that its fold alone and the
// bare write of its documents would have one after the other.
const goalOfBoth = 0.8

// card is the document of a tribe, some 130 bytes of JSON.
type card struct {
	ID      string `json:"id"`
	Members int    `json:"members"`
	Guests  int    `json:"guests"`
	Last    string `json:"last"`
	Note    string `json:"note"`
}

// with is the card after one more has joined.
func (c card) with(id string, j Joined) card {
	c.ID, c.Last, c.Note = id, j.Member, j.Note
	if c.Members++; j.Guest {
		c.Guests++
	}
	return c
}

// fact is the events of a tribe.
type fact interface{ tribe() }

func (Joined) tribe() {}

// goccy decodes as the bare loops do.
type goccy struct{}

func (goccy) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (goccy) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

var facts = (&aggregates.Type[card, fact]{Name: "tribe", Evolve: func(c card, _ fact) card { return c }, Codec: goccy{},
	Events: event.Types[fact]{"tribe.joined": event.As[fact, Joined]()}}).Stream()

func fold(c card, e projections.Event[fact]) card { return c.with(e.ID, e.Fact.(Joined)) }

// TestRebuildsBesideFloors fills a view from a log that is there, in each store that
// the environment names, beside the same fold with nothing to write and beside a
// bare client that writes the documents as they are in the end. BENCH_DOCUMENTS says
// of how many documents (a twentieth of the events). It then lets the store lose all
// and times until the view is whole again.
func TestRebuildsBesideFloors(t *testing.T) {
	events, rounds := number(t, "BENCH_REPLAY", 20_000), number(t, "BENCH_REPEAT", 1)
	documents := number(t, "BENCH_DOCUMENTS", max(1, events/20))
	for name, open := range shops() {
		t.Run(name, func(t *testing.T) {
			log, topic := openLog(t)
			r := &rebuilt{replayed: newReplayed(t, log, topic, events, documents), shop: open(t)}
			for range rounds {
				r.round()
			}
			ratio := r.report()
			if os.Getenv("BENCH_REPLAY") != "" && ratio < goalOfBoth {
				t.Logf("BELOW THE GOAL: %.2f of the fold and the bare write, want %v", ratio, goalOfBoth)
			}
		})
	}
}

// openLog opens the log on the broker that the environment names, or in a file.
func openLog(t *testing.T) (log eventlog.Log, topic string) {
	var err error
	if brokers := os.Getenv("KAFKA_BROKERS"); brokers == "" {
		log, err = boltlog.Open(filepath.Join(t.TempDir(), "log.db"), boltlog.Options{TailBytes: -1})
		topic = "rebuild.events"
	} else {
		log, err = kafkalog.Open(t.Context(), kafkalog.Config{Brokers: strings.Split(brokers, ",")})
		topic = fmt.Sprintf("rebuild-%d.events", time.Now().UnixNano())
		t.Cleanup(func() { forget(t, strings.Split(brokers, ","), topic) })
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log, topic
}

// shop is a store, as ours fills it and as a bare client does.
type shop interface {
	resources() framework.Resources
	fields() view.Fields // of a search store
	// kept returns what a generation holds, by key, read by a client of its own.
	kept(g view.Generation) map[string][]byte
	// write writes what kept has last returned to a place of its own, which undo takes
	// away.
	write(round int) (undo func())
	// lose takes all away that a generation holds.
	lose(g view.Generation)
}

// rebuilt is a log of which views are made.
type rebuilt struct {
	*replayed
	shop
	folds, writes, ours, refills []figure
	written                      []int64 // documents, by round
}

// round measures ours, the fold alone and the write alone, once each.
func (r *rebuilt) round() {
	n := len(r.ours)
	g := view.Generation{App: fmt.Sprintf("rebuild-%d", time.Now().UnixNano()), View: "card", Number: 1}
	var puts atomic.Int64
	var task *running
	r.ours = append(r.ours, r.time(func() { task = r.fill(g, &puts) }))
	r.written = append(r.written, puts.Load())
	r.check(r.kept(g))
	undo := func() {}
	r.writes = append(r.writes, r.time(func() { undo = r.write(n) }))
	undo()
	r.refills = append(r.refills, r.time(func() {
		r.lose(g)
		task.refilled()
	}))
	r.check(r.kept(g))
	task.end()
	r.lose(g)
	r.folds = append(r.folds, r.measure("the fold alone", r.foldAlone))
}

func (r *rebuilt) time(f func()) figure {
	runtime.GC()
	began, before := time.Now(), used()
	f()
	return figure{time.Since(began), used() - before}
}

// check compares what a store holds with what the events come to.
func (r *rebuilt) check(kept map[string][]byte) {
	if len(kept) != len(r.cards) {
		r.Fatalf("%d documents, want %d", len(kept), len(r.cards))
	}
	for id, want := range r.cards {
		var got card
		if err := json.Unmarshal(kept[id], &got); err != nil || got != want {
			r.Fatalf("document %s is %s (%v), want %+v", id, kept[id], err, want)
		}
	}
}

// running is a view's tasks at work.
type running struct {
	*rebuilt
	runner *stream.Runner
	cancel context.CancelFunc
	ended  chan error
}

func (r *rebuilt) run(t *stream.Topology) *running {
	runner, err := stream.NewRunner(t, stream.Config{Log: r.log})
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.Context())
	task := &running{r, runner, cancel, make(chan error, 1)}
	go func() { task.ended <- runner.Run(ctx) }()
	return task
}

// fill makes a view from its first event to its last, all written.
func (r *rebuilt) fill(g view.Generation, puts *atomic.Int64) *running {
	app := framework.New(framework.Config{App: g.App, Open: func(context.Context) (framework.Resources, error) { return framework.Resources{}, nil }})
	projections.Register(app, &projections.View[card, fact]{Name: g.View, From: facts, Fold: fold, Search: r.fields()})
	at := framework.Following{Resources: counting(r.resources(), puts), Generation: g, Topic: r.topic, Partitions: parts, MarkEvery: 50 * time.Millisecond}
	task := r.run(app.Views()[0].Topology(at))
	task.until("the view is filled", func(s stream.TaskStatus) bool { return s.Done >= r.ends[s.Partition] })
	return task
}

// refilled waits until all tasks have found the loss and made it good.
func (task *running) refilled() {
	task.until("the view is whole again", func(s stream.TaskStatus) bool { return s.Fills > 1 && s.Whole() })
}

func (task *running) until(what string, done func(stream.TaskStatus) bool) {
	for late := time.Now().Add(5 * time.Minute); ; time.Sleep(time.Millisecond) {
		tasks := task.runner.Status()
		if len(tasks) == parts && !slices.ContainsFunc(tasks, func(s stream.TaskStatus) bool { return !done(s) }) {
			return
		}
		if time.Now().After(late) || slices.ContainsFunc(tasks, func(s stream.TaskStatus) bool { return s.Final }) {
			task.Fatalf("%s not: %+v", what, tasks)
		}
	}
}

func (task *running) end() {
	task.cancel()
	if err := <-task.ended; err != nil {
		task.Fatal(err)
	}
}

// foldAlone is the same topology with nothing to write.
func (r *rebuilt) foldAlone() (int, func()) {
	t := &stream.Topology{Name: fmt.Sprintf("fold-%d", time.Now().UnixNano())}
	var folded atomic.Int64
	joined := stream.FromEvents(t, &stream.Events[projections.Event[fact]]{Name: "events", Topic: r.topic, Group: stream.NoGroup,
		Decode: func(e *partition.Event, v *projections.Event[fact]) (bool, error) {
			kind, id, _ := strings.Cut(string(e.Key), "/")
			f, err := facts.Decode(kind, e.Type, e.Data)
			*v = projections.Event[fact]{Fact: f, Aggregate: kind, ID: id, Version: e.Version, Time: e.Time, Actor: e.Actor, EventID: e.ID, Name: facts.Current(kind, e.Type)}
			return true, err
		}})
	stream.Via(joined, &stream.Process[card, projections.Event[fact], int]{Name: "fold", OnEvent: func(c *stream.Context[card, int], e projections.Event[fact]) error {
		doc := c.State()
		*doc = fold(*doc, e)
		folded.Add(1)
		return nil
	}})
	task := r.run(t)
	task.until("all is folded", func(s stream.TaskStatus) bool { return s.Next >= r.ends[s.Partition] })
	return int(folded.Load()), task.end
}

// counting counts the documents that are written.
func counting(r framework.Resources, puts *atomic.Int64) framework.Resources {
	if r.Documents != nil {
		r.Documents = countedDocuments{r.Documents, puts}
	}
	if r.Search != nil {
		r.Search = countedSearch{r.Search, puts}
	}
	return r
}

type countedDocuments struct {
	view.Documents
	puts *atomic.Int64
}

func (c countedDocuments) Write(ctx context.Context, g view.Generation, b *view.Batch) error {
	c.puts.Add(int64(len(b.Puts)))
	return c.Documents.Write(ctx, g, b)
}

type countedSearch struct {
	view.Search
	puts *atomic.Int64
}

func (c countedSearch) Write(ctx context.Context, g view.Generation, b *view.Batch) error {
	c.puts.Add(int64(len(b.Puts)))
	return c.Search.Write(ctx, g, b)
}

// report prints the medians, and returns that of the ratios.
func (r *rebuilt) report() float64 {
	ours := r.print("ours", r.ours)
	r.print("the fold alone", r.folds)
	r.print("whole again after all was lost", r.refills)
	var writes []time.Duration
	var ratios, rates, folded []float64
	for i := range r.ours {
		writes = append(writes, r.writes[i].wall)
		ratios = append(ratios, (r.folds[i].wall+r.writes[i].wall).Seconds()/r.ours[i].wall.Seconds())
		rates = append(rates, float64(r.written[i])/r.ours[i].wall.Seconds())
		folded = append(folded, float64(r.events)/float64(r.written[i]))
	}
	slices.Sort(writes)
	slices.Sort(ratios)
	slices.Sort(rates)
	slices.Sort(folded)
	mid := len(ratios) / 2
	r.Logf("bare write of %d documents: %v, %.0f documents/s", len(r.cards), writes[mid].Round(time.Millisecond), float64(len(r.cards))/writes[mid].Seconds())
	r.Logf("%d events of %d documents in %v, %d rounds: %.0f documents written/s, %.1f events folded into each; %.2f of fold and write",
		r.events, len(r.cards), ours.Round(time.Millisecond), len(ratios), rates[mid], folded[mid], ratios[mid])
	return ratios[mid]
}

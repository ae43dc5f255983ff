package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

const totalsShuffle = "totals.all.1"

func init() { lossLasts = 300 * time.Millisecond }

// starts returns where a partition starts.
func (b *bench) starts(topic string) int64 {
	b.Helper()
	start, err := b.log.(eventlog.Trimmer).Start(b.Context(), topic, 0)
	if err != nil {
		b.Fatal(err)
	}
	return start
}

// grown sends numbers, one at a time and each only once a snapshot of the one before is
// there, and returns the sums of all.
func (b *bench) grown(log *memlog.Log, from, to int) (sums []string) {
	b.Helper()
	for i := 1; i <= to; i++ {
		sums = append(sums, fmt.Sprint(i*(i+1)/2))
		if i < from {
			continue
		}
		b.send("in", 0, "k", fmt.Sprint(i))
		b.until("the sum of "+fmt.Sprint(i), func() bool { return len(b.values(log, "sums", 1)) == i })
		end, err := log.End(b.Context(), totalsShuffle, 0)
		if err != nil {
			b.Fatal(err)
		}
		b.stored("all", end)
	}
	slices.Sort(sums)
	return sums
}

func TestAShuffleForgetsWhatNoSnapshotNeeds(t *testing.T) {
	b, log := memBench(t, totalTopics)
	_, stop := b.run(totals(1, true, Plain))
	b.grown(log, 1, 12)
	b.until("the shuffle to be trimmed", func() bool { return b.starts(totalsShuffle) >= 7 })
	time.Sleep(50 * time.Millisecond) // were it trimmed further, it would be by now
	stop()
	newest := "" // blob that the last snapshot builds on; one that does not must do
	for name := range contents(t, b.snapshots) {
		if strings.Contains(name, "/all/") && strings.HasSuffix(name, ".full") {
			newest = max(newest, name)
		}
	}
	if newest == "" {
		t.Fatal("there is no full snapshot")
	}
	if err := b.snapshots.Delete(t.Context(), newest); err != nil {
		t.Fatal(err)
	}
	_, stop = b.run(totals(1, true, Plain))
	want := b.grown(log, 13, 15)
	stop()
	if got := b.values(log, "sums", 1); !slices.Equal(got, want) {
		t.Errorf("published are %q, want %q", got, want)
	}
	if got := b.starts("in"); got != 0 {
		t.Errorf("the source starts at %d: it is not ours to trim", got)
	}
}

// stocked is a topology whose shuffle fills a store.
func stocked() *Topology {
	t := totals(1, true, Plain)
	t.stages[1].stores = append(t.stages[1].stores, &store{})
	return t
}

func TestAShuffleIsKeptWhereItsBeginningMayBeNeeded(t *testing.T) {
	for name, c := range map[string]struct {
		topology *Topology
		cfg      Config
		log      eventlog.Log
		stage    string
		trims    bool
	}{
		"it forgets":                {topology: totals(1, true, Plain), stage: "all", trims: true},
		"it is to be kept":          {topology: totals(1, true, Plain), cfg: Config{KeepShuffles: true}, stage: "all"},
		"it fills a store":          {topology: stocked(), stage: "all"},
		"it is a topic of others":   {topology: totals(1, true, Plain), stage: "in"},
		"the log cannot forget":     {topology: totals(1, true, Plain), log: plainLog{memlog.New()}, stage: "all"},
		"it is an intake's copy":    {topology: clicksIn.Topology(), stage: clicksIn.Topology().stages[1].name},
		"there are to be snapshots": {topology: totals(1, true, Plain), stage: "all"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := c.cfg
			if cfg.Log = c.log; cfg.Log == nil {
				cfg.Log = memlog.New()
			}
			i := slices.IndexFunc(c.topology.stages, func(s *stage) bool { return s.name == c.stage })
			a := &attempt{Task: &Task{cfg: &cfg, stage: c.topology.stages[i]}, snap: &snapshots{}}
			if name == "there are to be snapshots" {
				a.snap = nil
			}
			if trims := a.trimmer() != nil; trims != c.trims {
				t.Errorf("it is trimmed: %v, want %v", trims, c.trims)
			}
		})
	}
}

// plainLog can do what every log can.
type plainLog struct{ eventlog.Log }

func TestWhatIsParkedIsNotForgotten(t *testing.T) {
	g := newParkRig(Park{})
	if err := g.feed("a 1", "a bad", "b 1", "c bad", "a 2"); err != nil {
		t.Fatal(err)
	}
	if got := g.core.floor(); got != 1 {
		t.Errorf("it needs the log from %d on, want 1, where the first parked event lies", got)
	}
	if err := g.rule(Discard, "a", 1); err != nil {
		t.Fatal(err)
	}
	if got := g.core.floor(); got != 3 {
		t.Errorf("with a free it needs the log from %d on, want 3", got)
	}
	if err := g.rule(Discard, "c", 3); err != nil {
		t.Fatal(err)
	}
	if got := g.core.floor(); got != g.core.next {
		t.Errorf("with all free it needs the log from %d on, want %d", got, g.core.next)
	}
}

// minded is totals behind a shuffle, where an operator does something first.
func minded(mind func(v int64) error) *Topology {
	t := &Topology{Name: "totals", Partitions: 1}
	in := From(t, &Source[int64]{Name: "in", Topic: "in", Decode: func(r *Record, v *int64) error { return simInts.Decode(r.Value, v) }})
	all := KeyBy(in, "all", func(int64) string { return "all" }, simInts)
	sums, _ := Via(all, &Process[int64, int64, int64]{Name: "sum", State: simInts, OnEvent: func(c *Context[int64, int64], v int64) error {
		if err := mind(v); err != nil {
			return err
		}
		*c.State() += v
		c.Emit(*c.State())
		return nil
	}})
	To(sums, &Publish[int64]{Name: "sums", Topic: "sums", Codec: simInts})
	return t
}

func TestAShuffleIsKeptFromTheFirstParkedEventOn(t *testing.T) {
	b, log := memBench(t, totalTopics)
	top := minded(func(v int64) error {
		if v == 9 {
			return fmt.Errorf("not %d", v)
		}
		return nil
	})
	top.Park = &Park{}
	_, stop := b.run(top)
	defer stop()
	b.grown(log, 1, 8)
	b.send("in", 0, "k", "9", "10")
	b.until("the shuffle to be trimmed", func() bool { return b.starts(totalsShuffle) > 0 })
	for n := int64(11); n < 20; n++ {
		b.send("in", 0, "k", "5")
		b.until("the shuffle", func() bool { end, _ := log.End(t.Context(), totalsShuffle, 0); return end == n })
		b.stored("all", n)
	}
	if start := b.starts(totalsShuffle); start > 8 {
		t.Errorf("it starts at %d, want 8 at most, where the parked event lies", start)
	}
}

func TestWithoutItsSnapshotsATrimmedShuffleStopsItsTaskAndSaysWhatHelps(t *testing.T) {
	b, log := memBench(t, totalTopics)
	_, stop := b.run(totals(1, true, Plain))
	b.grown(log, 1, 5)
	b.until("the shuffle to be trimmed", func() bool { return b.starts(totalsShuffle) > 0 })
	stop()
	b.snapshots = snapshot.Memory()
	r, stop := b.run(totals(1, true, Plain))
	err := b.stopped(r, "all")
	stop()
	for _, part := range []string{"no snapshot that can be used", totalsShuffle, "restore the snapshots", "raise Topology.Version"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v; want %q in it", err, part)
		}
	}
	_, stop = b.run(totals(2, true, Plain)) // the remedy
	defer stop()
	b.until("all sums twice", func() bool { return len(b.values(log, "sums", 1)) == 10 })
}

// A task that was replaced, and is woken, may store a snapshot that lies below all that
// is kept.
func TestASnapshotBelowTheStartIsPassedOver(t *testing.T) {
	b, log := memBench(t, totalTopics)
	_, stop := b.run(totals(1, true, Plain))
	b.grown(log, 1, 2)
	old := contents(t, b.snapshots)
	b.grown(log, 3, 12)
	b.until("the shuffle to be trimmed", func() bool { return b.starts(totalsShuffle) > 5 })
	stop()
	for name, blob := range old {
		if err := b.snapshots.Put(t.Context(), name, bytes.NewReader(blob)); err != nil {
			t.Fatal(err)
		}
	}
	for name := range contents(t, b.snapshots) {
		if strings.Contains(name, "/all/") && strings.HasSuffix(name, ".manifest") && old[name] == nil {
			if err := b.snapshots.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	var said bytes.Buffer
	r, stop := b.runWith(totals(1, true, Plain), Config{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	why := b.stopped(r, "all")
	stop()
	if !strings.Contains(why.Error(), "no snapshot that can be used") || !strings.Contains(said.String(), "it needs totals.all.1 from offset") {
		t.Errorf("it stopped with %v, having said\n%s", why, said.String())
	}
}

func contents(t *testing.T, store snapshot.BlobStore) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	names, err := store.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		body, err := store.Get(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if all[name], err = io.ReadAll(body); err != nil {
			t.Fatal(err)
		}
		body.Close()
	}
	return all
}

// A process that stands still while another one has taken its task over, and trims, goes
// on from a snapshot of that.
func TestATaskWhoseRecordsAnotherHasTrimmedGoesOnFromANewerSnapshot(t *testing.T) {
	b, log := memBench(t, totalTopics)
	b.send("in", 0, "k", "1")
	var still atomic.Bool
	blocked, resume := make(chan struct{}, 1), make(chan struct{})
	top := minded(func(int64) error {
		if still.CompareAndSwap(true, false) {
			blocked <- struct{}{}
			<-resume
		}
		return nil
	})
	slow, stopSlow := b.runWith(top, Config{SnapshotEvery: time.Hour})
	defer stopSlow()
	b.until("the first sum", func() bool { return len(b.values(log, "sums", 1)) == 1 })
	still.Store(true)
	b.send("in", 0, "k", "2")
	select {
	case <-blocked:
	case <-time.After(10 * time.Second):
		t.Fatal("the operator was not reached")
	}
	other, stopOther := b.run(minded(func(int64) error { return nil }))
	defer stopOther()
	want := b.grown(log, 3, 20)
	b.until("the shuffle to be trimmed", func() bool { return b.starts(totalsShuffle) > 10 })
	close(resume)
	end, err := log.End(t.Context(), totalsShuffle, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.until("both to be done", func() bool {
		for _, r := range []*Runner{slow, other} {
			for _, s := range r.Status() {
				if s.Final {
					t.Fatalf("%s has stopped: %v", s.Operator, s.Err)
				}
				if s.Operator == "all" && s.Done < end {
					return false
				}
			}
		}
		return true
	})
	if got := b.values(log, "sums", 1); !slices.Equal(got, want) {
		t.Errorf("published are %q, want %q", got, want)
	}
}

// mute is a blob store that cannot read for a while.
type mute struct {
	snapshot.BlobStore
	is atomic.Bool
}

func (m *mute) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if m.is.Load() {
		return nil, errors.New("the store does not answer")
	}
	return m.BlobStore.Get(ctx, name)
}

// However long the blob store cannot be read, the task waits for it.
func TestATaskWaitsForASnapshotThatCannotBeRead(t *testing.T) {
	b, log := memBench(t, totalTopics)
	_, stop := b.run(totals(1, true, Plain))
	b.grown(log, 1, 5)
	b.until("the shuffle to be trimmed", func() bool { return b.starts(totalsShuffle) > 0 })
	stop()
	store := &mute{BlobStore: b.snapshots}
	store.is.Store(true)
	b.snapshots = store
	r, stop := b.run(totals(1, true, Plain))
	defer stop()
	var why string
	for began := time.Now(); time.Since(began) < 3*lossLasts; time.Sleep(10 * time.Millisecond) {
		for _, s := range r.Status() {
			if s.Final {
				t.Fatalf("%s has stopped for good: %v", s.Operator, s.Err)
			} else if s.Operator == "all" && s.Err != nil {
				why = s.Err.Error()
			}
		}
	}
	if !strings.Contains(why, "the store does not answer") {
		t.Errorf("it waits as %q", why)
	}
	store.is.Store(false)
	b.send("in", 0, "k", "6")
	b.until("the sum of 6", func() bool { return len(b.values(log, "sums", 1)) == 6 })
}

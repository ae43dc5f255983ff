package stream

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

// bench runs topologies on a log until what is expected has come.
type bench struct {
	*testing.T
	log       eventlog.Log
	snapshots snapshot.BlobStore
}

func memBench(t *testing.T, topics map[string]int) (*bench, *memlog.Log) {
	log := memlog.New()
	t.Cleanup(func() { log.Close() })
	b := &bench{t, log, snapshot.Memory()}
	b.ensure(topics)
	return b, log
}

func (b *bench) ensure(topics map[string]int) {
	b.Helper()
	for topic, n := range topics {
		if err := b.log.Ensure(b.Context(), eventlog.Topic{Name: topic, Partitions: n}); err != nil {
			b.Fatal(err)
		}
	}
}

func (b *bench) send(topic string, part int32, key string, values ...string) {
	b.Helper()
	for _, v := range values {
		if _, err := b.log.(eventlog.Outside).Publish(b.Context(), topic, part, []eventlog.Record{{Key: []byte(key), Value: []byte(v)}}); err != nil {
			b.Fatal(err)
		}
	}
}

// run runs a topology until the returned function ends it.
func (b *bench) run(t *Topology) (*Runner, func()) {
	b.Helper()
	return b.runWith(t, Config{SnapshotEvery: 10 * time.Millisecond, TransactEvery: time.Millisecond})
}

func (b *bench) runWith(t *Topology, cfg Config) (*Runner, func()) {
	b.Helper()
	cfg.Log, cfg.Snapshots = b.log, b.snapshots
	r, err := NewRunner(t, cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return r, func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}
}

// until waits 10 s at most until ok.
func (b *bench) until(what string, ok func() bool) {
	b.Helper()
	for range 5000 {
		if ok() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	b.Fatalf("waited for %s in vain", what)
}

// stopped waits until a task has stopped for good, and returns why.
func (b *bench) stopped(r *Runner, operator string) (why error) {
	b.Helper()
	b.until(operator+" to stop", func() bool {
		for _, s := range r.Status() {
			if s.Operator == operator && s.Final {
				why = s.Err
			}
		}
		return why != nil
	})
	return why
}

// stored waits until a snapshot of each of n tasks is there, and behind the last
// record that was sent.
func (b *bench) stored(operator string, next int64) {
	b.Helper()
	b.until("a snapshot of "+operator, func() bool {
		names, err := b.snapshots.List(b.Context(), "")
		if err != nil {
			b.Fatal(err)
		}
		return slices.ContainsFunc(names, func(name string) bool {
			return strings.Contains(name, "/"+operator+"/") && strings.Contains(name, fmt.Sprintf("/%019d-", next))
		})
	})
}

// values returns what a topic holds, by partition, without copies.
func (b *bench) values(log *memlog.Log, topic string, parts int32) (all []string) {
	seen := map[string]bool{}
	for p := range parts {
		for _, r := range log.Records(topic, p) {
			id := string(eventlog.Header(r.Header, PublishedHeader))
			if id == "" || !seen[id] {
				all = append(all, string(r.Value))
			}
			seen[id] = true
		}
	}
	slices.Sort(all)
	return all
}

func (b *bench) publishes(log *memlog.Log, topic string, want ...string) {
	b.Helper()
	var got []string
	defer func() {
		if b.Failed() {
			b.Logf("%s holds %q", topic, got)
		}
	}()
	b.until(fmt.Sprintf("%q", want), func() bool {
		got = b.values(log, topic, 1)
		return slices.Equal(got, want)
	})
}

// totals sums numbers in one stage, or behind a shuffle.
func totals(version uint64, shuffled bool, mode Mode) *Topology {
	t := &Topology{Name: "totals", Version: version, Partitions: 1}
	in := From(t, &Source[int64]{Name: "in", Topic: "in", Decode: func(r *Record, v *int64) error { return simInts.Decode(r.Value, v) }})
	if shuffled {
		in = KeyBy(in, "all", func(int64) string { return "all" }, simInts)
	}
	sums, _ := Via(in, &Process[int64, int64, int64]{Name: "sum", State: simInts, OnEvent: func(c *Context[int64, int64], v int64) error {
		*c.State() += v
		c.Emit(*c.State())
		return nil
	}})
	To(sums, &Publish[int64]{Name: "sums", Topic: "sums", Codec: simInts, Mode: mode})
	return t
}

var totalTopics = map[string]int{"in": 1, "sums": 1}

func TestATopicMadeAnewStopsARunningTaskThatCannotReadOn(t *testing.T) {
	b, log := memBench(t, totalTopics)
	b.send("in", 0, "k", "1", "2")
	r, stop := b.run(totals(1, true, Plain))
	defer stop()
	b.publishes(log, "sums", "1", "3")
	log.Remake("in")
	if err := b.stopped(r, "in"); !errors.Is(err, errRemade) || !strings.Contains(err.Error(), "raise Topology.Version") {
		t.Errorf("it stopped with %v", err)
	}
}

func TestATopicMadeAnewIsNoticedAtTheNextStartThoughItHasGrownAgain(t *testing.T) {
	b, log := memBench(t, totalTopics)
	b.send("in", 0, "k", "1", "2")
	_, stop := b.run(totals(1, true, Plain))
	b.publishes(log, "sums", "1", "3")
	b.stored("in", 2)
	stop()
	log.Remake("in")
	b.send("in", 0, "k", "10", "20", "40")
	r, stop := b.run(totals(1, true, Plain))
	if err := b.stopped(r, "in"); !errors.Is(err, errRemade) {
		t.Errorf("it stopped with %v", err)
	}
	stop()
	_, stop = b.run(totals(2, true, Plain)) // the remedy
	defer stop()
	b.publishes(log, "sums", "1", "10", "3", "30", "70")
}

func TestATopicMadeAnewIsNoticedBetweenTwoAttemptsWithoutSnapshots(t *testing.T) {
	b, log := memBench(t, totalTopics)
	b.snapshots = nil
	b.send("in", 0, "k", "1", "2")
	r, stop := b.run(totals(1, true, Plain))
	defer stop()
	b.publishes(log, "sums", "1", "3")
	var failed atomic.Bool
	log.OnAppend(func(topic string, _ int32, _ []eventlog.Record) memlog.Fault {
		if topic != "totals.all.1" || failed.Swap(true) {
			return memlog.None
		}
		return memlog.Lost
	})
	b.send("in", 0, "k", "4")
	b.until("the failure", failed.Load)
	log.Remake("in")
	b.send("in", 0, "k", "10", "20", "40", "80")
	if err := b.stopped(r, "in"); !errors.Is(err, errRemade) {
		t.Errorf("it stopped with %v", err)
	}
}

func TestAnEndBelowTheTaskStopsIt(t *testing.T) {
	b, log := memBench(t, totalTopics)
	b.send("in", 0, "k", "1", "2", "4")
	_, stop := b.run(totals(1, true, Plain))
	b.publishes(log, "sums", "1", "3", "7")
	b.stored("in", 3)
	stop()
	b.send("in", 0, "k", "8", "16")
	trim(t, log, "in", 0, 4) // 8 was never read
	r, stop := b.run(totals(1, true, Plain))
	defer stop()
	if err := b.stopped(r, "in"); !errors.Is(err, eventlog.ErrOffset) || !strings.Contains(err.Error(), "topic in has lost records: the task is at 0@3") {
		t.Errorf("it stopped with %v", err)
	}
}

func TestAnotherFileBehindSnapshotsIsRefused(t *testing.T) {
	dir := t.TempDir()
	b := &bench{T: t, snapshots: snapshot.Memory()}
	folded := make(chan int64, 100)
	topology := func() *Topology {
		top := &Topology{Name: "filed", Partitions: 1}
		events := FromEvents(top, &Events[int64]{Name: "events", Topic: "app.events",
			Decode: func(e *partition.Event, v *int64) (bool, error) { return true, simInts.Decode(e.Data, v) }})
		Via(events, &Process[int64, int64, int64]{Name: "sum", State: simInts, OnEvent: func(c *Context[int64, int64], v int64) error {
			*c.State() += v
			folded <- *c.State()
			return nil
		}})
		return top
	}
	open := func(name string, values ...int64) {
		log, err := boltlog.Open(filepath.Join(dir, name), boltlog.Options{})
		if err != nil {
			t.Fatal(err)
		}
		b.log = log
		b.ensure(map[string]int{"app.events": 1})
		end, err := log.End(t.Context(), "app.events", 0)
		if err != nil {
			t.Fatal(err)
		}
		records := []eventlog.Record{}
		if end == 0 {
			records = append(records, eventlog.Record{Header: partition.ClaimHeader(partition.Claim{Epoch: 1, Owner: event.ID{1}})})
		}
		for i, v := range values {
			e := event.Envelope{ID: event.ID{2}, Command: event.NewID(time.Now(), [10]byte{byte(v)}), Type: "e", Version: max(uint64(end), 1) + uint64(i), Epoch: 1, Count: 1, Time: time.Now()}
			records = append(records, eventlog.Record{Key: []byte("x/a"), Header: e.Append(nil), Value: fmt.Append(nil, v)})
		}
		if _, err := log.Append(t.Context(), "app.events", 0, records); err != nil {
			t.Fatal(err)
		}
	}
	open("one.db", 1, 2)
	_, stop := b.run(topology())
	if one, two := <-folded, <-folded; one != 1 || two != 3 {
		t.Fatalf("folded %d, %d", one, two)
	}
	b.stored("events", 3)
	stop()
	b.log.Close()

	open("one.db", 4) // the same file goes on
	_, stop = b.run(topology())
	if sum := <-folded; sum != 7 {
		t.Fatalf("folded %d", sum)
	}
	b.stored("events", 4)
	stop()
	b.log.Close()

	open("other.db", 10, 20, 30, 40, 50)
	defer func() { b.log.Close() }()
	r, stop := b.run(topology())
	defer stop()
	if err := b.stopped(r, "events"); !errors.Is(err, errRemade) {
		t.Errorf("it stopped with %v", err)
	}
	if len(folded) > 0 {
		t.Errorf("it folded %d of another file", <-folded)
	}
}

func TestAFirstStartOnATopicWithoutItsBeginningGoesOn(t *testing.T) {
	b, log := memBench(t, totalTopics)
	b.send("in", 0, "k", "100", "200", "1")
	trim(t, log, "in", 0, 2)
	_, stop := b.run(totals(1, true, Plain))
	b.publishes(log, "sums", "1")
	stop()
	// However soon it ends, it is known where it began.
	b.send("in", 0, "k", "2")
	_, stop = b.run(totals(1, true, Plain))
	defer stop()
	b.publishes(log, "sums", "1", "3")
}

// TestTheBeginningIsStoredBeforeAnythingIsWritten ends the first start before any
// snapshot is due, and loses a further record.
func TestTheBeginningIsStoredBeforeAnythingIsWritten(t *testing.T) {
	b, log := memBench(t, totalTopics)
	b.send("in", 0, "k", "100", "1", "2")
	trim(t, log, "in", 0, 1)
	_, stop := b.run(totals(1, true, Plain))
	b.publishes(log, "sums", "1", "3")
	stop()
	names, err := b.snapshots.List(t.Context(), "totals/in/v1/in/0/")
	if err != nil || !slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, fmt.Sprintf("/%019d-", 1)) }) {
		t.Fatalf("%q, %v: none is of offset 1", names, err)
	}
}

func TestASourceThatHasLostItsBeginningAndItsSnapshotsStops(t *testing.T) {
	b, log := memBench(t, totalTopics)
	b.send("in", 0, "k", "1", "2", "4")
	_, stop := b.run(totals(1, true, Plain))
	b.publishes(log, "sums", "1", "3", "7")
	stop()
	b.snapshots = snapshot.Memory()
	b.send("in", 0, "k", "8")
	_, stop = b.run(totals(1, true, Plain)) // all is there: it is folded anew
	b.publishes(log, "sums", "1", "15", "3", "7")
	stop()
	b.snapshots = snapshot.Memory()
	trim(t, log, "in", 0, 2)
	b.send("in", 0, "k", "16")
	r, stop := b.run(totals(1, true, Plain))
	err := b.stopped(r, "in")
	if !strings.Contains(err.Error(), "shuffle all holds, or held, what the task made") || !strings.Contains(err.Error(), "raise Topology.Version") {
		t.Errorf("it stopped with %v", err)
	}
	stop()
	_, stop = b.run(totals(2, true, Plain)) // the remedy
	defer stop()
	b.publishes(log, "sums", "1", "12", "15", "28", "3", "4", "7")
}

// Another source's records in the shuffle are no sign of this one's.
func TestASourceIsNotTakenForAnother(t *testing.T) {
	b, log := memBench(t, map[string]int{"in": 2, "sums": 1})
	b.send("in", 1, "k", "1")
	_, stop := b.run(totals(1, true, Plain))
	b.publishes(log, "sums", "1")
	stop()
	b.snapshots = snapshot.Memory()
	b.send("in", 0, "k", "100", "2")
	trim(t, log, "in", 0, 1)
	_, stop = b.run(totals(1, true, Plain))
	defer stop()
	b.publishes(log, "sums", "1", "3")
}

func TestARaisedVersionPublishesAllAnewBesideTheOldOne(t *testing.T) {
	for name, mode := range map[string]Mode{"plain": Plain, "transactional": Transactional} {
		t.Run(name, func(t *testing.T) {
			b, log := memBench(t, totalTopics)
			b.send("in", 0, "k", "1", "2")
			one, stop := b.run(totals(1, false, mode))
			defer stop()
			b.publishes(log, "sums", "1", "3")
			_, stop2 := b.run(totals(2, false, mode))
			defer stop2()
			b.publishes(log, "sums", "1", "1", "3", "3")
			b.send("in", 0, "k", "4")
			b.publishes(log, "sums", "1", "1", "3", "3", "7", "7")
			if s := one.Status()[0]; s.Err != nil || s.Done != 3 {
				t.Errorf("the old version: %+v", s)
			}
			versions := map[uint64]int{}
			for _, r := range log.Records("sums", 0) {
				o, err := OriginOf(r.Header)
				if err != nil {
					t.Fatal(err)
				}
				versions[o.Version]++
			}
			if len(versions) != 2 || versions[1] != 3 || versions[2] != 3 {
				t.Errorf("records by version: %v", versions)
			}
		})
	}
}

// trim deletes the records of a partition below an offset.
func trim(t *testing.T, log eventlog.Trimmer, topic string, part int32, below int64) {
	t.Helper()
	if err := log.Trim(t.Context(), topic, part, below); err != nil {
		t.Fatal(err)
	}
}

package cluster

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// eventsEach is how many events each aggregate of a measured log has.
const eventsEach = 3

// filled is a log with a claim and eventsEach commits of each aggregate.
func filled(t *testing.T, aggregates int) *memlog.Log {
	log := memlog.New()
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	batch := []eventlog.Record{{Header: partition.ClaimHeader(partition.Claim{Epoch: 1, Owner: event.ID{9}})}}
	for i := range aggregates * eventsEach {
		at := noon.Add(time.Duration(i) * time.Millisecond)
		e := event.Envelope{Command: event.NewID(at, [10]byte{byte(i), byte(i >> 8), byte(i >> 16)}), Type: "added", Epoch: 1, Count: 1, Version: uint64(i/aggregates) + 1, Time: at}
		e.ID = e.Command.Derive(0, at)
		batch = append(batch, eventlog.Record{Key: partition.Key("tally", strconv.Itoa(i%aggregates)), Header: e.Append(nil), Value: []byte("a")})
		if len(batch) == 1000 || i == aggregates*eventsEach-1 {
			if _, err := log.Append(t.Context(), topic, 0, batch); err != nil {
				t.Fatal(err)
			}
			batch = nil
		}
	}
	return log
}

// measured is an owner with a store of snapshots in a folder.
func measured(log eventlog.Log, store snapshot.BlobStore) *Owner {
	return NewOwner(OwnerConfig{App: "t", Log: log, Topic: topic, Process: clock.NewID(clock.System), Aggregates: map[string]Aggregate{"tally": tallies{}},
		AppendTimeout: 5 * time.Second, Memory: partition.Memory{Age: 24 * time.Hour, Number: 100_000}, MaxQueue: 64, Snapshots: store,
		SnapshotEvery: time.Nanosecond, Clock: clock.System, Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(nil)})
}

// serve runs an owner until it serves, and returns how long that took.
func serve(t *testing.T, o *Owner) (took time.Duration, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	began := time.Now()
	running.Go(func() { o.Run(ctx) })
	for !o.Status().Serving {
		if time.Since(began) > 5*time.Minute {
			t.Fatal(o.Status())
		}
		time.Sleep(100 * time.Microsecond)
	}
	return time.Since(began), func() { cancel(); running.Wait() }
}

// TestRestartsOfManyAggregates measures how long a cut keeps the owner, and how long it
// takes to serve again: BENCH_KEYS says of how many aggregates (20,000), and with it
// the figures are held to what is promised.
func TestRestartsOfManyAggregates(t *testing.T) {
	aggregates, _ := strconv.Atoi(cmp.Or(os.Getenv("BENCH_KEYS"), "20000"))
	log := filled(t, aggregates)
	store, err := snapshot.Dir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cold, stop := serve(t, measured(log, nil))
	stop()
	pauses, begin := cutAll(t, log, store)
	warm, stop := serve(t, measured(log, store))
	stop()
	p50, p99, worst := pauses[len(pauses)/2], pauses[len(pauses)*99/100], pauses[len(pauses)-1]
	t.Logf("%d aggregates of %d events: begin %v, steps p50 %v, p99 %v, worst %v; serves in %v from the log, in %v from a snapshot",
		aggregates, eventsEach, begin, p50, p99, worst, cold.Round(time.Millisecond), warm.Round(time.Millisecond))
	if os.Getenv("BENCH_KEYS") != "" && (begin > 5*time.Millisecond || p99 > 10*time.Millisecond || warm > cold/2) {
		t.Error("that is not what is promised: begin 5ms, p99 10ms, half of the time that the log takes")
	}
}

// cutAll folds the log and snapshots it by hand: it returns how long it took to begin,
// and how long each step after that, shortest first.
func cutAll(t *testing.T, log eventlog.Log, store snapshot.BlobStore) (pauses []time.Duration, begin time.Duration) {
	o := measured(log, store)
	o.lasting = t.Context()
	end, err := log.End(t.Context(), topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := log.Read(topic, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for o.fold.Next() < end {
		if err := o.readRun(t.Context(), reader); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if _, err := o.units.Step(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	begin = time.Since(began)
	for more := true; ; {
		began := time.Now()
		more = o.keep()
		pauses = append(pauses, time.Since(began))
		if _, due := o.units.Idle(); !due {
			break
		}
		if !more {
			time.Sleep(time.Millisecond)
		}
	}
	o.units.Close()
	slices.Sort(pauses)
	return pauses, begin
}

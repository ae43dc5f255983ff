// Package replay measures how quickly a topology reads an events topic again. With
// nothing to be written: the fold rule, the payloads, and a count for each
// aggregate, beside a bare loop that decodes the same envelopes and payloads and
// keeps one number. And with a view that is made anew in a store, beside its fold
// alone and the bare write of its documents alone. On the log in a file, and on Kafka
// where KAFKA_BROKERS names a broker; into the stores that REDIS_ADDR and
// ELASTICSEARCH_URL name, or into miniredis.
//
// The environment may set BENCH_REPLAY (events, 20,000), BENCH_DOCUMENTS (a twentieth
// of that) and BENCH_REPEAT (rounds, 1). With BENCH_REPLAY the figures without a
// view are held to what is promised; a view below its goal is said to be.
package replay

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	json "github.com/goccy/go-json"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

const (
	parts  = 4
	tribes = 10_000
	batch  = 500
)

// promised are the goals: of the floor's rate on Kafka, and events a second on the
// log in a file.
const (
	promisedOfFloor = 0.8
	promisedRate    = 500_000
)

// Joined is the payload of an event, some 110 bytes of JSON.
type Joined struct {
	Member string `json:"member"`
	Guest  bool   `json:"guest"`
	Note   string `json:"note"`
	At     int64  `json:"at"`
}

// number returns a number that the environment may set.
func number(t *testing.T, name string, otherwise int) int {
	text := cmp.Or(os.Getenv(name), strconv.Itoa(otherwise))
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, want a number of 1 or more", name, text)
	}
	return n
}

// replayed is a log with events.
type replayed struct {
	*testing.T
	log    eventlog.Log
	topic  string
	events int
	ends   [parts]int64
	cards  map[string]card // what a fold of the events makes, by tribe
}

// figure is one reading.
type figure struct{ wall, cpu time.Duration }

func TestReplayBesideABareLoop(t *testing.T) {
	events, rounds := number(t, "BENCH_REPLAY", 20_000), number(t, "BENCH_REPEAT", 1)
	t.Run("File", func(t *testing.T) {
		log, err := boltlog.Open(filepath.Join(t.TempDir(), "log.db"), boltlog.Options{TailBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { log.Close() })
		r := newReplayed(t, log, "bench.events", events, tribes)
		ours, _ := r.rounds(rounds, r.plain)
		if rate := float64(events) / ours.Seconds(); os.Getenv("BENCH_REPLAY") != "" && rate < promisedRate {
			t.Errorf("%.0f events a second, %d are promised", rate, promisedRate)
		}
	})
	if os.Getenv("KAFKA_BROKERS") == "" {
		return
	}
	t.Run("Kafka", func(t *testing.T) {
		brokers := strings.Split(os.Getenv("KAFKA_BROKERS"), ",")
		log, err := kafkalog.Open(t.Context(), kafkalog.Config{Brokers: brokers})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { log.Close() })
		r := newReplayed(t, log, fmt.Sprintf("replay-%d.events", time.Now().UnixNano()), events, tribes)
		t.Cleanup(func() { forget(t, brokers, r.topic) })
		ours, floor := r.rounds(rounds, func() (int, func()) { return r.bare(brokers) })
		if ratio := floor.Seconds() / ours.Seconds(); os.Getenv("BENCH_REPLAY") != "" && ratio < promisedOfFloor {
			t.Errorf("%.2f of the bare loop, %v are promised", ratio, promisedOfFloor)
		}
	})
}

// newReplayed fills a topic with commits of one event each, as owners write them, to
// so many tribes, in no order that a cache could like.
func newReplayed(t *testing.T, log eventlog.Log, topic string, events, tribes int) *replayed {
	r := &replayed{T: t, log: log, topic: topic, events: events, cards: make(map[string]card)}
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: topic, Partitions: parts}); err != nil {
		t.Fatal(err)
	}
	var batches [parts][]eventlog.Record
	versions := make(map[string]uint64)
	flush := func(p int32) {
		base, err := log.Append(t.Context(), topic, p, batches[p])
		if err != nil {
			t.Fatal(err)
		}
		r.ends[p], batches[p] = base+int64(len(batches[p])), nil
	}
	for p := range batches {
		batches[p] = append(batches[p], eventlog.Record{Header: partition.ClaimHeader(partition.Claim{Epoch: 1, Owner: event.ID{1}})})
	}
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	random := rand.New(rand.NewPCG(1, 7))
	for n := range events {
		at := began.Add(time.Duration(n) * time.Millisecond)
		id := fmt.Sprintf("tribe-%08d", random.IntN(tribes))
		key := partition.Key("tribe", id)
		versions[string(key)]++
		e := event.Envelope{ID: event.NewID(at, entropy(2*n)), Command: event.NewID(at, entropy(2*n+1)), Digest: uint64(n), Type: "tribe.joined",
			Version: versions[string(key)], Epoch: 1, Count: 1, Time: at, Actor: "maya"}
		joined := Joined{Member: fmt.Sprintf("member-%08d", n), Guest: n%3 == 0, Note: "comes with two friends, and leaves early", At: at.UnixMilli()}
		r.cards[id] = r.cards[id].with(id, joined)
		data, err := json.Marshal(joined)
		if err != nil {
			t.Fatal(err)
		}
		p := eventlog.PartitionOf(key, parts)
		if batches[p] = append(batches[p], eventlog.Record{Key: key, Header: e.Append(nil), Value: data}); len(batches[p]) == batch {
			flush(p)
		}
	}
	for p := range int32(parts) {
		if len(batches[p]) > 0 {
			flush(p)
		}
	}
	return r
}

func entropy(n int) (e [10]byte) {
	binary.BigEndian.PutUint64(e[2:], uint64(n))
	return e
}

// rounds reads by ours and by a floor in turns, prints the medians, and returns
// them.
func (r *replayed) rounds(n int, floor reading) (ours, bare time.Duration) {
	var all, floors []figure
	for range n {
		floors = append(floors, r.measure("the bare loop", floor))
		all = append(all, r.measure("ours", r.ours))
	}
	var ratios []float64
	for i := range all {
		ratios = append(ratios, floors[i].wall.Seconds()/all[i].wall.Seconds())
	}
	slices.Sort(ratios)
	ours, bare = r.print("ours", all), r.print("bare loop", floors)
	r.Logf("%d events, %d rounds: %.2f of the bare loop", r.events, n, ratios[len(ratios)/2])
	return ours, bare
}

func (r *replayed) print(name string, all []figure) time.Duration {
	var walls, cpus []time.Duration
	for _, f := range all {
		walls, cpus = append(walls, f.wall), append(cpus, f.cpu)
	}
	slices.Sort(walls)
	slices.Sort(cpus)
	wall, cpu := walls[len(walls)/2], cpus[len(cpus)/2]
	r.Logf("%s: %.0f events/s, CPU %.2f µs an event", name, float64(r.events)/wall.Seconds(), float64(cpu.Nanoseconds())/1000/float64(r.events))
	return wall
}

// reading reads all events from the beginning, and returns how many there were and
// what is to be closed, which is not measured.
type reading func() (n int, end func())

func (r *replayed) measure(name string, read reading) figure {
	runtime.GC()
	began, before := time.Now(), used()
	n, end := read()
	f := figure{time.Since(began), used() - before}
	end()
	if n != r.events {
		r.Fatalf("%s has read %d events, want %d", name, n, r.events)
	}
	return f
}

// used returns the processor time that this process has taken.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ours counts by a topology, from its start until it has read all.
func (r *replayed) ours() (int, func()) {
	t := &stream.Topology{Name: fmt.Sprintf("replay-%d", time.Now().UnixNano())}
	var read atomic.Int64
	joined := stream.FromEvents(t, &stream.Events[Joined]{Name: "events", Topic: r.topic,
		Decode: func(e *partition.Event, v *Joined) (bool, error) { return true, json.Unmarshal(e.Data, v) }})
	stream.Via(joined, &stream.Process[int, Joined, int]{Name: "counts", OnEvent: func(c *stream.Context[int, int], _ Joined) error {
		*c.State()++
		read.Add(1)
		return nil
	}})
	runner, err := stream.NewRunner(t, stream.Config{Log: r.log})
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Minute)
	ended := make(chan error, 1)
	go func() { ended <- runner.Run(ctx) }()
	for !r.passed(runner.Status()) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	return int(read.Load()), func() {
		cancel()
		if err := <-ended; err != nil {
			r.Fatal(err)
		}
	}
}

// passed reports whether the tasks have read all.
func (r *replayed) passed(tasks []stream.TaskStatus) bool {
	for _, s := range tasks {
		if s.Err != nil {
			r.Fatal(s.Err)
		}
		if s.Next < r.ends[s.Partition] {
			return false
		}
	}
	return len(tasks) == parts
}

// decoder is what both bare loops do with a record.
type decoder struct {
	envelopes event.Decoder
	envelope  event.Envelope
	joined    Joined
	n         int
}

func (d *decoder) take(header, value []byte) error {
	kind, err := event.KindOf(header)
	if err != nil || kind != event.KindEvent {
		return err
	}
	if err := d.envelopes.Decode(header, &d.envelope); err != nil {
		return err
	}
	d.n++
	return json.Unmarshal(value, &d.joined)
}

// bare reads all partitions with franz-go alone.
func (r *replayed) bare(brokers []string) (int, func()) {
	offsets := make(map[int32]kgo.Offset)
	for p := range int32(parts) {
		offsets[p] = kgo.NewOffset().At(0)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.topic: offsets}))
	if err != nil {
		r.Fatal(err)
	}
	var d decoder
	for d.n < r.events {
		fetches := client.PollFetches(r.Context())
		if err := fetches.Err(); err != nil {
			r.Fatal(err)
		}
		for records := fetches.RecordIter(); !records.Done(); {
			record := records.Next()
			for i := range record.Headers {
				if h := &record.Headers[i]; h.Key == "e" {
					if err := d.take(h.Value, record.Value); err != nil {
						r.Fatal(err)
					}
				}
			}
		}
	}
	return d.n, client.Close
}

// plain reads one partition after the other from the log's own readers.
func (r *replayed) plain() (int, func()) {
	var d decoder
	for p, end := range r.ends {
		reader, err := r.log.Read(r.topic, int32(p), 0)
		if err != nil {
			r.Fatal(err)
		}
		for next := int64(0); next < end; {
			records, err := reader.Next(r.Context())
			if err != nil {
				r.Fatal(err)
			}
			for i := range records {
				if err := d.take(records[i].Header, records[i].Value); err != nil {
					r.Fatal(err)
				}
			}
			next = records[len(records)-1].Offset + 1
		}
		if err := reader.Close(); err != nil {
			r.Fatal(err)
		}
	}
	return d.n, func() {}
}

// forget deletes a topic, as well as it can.
func forget(t *testing.T, brokers []string, topic string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Log(err)
		return
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := kadm.NewClient(client).DeleteTopic(ctx, topic); err != nil {
		t.Log(err)
	}
}

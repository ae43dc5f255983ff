package stream

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// eventsCore is a task that counts an events topic's valid events by aggregate.
func eventsCore() *core {
	t := &Topology{Name: "versions"}
	in := FromEvents(t, &Events[int64]{Name: "in", Topic: "t.events", Decode: func(*partition.Event, *int64) (bool, error) { return true, nil }})
	Via(in, &Process[int64, int64, int64]{Name: "count", State: simInts, OnEvent: func(c *Context[int64, int64], _ int64) error {
		*c.State()++
		return nil
	}})
	return newCore(t.stages[0], 0, shape{inputs: 1})
}

// eventsLog is a claim and then n commits, each of the next of so many aggregates;
// with wrong, each is written a second time, as a version that is taken.
func eventsLog(n, aggregates int, wrong bool) (all []eventlog.Record) {
	add := func(r eventlog.Record) {
		r.Offset = int64(len(all))
		all = append(all, r)
	}
	add(eventlog.Record{Header: partition.ClaimHeader(partition.Claim{Epoch: 1, Owner: event.ID{1}})})
	for i := range n {
		e := event.Envelope{ID: event.ID{byte(i), byte(i >> 8), 1}, Command: event.ID{byte(i), byte(i >> 8), 2}, Type: "x", Epoch: 1, Count: 1,
			Version: uint64(i/aggregates) + 1, Time: time.Unix(int64(i), 0)}
		r := eventlog.Record{Key: partition.Key("a", fmt.Sprint(i%aggregates)), Header: e.Append(nil)}
		add(r)
		if wrong {
			add(r)
		}
	}
	return all
}

func TestATaskThatIsRestoredJudgesEventsAsBefore(t *testing.T) {
	log := eventsLog(60, 7, true)
	straight := eventsCore()
	if err := straight.feed(log); err != nil {
		t.Fatal(err)
	}
	want, err := straight.states()
	if err != nil {
		t.Fatal(err)
	}
	for at := range log {
		c := eventsCore()
		var blobs [][]byte
		var head []byte
		for _, until := range []int{at / 2, at} { // a full cut and a delta
			if err := c.feed(log[:until]); err != nil {
				t.Fatal(err)
			}
			var blob []byte
			head, blob = cutOf(t, c, len(blobs) == 0)
			blobs = append(blobs, blob)
		}
		back := eventsCore()
		if err := back.restoreHead(head); err != nil {
			t.Fatal(err)
		}
		for _, b := range blobs {
			if err := back.load(bytes.NewReader(b)); err != nil {
				t.Fatal(err)
			}
		}
		back.wake()
		if err := back.feed(log); err != nil {
			t.Fatal(err)
		}
		if got, err := back.states(); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("restored at %d: %v, %v, want %v", at, got, err, want)
		}
	}
}

// The place where an aggregate's state lay may be another's by now, or nobody's.
func TestAStateIsFoundWhereverItLies(t *testing.T) {
	topology := &Topology{Name: "places"}
	in := FromEvents(topology, &Events[string]{Name: "in", Topic: "t.events", Decode: func(e *partition.Event, key *string) (bool, error) {
		*key = string(e.Key)
		return true, nil
	}})
	want := make(map[string]int64)
	rng := rand.New(rand.NewPCG(1, 2))
	ends := make([]bool, 5000)
	for i := range ends {
		ends[i] = rng.IntN(3) == 0
	}
	n := 0
	Via(in, &Process[int64, string, int64]{Name: "count", State: simInts, OnEvent: func(c *Context[int64, int64], key string) error {
		if state, _ := c.Peek(); *state != want[key] {
			t.Fatalf("event %d: %s has %d, want %d", n, key, *state, want[key])
		}
		if n++; ends[n-1] {
			c.Clear()
			delete(want, key)
			return nil
		}
		*c.State()++
		want[key]++
		return nil
	}})
	log := []eventlog.Record{{Header: partition.ClaimHeader(partition.Claim{Epoch: 1, Owner: event.ID{1}})}}
	versions := make(map[string]uint64)
	for i := range ends {
		key := string(partition.Key("a", fmt.Sprint(rng.IntN(60))))
		versions[key]++
		e := event.Envelope{Command: event.ID{byte(i), byte(i >> 8), 2}, Type: "x", Epoch: 1, Count: 1, Version: versions[key], Time: time.Unix(int64(i), 0)}
		log = append(log, eventlog.Record{Offset: int64(i) + 1, Key: []byte(key), Header: e.Append(nil)})
	}
	if err := newCore(topology.stages[0], 0, shape{inputs: 1}).feed(log); err != nil {
		t.Fatal(err)
	}
	if n != len(ends) || len(want) < 10 {
		t.Errorf("%d events, and %d states are left", n, len(want))
	}
}

func TestTheHeadOfATaskDoesNotGrowWithTheAggregates(t *testing.T) {
	few, many := eventsCore(), eventsCore()
	for c, n := range map[*core]int{few: 100, many: 5000} {
		if err := c.feed(eventsLog(n, n, false)); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := len(few.head()), len(many.head()); b > a+16 { // larger numbers are longer
		t.Errorf("%d bytes with 100 aggregates, %d with 5000", a, b)
	}
}

// Snapshots of before had the versions in the head.
func TestAHeadThatHoldsTheWholeFoldIsRestored(t *testing.T) {
	log := eventsLog(20, 3, false)
	c := eventsCore()
	if err := c.feed(log[:12]); err != nil {
		t.Fatal(err)
	}
	fold := c.judge.(*commits).fold
	head := c.head()
	head = fold.AppendSnapshot(head[:len(head)-len(fold.AppendHead(nil))])
	back := eventsCore()
	if err := back.restoreHead(head); err != nil {
		t.Fatal(err)
	}
	if err := back.feed(log); err != nil {
		t.Fatal(err)
	}
	if err := c.feed(log); err != nil {
		t.Fatal(err)
	}
	if got, want := back.judge.(*commits).fold.AppendSnapshot(nil), fold.AppendSnapshot(nil); !bytes.Equal(got, want) {
		t.Errorf("the judge came to\n%x, want\n%x", got, want)
	}
}

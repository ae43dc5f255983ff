package stream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/seeds"
)

// The second topology under simulation: windows over an application's events, whose
// partitions fall silent and then have their owners' heartbeats.

const (
	beatTopic = "app.events"
	beatParts = 3
	beatSize  = 2 * time.Second
	beatLate  = time.Second
	beatWhole = 4 * time.Second
)

var beatTopics = map[string]int{beatTopic: beatParts, "closed": 2, "whole": 1, "late": 2}

func beatTopology() *Topology {
	t := &Topology{Name: "beats", Partitions: 2, MarkEvery: 1}
	events := FromEvents(t, &Events[int64]{Name: "events", Topic: beatTopic, Late: beatLate,
		Decode: func(e *partition.Event, v *int64) (ok bool, err error) { return true, simInts.Decode(e.Data, v) }})
	sum := func(a, b int64) int64 { return a + b }
	closed, late := Windowed(events, &Window[int64, int64, simSum]{Name: "per-key", Size: beatSize, Acc: simInts, Fold: sum,
		Result: func(s Span, n int64) simSum { return simSum{strconv.FormatInt(s.Start.UnixMilli(), 10), n} }})
	To(closed, &Publish[simSum]{Name: "closed", Topic: "closed", Codec: simSums})
	To(late, &Publish[int64]{Name: "late", Topic: "late", Codec: simInts})
	all := KeyBy(closed, "all", func(simSum) string { return "all" }, simSums)
	whole, _ := Windowed(all, &Window[simSum, int64, simSum]{Name: "total", Size: beatWhole, Acc: simInts,
		Fold:   func(n int64, v simSum) int64 { return n + v.n },
		Result: func(s Span, n int64) simSum { return simSum{strconv.FormatInt(s.Start.UnixMilli(), 10), n} }})
	To(whole, &Publish[simSum]{Name: "whole", Topic: "whole", Mode: Transactional, Codec: simSums})
	return t
}

// beatWorld is the owners of an events topic, and what must come of what they append.
type beatWorld struct {
	*Simulation
	r        *rand.Rand
	now      int64 // milliseconds
	parts    [beatParts]beatPart
	commands int
	want     map[string][]string // by topic
	whole    map[int64]int64
	beats    int
}

type beatPart struct {
	epoch    uint64
	versions map[string]uint64
	mark     int64
	maxTime  int64
	open     map[string]map[int64]int64 // by key and beginning, in milliseconds
}

func ownerOf(epoch uint64) event.ID { return event.ID{byte(epoch), 1} }

func (w *beatWorld) send(p int, r eventlog.Record) { w.SendTo(beatTopic, int32(p), r) }

func (w *beatWorld) claim(p int) {
	w.parts[p].epoch++
	w.send(p, eventlog.Record{Header: partition.ClaimHeader(partition.Claim{Epoch: w.parts[p].epoch, Owner: ownerOf(w.parts[p].epoch)})})
}

// commit appends a commit in an epoch. It counts if that is the current one.
func (w *beatWorld) commit(p int, epoch uint64, n int) {
	part, key := &w.parts[p], "x/"+strconv.Itoa(p)+string(rune('a'+w.r.IntN(3)))
	w.commands++
	for i := range n {
		at, v := w.now-w.r.Int64N(800), w.r.Int64N(1000)
		if w.r.IntN(12) == 0 {
			at -= w.r.Int64N(6000)
		}
		e := event.Envelope{ID: event.ID{9}, Command: event.NewID(simAt(w.now), [10]byte{byte(w.commands), byte(w.commands >> 8)}), Type: "e",
			Version: part.versions[key] + uint64(i) + 1, Epoch: epoch, Index: i, Count: n, Time: simAt(at)}
		w.send(p, eventlog.Record{Key: []byte(key), Header: e.Append(nil), Value: strconv.AppendInt(nil, v, 10)})
		if epoch != part.epoch {
			continue
		}
		size := beatSize.Milliseconds()
		start := at - (at%size+size)%size
		part.maxTime = max(part.maxTime, at)
		switch {
		case start+size <= part.mark:
			w.want["late"] = append(w.want["late"], fmt.Sprintf("%s %d", key, v))
		default:
			if part.open[key] == nil {
				part.open[key] = map[int64]int64{}
			}
			part.open[key][start] += v
		}
	}
	if epoch == part.epoch {
		part.versions[key] += uint64(n)
		w.pass(p)
	}
}

// beat appends a heartbeat of an epoch's owner.
func (w *beatWorld) beat(p int, epoch uint64, owner event.ID, at int64) {
	w.send(p, eventlog.Record{Header: partition.HeartbeatHeader(partition.Claim{Epoch: epoch, Owner: owner}, simAt(at).UnixNano())})
	if part := &w.parts[p]; epoch == part.epoch && owner == ownerOf(epoch) {
		w.beats++
		part.maxTime = max(part.maxTime, at)
		w.pass(p)
	}
}

// pass closes what is over in a partition.
func (w *beatWorld) pass(p int) {
	part := &w.parts[p]
	part.mark = max(part.mark, part.maxTime-beatLate.Milliseconds())
	for key, open := range part.open {
		for start, n := range open {
			if end := start + beatSize.Milliseconds(); end <= part.mark {
				w.want["closed"] = append(w.want["closed"], fmt.Sprintf("%s %d %d", key, start, n))
				w.whole[end-end%beatWhole.Milliseconds()] += n
				delete(open, start)
			}
		}
	}
}

// act lets one thing happen in a partition.
func (w *beatWorld) act(p int) {
	part := &w.parts[p]
	switch n := w.r.IntN(20); {
	case n < 1:
		w.claim(p)
	case n < 3 && part.epoch > 1:
		w.commit(p, part.epoch-1, 1+w.r.IntN(2))
	case n < 5 && part.epoch > 1:
		w.beat(p, part.epoch-1, ownerOf(part.epoch-1), w.now+w.r.Int64N(10_000))
	case n < 6:
		w.beat(p, part.epoch, ownerOf(77), w.now+10_000)
	case n < 7:
		w.send(p, eventlog.Record{Header: partition.ProbeHeader(partition.Claim{Epoch: part.epoch, Owner: ownerOf(part.epoch)})})
	case n < 11 || p == int(w.now/8000)%beatParts: // who is silent now
		w.beat(p, part.epoch, ownerOf(part.epoch), w.now-w.r.Int64N(1000))
	default:
		w.commit(p, part.epoch, 1+w.r.IntN(3))
	}
}

// simulateBeats runs one seed and judges it.
func simulateBeats(seed uint64, bug planted) (r seeds.Report) {
	s := Simulate(beatTopology(), SimulationConfig{Seed: seed, Topics: beatTopics, Faults: 0.4 + 0.3*float64(seed%3)})
	s.planted = bug
	w := &beatWorld{Simulation: s, r: rand.New(rand.NewPCG(seed, 3)), now: 1_000_000, want: map[string][]string{}, whole: map[int64]int64{}}
	for p := range w.parts {
		w.parts[p] = beatPart{versions: map[string]uint64{}, open: map[string]map[int64]int64{}, mark: -1 << 40, maxTime: -1 << 40}
		w.claim(p)
	}
	for range 300 {
		w.now += w.r.Int64N(200)
		w.act(w.r.IntN(beatParts))
	}
	for p := range w.parts {
		w.beat(p, w.parts[p].epoch, ownerOf(w.parts[p].epoch), w.now+60_000)
	}
	for start, n := range w.whole {
		w.want["whole"] = append(w.want["whole"], fmt.Sprintf("all %d %d", start, n))
	}
	for !s.Done() {
		s.Step()
	}
	err := s.Settle()
	r.Counts, r.Digest = s.Counts(), s.digest()
	r.Counts["heartbeat"] = w.beats
	switch {
	case err != nil:
		r.Fail(seed, "%v", err)
		return r
	case w.beats < 20:
		r.Fail(seed, "%d heartbeats prove nothing", w.beats)
	}
	for _, topic := range []string{"closed", "late", "whole"} {
		seen, got := map[string]bool{}, []string{}
		for _, log := range s.Records(topic) {
			for _, r := range log {
				if !seen[string(r.Header)] {
					got = append(got, string(r.Key)+" "+string(r.Value))
				}
				seen[string(r.Header)] = true
			}
		}
		slices.Sort(got)
		slices.Sort(w.want[topic])
		if !slices.Equal(got, w.want[topic]) {
			r.Fail(seed, "%s holds\n%q, want\n%q", topic, got, w.want[topic])
		}
	}
	return r
}

// beatSeeds is how many seeds a plain run has.
const beatSeeds = max(simSeeds/5, 5)

// TestSimulationOfHeartbeats folds events and heartbeats of owners that come and go,
// under all faults, and compares with what an oracle makes of the log's order.
func TestSimulationOfHeartbeats(t *testing.T) {
	seeds.Test(t, beatSeeds, []string{"heartbeat"}, func(_ *testing.T, seed uint64) seeds.Report { return simulateBeats(seed, plantNothing) })
}

func TestPlantedHeartbeats(t *testing.T) {
	for name, bug := range map[string]planted{"by-a-task": plantTaskBeat, "of-an-old-epoch": plantOldBeat} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(5) {
				if r := simulateBeats(seed, bug); len(r.Failures) > 0 {
					t.Logf("%.200s", r.Failures[0])
					return
				}
			}
			t.Error("not found in 5 seeds")
		})
	}
}

package stream

import (
	"hash/fnv"
	"io"
	"testing"

	"github.com/drivetrain-go/drivetrain/internal/seeds"
)

// TestSimulation runs a topology of three stages while appends are lost, late,
// doubled and slow, processes are killed and paused, tasks move, snapshots are lost
// and damaged and strangers write to the shuffles; and compares all that comes of it
// with what an oracle says that knows the inputs only. SIM_SEEDS says how many
// seeds, SIM_SEED the first of them (1; alone it runs just that one). It prints the
// same each time, whatever the machine does.
func TestSimulation(t *testing.T) {
	seeds.Test(t, simSeeds, simMust, simulated)
}

func simulated(_ *testing.T, seed uint64) seeds.Report { return simulateSeed(seed, plantNothing) }

func TestASimulationIsTheSameAgain(t *testing.T) { seeds.TestAgain(t, 7, againSeeds, simulated) }

// simFaults are what is counted as a fault.
var simFaults = []string{"append doubled", "append late", "append lost", "append unanswered", "ended within a cut", "foreign record",
	"process killed", "process paused", "record behind a gap", "record of an older fold", "snapshot damaged", "snapshot missing",
	"snapshot ahead of a store", "snapshot not stored", "snapshot slow", "store emptied", "store lost", "task moved", "transaction fenced", "transaction lost", "transaction unanswered", "write late", "write lost", "write unanswered"}

// simMust is what the seeds of a plain run bring about, each at least once.
var simMust = append([]string{"append", "append slow", "process woken", "restore", "shuffle trimmed", "snapshot", "snapshot of a stray", "stray", "transaction",
	"verdict duplicate", "verdict foreign", "verdict gap", "verdict other fold", "verdict valid", "write", "write slow", "event kept", "event late total",
	"event late-clicks", "event late-prices", "event late-sessions", "event late-windows", "event pair", "event published again",
	"event session anew", "event sliding window anew", "event total window", "event tumbling window"}, simFaults...)

// simulateSeed runs one seed and judges it.
func simulateSeed(seed uint64, p planted) (r seeds.Report) {
	fail := func(format string, args ...any) { r.Fail(seed, format, args...) }
	defer func() {
		if err := recover(); err != nil {
			if p == plantNothing {
				panic(err)
			}
			fail("panicked: %v", err)
		}
	}()
	store := newSimStore(seed)
	store.lax = p == plantLax
	s := Simulate(simTopology(store), SimulationConfig{Seed: seed, Topics: simTopics, Nodes: 3 + int(seed%3), Faults: 0.4 + 0.3*float64(seed%3), KeepShuffles: seed%2 == 1})
	s.planted = p
	sent := simInput(s, seed)
	for !s.Done() {
		s.Step()
		store.lose()
	}
	for range 300 {
		s.Step()
	}
	err := s.Settle()
	r.Counts = s.Counts()
	r.Counts["store emptied"] += store.lost
	faults := 0
	for _, name := range simFaults {
		faults += r.Counts[name]
	}
	switch {
	case err != nil:
		fail("%v", err)
	case len(s.nodes) < 3 || sent < 500 || faults < 5:
		fail("%d processes, %d inputs and %d faults prove nothing", len(s.nodes), sent, faults)
	default:
		for _, failure := range judgeSimulation(s, store, r.Counts).failures {
			fail("%s", failure)
		}
	}
	r.Digest = s.digest()
	return r
}

// digest returns a sum of all that was written.
func (s *Simulation) digest() uint64 {
	h := fnv.New64a()
	for _, topic := range s.order {
		for _, log := range s.logs[topic] {
			for _, r := range log {
				h.Write(r.Header)
				h.Write(r.Key)
				h.Write(r.Value)
			}
			io.WriteString(h, "\n")
		}
	}
	return h.Sum64()
}

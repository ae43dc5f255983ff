package stream

import (
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// TestSimulation runs a topology of three stages while appends are lost, late,
// doubled and slow, processes are killed and paused, tasks move, snapshots are lost
// and damaged and strangers write to the shuffles; and compares all that comes of it
// with what an oracle says that knows the inputs only. SIM_SEEDS says how many
// seeds, SIM_SEED the first of them (1; alone it runs just that one). It prints the
// same each time, whatever the machine does.
func TestSimulation(t *testing.T) {
	first, n, asked := seedsAsked()
	r := simulateAll(t, first, n, plantNothing)
	for _, failure := range r.failures {
		t.Error(failure)
	}
	if asked {
		fmt.Println(r) // bare, to be compared
		return
	}
	t.Log(r)
	for _, name := range simMust {
		if r.counts[name] == 0 {
			t.Errorf("there was no %s", name)
		}
	}
}

// seedsAsked returns the first seed and how many, and whether the environment says
// so.
func seedsAsked() (first, n uint64, asked bool) {
	first, n = 1, simSeeds
	if s, err := strconv.ParseUint(os.Getenv("SIM_SEED"), 10, 64); err == nil {
		first, n, asked = s, 1, true
	}
	if s, err := strconv.ParseUint(os.Getenv("SIM_SEEDS"), 10, 64); err == nil {
		n, asked = s, true
	}
	return first, n, asked
}

func TestASimulationIsTheSameAgain(t *testing.T) {
	const seeds = 5
	once, again := simulateAll(t, 7, seeds, plantNothing), simulateAll(t, 7, seeds, plantNothing)
	if once.String() != again.String() {
		t.Errorf("first%v\nand then%v", once, again)
	}
}

// simFaults are what is counted as a fault.
var simFaults = []string{"append doubled", "append late", "append lost", "append unanswered", "ended within a cut", "foreign record",
	"process killed", "process paused", "record behind a gap", "record of an older fold", "snapshot damaged", "snapshot missing",
	"snapshot ahead of a store", "snapshot not stored", "snapshot slow", "store emptied", "store lost", "task moved", "transaction fenced", "transaction lost", "transaction unanswered", "write late", "write lost", "write unanswered"}

// simMust is what the seeds of a plain run bring about, each at least once.
var simMust = append([]string{"append", "append slow", "process woken", "restore", "snapshot", "snapshot of a stray", "stray", "transaction",
	"verdict duplicate", "verdict foreign", "verdict gap", "verdict other fold", "verdict valid", "write", "write slow", "event kept", "event late total",
	"event late-clicks", "event late-prices", "event late-sessions", "event late-windows", "event pair", "event published again",
	"event session anew", "event sliding window anew", "event total window", "event tumbling window"}, simFaults...)

// simulateAll runs seeds on all processors until one fails. Those below it have
// then been run.
func simulateAll(t *testing.T, first, n uint64, p planted) (all report) {
	reports := make([]report, n)
	var next atomic.Uint64
	var failed atomic.Bool
	t.Run("seeds", func(t *testing.T) {
		for i := range min(uint64(runtime.GOMAXPROCS(0)), n) {
			t.Run(strconv.FormatUint(i, 10), func(t *testing.T) {
				t.Parallel()
				for i := next.Add(1) - 1; i < n && !failed.Load(); i = next.Add(1) - 1 {
					reports[i] = simulateSeed(first+i, p)
					if len(reports[i].failures) > 0 {
						failed.Store(true)
					}
				}
			})
		}
	})
	for _, r := range reports {
		all.add(r)
	}
	return all
}

// report is what came of a simulation, or of several.
type report struct {
	counts   map[string]int
	digest   uint64 // of all topics
	failures []string
}

func (r *report) add(s report) {
	if r.counts == nil {
		r.counts = map[string]int{}
	}
	for name, n := range s.counts {
		r.counts[name] += n
	}
	r.digest = r.digest*1099511628211 + s.digest
	r.failures = append(r.failures, s.failures...)
}

func (r report) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r.counts)) {
		fmt.Fprintf(&b, "\n%8d %s", r.counts[name], name)
	}
	fmt.Fprintf(&b, "\ndigest %016x", r.digest)
	return b.String()
}

// simulateSeed runs one seed and judges it.
func simulateSeed(seed uint64, p planted) (r report) {
	fail := func(format string, args ...any) {
		r.failures = append(r.failures, fmt.Sprintf("seed %d: ", seed)+fmt.Sprintf(format, args...))
	}
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
	s := Simulate(simTopology(store), SimulationConfig{Seed: seed, Topics: simTopics, Nodes: 3 + int(seed%3), Faults: 0.4 + 0.3*float64(seed%3)})
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
	r.counts = s.Counts()
	r.counts["store emptied"] += store.lost
	faults := 0
	for _, name := range simFaults {
		faults += r.counts[name]
	}
	switch {
	case err != nil:
		fail("%v", err)
	case len(s.nodes) < 3 || sent < 500 || faults < 5:
		fail("%d processes, %d inputs and %d faults prove nothing", len(s.nodes), sent, faults)
	default:
		for _, failure := range judgeSimulation(s, store, r.counts).failures {
			fail("%s", failure)
		}
	}
	r.digest = s.digest()
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

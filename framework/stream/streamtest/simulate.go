package streamtest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// Simulate runs a topology under faults, in a subtest for each of the seeds 1 to
// seeds: three processes whose appends are lost, late, doubled and unanswered, that
// are killed, paused and woken, whose tasks move, and whose snapshots are missing.
// input sends what the run is to fold, by chance drawn from r if it likes; meanwhile
// nothing happens. Once all is folded and the faults are over, check looks at what
// came of it, which must be what it would be without faults; its t is the
// subtest's.
//
// The same seed is the same run. A failure says how to repeat it alone.
func Simulate(t *testing.T, topology *stream.Topology, topics Topics, seeds int, input func(run *Run, r *rand.Rand), check func(t *testing.T, run *Run)) {
	t.Helper()
	for seed := uint64(1); seed <= uint64(seeds); seed++ {
		name := fmt.Sprintf("seed=%d", seed)
		if !t.Run(name, func(t *testing.T) { simulate(t, topology, topics, seed, input, check) }) {
			t.Logf("repeat it with: go test -run '^%s$/^%s$'", t.Name(), name)
			return
		}
	}
}

// calm is how many steps follow the last input, so that what it has led to meets
// faults too.
const calm = 1000

func simulate(t *testing.T, topology *stream.Topology, topics Topics, seed uint64, input func(*Run, *rand.Rand), check func(*testing.T, *Run)) {
	t.Helper()
	run := start(t, topology, topics, stream.SimulationConfig{Seed: seed, Topics: topics, Faults: 1})
	input(run, rand.New(rand.NewPCG(seed, 2)))
	for !run.sim.Done() {
		run.sim.Step()
	}
	for range calm {
		run.sim.Step()
	}
	run.Settle()
	check(t, run)
}

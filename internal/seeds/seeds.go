// Package seeds runs a simulation for many seeds and adds up what came of it, so that
// a failure names its seed and a run prints the same each time.
package seeds

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// Report is what came of a simulation, or of several. The zero Report is that of none.
type Report struct {
	Counts   map[string]int // how often each thing occurred, by name
	Digest   uint64         // of all that was made
	Failures []string       // what is not as it must be
}

// Fail notes a failure of a seed.
func (r *Report) Fail(seed uint64, format string, args ...any) {
	r.Failures = append(r.Failures, fmt.Sprintf("seed %d: ", seed)+fmt.Sprintf(format, args...))
}

// Add adds what came of another simulation.
func (r *Report) Add(s Report) {
	if r.Counts == nil {
		r.Counts = map[string]int{}
	}
	for name, n := range s.Counts {
		r.Counts[name] += n
	}
	r.Digest = r.Digest*1099511628211 + s.Digest
	r.Failures = append(r.Failures, s.Failures...)
}

// String returns the counts by name and the digest, a line each.
func (r Report) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r.Counts)) {
		fmt.Fprintf(&b, "\n%8d %s", r.Counts[name], name)
	}
	fmt.Fprintf(&b, "\ndigest %016x", r.Digest)
	return b.String()
}

// Run runs n seeds from first on, on all processors, until one fails. Those below it
// have then been run.
func Run(t *testing.T, first, n uint64, simulate func(t *testing.T, seed uint64) Report) (all Report) {
	reports := make([]Report, n)
	var next atomic.Uint64
	var failed atomic.Bool
	t.Run("seeds", func(t *testing.T) {
		for i := range min(uint64(runtime.GOMAXPROCS(0)), n) {
			t.Run(strconv.FormatUint(i, 10), func(t *testing.T) {
				t.Parallel()
				for i := next.Add(1) - 1; i < n && !failed.Load(); i = next.Add(1) - 1 {
					reports[i] = simulate(t, first+i)
					if len(reports[i].Failures) > 0 {
						failed.Store(true)
					}
				}
			})
		}
	})
	for _, r := range reports {
		all.Add(r)
	}
	return all
}

// Test runs the seeds that the environment asks for: SIM_SEEDS of them, default n,
// from SIM_SEED on (1; alone it runs just that one). No seed may fail, and each of
// must has to occur unless the environment chose the seeds. Then the report is printed
// bare, to be compared.
func Test(t *testing.T, n uint64, must []string, simulate func(t *testing.T, seed uint64) Report) {
	first, n, asked := asked(n)
	r := Run(t, first, n, simulate)
	for _, failure := range r.Failures {
		t.Error(failure)
	}
	if asked {
		fmt.Println(r)
		return
	}
	t.Log(r)
	for _, name := range must {
		if r.Counts[name] == 0 {
			t.Errorf("there was no %s", name)
		}
	}
}

func asked(usual uint64) (first, n uint64, asked bool) {
	first, n = 1, usual
	if s, err := strconv.ParseUint(os.Getenv("SIM_SEED"), 10, 64); err == nil {
		first, n, asked = s, 1, true
	}
	if s, err := strconv.ParseUint(os.Getenv("SIM_SEEDS"), 10, 64); err == nil {
		n, asked = s, true
	}
	return first, n, asked
}

// TestAgain runs n seeds from first on twice and compares what came of them.
func TestAgain(t *testing.T, first, n uint64, simulate func(t *testing.T, seed uint64) Report) {
	once, again := Run(t, first, n, simulate), Run(t, first, n, simulate)
	if once.String() != again.String() {
		t.Errorf("first%v\nand then%v", once, again)
	}
}

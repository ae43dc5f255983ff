package model

import (
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// The limits of a preset. One that grows past them is cut, and fails.
const (
	mostStates      = 2_000_000
	mostStatesLarge = 40_000_000
)

// explore runs a space and logs what it came to.
func explore(t *testing.T, what string, space Space[State, step], limit int) Found {
	t.Helper()
	began := time.Now()
	found := Explore(space, limit)
	t.Logf("%s: %d states, %d steps, depth %d, %.1f s", what, found.States, found.Steps, found.Depth, time.Since(began).Seconds())
	return found
}

// report logs the trace to a broken invariant.
func report(t *testing.T, m *Model, found Found) {
	t.Helper()
	for i, words := range found.Trace {
		t.Logf("%3d. %s", i+1, words)
	}
	if last, ok := found.Last.(State); ok {
		for _, line := range m.Log(&last) {
			t.Logf("     %s", line)
		}
	}
	t.Logf("     BROKEN: %s", found.Broken)
}

func planned(t *testing.T, p Preset) *Model {
	t.Helper()
	m, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestPresets explores the protocol. With MODEL=large in the environment it takes
// the large presets instead. Each log that is reached is folded by
// partition.Fold as well.
func TestPresets(t *testing.T) {
	large, limit := os.Getenv("MODEL") == "large", mostStates
	if large {
		limit = mostStatesLarge
		defer debug.SetGCPercent(debug.SetGCPercent(25)) // of gigabytes
	}
	verdicts, states := make(map[verdict]int), 0
	for _, p := range Presets() {
		if p.Large != large {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			c := cross(planned(t, p))
			found := explore(t, p.Explores, c, limit)
			holds(t, c, found, limit)
			states += found.States
			for v, n := range c.real.verdicts {
				verdicts[v] += n
			}
		})
	}
	t.Logf("%d states in all", states)
	reached(t, verdicts)
}

// holds fails unless all of c was explored, was worth it, and nothing broke.
func holds(t *testing.T, c *crossed, found Found, limit int) {
	t.Helper()
	if found.Broken != "" {
		report(t, c.Model, found)
		t.Fatal("the protocol does not hold")
	}
	if !found.Complete {
		t.Errorf("cut at %d states: nothing is known of the rest", limit)
	}
	for e, n := range c.Happened {
		if n > 0 {
			t.Logf("%10d %v", n, Event(e))
		}
	}
	t.Logf("%10d logs folded by partition.Fold, of %d records", len(c.seen), c.real.records)
	for _, e := range c.Reaches {
		if c.Happened[e] == 0 {
			t.Errorf("no %v: the preset does not explore what it says", e)
		}
	}
}

// reached fails unless the logs held records of every meaning that they can.
func reached(t *testing.T, verdicts map[verdict]int) {
	t.Helper()
	for _, v := range []verdict{{Verdict: partition.Valid}, {Verdict: partition.Open}, {Verdict: partition.Claimed}, {Verdict: partition.Probe},
		{Verdict: partition.Claimed, cut: true}, void(partition.OldEpoch), void(partition.BadVersion)} {
		if verdicts[v] == 0 {
			t.Errorf("no record was %v, cut %v", v, v.cut)
		}
	}
}

// TestPlanted plants one bug at a time, and prints how it breaks the protocol.
func TestPlanted(t *testing.T) {
	for _, p := range Planted() {
		t.Run(p.Name, func(t *testing.T) {
			m := planned(t, p)
			found := explore(t, p.Explores, m, mostStates)
			report(t, m, found)
			if found.Broken != p.Breaks {
				t.Errorf("broken: %q, want %q", found.Broken, p.Breaks)
			}
		})
	}
}

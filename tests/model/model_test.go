package model

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

// The limits of a preset. One that grows past them is cut, and fails.
const (
	mostStates      = 2_000_000
	mostStatesLarge = 40_000_000
)

// longest is the most steps that a planted bug may take to show.
const longest = 16

// explore runs a space and logs what it came to.
func explore(t *testing.T, what string, space Space[State, step], limit int) Found[State] {
	t.Helper()
	began := time.Now()
	found := Explore(space, limit)
	t.Logf("%s: %d states, %d steps, depth %d, %.1f s", what, found.States, found.Steps, found.Depth, time.Since(began).Seconds())
	return found
}

// words returns the trace to a broken invariant, and what the log then holds.
func words(m *Model, found Found[State]) []string {
	var lines []string
	for i, step := range found.Trace {
		lines = append(lines, fmt.Sprintf("%3d. %s", i+1, step))
	}
	for _, line := range m.Log(&found.Last) {
		lines = append(lines, "     "+line)
	}
	return append(lines, "     BROKEN: "+found.Broken)
}

func report(t *testing.T, m *Model, found Found[State]) {
	t.Helper()
	t.Logf("the shortest way to it:\n%s", strings.Join(words(m, found), "\n"))
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
	states := 0
	for _, p := range Presets() {
		if p.Large != large {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			c := cross(planned(t, p))
			found := explore(t, p.Explores, c, limit)
			holds(t, c, found, limit)
			states += found.States
		})
	}
	t.Logf("%d states in all", states)
}

// holds fails unless all of c was explored, was worth it, and nothing broke.
func holds(t *testing.T, c *crossed, found Found[State], limit int) {
	t.Helper()
	if found.Broken != "" {
		report(t, c.Model, found)
		t.Fatal("the protocol does not hold")
	}
	if !found.Complete {
		t.Errorf("cut at %d states: nothing is known of the rest", limit)
	}
	if found.States != c.States {
		t.Errorf("%d states, %d before: if the model was meant to change, so does the preset", found.States, c.States)
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

// TestPlanted plants one bug at a time, and prints how it breaks the protocol.
func TestPlanted(t *testing.T) {
	for _, p := range Planted() {
		t.Run(p.Name, func(t *testing.T) {
			m := planned(t, p)
			found := explore(t, p.Explores, m, mostStates)
			report(t, m, found)
			if n := len(found.Trace); n > longest {
				t.Errorf("the trace has %d steps: nobody reads more than %d", n, longest)
			}
			if found.Broken != p.Breaks {
				t.Errorf("broken: %q, want %q", found.Broken, p.Breaks)
			}
		})
	}
}

// No invariant is there that nothing breaks.
func TestEveryInvariantIsBroken(t *testing.T) {
	broken := make(map[string]bool)
	for _, p := range Planted() {
		name, _, _ := strings.Cut(p.Breaks, ":")
		broken[name] = true
	}
	for _, name := range []string{Exactly, Never, Contradicted, Once, Decided, Same, Linear, Alone, Known, Forward, Settling} {
		if !broken[name] {
			t.Errorf("no planted bug breaks %q", name)
		}
	}
}

// README explains this trace.
func TestREADMEShowsWhatIsPrinted(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	all := Planted()
	m := planned(t, all[slices.IndexFunc(all, func(p Preset) bool { return p.Bug == DeposedGoesOn })])
	trace := strings.Join(words(m, Explore(m, mostStates)), "\n")
	if !strings.Contains(string(readme), trace) {
		t.Errorf("README does not have the trace\n%s", trace)
	}
}

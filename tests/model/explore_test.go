package model

import (
	"fmt"
	"slices"
	"testing"
)

// jugs is the old puzzle: with a jug of three litres and one of five, measure
// out four. It takes six steps and no fewer.
type jugs struct{ never uint8 }

type pour struct{ from, to uint8 } // 0 and 1 are the jugs, 2 the tap and the drain

func (jugs) Start() [2]uint8 { return [2]uint8{} }

func (jugs) Next(s *[2]uint8, visit func(*[2]uint8, pour)) {
	size := [2]uint8{3, 5}
	for j := range uint8(2) {
		full, empty, other := *s, *s, *s
		full[j], empty[j] = size[j], 0
		n := min(s[j], size[1-j]-s[1-j])
		other[j] -= n
		other[1-j] += n
		visit(&full, pour{2, j})
		visit(&empty, pour{j, 2})
		visit(&other, pour{j, 1 - j})
	}
}

func (g jugs) Broken(s *[2]uint8) string {
	if s[1] == g.never {
		return "measured"
	}
	return ""
}

func (jugs) Describe(_, to *[2]uint8, by pour) string {
	return fmt.Sprintf("%d→%d: %v", by.from, by.to, *to)
}

func TestExploreFindsAShortestTrace(t *testing.T) {
	found := Explore(jugs{never: 4}, 1000)
	want := []string{"2→1: [0 5]", "1→0: [3 2]", "0→2: [0 2]", "1→0: [2 0]", "2→1: [2 5]", "1→0: [3 4]"}
	if found.Broken != "measured" || !slices.Equal(found.Trace, want) || found.Last != [2]uint8{3, 4} {
		t.Errorf("found %+v", found)
	}
}

func TestExploreSeesEveryStateOnce(t *testing.T) {
	found := Explore(jugs{never: 9}, 1000)
	if found.States != 16 || found.Steps != 16*6 || !found.Complete || found.Trace != nil {
		t.Errorf("found %+v, want 16 states of 6 steps each", found)
	}
}

func TestExploreSaysWhenItIsCut(t *testing.T) {
	if found := Explore(jugs{never: 9}, 15); found.Complete || found.States != 15 {
		t.Errorf("found %+v, want 15 states and not complete", found)
	}
}

func TestHashesGrow(t *testing.T) {
	var s hashes
	for round := range 2 {
		for h := range uint64(20_000) {
			if added := s.add(h<<40 + 1); added != (round == 0) {
				t.Fatalf("round %d: add(%d) = %v", round, h, added)
			}
		}
	}
}

func TestQueueIsFirstInFirstOut(t *testing.T) {
	var q queue[int]
	next, out := 0, 0
	for round := range 5 {
		for range 3 * blockSize / 2 {
			q.push(next)
			next++
		}
		for range blockSize + round {
			if v := q.pop(); v != out {
				t.Fatalf("popped %d, want %d", v, out)
			}
			out++
		}
		if q.n != next-out {
			t.Fatalf("holds %d, want %d", q.n, next-out)
		}
	}
}

func TestHistoryStartsWith(t *testing.T) {
	var none history
	one := none.with(0)
	two := one.with(3)
	for _, c := range []struct {
		h, earlier history
		want       bool
	}{{none, none, true}, {two, none, true}, {two, one, true}, {two, two, true}, {one, two, false}, {two, none.with(3), false}, {none, one, false}} {
		if got := c.h.startsWith(c.earlier); got != c.want {
			t.Errorf("%b starts with %b: %v", c.h, c.earlier, got)
		}
	}
}

func TestCheckRefusesWhatDoesNotFit(t *testing.T) {
	fits := Preset{Name: "x", Owners: 2, Claims: 2, Commits: 2, Batch: 1, Copies: 1, Commands: []Command{{0, 1}}}
	if err := fits.Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Preset){
		"owners":   func(p *Preset) { p.Owners = maxOwners + 1 },
		"commands": func(p *Preset) { p.Commands = nil },
		"batch":    func(p *Preset) { p.Batch = 3 },
		"claims":   func(p *Preset) { p.Claims = maxBatches },
		"copies":   func(p *Preset) { p.Copies = maxLog },
		"torn":     func(p *Preset) { p.Torn = true },
	} {
		p := fits
		if change(&p); p.Check() == nil {
			t.Errorf("%s: a preset that does not fit is taken", name)
		}
	}
}

// Every bug is planted by one preset at least, except None.
func TestEveryBugIsPlanted(t *testing.T) {
	var planted [numberOfBugs]bool
	for _, p := range Planted() {
		planted[p.Bug] = true
	}
	for bug, is := range planted {
		if !is {
			t.Errorf("bug %d is in no preset", bug)
		}
	}
}

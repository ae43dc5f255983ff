package stream

import (
	"errors"
	"fmt"
	"slices"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// errOvertaken ends a life whose records another one has trimmed.
var errOvertaken = errors.New("the shuffle begins behind that")

// trim forgets the snapshots that a store need not keep, for it may keep more than the two
// farthest, and what none of the others needs of the task's shuffle. The records stay, for the judge: nobody else reads them.
func (s *Simulation) trim(t *simTask) {
	if s.cfg.KeepShuffles || !t.stage.trims() || len(t.stored) < 2 {
		return
	}
	byPosition := func(a, b stored) int { return int(b.next - a.next) }
	farthest := slices.SortedFunc(slices.Values(t.stored), byPosition)
	last := t.stored[len(t.stored)-1]
	kept := slices.DeleteFunc(t.stored[:len(t.stored)-1], func(v stored) bool { return v.next < farthest[1].next })
	t.stored = append(kept, last)
	below := last.floor
	for _, v := range kept {
		below = min(below, v.floor)
	}
	switch s.planted {
	case plantTrimNewest:
		below = farthest[0].floor
	case plantTrimParked:
		below = min(last.next, kept[0].next)
	}
	if below > t.begins {
		t.begins = below
		s.counts["shuffle trimmed"]++
	}
}

// spare reports whether the task can do without the last of some snapshots: it could
// fold its input from the beginning, or from another one.
func (t *simTask) spare(all []stored) bool {
	return t.begins == 0 || slices.ContainsFunc(all[:len(all)-1], func(v stored) bool { return !v.damaged && v.floor >= t.begins })
}

// guard lets what is parked be read as far as the shuffle still has it.
func (l *life) guard() {
	p := l.core.parking
	if p == nil {
		return
	}
	records := p.records
	p.records = func() (func(int64) (*eventlog.Record, error), func()) {
		at, end := records()
		return func(offset int64) (*eventlog.Record, error) {
			if offset < l.task.begins {
				return nil, errOvertaken
			}
			return at(offset)
		}, end
	}
}

// overtaken ends a life that needs what is not there any more; the next one is restored
// from a snapshot that needs less.
func (s *Simulation) overtaken(l *life) {
	s.counts["task overtaken"]++
	s.end(l)
}

// lost fails the simulation if a task cannot begin: it has no snapshot, and its shuffle
// is not whole.
func (s *Simulation) lost(t *simTask) {
	if t.begins > 0 {
		s.fail(fmt.Errorf("%s/%d has no snapshot to begin with, and its shuffle begins at %d", t.stage.name, t.part, t.begins))
	}
}

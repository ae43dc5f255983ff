package stream

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
)

// Settle ends all faults and strays, lets what is under way land, and runs until
// nothing moves. It returns the first error of any task, and an error if the
// operators make something else of the same input when they are run again.
func (s *Simulation) Settle() error {
	s.cfg.Faults = 0
	for i := range s.nodes {
		s.nodes[i].paused = false
	}
	for _, l := range s.lives {
		if l.stray {
			s.end(l)
		}
	}
	for len(s.inputs) > 0 {
		s.input()
	}
	for len(s.late) > 0 {
		s.land(0)
	}
	s.bury()
	s.revive()
	for rounds, moved := 0, true; moved && s.err == nil; rounds++ {
		if moved = false; rounds == maxRounds {
			s.fail(fmt.Errorf("simulate %s: it does not come to rest", s.topology.Name))
		}
		for _, l := range slices.Clone(s.lives) {
			moved = s.calm(l) || moved
		}
	}
	if s.err == nil {
		s.again()
	}
	return s.err
}

// maxRounds bounds how often each life is asked what it can still do.
const maxRounds = 100_000

// calm does all that a life can do now.
func (s *Simulation) calm(l *life) (moved bool) {
	for len(l.flights) > 0 && !l.ended {
		s.answer(l, 0)
		moved = true
	}
	if l.ended {
		s.bury()
		s.revive()
		return true
	}
	if moved = s.feed(l, 1000) || moved; l.ended {
		return true
	}
	moved = s.pump(l) || moved
	moved = s.fill(l) || moved
	return s.transact(l) || moved
}

// again folds each task's input twice more and compares all that comes of it.
func (s *Simulation) again() {
	for _, t := range s.tasks {
		if t.stage.topic == "" && len(t.stage.outs) == 0 && len(t.stage.operators) == 0 {
			continue
		}
		one, two := s.refold(t), s.refold(t)
		if one != two && s.err == nil {
			s.fail(fmt.Errorf("%s/%d makes something else of the same input when it is run again: does it depend on a map's order, the time or chance?", t.stage.name, t.part))
		}
	}
}

func (s *Simulation) refold(t *simTask) uint64 {
	h := fnv.New64a()
	c := s.core(t)
	defer c.leave()
	for _, shelf := range c.shelves {
		shelf.mark = math.MaxInt64 // nothing is to be written
	}
	if err := c.feed(s.logs[t.stage.input()][t.part]); err != nil {
		s.fail(err)
	}
	for _, g := range c.outs {
		for _, b := range g.boxes {
			for _, r := range b.records {
				fmt.Fprintf(h, "%d %d %d\n", len(r.Key), len(r.Header), len(r.Value))
				h.Write(r.Key)
				h.Write(r.Header)
				h.Write(r.Value)
			}
		}
	}
	states, err := c.states()
	if err != nil {
		s.fail(err)
	}
	for _, key := range slices.Sorted(maps.Keys(states)) {
		fmt.Fprintf(h, "%q %q\n", key, states[key])
	}
	return h.Sum64()
}

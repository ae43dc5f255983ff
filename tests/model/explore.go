package model

import "hash/maphash"

// Space is a set of states and the steps between them. A step is named by a
// small value; only the trace of a violation turns it into words.
type Space[S comparable, Step any] interface {
	Start() S
	// Next calls visit with every state that is one step away from s, always in
	// the same order. The state visited is good until visit returns.
	Next(s *S, visit func(*S, Step))
	// Broken names the invariant that s breaks; empty: none.
	Broken(s *S) string
	// Describe says in words what a step from one state to the next was.
	Describe(from, to *S, by Step) string
}

// Found is what an exploration came to.
type Found struct {
	States   int      // different ones
	Steps    int      // between them
	Depth    int      // steps of the longest of all shortest ways
	Complete bool     // no state was left out
	Broken   string   // the invariant that the last state of Trace breaks; empty: none was
	Trace    []string // a shortest way there
	Last     any      // that state, an S
}

// Explore visits every state of space, those nearest to the start first, until
// an invariant breaks, none is left, or limit states have been seen.
//
// Of a state seen only its 64-bit hash is kept. Two states with one hash would
// hide what follows from the second; among a hundred million states the chance
// of a single such pair is 1 in 3,700.
func Explore[S comparable, Step any](space Space[S, Step], limit int) Found {
	e := &explorer[S, Step]{space: space, limit: limit, seed: maphash.MakeSeed()}
	e.start()
	for len(e.near) > 0 && e.broken == nil && !e.full() {
		e.layer()
		e.near, e.far = e.far, e.near[:0]
		e.found.Depth++
	}
	e.found.States = len(e.ways)
	e.found.Complete = e.broken == nil && !e.full()
	if e.broken != nil {
		e.found.Last = *e.broken
		e.found.Trace = e.trace(len(e.ways) - 1)
	}
	return e.found
}

type explorer[S comparable, Step any] struct {
	space     Space[S, Step]
	limit     int
	seed      maphash.Seed
	seen      hashes
	ways      []way      // of each state, in the order in which they were found
	near, far []place[S] // the states at this depth, and those one step on
	broken    *S
	found     Found
}

// way says how a state was first reached.
type way struct {
	from uint32 // the state before it
	nth  uint16 // the place of the step among those that Next visits
}

type place[S comparable] struct {
	state S
	way   uint32
}

func (e *explorer[S, Step]) start() {
	first := e.space.Start()
	e.seen.add(e.hash(&first))
	e.ways = append(e.ways, way{})
	e.near = append(e.near, place[S]{first, 0})
}

func (e *explorer[S, Step]) full() bool { return len(e.ways) >= e.limit }

func (e *explorer[S, Step]) hash(s *S) uint64 { return maphash.Comparable(e.seed, *s) }

// layer goes one step on from each of the near states.
func (e *explorer[S, Step]) layer() {
	for i := range e.near {
		if e.broken != nil || e.full() {
			return
		}
		nth := -1
		e.space.Next(&e.near[i].state, func(to *S, _ Step) {
			nth++
			e.reach(to, way{e.near[i].way, uint16(nth)})
		})
	}
}

func (e *explorer[S, Step]) reach(to *S, by way) {
	e.found.Steps++
	if e.broken != nil || !e.seen.add(e.hash(to)) {
		return
	}
	e.ways = append(e.ways, by)
	if e.found.Broken = e.space.Broken(to); e.found.Broken != "" {
		last := *to
		e.broken = &last
		return
	}
	e.far = append(e.far, place[S]{*to, uint32(len(e.ways) - 1)})
}

// trace walks the way to a state once more, for its words.
func (e *explorer[S, Step]) trace(to int) []string {
	if to == 0 {
		return nil
	}
	var back []uint16
	for at := to; at != 0; at = int(e.ways[at].from) {
		back = append(back, e.ways[at].nth)
	}
	words := make([]string, 0, len(back))
	state := e.space.Start()
	for i := len(back) - 1; i >= 0; i-- {
		from, nth := state, 0
		e.space.Next(&from, func(next *S, by Step) {
			if nth == int(back[i]) {
				state = *next
				words = append(words, e.space.Describe(&from, next, by))
			}
			nth++
		})
	}
	return words
}

// hashes is a set of hashes in one slice, pointer-free: a map of as many takes
// three times the memory.
type hashes struct {
	slots []uint64 // a power of two; 0: free
	n     int
}

// add reports whether h was not in the set.
func (s *hashes) add(h uint64) bool {
	h = max(h, 1)
	if s.n*4 >= len(s.slots)*3 {
		s.grow()
	}
	at := s.find(h)
	if s.slots[at] == h {
		return false
	}
	s.slots[at] = h
	s.n++
	return true
}

// find returns the slot that h has, or would have.
func (s *hashes) find(h uint64) uint64 {
	mask := uint64(len(s.slots) - 1)
	at := h & mask
	for s.slots[at] != 0 && s.slots[at] != h {
		at = (at + 1) & mask
	}
	return at
}

func (s *hashes) grow() {
	old := s.slots
	s.slots = make([]uint64, max(1<<12, 2*len(old)))
	for _, h := range old {
		if h != 0 {
			s.slots[s.find(h)] = h
		}
	}
}

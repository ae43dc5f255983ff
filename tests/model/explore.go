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
type Found[S comparable] struct {
	States   int      // different ones
	Steps    int      // between them
	Depth    int      // steps of the longest of all shortest ways
	Complete bool     // no state was left out
	Broken   string   // the invariant that the last state of Trace breaks; empty: none was
	Trace    []string // a shortest way there
	Last     S        // that state
}

// Explore visits every state of space, those nearest to the start first, until
// an invariant breaks, none is left, or limit states have been seen.
//
// Of a state seen only its 64-bit hash is kept. Two states with one hash would
// hide what follows from the second; among a hundred million states the chance
// of a single such pair is 1 in 3,700.
func Explore[S comparable, Step any](space Space[S, Step], limit int) Found[S] {
	e := &explorer[S, Step]{space: space, limit: limit, seed: maphash.MakeSeed()}
	e.start()
	for e.queue.n > 0 && !e.done() {
		e.layer()
		e.found.Depth++
	}
	e.found.States = len(e.ways)
	e.found.Complete = !e.done()
	if e.found.Broken != "" {
		e.found.Trace = e.trace(len(e.ways) - 1)
	}
	return e.found
}

type explorer[S comparable, Step any] struct {
	space Space[S, Step]
	limit int
	seed  maphash.Seed
	seen  hashes
	ways  []way           // of each state, in the order in which they were found
	queue queue[place[S]] // states seen, the steps from which were not made yet
	from  way             // of the step being made
	found Found[S]
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
	e.queue.push(place[S]{first, 0})
}

func (e *explorer[S, Step]) done() bool { return e.found.Broken != "" || len(e.ways) >= e.limit }

func (e *explorer[S, Step]) hash(s *S) uint64 { return maphash.Comparable(e.seed, *s) }

// layer goes one step on from every state of the least depth.
func (e *explorer[S, Step]) layer() {
	visit := e.reach
	for range e.queue.n {
		if e.done() {
			return
		}
		p := e.queue.pop()
		e.from = way{from: p.way}
		e.space.Next(&p.state, visit)
	}
}

func (e *explorer[S, Step]) reach(to *S, _ Step) {
	by := e.from
	e.from.nth++
	e.found.Steps++
	if e.found.Broken != "" || !e.seen.add(e.hash(to)) {
		return
	}
	e.ways = append(e.ways, by)
	if e.found.Broken = e.space.Broken(to); e.found.Broken != "" {
		e.found.Last = *to
		return
	}
	e.queue.push(place[S]{*to, uint32(len(e.ways) - 1)})
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

// queue is first in, first out. It lies in blocks that are used again, so that it
// takes no more than what is in it, and nothing is copied when it grows.
type queue[T any] struct {
	blocks [][]T // all but the last are full
	taken  int   // of the first
	spare  [][]T
	n      int
}

const blockSize = 1024

func (q *queue[T]) push(v T) {
	last := len(q.blocks) - 1
	if last < 0 || len(q.blocks[last]) == blockSize {
		q.blocks = append(q.blocks, q.block())
		last++
	}
	q.blocks[last] = append(q.blocks[last], v)
	q.n++
}

func (q *queue[T]) block() []T {
	if n := len(q.spare); n > 0 {
		b := q.spare[n-1]
		q.spare = q.spare[:n-1]
		return b
	}
	return make([]T, 0, blockSize)
}

// pop takes the oldest; there must be one.
func (q *queue[T]) pop() T {
	v := q.blocks[0][q.taken]
	q.taken++
	q.n--
	if q.taken == blockSize {
		q.spare = append(q.spare, q.blocks[0][:0])
		q.blocks, q.taken = q.blocks[1:], 0
	}
	return v
}

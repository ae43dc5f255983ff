package stream

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
)

// simStore is the store that the simulated topology fills with its sums: the last
// one of each key, by partition. It takes over and refuses as view.Store does.
type simStore struct {
	shelves map[int32]*simShelf
	rng     *rand.Rand
	lost    int  // how often a shelf was emptied
	lax     bool // a planted bug: whoever wrote before may go on
}

type simShelf struct {
	epoch int
	mark  int64
	sums  map[string]int64
}

func newSimStore(seed uint64) *simStore {
	s := &simStore{shelves: make(map[int32]*simShelf), rng: rand.New(rand.NewPCG(seed, 3))}
	for p := range int32(simShuffles) {
		s.shelves[p] = &simShelf{sums: map[string]int64{}}
	}
	return s
}

// lose empties a shelf, now and then.
func (s *simStore) lose() {
	if s.rng.IntN(600) == 0 {
		shelf := s.shelves[s.rng.Int32N(simShuffles)]
		shelf.mark, shelf.sums = 0, map[string]int64{}
		s.lost++
	}
}

// simPart writes to a shelf.
type simPart struct {
	of    *simStore
	shelf *simShelf
	epoch int
	mark  int64
	waits map[string]int64
}

var (
	errSimFenced = errors.New("another has taken over")
	errSimBehind = errors.New("the store is not where it was")
)

func (p *simPart) Open(context.Context) (int64, error) {
	p.shelf.epoch++
	p.epoch, p.mark, p.waits = p.shelf.epoch, p.shelf.mark, map[string]int64{}
	return p.mark, nil
}

func (p *simPart) Put(e *Element, v simSum) error {
	p.waits[string(e.Key)] = v.n
	return nil
}

func (p *simPart) Pending() int { return len(p.waits) }

func (p *simPart) Batch(next int64) (func(context.Context) error, error) {
	batch := p.waits
	p.waits = map[string]int64{}
	return func(context.Context) error {
		switch {
		case p.shelf.epoch != p.epoch && !p.of.lax:
			return errSimFenced
		case p.shelf.mark != p.mark && !p.of.lax:
			return errSimBehind
		}
		maps.Copy(p.shelf.sums, batch)
		p.shelf.mark, p.mark = next, next
		return nil
	}, nil
}

func (p *simPart) Check(context.Context) error {
	if p.shelf.epoch != p.epoch || p.shelf.mark != p.mark {
		return errSimBehind
	}
	return nil
}

func (p *simPart) Mark(context.Context) (int64, error) { return p.shelf.mark, nil }

// store declares that the sums are kept.
func (s *simStore) store() *Store[simSum] {
	return &Store[simSum]{Name: "kept-sums", Part: func(n int32) Part[simSum] { return &simPart{of: s, shelf: s.shelves[n]} }}
}

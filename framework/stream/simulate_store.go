package stream

import (
	"context"
	"fmt"
	"math"
)

// simWrite is a batch on its way to a store.
type simWrite struct {
	shelf *shelf
	do    func(context.Context) error
	next  int64
	added uint64
	done  bool
	err   error
}

// write writes the batch, once.
func (w *simWrite) write() error {
	if !w.done {
		w.done, w.err = true, w.do(context.Background())
	}
	return w.err
}

// openStores lets a life take over its task's stores; it ends with what fails.
func (s *Simulation) openStores(l *life) bool {
	for _, shelf := range l.core.shelves {
		if shelf.of.delivers {
			shelf.mark = math.MaxInt64
			continue
		}
		var err error
		if shelf.mark, err = shelf.part.Open(context.Background()); err != nil {
			s.counts["store not opened"]++
			l.core.leave()
			return false
		}
	}
	return true
}

// fill sends a batch to each store that has something to take, or whose mark is to
// be moved.
func (s *Simulation) fill(l *life) bool {
	moved := false
	for _, shelf := range l.core.shelves {
		next := l.core.next
		switch {
		case shelf.writing || shelf.of.delivers:
			continue
		case shelf.part.Pending() == 0 && shelf.mark >= next:
			if err := shelf.part.Check(context.Background()); err != nil {
				s.counts["store lost"]++
				s.end(l)
				return true
			}
			continue
		case shelf.of.bare && !l.core.covered(l.core.ticket()):
			continue
		}
		write, err := shelf.part.Batch(next)
		if err != nil {
			s.fail(fmt.Errorf("store %s: %w", shelf.of.name, err))
			return false
		}
		shelf.writing, moved = true, true
		s.deliver(l, &simWrite{shelf: shelf, do: write, next: next, added: shelf.added})
	}
	return moved
}

// deliver draws what becomes of a batch.
func (s *Simulation) deliver(l *life, w *simWrite) {
	f := flight{of: l, store: w}
	switch n := s.draw(); {
	case n < 0.05:
		f.fails = true
		s.counts["write lost"]++
	case n < 0.10:
		f.fails = true
		_ = w.write() // its sender will not hear of it
		s.counts["write unanswered"]++
	case n < 0.15:
		f.fails = true
		s.late = append(s.late, flight{store: w})
		s.counts["write late"]++
	case n < 0.30:
		f.lands = true
		s.counts["write slow"]++
	default:
		_ = w.write() // wrote looks at the outcome
		s.counts["write"]++
	}
	l.flights = append(l.flights, f)
}

// wrote tells a life what became of a batch.
func (s *Simulation) wrote(l *life, f flight) {
	w := f.store
	if f.fails || w.write() != nil {
		s.end(l)
		return
	}
	w.shelf.writing, w.shelf.acked, w.shelf.mark = false, w.added, w.next
}

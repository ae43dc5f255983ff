package bench

import (
	"errors"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// ask sends one command and returns when it is answered.
type ask func() error

// measured is what callers got in one cell.
type measured struct {
	Commands  int // answered in the counted time
	Elapsed   time.Duration
	Latencies histogram
	Answered  int // at any time, also while warming up and after the end
}

// A load's phases.
const (
	warming int32 = iota
	counting
	over
)

// load lets callers ask again and again, for a while uncounted, then for cell.
// mark is called at both ends of the counted time. An answer counts if it comes
// in that time. The first failure ends it.
func load(callers []ask, cell time.Duration, mark func()) (measured, error) {
	var phase atomic.Int32
	var asking sync.WaitGroup
	tallies := make([]measured, len(callers))
	failed := make(chan error, len(callers))
	for i, ask := range callers {
		asking.Go(func() {
			if err := tallies[i].loop(ask, &phase); err != nil {
				failed <- err
			}
		})
	}
	err := pause(warmUp(cell), failed)
	mark()
	began := time.Now()
	phase.Store(counting)
	if err == nil {
		err = pause(cell, failed)
	}
	phase.Store(over)
	total := measured{Elapsed: time.Since(began)}
	mark()
	asking.Wait()
	close(failed)
	for _, t := range tallies {
		total.Commands += t.Commands
		total.Answered += t.Answered
		total.Latencies.merge(&t.Latencies)
	}
	return total, errors.Join(err, <-failed)
}

func warmUp(cell time.Duration) time.Duration { return min(cell/4, 500*time.Millisecond) }

func pause(d time.Duration, failed <-chan error) error {
	select {
	case err := <-failed:
		return err
	case <-time.After(d):
		return nil
	}
}

func (m *measured) loop(ask ask, phase *atomic.Int32) error {
	for began := time.Now(); phase.Load() != over; {
		if err := ask(); err != nil {
			return err
		}
		m.Answered++
		now := time.Now()
		if phase.Load() == counting {
			m.Commands++
			m.Latencies.add(now.Sub(began))
		}
		began = now
	}
	return nil
}

// histogram counts durations of up to 2^40 ns in slots 3 % wide.
type histogram [41*32 + 64]uint32

func slot(ns uint64) int {
	if ns < 64 {
		return int(ns)
	}
	e := bits.Len64(ns) - 6
	return e*32 + int(ns>>e)
}

// middle is the inverse of slot.
func middle(slot int) time.Duration {
	if slot < 64 {
		return time.Duration(slot)
	}
	e := slot/32 - 1
	return time.Duration((slot-e*32)<<e + 1<<e/2)
}

func (h *histogram) add(d time.Duration) { h[min(slot(uint64(max(d, 0))), len(h)-1)]++ }

func (h *histogram) merge(other *histogram) {
	for i, n := range other {
		h[i] += n
	}
}

// quantile returns the duration that a share q, above 0, of all were not above.
func (h *histogram) quantile(q float64) time.Duration {
	total := 0
	for _, n := range h {
		total += int(n)
	}
	left := q * float64(total)
	for i, n := range h {
		if left -= float64(n); n > 0 && left <= 0 {
			return middle(i)
		}
	}
	return 0
}

// Package reuse keeps slices that nobody uses for those who need some soon, so that the
// garbage collector has little of what goes by in great numbers. Unlike a sync.Pool it is
// bounded: what waits counts as used memory, of which the collector lets twice as much grow.
package reuse

import "sync"

// Limits of a Pool, in elements: all that wait together, and the smallest slice that does,
// below which one is sooner made than found.
const (
	Most  = 16_384
	Least = 64
)

// Pool is slices of Ts that nobody uses, with room for Most at most. The zero Pool is empty
// and ready. It is safe for concurrent use.
type Pool[T any] struct {
	mu    sync.Mutex
	free  [][]T
	holds int
}

// Take returns an empty slice with room for n: one that was given back, if there is one
// that is not more than four times as large, or a new one.
func (p *Pool[T]) Take(n int) []T {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.free) - 1; i >= 0; i-- {
		if s := p.free[i]; cap(s) >= n && cap(s)/4 <= n {
			last := len(p.free) - 1
			p.free[i], p.free[last] = p.free[last], nil
			p.free = p.free[:last]
			p.holds -= cap(s)
			return s
		}
	}
	return make([]T, 0, n)
}

// Give takes back a slice that nobody uses any more; what it holds is let go of. The oldest
// of what waits goes where there is no room, so that what is of a size that nobody asks for
// any more does not stay.
func (p *Pool[T]) Give(s []T) {
	if cap(s) < Least || cap(s) > Most {
		return
	}
	clear(s)
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.holds += cap(s); p.holds > Most; p.free = p.free[1:] {
		p.holds -= cap(p.free[0])
		p.free[0] = nil
	}
	p.free = append(p.free, s[:0])
}

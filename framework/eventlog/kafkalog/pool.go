package kafkalog

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// A replay goes through hundreds of thousands of records a second, each for some
// milliseconds as franz-go's and then as the log's. So that the garbage collector has
// little of that, both lie in slices that are used again. What is not given back is
// collected as usual.
var (
	fetchedRecords recordPool // a batch's each
	runs           pool[eventlog.Record]
)

// pool is slices that nobody uses, in all of room for maxPooled at most.
type pool[T any] struct {
	mu    sync.Mutex
	free  [][]T
	holds int
}

// maxPooled is as many records as a few fetches bring: some 3 MiB of franz-go's, 1.5 MiB of
// the log's. A slice of less than minPooled is sooner made than found.
const (
	maxPooled = 16_384
	minPooled = 64
)

// take returns an empty slice with room for n.
func (p *pool[T]) take(n int) []T {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.free) - 1; i >= 0; i-- {
		if s := p.free[i]; cap(s) >= n && cap(s)/4 <= n {
			last := len(p.free) - 1
			p.free[i], p.free[last] = p.free[last], nil
			p.free = p.free[:last]
			p.holds -= cap(s)
			return s[:0]
		}
	}
	return make([]T, 0, n)
}

// give takes back a slice, of which all that was used is zero. The oldest go where there is
// no room, so that what is of a size that nobody asks for any more does not stay.
func (p *pool[T]) give(s []T) {
	if cap(s) < minPooled || cap(s) > maxPooled {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.holds += cap(s); p.holds > maxPooled; p.free = p.free[1:] {
		p.holds -= cap(p.free[0])
		p.free[0] = nil
	}
	p.free = append(p.free, s)
}

// recordPool is a kgo.PoolRecords.
type recordPool struct{ pool[kgo.Record] }

var _ kgo.PoolRecords = (*recordPool)(nil)

func (p *recordPool) GetRecords(n int) []kgo.Record { return p.take(n) }
func (p *recordPool) PutRecords(s []kgo.Record)     { p.give(s) }

// recycle lets go of records whose fields have been taken over.
func recycle(fetched []*kgo.Record) {
	for _, r := range fetched {
		r.Recycle()
	}
}

// Recycle implements [eventlog.Recycler].
func (r *reader) Recycle(run []eventlog.Record) {
	clear(run) // lets go of what the records hold
	runs.give(run)
}

package kafkalog

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// A replay goes through hundreds of thousands of records a second, each for some
// milliseconds as franz-go's and then as the log's. So that the garbage collector has
// little of that, both lie in slices that are used again. Whatever is not given back is
// collected as usual.
var (
	fetchedRecords recordPool // a batch's each
	runs           pool[eventlog.Record]
)

// pool is slices that nobody uses.
type pool[T any] struct{ slices sync.Pool }

// take returns an empty slice with room for n.
func (p *pool[T]) take(n int) []T {
	if s, ok := p.slices.Get().(*[]T); ok && cap(*s) >= n {
		return (*s)[:0]
	}
	return make([]T, 0, n)
}

// give takes back a slice, of which all that was used is zero.
func (p *pool[T]) give(s []T) { p.slices.Put(&s) }

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

package kafkalog

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/reuse"
)

// A replay goes through hundreds of thousands of records a second, each for some
// milliseconds as franz-go's and then as the log's. Both lie in slices that are used again;
// those that are not given back are collected as usual.
var (
	fetchedRecords recordPool // a batch's each
	runs           reuse.Pool[eventlog.Record]
)

// recordPool is a kgo.PoolRecords.
type recordPool struct{ reuse.Pool[kgo.Record] }

var _ kgo.PoolRecords = (*recordPool)(nil)

func (p *recordPool) GetRecords(n int) []kgo.Record { return p.Take(n) }
func (p *recordPool) PutRecords(s []kgo.Record)     { p.Give(s) }

// recycle lets go of records whose fields have been taken over.
func recycle(fetched []*kgo.Record) {
	for _, r := range fetched {
		r.Recycle()
	}
}

// Recycle implements [eventlog.Recycler].
func (r *reader) Recycle(run []eventlog.Record) { runs.Give(run) }

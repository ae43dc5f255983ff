// Package stream is the engine that folds logs: operators with keyed state, timers,
// windows and joins, between topics. What they make of an input follows from the
// input, so a task that dies is started again anywhere, from a snapshot and the log,
// and what it had written before has no effect a second time.
//
// A [Topology] is declared once, from its sources on. Between two logs elements are
// handed on by calls; where they need another key, [KeyBy] writes them to a log of
// their own, a shuffle. Each of its partitions, and of the sources', is one task. This
// counts the clicks on each page:
//
//	t := &stream.Topology{Name: "clicks-by-page"}
//	clicks := stream.From(t, &stream.Source[Click]{Name: "clicks", Topic: "clicks",
//		Decode: func(r *stream.Record, c *Click) error { return json.Unmarshal(r.Value, c) }})
//	pages := stream.KeyBy(clicks, "pages", func(c Click) string { return c.Page }, stream.Codec[Click]{})
//	counts, _ := stream.Via(pages, &stream.Process[int, Click, int]{Name: "count",
//		OnEvent: func(c *stream.Context[int, int], _ Click) error {
//			*c.State()++
//			c.Emit(*c.State())
//			return nil
//		}})
//	stream.To(counts, &stream.Publish[int]{Name: "counts", Topic: "clicks-by-page"})
//
//	runner, err := stream.NewRunner(t, stream.Config{Log: kafka, Snapshots: folder})
//	err = runner.Run(ctx) // this process's share, until ctx ends
//
// Package streamtest runs a topology in a test, without servers; [Simulation] is what
// it stands on. The guide is doc/streams.md.
//
// The views of an application are folded by something older and simpler: an
// [Operator] that writes to a store is driven by a [Task], one on each partition, see
// [NewTask].
package stream

import (
	"context"

	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// Operator is a fold declared once; each partition gets a Part of its own.
type Operator interface {
	Name() string
	Part(number int32) Part
}

// Part is an operator's state on one partition. One goroutine uses it.
type Part interface {
	// Open empties the state and returns the offset up to which the store holds
	// what the fold gives: what lies below is folded, but not written again.
	Open(ctx context.Context) (written int64, err error)
	// Fold folds one valid event. An error is final: the task stops with it.
	Fold(e *partition.Event) error
	// Pending returns how many changes wait for Flush.
	Pending() int
	// Flush writes the changes, if any, and that the store now holds all below
	// next. An error makes the task start anew from Open.
	Flush(ctx context.Context, next int64) error
	// Discard forgets the changes: the store has them.
	Discard()
	// Check returns an error when the store has lost what was written.
	Check(ctx context.Context) error
	// Mark returns the offset up to which the store holds what the fold gives,
	// whoever wrote it. It may come before Open.
	Mark(ctx context.Context) (int64, error)
}

// Package stream is the engine that runs folds: an [Operator] is a fold, a task
// is an operator on one partition, and [Task.Run] drives it over the log's valid
// events, writes what it changed, and starts it again from what its store holds
// when either fails:
//
//	task := stream.NewTask(stream.TaskConfig{Log: log, Topic: "app.events", Partition: 3, Operator: cards, …})
//	go task.Run(ctx)
//	err := task.Wait(ctx, 81234) // until the store holds what the record at this offset gave
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

package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// Delivery hands the elements of a stream to a function that acts on the world, in
// the order of the task's input, each until that has succeeded. Its progress is the
// offset of a group in the log. What was done and not committed is handed over
// again after a crash: at least once.
type Delivery[T any] struct {
	Name  string // [a-z][a-z0-9-]*, for ever
	Group string // keeps the progress, for ever; the log must be an eventlog.Offsets
	// Do is called with one element of a partition at a time; it must end soon after
	// ctx. An error lets it be called again with the same element, after a pause that
	// grows from 100 ms to 30 s, unless it is Final.
	Do func(ctx context.Context, v T) error
	// Attempted hears what each call of Do came to; nil: done. Optional.
	Attempted func(err error)
}

// Limits of a delivery.
const (
	maxWaiting     = 256                    // elements that are folded and not handed over
	commitInterval = 200 * time.Millisecond // from one commit of progress to the next
	refreshAfter   = 30 * time.Minute       // progress that stands still is committed again, lest the log forget it
	commitTimeout  = 10 * time.Second       // of one commit
	lastTimeout    = 2 * time.Second        // of the commit at the end
	leastPause     = 100 * time.Millisecond // before an element is tried again; doubles
	mostPause      = 30 * time.Second
)

// Deliver hands a stream to a function.
func Deliver[T any](in *Stream[T], d *Delivery[T]) {
	if d.Group == "" || d.Do == nil {
		panic(fmt.Errorf("delivery %q: set Group and Do", d.Name))
	}
	n := addStore(in.of, &store{name: d.Name, most: maxWaiting, timeout: -1, delivers: true,
		part: func(o opening) storePart { return &doing[T]{of: d, opening: o} }})
	fillShelf(in, n)
}

// doing is a delivery in one task: the part of a store whose mark is a group's
// offset.
type doing[T any] struct {
	of *Delivery[T]
	opening
	queue []due[T]

	done  atomic.Int64  // all below is
	dirty chan struct{} // tells the keeper of progress; holds one
	stop  func()        // ends the keeper, with a last commit
}

type due[T any] struct {
	key    string
	offset int64
	v      T
}

func (d *doing[T]) offsets() eventlog.Offsets { return d.cfg.Log.(eventlog.Offsets) }

func (d *doing[T]) logger() *slog.Logger {
	return d.cfg.Logger.With("effect", d.of.Name, "partition", d.partition)
}

// Mark returns what is committed.
func (d *doing[T]) Mark(ctx context.Context) (int64, error) {
	from, _, err := d.offsets().Committed(ctx, d.of.Group, d.topic, d.partition)
	return from, err
}

// Open finds where the group is: at the log's start if that is not known.
func (d *doing[T]) Open(ctx context.Context) (int64, error) {
	d.End()
	from, err := d.Mark(ctx)
	if err != nil {
		return 0, err
	}
	d.queue = nil
	d.done.Store(from)
	d.dirty = make(chan struct{}, 1)
	keeping, stop := context.WithCancel(context.Background())
	var keeper sync.WaitGroup
	keeper.Go(func() { d.keep(keeping) })
	d.stop = func() {
		stop()
		keeper.Wait()
	}
	return from, nil
}

// End commits how far the delivery has got.
func (d *doing[T]) End() {
	if d.stop != nil {
		d.stop()
		d.stop = nil
	}
}

func (d *doing[T]) Put(e *Element, v T) error {
	d.queue = append(d.queue, due[T]{string(e.Key), e.Offset, v})
	return nil
}

func (d *doing[T]) Pending() int { return len(d.queue) }

// Batch hands what waits over. All that an input made is done with its last
// element.
func (d *doing[T]) Batch(next int64) (func(context.Context) error, error) {
	queue := d.queue
	d.queue = nil
	return func(ctx context.Context) error {
		for i := range queue {
			if e := &queue[i]; e.offset > d.done.Load() {
				d.passed(e.offset)
			}
			if err := d.deliver(ctx, &queue[i]); err != nil {
				return err
			}
		}
		d.passed(next)
		return nil
	}, nil
}

func (d *doing[T]) passed(next int64) {
	d.done.Store(next)
	select {
	case d.dirty <- struct{}{}:
	default:
	}
}

func (d *doing[T]) Check(context.Context) error { return nil }

// deliver calls Do until it succeeds, fails for good, or ctx ends.
func (d *doing[T]) deliver(ctx context.Context, e *due[T]) error {
	pause := clock.Backoff{Least: leastPause, Most: mostPause}
	stalled := StalledError{Key: e.key, Partition: d.partition, Offset: e.offset}
	for {
		err := d.attempt(ctx, e)
		switch {
		case err == nil:
			d.report(nil)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
		stalled.Err = err
		if final := (*finalError)(nil); errors.As(err, &final) {
			return &stalled
		}
		if stalled.Attempts++; stalled.Since.IsZero() {
			stalled.Since = d.cfg.Clock.Now().UTC()
		}
		now := stalled
		err = &now
		wait := pause.Next(d.cfg.Clock)
		d.report(err)
		d.logger().Warn("effect failed, its partition waits", "err", err, "pause", wait)
		if err := clock.Sleep(ctx, d.cfg.Clock, wait); err != nil {
			return err
		}
	}
}

// StalledError is what a delivery's task shows in its status while Do fails for an
// element: the partition waits for it.
type StalledError struct {
	Key       string
	Partition int32
	Offset    int64     // of the element's record
	Since     time.Time // when it failed first
	Attempts  int
	Err       error // of the last one
}

func (e *StalledError) Error() string {
	return fmt.Sprintf("%s at %d@%d: %v", e.Key, e.Partition, e.Offset, e.Err)
}

// Unwrap returns Err.
func (e *StalledError) Unwrap() error { return e.Err }

// attempt calls Do once. A panic is an error like any other: what it met may pass.
func (d *doing[T]) attempt(ctx context.Context, e *due[T]) (err error) {
	defer func() {
		if p := recover(); p != nil {
			d.logger().Error("an effect panicked", "stack", string(debug.Stack()))
			err = fmt.Errorf("it panicked: %v", p)
		}
		if d.of.Attempted != nil && (err == nil || ctx.Err() == nil) {
			d.of.Attempted(err)
		}
	}()
	return d.of.Do(ctx, e.v)
}

// keep commits progress until ctx ends, and what is left of it then. It begins
// with a commit, so that a log that forgets hears of the group at each start.
func (d *doing[T]) keep(ctx context.Context) {
	var pause clock.Backoff
	for kept := int64(-1); ; {
		done := d.done.Load()
		switch {
		case ctx.Err() != nil:
			d.commitLast(ctx, done, kept)
			return
		case done == kept:
			select {
			case <-d.dirty:
			case <-d.cfg.Clock.After(refreshAfter):
				kept = -1
			case <-ctx.Done():
			}
		case d.commit(ctx, done) == nil:
			kept = done
			pause.Reset()
			clock.Sleep(ctx, d.cfg.Clock, commitInterval)
		default:
			clock.Sleep(ctx, d.cfg.Clock, max(commitInterval, pause.Next(d.cfg.Clock)))
		}
	}
}

func (d *doing[T]) commitLast(ctx context.Context, done, kept int64) {
	if done == kept {
		return
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTimeout)
	defer cancel()
	_ = d.commit(last, done) // it has logged why it could not
}

// commit notes progress in the log. Until it succeeds, what was done since the
// last time would be done again after a crash, and no more than that.
func (d *doing[T]) commit(ctx context.Context, done int64) error {
	within, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	err := d.offsets().Commit(within, d.of.Group, d.topic, d.partition, done)
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		d.logger().Warn("progress of an effect was not committed; what is not will be repeated after a restart", "err", err)
	}
	return err
}

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

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// TaskConfig says what a task works on. No field has a default.
type TaskConfig struct {
	Log       eventlog.Log
	Topic     string
	Partition int32
	Operator  Operator
	Shared    bool // other processes Watch the store, so its mark must not stay behind for long
	Clock     clock.Clock
	Logger    *slog.Logger
}

// Limits of a task.
const (
	maxPending    = 4096                  // changes, after which they are written
	checkInterval = time.Second           // between two looks at an idle task's store
	markInterval  = 50 * time.Millisecond // that a shared store's mark may stay behind an idle task
	writeTimeout  = 10 * time.Second      // of one call of a store
)

// Task runs one operator on one partition. Its fold sees the log's valid events
// in order; what the fold changes is written in runs, each with its position, so
// that the store is always what a prefix of the log gives.
type Task struct {
	cfg  TaskConfig
	part Part
	fold *partition.Fold

	written int64     // the store's mark, as Open or the last Flush left it
	from    int64     // the status' Written when this run began: what lies below is not written again
	looked  time.Time // when the store was last heard of

	waiting atomic.Int32  // callers in Wait
	waits   chan struct{} // tells Watch of one; holds one

	mu      sync.Mutex
	status  Status
	changed chan struct{} // closed when status changes
}

// Status is how a task fares.
type Status struct {
	Written int64 // the store holds what the events below this offset give
	Goal    int64 // the end that the log had when the task began; -1: not known yet
	Err     error // why the task does not go on; nil while it does
	Final   bool  // Err does not pass by itself

	unsure bool // a call of the store has failed: what it holds shows when it is open again
}

// Whole reports whether the store has passed the task's goal: before that, or
// while the store fails, it may lack what it had.
func (s Status) Whole() bool { return s.Goal >= 0 && s.Written >= s.Goal && !s.unsure }

// NewTask returns a task that does nothing until Run.
func NewTask(cfg TaskConfig) *Task {
	return &Task{cfg: cfg, part: cfg.Operator.Part(cfg.Partition), status: Status{Goal: -1},
		changed: make(chan struct{}), waits: make(chan struct{}, 1)}
}

// Status returns how the task fares.
func (t *Task) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status
}

func (t *Task) update(f func(*Status)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.status
	if f(&t.status); t.status != before {
		close(t.changed)
		t.changed = make(chan struct{})
	}
}

// Wait waits until the store holds the record at offset, or ctx ends. It returns
// the task's own error if that is final.
func (t *Task) Wait(ctx context.Context, offset int64) error {
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	select {
	case t.waits <- struct{}{}:
	default:
	}
	for {
		t.mu.Lock()
		s, changed := t.status, t.changed
		t.mu.Unlock()
		switch {
		case s.Whole() && s.Written > offset:
			return nil
		case s.Final:
			return s.Err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Run runs the task, again after each failure with a growing pause, until ctx
// ends. A failure that cannot pass is logged once and shown in Status.
func (t *Task) Run(ctx context.Context) {
	log := t.cfg.Logger.With("operator", t.cfg.Operator.Name(), "partition", t.cfg.Partition)
	repeat(ctx, t.cfg.Clock, log, "task", t.follow, func(err error, final bool) {
		t.update(func(s *Status) { s.Err, s.Final = err, final })
	})
}

// repeat calls follow again after each failure, with a growing pause, until ctx
// ends or a failure is final. It tells failed of each, and logs it.
func repeat(ctx context.Context, clk clock.Clock, log *slog.Logger, what string, follow func(context.Context) error, failed func(err error, final bool)) {
	var pause clock.Backoff
	for ctx.Err() == nil {
		began := clk.Now()
		err := follow(ctx)
		if ctx.Err() != nil {
			return
		}
		final := permanent(err)
		failed(err, final)
		if final {
			log.Error(what+" stopped", "err", err)
			return
		}
		if clk.Now().Sub(began) > time.Minute {
			pause.Reset()
		}
		d := pause.Next(clk)
		log.Warn(what+" will start anew", "err", err, "pause", d)
		clock.Sleep(ctx, clk, d)
	}
}

// follow opens the part, folds the log from its beginning, and writes from where
// the store is. A panic of the part is a final error.
func (t *Task) follow(ctx context.Context) (err error) {
	t.fold = partition.New(partition.Memory{})
	defer func() {
		if p := recover(); p != nil {
			t.cfg.Logger.Error("a part panicked", "operator", t.cfg.Operator.Name(), "stack", string(debug.Stack()))
			err = &finalError{fmt.Errorf("it panicked at %d@%d: %v", t.cfg.Partition, t.fold.Next()-1, p)}
		}
	}()
	if err := t.open(ctx); err != nil {
		return err
	}
	reader, err := t.cfg.Log.Read(t.cfg.Topic, t.cfg.Partition, 0)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer reader.Close()
	for {
		if err := t.advance(ctx, reader); err != nil {
			return err
		}
	}
}

// open finds where the store is. If it has kept all that was written to it, then
// it holds all that the task has passed; else the task has a new goal.
func (t *Task) open(ctx context.Context) error {
	var written int64
	if err := t.store(ctx, "open", func(ctx context.Context) (err error) {
		written, err = t.part.Open(ctx)
		return err
	}); err != nil {
		return err
	}
	end, err := t.cfg.Log.End(ctx, t.cfg.Topic, t.cfg.Partition)
	if err != nil {
		return fmt.Errorf("find the end: %w", err)
	}
	if written > end {
		return &finalError{fmt.Errorf("its store is at offset %d, beyond the log's end %d: it belongs to another log; empty it, or use another application name", written, end)}
	}
	kept := written >= t.written
	t.written = written
	t.update(func(s *Status) {
		if kept {
			s.Written = max(s.Written, written)
		} else {
			s.Written, s.Goal = written, end
		}
		if s.Goal < 0 {
			s.Goal = end
		}
		s.Err, s.Final, s.unsure = nil, false, false
		t.from = s.Written
	})
	return nil
}

// store does one call of the store. When it fails, nobody knows what the store
// holds until it is open again.
func (t *Task) store(ctx context.Context, act string, call func(context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := call(within); err != nil {
		t.update(func(s *Status) { s.unsure = true })
		return fmt.Errorf("%s: %w", act, err)
	}
	t.looked = t.cfg.Clock.Now()
	return nil
}

// advance folds the next run of records and writes what it changed. It looks at
// the store from time to time while there is nothing to write.
func (t *Task) advance(ctx context.Context, reader eventlog.Reader) error {
	behind := t.cfg.Shared && t.written < min(t.fold.Next(), t.Status().Written)
	patience := checkInterval
	if behind {
		patience = markInterval
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	records, err := reader.Next(within)
	if err != nil {
		switch {
		case ctx.Err() == nil && within.Err() != nil && behind:
			return t.write(ctx, t.fold.Next())
		case ctx.Err() == nil && within.Err() != nil:
			return t.store(ctx, "check", t.part.Check)
		}
		return fmt.Errorf("read: %w", err)
	}
	for i := range records {
		if err := t.step(&records[i]); err != nil {
			return err
		}
		if t.part.Pending() >= maxPending {
			if err := t.flush(ctx); err != nil {
				return err
			}
		}
	}
	if err := t.flush(ctx); err != nil {
		return err
	}
	unheard := t.cfg.Clock.Now().Sub(t.looked)
	switch {
	case behind && unheard >= markInterval && t.fold.Next() > t.from:
		return t.write(ctx, t.fold.Next())
	case unheard < checkInterval:
		return nil
	}
	return t.store(ctx, "check", t.part.Check)
}

func (t *Task) step(r *eventlog.Record) error {
	if next := t.fold.Next(); next <= t.from && r.Offset >= t.from && t.from > 0 {
		t.part.Discard() // the store has all before this record
	}
	got, err := t.fold.Step(r.Offset, r.Key, r.Header, r.Value)
	if err != nil {
		return err
	}
	if got.Verdict != partition.Valid {
		return nil
	}
	for i := range got.Events {
		e := &got.Events[i]
		if err := t.part.Fold(e); err != nil {
			return &finalError{fmt.Errorf("fold %s of %s at %d@%d: %w", e.Type, e.Key, t.cfg.Partition, e.Offset, err)}
		}
	}
	return nil
}

// flush writes what lies behind the store's position. Where nothing has changed,
// the store holds it already, and its mark may stay behind.
func (t *Task) flush(ctx context.Context) error {
	next := t.fold.Next()
	if next <= t.from {
		t.part.Discard()
		return nil
	}
	if t.part.Pending() > 0 {
		if err := t.write(ctx, next); err != nil {
			return err
		}
	}
	t.update(func(s *Status) { s.Written = next })
	return nil
}

// write writes what waits, if anything does, and moves the store's mark.
func (t *Task) write(ctx context.Context, next int64) error {
	if err := t.store(ctx, "write", func(ctx context.Context) error { return t.part.Flush(ctx, next) }); err != nil {
		return err
	}
	t.written = next
	return nil
}

// Final marks an error of a Part as one that the same log and program will meet
// again: the task stops with it.
func Final(err error) error { return &finalError{err} }

// finalError is a failure that the same log and program will meet again.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

func permanent(err error) bool {
	var final *finalError
	var damaged *eventlog.DamagedError
	return errors.As(err, &final) || errors.As(err, &damaged) || errors.Is(err, event.ErrNewer) ||
		errors.Is(err, eventlog.ErrOffset) || errors.Is(err, eventlog.ErrUnknownTopic)
}

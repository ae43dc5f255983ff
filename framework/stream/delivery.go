package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// DeliveryConfig says what a delivery works on. No field has a default.
type DeliveryConfig struct {
	Name      string // of the effect
	Log       eventlog.Log
	Offsets   eventlog.Offsets // keep the progress of Group
	Group     string
	Topic     string
	Partition int32
	// Takes tells the events that Do is called for from those that are passed over.
	Takes func(e *partition.Event) bool
	// Do takes one valid event, which is good until it returns. It ends soon after
	// its context. An error lets it be called again with the same event, unless it
	// is Final.
	Do        func(ctx context.Context, e *partition.Event) error
	Attempted func(err error) // hears what each call of Do came to; nil: done
	Clock     clock.Clock
	Logger    *slog.Logger
}

// Limits of a delivery.
const (
	commitInterval = 200 * time.Millisecond // from one commit of progress to the next
	refreshAfter   = 30 * time.Minute       // progress that stands still is committed again, lest the log forget it
	commitTimeout  = 10 * time.Second       // of one commit
	lastTimeout    = 2 * time.Second        // of the commit at the end
	leastPause     = 100 * time.Millisecond // before an event is tried again; doubles
	mostPause      = 30 * time.Second
)

// Delivery hands the valid events of one partition to a function, in order, each
// until that has succeeded, and keeps its progress in the log. An event whose
// progress was not committed is handed over again by the next Run: at least once.
//
// It is no Task: a Task has a store, which holds what a prefix of the log gives
// and may be written in runs of 10 s at most. Here each event takes the time that
// it takes, and nothing can be asked what it holds.
type Delivery struct {
	cfg  DeliveryConfig
	fold *partition.Fold

	dirty chan struct{} // tells of progress; holds one

	mu     sync.Mutex
	status Progress
}

// Progress is how a delivery fares.
type Progress struct {
	Done  int64 // all that took effect below this offset is done
	Err   error // why the next event waits, or the delivery does not go on; nil while it does
	Final bool  // Err does not pass by itself
}

// NewDelivery returns a delivery that does nothing until Run.
func NewDelivery(cfg DeliveryConfig) *Delivery {
	return &Delivery{cfg: cfg, dirty: make(chan struct{}, 1)}
}

// Status returns how the delivery fares.
func (d *Delivery) Status() Progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status
}

func (d *Delivery) update(f func(*Progress)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&d.status)
}

// Run delivers, again after each failure with a growing pause, until ctx ends;
// then it commits how far it has got, for which it takes 2 s at most. A failure
// that cannot pass is logged once and shown in Status.
func (d *Delivery) Run(ctx context.Context) {
	repeat(ctx, d.cfg.Clock, d.logger(), "effect", d.follow, func(err error, final bool) {
		d.update(func(p *Progress) { p.Err, p.Final = err, final })
	})
}

func (d *Delivery) logger() *slog.Logger {
	return d.cfg.Logger.With("effect", d.cfg.Name, "partition", d.cfg.Partition)
}

// follow folds the log from its beginning and delivers what takes effect from the
// committed offset on.
func (d *Delivery) follow(ctx context.Context) error {
	from, err := d.open(ctx)
	if err != nil {
		return err
	}
	d.fold = partition.New(partition.Memory{})
	reader, err := d.cfg.Log.Read(d.cfg.Topic, d.cfg.Partition, 0)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer reader.Close()
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	var keeper sync.WaitGroup
	keeper.Go(func() { d.keep(keeping) })
	defer keeper.Wait()
	defer stop()
	for {
		records, err := reader.Next(ctx)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		for i := range records {
			if err := d.step(ctx, &records[i], from); err != nil {
				return err
			}
		}
	}
}

// open finds where the group is: at the log's start if that is not known.
func (d *Delivery) open(ctx context.Context) (from int64, err error) {
	within, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if from, _, err = d.cfg.Offsets.Committed(within, d.cfg.Group, d.cfg.Topic, d.cfg.Partition); err != nil {
		return 0, err
	}
	end, err := d.cfg.Log.End(within, d.cfg.Topic, d.cfg.Partition)
	if err != nil {
		return 0, fmt.Errorf("find the end: %w", err)
	}
	if from > end {
		return 0, &finalError{fmt.Errorf("group %s is at offset %d, beyond the log's end %d: it is another log's; restore the log, or set the group's offset", d.cfg.Group, from, end)}
	}
	d.update(func(p *Progress) { *p = Progress{Done: from} })
	return from, nil
}

// step delivers what takes effect with a record, unless that was done before. What
// takes effect below from was: a commit that lies on both sides takes effect with
// its last record.
func (d *Delivery) step(ctx context.Context, r *eventlog.Record, from int64) error {
	got, err := d.fold.Step(r.Offset, r.Key, r.Header, r.Value)
	if err != nil || r.Offset < from {
		return err
	}
	if got.Verdict == partition.Valid {
		for i := range got.Events {
			e := &got.Events[i]
			if !d.cfg.Takes(e) {
				continue
			}
			if err := d.deliver(ctx, e); err != nil {
				return err
			}
		}
	}
	d.update(func(p *Progress) { p.Done = r.Offset + 1 })
	select {
	case d.dirty <- struct{}{}:
	default:
	}
	return nil
}

// deliver calls Do until it succeeds, fails for good, or ctx ends.
func (d *Delivery) deliver(ctx context.Context, e *partition.Event) error {
	pause := clock.Backoff{Least: leastPause, Most: mostPause}
	for {
		err := d.attempt(ctx, e)
		switch {
		case err == nil:
			d.update(func(p *Progress) { p.Err = nil })
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
		err = fmt.Errorf("%s of %s at %d@%d: %w", e.Type, e.Key, d.cfg.Partition, e.Offset, err)
		if final := (*finalError)(nil); errors.As(err, &final) {
			return err
		}
		wait := pause.Next(d.cfg.Clock)
		d.update(func(p *Progress) { p.Err = err })
		d.logger().Warn("effect failed, its partition waits", "err", err, "pause", wait)
		if err := clock.Sleep(ctx, d.cfg.Clock, wait); err != nil {
			return err
		}
	}
}

// attempt calls Do once. A panic is an error like any other: what it met may pass.
func (d *Delivery) attempt(ctx context.Context, e *partition.Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			d.logger().Error("an effect panicked", "stack", string(debug.Stack()))
			err = fmt.Errorf("it panicked: %v", p)
		}
		if err == nil || ctx.Err() == nil {
			d.cfg.Attempted(err)
		}
	}()
	return d.cfg.Do(ctx, e)
}

// keep commits progress until ctx ends, and what is left of it then. It begins
// with a commit, so that a log that forgets hears of the group at each start.
func (d *Delivery) keep(ctx context.Context) {
	var pause clock.Backoff
	for kept := int64(-1); ; {
		done := d.Status().Done
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

func (d *Delivery) commitLast(ctx context.Context, done, kept int64) {
	if done == kept {
		return
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTimeout)
	defer cancel()
	_ = d.commit(last, done) // it has logged why it could not
}

// commit notes progress in the log. Until it succeeds, what was done since the
// last time would be done again after a crash, and no more than that.
func (d *Delivery) commit(ctx context.Context, done int64) error {
	within, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	err := d.cfg.Offsets.Commit(within, d.cfg.Group, d.cfg.Topic, d.cfg.Partition, done)
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		d.logger().Warn("progress of an effect was not committed; what is not will be repeated after a restart", "err", err)
	}
	return err
}

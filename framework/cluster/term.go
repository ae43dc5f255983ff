package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

const starting = "starting"

var (
	errDeposed     = errors.New("another process has claimed the partition")
	errLostRecords = errors.New("the log has lost records: an append was acknowledged below what was read")
	errBroken      = errors.New("the log contradicts what was appended")
)

// unansweredError is an append that was refused or timed out: whether it took
// place is not known.
type unansweredError struct{ err error }

func (e *unansweredError) Error() string { return "append: " + e.err.Error() }
func (e *unansweredError) Unwrap() error { return e.err }

// Run claims the partition and serves it, again after each failure with a
// growing pause, until ctx ends. A failure that cannot pass is logged once and
// shown in Status; then Run only waits for ctx.
func (o *Owner) Run(ctx context.Context) {
	o.lasting = context.WithoutCancel(ctx)
	o.terms(ctx)
	if ctx.Err() != nil {
		o.setStatus(false, "stopping")
	}
	close(o.ended) // whoever waits now is told so
	o.units.Close()
	<-ctx.Done()
}

// terms returns when ctx ends or the owner cannot go on.
func (o *Owner) terms(ctx context.Context) {
	var pause clock.Backoff
	for claims := 0; ctx.Err() == nil; {
		o.setStatus(false, starting)
		began := o.cfg.Clock.Now()
		err := o.term(ctx)
		if ctx.Err() != nil {
			return
		}
		served := o.Status().Serving
		o.setStatus(false, err.Error())
		if claims++; served {
			claims = 0
		}
		if claims >= maxClaims {
			o.stall()
		}
		o.setAside()
		o.cfg.Metrics.terms.Inc()
		if permanent(err) {
			o.cfg.Logger.Error("partition stopped", "topic", o.cfg.Topic, "partition", o.cfg.Partition, "err", err)
			return
		}
		if o.cfg.Clock.Now().Sub(began) > time.Minute {
			pause.Reset()
		}
		d := pause.Next(o.cfg.Clock)
		o.cfg.Logger.Warn("partition will be claimed again", "topic", o.cfg.Topic, "partition", o.cfg.Partition, "err", err, "pause", d)
		clock.Sleep(ctx, o.cfg.Clock, d)
	}
}

// term restores what a snapshot has, reads to the end, claims the next epoch, and serves it until an append's
// fate is unknown or another has claimed.
func (o *Owner) term(ctx context.Context) error {
	end, err := o.cfg.Log.End(ctx, o.cfg.Topic, o.cfg.Partition)
	if err != nil {
		return fmt.Errorf("find the end: %w", err)
	}
	if end, err = o.restore(ctx, end); err != nil {
		return err
	}
	if end < o.fold.Next() {
		return fmt.Errorf("%w: it ends at %d, %d was read", errLostRecords, end, o.fold.Next()-1)
	}
	if err := o.readTo(ctx, end); err != nil {
		return err
	}
	o.epoch = max(o.epoch, o.fold.Epoch()) + 1
	if err := o.append(ctx, []eventlog.Record{{Header: partition.ClaimHeader(o.claim())}}); err != nil {
		return fmt.Errorf("claim epoch %d: %w", o.epoch, err)
	}
	o.setStatus(true, "")
	o.cfg.Logger.Debug("partition claimed", "topic", o.cfg.Topic, "partition", o.cfg.Partition, "epoch", o.epoch)
	if o.cfg.Claimed != nil {
		o.cfg.Claimed(o.cfg.Partition, o.epoch)
	}
	return o.serve(ctx)
}

func (o *Owner) claim() partition.Claim { return partition.Claim{Epoch: o.epoch, Owner: o.cfg.Process} }

// append appends records, one batch, and folds the log up to them. When it
// returns nil the owner still holds its epoch, and what it sent in it is resolved.
// After an *unansweredError nothing is known of them; any other error ends the
// term in any case.
func (o *Owner) append(ctx context.Context, records []eventlog.Record) error {
	within, cancel := context.WithTimeout(o.lasting, o.cfg.AppendTimeout)
	defer cancel()
	began := o.cfg.Clock.Now()
	base, err := o.cfg.Log.Append(within, o.cfg.Topic, o.cfg.Partition, records)
	o.cfg.Metrics.appendSeconds.Observe(o.cfg.Clock.Now().Sub(began).Seconds())
	if err != nil {
		return &unansweredError{err}
	}
	switch next := o.fold.Next(); {
	case base < next:
		return fmt.Errorf("%w: at %d, %d was read", errLostRecords, base, next-1)
	case base == next:
		err = o.contiguous(base, records)
	default:
		o.setAside()
		err = o.readTo(ctx, base+int64(len(records)))
	}
	if err != nil {
		return err
	}
	if c := o.claim(); o.fold.Epoch() != c.Epoch || o.fold.Owner() != c.Owner {
		return errDeposed
	}
	if len(o.unresolved) > 0 {
		return fmt.Errorf("%w: %d commits of a current epoch had no effect", errBroken, len(o.unresolved))
	}
	return nil
}

// contiguous folds what was appended at exactly the end that was known: nothing
// came between, so every commit must be valid.
func (o *Owner) contiguous(base int64, records []eventlog.Record) error {
	for i := range records {
		r := &records[i]
		got, err := o.fold.Step(base+int64(i), r.Key, r.Header, r.Value)
		if err != nil {
			return err
		}
		switch got.Verdict {
		case partition.Valid:
			o.confirm(got.Events)
			o.accept(got.Events)
		case partition.Claimed:
			o.notExecuted()
		case partition.Void:
			return fmt.Errorf("%w: offset %d is void: %v", errBroken, base+int64(i), got.Reason)
		}
		o.last = r.Header
	}
	o.clean()
	return nil
}

// clean makes the states that the batch has moved the folded ones.
func (o *Owner) clean() {
	for _, a := range o.batch.dirty {
		a.dirty = false
	}
	o.batch.dirty = o.batch.dirty[:0]
}

// setAside forgets the states that hold decisions which may not stand: they are
// folded anew when they are needed. The requests that were sent stay unresolved
// until the log tells their fate.
func (o *Owner) setAside() {
	for _, a := range o.batch.dirty {
		a.state, a.version, a.dirty = nil, a.folded, false
		if a.folded == 0 {
			o.versions.remove(a)
		}
	}
	o.batch.dirty = o.batch.dirty[:0]
}

// readTo folds the log until all below end is folded.
func (o *Owner) readTo(ctx context.Context, end int64) error {
	if o.fold.Next() >= end {
		return nil
	}
	reader, err := o.cfg.Log.Read(o.cfg.Topic, o.cfg.Partition, o.fold.Next())
	if err != nil {
		return fmt.Errorf("read from %d: %w", o.fold.Next(), err)
	}
	defer reader.Close()
	for o.fold.Next() < end {
		if err := o.readRun(ctx, reader); err != nil {
			return fmt.Errorf("read from %d: %w", o.fold.Next(), err)
		}
		if ctx.Err() == nil {
			o.keep()
		}
	}
	return nil
}

func (o *Owner) readRun(ctx context.Context, reader eventlog.Reader) error {
	within, cancel := context.WithTimeout(ctx, o.cfg.AppendTimeout)
	defer cancel()
	records, err := reader.Next(within)
	if err != nil {
		return err
	}
	for i := range records {
		r := &records[i]
		got, err := o.fold.Step(r.Offset, r.Key, r.Header, r.Value)
		if err != nil {
			return err
		}
		switch got.Verdict {
		case partition.Valid:
			o.apply(got.Events)
			o.accept(got.Events)
		case partition.Claimed:
			o.notExecuted()
		}
		o.last = r.Header
	}
	return nil
}

// accept answers the request whose commit has taken effect, if it is one of ours.
func (o *Owner) accept(events []partition.Event) {
	id := events[0].Command
	r := o.unresolved[id]
	if r == nil {
		return
	}
	delete(o.unresolved, id)
	o.cfg.Metrics.accepted.Inc()
	r.answer(o.result(events), nil)
}

// notExecuted is called at a valid claim: what was sent in an earlier epoch and is
// not accepted by now never will be, so it is decided again, in the order it came,
// or refused for good when the log has failed to take it too often.
func (o *Owner) notExecuted() {
	from := len(o.pending)
	for id, r := range o.unresolved {
		delete(o.unresolved, id)
		if !r.state.CompareAndSwap(sent, queued) {
			continue
		}
		if r.sends++; r.sends == maxSends {
			r.answer(Result{}, o.unavailable("partition %d: the log has failed to take the command %d times", o.cfg.Partition, maxSends))
			continue
		}
		o.pending = append(o.pending, r)
	}
	slices.SortFunc(o.pending[from:], func(a, b *request) int {
		return cmp.Or(a.at.Compare(b.at), bytes.Compare(a.Command[:], b.Command[:]))
	})
}

func (o *Owner) result(events []partition.Event) Result {
	last := &events[len(events)-1]
	res := Result{Version: last.Version, Position: eventlog.Position{Partition: o.cfg.Partition, Offset: last.Offset},
		Events: make([]Recorded, len(events))}
	for i := range events {
		res.Events[i] = Record(&events[i])
	}
	return res
}

// Record returns an event of a commit as callers see it.
func Record(e *partition.Event) Recorded {
	return Recorded{ID: e.ID, Type: e.Type, Version: e.Version, Time: e.Time, Actor: e.Actor, Data: e.Data}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// batch is the commits being built for one append.
type batch struct {
	records []eventlog.Record
	size    int
	commits int
	dirty   []*aggregate // whose states it has moved
	waiting []*request   // that its acknowledgement covers
	full    bool
}

// serve decides in rounds until an append fails or ctx ends.
func (o *Owner) serve(ctx context.Context) error {
	for {
		if err := o.gather(ctx); err != nil {
			return err
		}
		if err := o.send(ctx); err != nil {
			return err
		}
	}
}

// gather waits for requests and decides those that wait, until the batch is full
// or none is left.
func (o *Owner) gather(ctx context.Context) error {
	o.batch = batch{dirty: o.batch.dirty[:0], waiting: o.batch.waiting[:0]}
	todo := o.pending
	o.pending = nil
	for i, r := range todo {
		if o.batch.full {
			o.pending = append(o.pending, todo[i:]...)
			return nil
		}
		o.consider(ctx, r)
	}
	if o.batch.commits == 0 {
		if err := o.await(ctx); err != nil {
			return err
		}
	}
	for !o.batch.full {
		select {
		case r := <-o.requests:
			o.consider(ctx, r)
		default:
			return nil
		}
	}
	return nil
}

// await waits until there is a commit to append, or a probe is due for those who
// wait for one.
func (o *Owner) await(ctx context.Context) error {
	for {
		var probe <-chan time.Time
		if len(o.batch.waiting) > 0 {
			d := probeInterval - o.cfg.Clock.Now().Sub(o.lastProbe)
			if d <= 0 || o.batch.full {
				return nil
			}
			probe = o.cfg.Clock.After(d)
		}
		select {
		case r := <-o.requests:
			if o.consider(ctx, r); o.batch.commits > 0 {
				return nil
			}
		case <-probe:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send appends the batch, or a probe for those who wait, and folds it.
func (o *Owner) send(ctx context.Context) error {
	b := &o.batch
	switch {
	case b.commits > 0:
		o.cfg.Metrics.batchCommits.Observe(float64(b.commits))
	case len(b.waiting) > 0:
		o.lastProbe = o.cfg.Clock.Now()
		b.records = append(b.records, eventlog.Record{Header: partition.ProbeHeader(o.claim())})
	default:
		o.setAside() // a spoilt state, if any
		return nil
	}
	err := o.append(ctx, b.records)
	for _, r := range b.waiting {
		r.covered = err == nil
	}
	o.pending = append(b.waiting, o.pending...)
	b.waiting = nil
	return err
}

// consider decides one request: it is answered, put into the batch, or left to
// wait for the batch's acknowledgement.
func (o *Owner) consider(ctx context.Context, r *request) {
	if r.state.Load() != queued {
		return
	}
	if r.inspect == nil && o.known(ctx, r) {
		return
	}
	a, err := o.load(ctx, r.key, r.Aggregate)
	switch {
	case err != nil:
		o.cannotLoad(r, err)
	case a.dirty && (r.inspect != nil || a.state == nil):
		o.batch.waiting = append(o.batch.waiting, r)
	case r.inspect != nil:
		r.answer(Result{}, r.inspect(a))
	default:
		o.decide(r, a)
	}
	o.batch.full = o.batch.full || o.batch.commits >= maxCommits || len(o.batch.waiting) >= o.cfg.MaxQueue
}

func (o *Owner) cannotLoad(r *request, err error) {
	var broken *BrokenError
	if !errors.As(err, &broken) {
		err = o.unavailable("%v", err)
	}
	r.answer(Result{}, err)
}

// known answers a command that has been decided before, and holds back one that
// is under way. It reports whether that was so.
func (o *Owner) known(ctx context.Context, r *request) bool {
	if before, ok := o.fold.Outcome(r.Command); ok {
		r.answer(o.again(ctx, r, before))
		return true
	}
	if o.fold.TooLate(r.Command) {
		r.answer(Result{}, ErrTooLate)
		return true
	}
	if _, ok := o.unresolved[r.Command]; ok {
		o.batch.waiting = append(o.batch.waiting, r)
		return true
	}
	return false
}

// again answers a retry with the recorded outcome.
func (o *Owner) again(ctx context.Context, r *request, before partition.Outcome) (Result, error) {
	a := o.find(r.key)
	if before.Digest != r.Digest || a == nil {
		return Result{}, ErrKeyReused
	}
	ctx, cancel := context.WithTimeout(ctx, o.cfg.AppendTimeout)
	defer cancel()
	events, err := Fetch(ctx, o.cfg.Log, o.cfg.Topic, o.cfg.Partition, a.offsets.between(before.First, before.Last))
	if err != nil {
		return Result{}, o.unavailable("%v", err)
	}
	return o.result(events), nil
}

// decide decides on the state as folded and as moved by the batch so far. A
// decision that appends nothing is final only for a covered request on a folded
// state.
func (o *Owner) decide(r *request, a *aggregate) {
	var facts []Fact
	var err error
	if r.Expected != nil && *r.Expected != a.version {
		err = &ConflictError{*r.Expected, a.version}
	} else {
		facts, err = o.run(r, a)
	}
	switch {
	case err == nil && len(facts) > 0:
		o.commit(r, a, facts)
	case (!r.covered || a.dirty) && a.state != nil:
		o.batch.waiting = append(o.batch.waiting, r)
	case err != nil:
		o.cfg.Metrics.refused.Inc()
		r.answer(Result{}, err)
	default:
		r.answer(Result{Version: a.version, Position: o.folded()}, nil)
	}
}

// run runs the user's decision; a panic is an error, and the state is folded
// anew since it may have been changed.
func (o *Owner) run(r *request, a *aggregate) (facts []Fact, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.state = nil
			err = fmt.Errorf("the decision panicked: %v", p)
			o.cfg.Logger.Error("decision panicked", "aggregate", r.Aggregate.TypeName(), "panic", p)
		}
	}()
	return r.Decide(a.state, Given{Actor: r.Actor, At: r.at, ID: r.ID, Command: r.Command})
}

// commit puts a decision's facts into the batch and moves the state by them, as
// a reader of the log will: from their encoded form.
func (o *Owner) commit(r *request, a *aggregate, facts []Fact) {
	if len(facts) > event.MaxCommit {
		r.answer(Result{}, fmt.Errorf("%w: %d events in one commit, at most %d", eventlog.ErrTooLarge, len(facts), event.MaxCommit))
		return
	}
	records := o.encode(r, a, facts)
	size := eventlog.Size(records)
	switch {
	case size > eventlog.MaxBatch:
		r.answer(Result{}, fmt.Errorf("%w: the command's events have %d bytes", eventlog.ErrTooLarge, size))
		return
	case o.batch.size+size > eventlog.MaxBatch:
		o.batch.full = true
		o.pending = append([]*request{r}, o.pending...)
		return
	case !r.state.CompareAndSwap(queued, sent):
		return
	}
	if !a.dirty {
		a.dirty = true
		o.batch.dirty = append(o.batch.dirty, a)
		o.aggregates[a.key] = a
	}
	for _, f := range facts {
		if err := foldEvent(a.kind, a.state, f.Type, f.Data); err != nil {
			o.spoilt(r, a, err)
			return
		}
	}
	a.version += uint64(len(facts))
	o.batch.records = append(o.batch.records, records...)
	o.batch.size += size
	o.batch.commits++
	o.unresolved[r.Command] = r
}

// spoilt answers a command whose events its own type cannot fold. The state
// holds a part of them, so it is dropped: it is folded anew after the batch.
func (o *Owner) spoilt(r *request, a *aggregate, err error) {
	a.state = nil
	r.answer(Result{}, fmt.Errorf("decision of %s: its own event cannot be folded: %w", r.key, err))
}

// encode makes a commit's records. Their ids follow from the command's, so that
// a decision made anew names the same events.
func (o *Owner) encode(r *request, a *aggregate, facts []Fact) []eventlog.Record {
	records := make([]eventlog.Record, len(facts))
	headers := make([]byte, 0, len(facts)*160)
	e := event.Envelope{Command: r.Command, Digest: r.Digest, Epoch: o.epoch, Count: len(facts), Time: r.at,
		Actor: r.Actor, Correlation: r.Correlation, Causation: r.Causation}
	for i, f := range facts {
		e.ID, e.Type, e.Version, e.Index = r.Command.Derive(-1-i, r.at), f.Type, a.version+uint64(i)+1, i
		from := len(headers)
		headers = e.Append(headers)
		records[i] = eventlog.Record{Key: r.key, Header: headers[from:len(headers):len(headers)], Value: f.Data}
	}
	return records
}

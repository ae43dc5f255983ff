package cluster

import (
	"context"
	"encoding/binary"
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
	headers []byte // of the records
	size    int
	commits int
	dirty   []*aggregate // whose states it has moved
	waiting []*request   // that its acknowledgement covers
	full    bool

	like, bytes int // records and headers of the batch before, for a guess
}

// serve decides in rounds until an append fails or ctx ends.
func (o *Owner) serve(ctx context.Context) error {
	o.silent = o.cfg.Clock.Now()
	for {
		if err := o.gather(ctx); err != nil {
			return err
		}
		if err := o.send(ctx); err != nil {
			return err
		}
	}
}

// gather decides the requests that wait, until the batch is full or none is left.
// It returns once there is something to append.
func (o *Owner) gather(ctx context.Context) error {
	if ctx.Err() == nil { // one that ends begins nothing
		o.keep()
	}
	o.batch = batch{dirty: o.batch.dirty[:0], like: max(len(o.batch.records), 1), bytes: len(o.batch.headers)}
	todo := o.pending
	o.pending = nil
	for i, r := range todo {
		if o.batch.full {
			o.pending = append(o.pending, todo[i:]...)
			break
		}
		o.consider(ctx, r)
	}
	if err := o.await(ctx); err != nil {
		return err
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

// await waits until there is a commit to append, a probe is due for those who
// wait for one, or a heartbeat.
func (o *Owner) await(ctx context.Context) error {
	var due, beat <-chan time.Time
	for ctx.Err() == nil && o.batch.commits == 0 {
		if due == nil && len(o.batch.waiting) > 0 {
			d := probeInterval - o.cfg.Clock.Now().Sub(o.lastProbe)
			if d <= 0 {
				return nil
			}
			due = o.cfg.Clock.After(d)
		}
		if beat == nil && due == nil && o.cfg.Heartbeat > 0 {
			beat = o.cfg.Clock.After(o.cfg.Heartbeat - o.cfg.Clock.Now().Sub(o.silent))
		}
		requests := o.requests
		if o.batch.full {
			requests = nil
		}
		more, wake := o.kept()
		if more {
			select { // who asks goes first; a heartbeat can wait
			case r := <-requests:
				o.consider(ctx, r)
			case <-due:
				return nil
			default:
			}
			continue
		}
		select {
		case r := <-requests:
			o.consider(ctx, r)
		case <-due:
			return nil
		case <-wake:
			o.wake = nil
		case <-beat:
			return nil
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// send appends the batch, or a heartbeat or a probe for those who wait, and folds
// it. A probe or heartbeat that may be lost is sent again, without a claim.
func (o *Owner) send(ctx context.Context) error {
	b := &o.batch
	probe, tells := b.commits == 0, true
	if probe {
		o.lastProbe = o.cfg.Clock.Now()
		var header []byte
		header, tells = o.sign()
		b.records = []eventlog.Record{{Header: header}}
	} else {
		o.cfg.Metrics.batchCommits.Observe(float64(b.commits))
	}
	err := o.append(ctx, b.records)
	for _, r := range b.waiting {
		r.covered = err == nil
	}
	o.pending = append(b.waiting, o.pending...)
	b.waiting = nil
	if err != nil && probe && o.mayProbeAgain(err) {
		return nil
	}
	o.failed = 0
	if tells {
		o.silent = o.cfg.Clock.Now()
	}
	return err
}

// sign returns the header of a record without a commit, by which the owner proves
// that it still is: a heartbeat where one is due, else a probe.
//
// A heartbeat tells when the silence began, not what time it is: a request has its
// time before it is queued, so one that arrived a moment ago may not have been
// looked at. What waits for a probe may yet become an event, so that counts too.
func (o *Owner) sign() (header []byte, beat bool) {
	waiting := o.batch.waiting
	if o.cfg.Heartbeat == 0 || len(waiting) > 0 && o.cfg.Clock.Now().Sub(o.silent) < o.cfg.Heartbeat {
		return partition.ProbeHeader(o.claim()), false
	}
	at := o.silent
	for _, r := range waiting {
		if r.at.Before(at) {
			at = r.at
		}
	}
	return partition.HeartbeatHeader(o.claim(), at.UnixNano()), true
}

// mayProbeAgain counts a probe or heartbeat that may be lost.
func (o *Owner) mayProbeAgain(err error) bool {
	var unanswered *unansweredError
	if !errors.As(err, &unanswered) || permanent(err) || o.failed == maxProbes {
		return false
	}
	o.failed++
	return true
}

// consider decides one request: it is answered, put into the batch, or left to
// wait for the batch's acknowledgement.
func (o *Owner) consider(ctx context.Context, r *request) {
	r.state.CompareAndSwap(behind, queued)
	looks := r.inspect.of != nil
	if r.state.Load() != queued || !looks && o.known(r) {
		return
	}
	if r.inspect.strong && !r.covered {
		o.waits(r)
		return
	}
	if r.inspect.bare {
		r.answer(Result{}, r.inspect.of(o.find(r.key)))
		return
	}
	a, err := o.load(ctx, r.key, r.Aggregate)
	switch {
	case err != nil:
		o.cannotLoad(r, err)
	case a.dirty && (looks || a.state == nil):
		o.waits(r)
	case looks:
		r.answer(Result{}, r.inspect.of(a))
	default:
		o.decide(r, a)
	}
}

// waits lets a request wait for the acknowledgement of the batch, or of a probe.
func (o *Owner) waits(r *request) {
	o.batch.waiting = append(o.batch.waiting, r)
	o.batch.full = o.batch.full || len(o.batch.waiting) >= o.cfg.MaxQueue
}

func (o *Owner) cannotLoad(r *request, err error) {
	var broken *BrokenError
	if !errors.As(err, &broken) {
		o.cfg.Logger.Warn("aggregate cannot be folded now", "err", err)
		err = o.unavailable("the history of %s cannot be read now", r.key)
	}
	r.answer(Result{}, err)
}

// known answers a command that has been decided before, and holds back one that
// is under way. It reports whether that was so.
func (o *Owner) known(r *request) bool {
	if _, ok := o.unresolved[r.Command]; ok {
		r.state.CompareAndSwap(queued, behind)
		o.waits(r)
		return true
	}
	if before, ok := o.fold.Outcome(r.Command); ok {
		r.tell(o.again(r, before))
		return true
	}
	if !r.Fresh && o.fold.TooLate(r.Command) {
		r.answer(Result{}, ErrTooLate)
		return true
	}
	return false
}

// again answers a retry with the recorded outcome, which the caller reads.
func (o *Owner) again(r *request, before partition.Outcome) reply {
	if a := o.find(r.key); a != nil && before.Digest == r.Digest {
		if events := a.offsets.Between(before.First, before.Last); len(events) > 0 {
			return reply{events: events}
		}
	}
	return reply{err: ErrKeyReused}
}

// decide decides on the state as folded and as moved by the batch so far. A
// decision that appends nothing is final only for a covered request on a folded
// state, and at once if the decision has spoilt the state.
func (o *Owner) decide(r *request, a *aggregate) {
	facts, err := o.propose(r, a)
	switch {
	case err == nil && len(facts) > 0:
		o.commit(r, a, facts)
	case (!r.covered || a.dirty) && a.state != nil:
		o.waits(r)
	case err != nil:
		o.cfg.Metrics.refused.Inc()
		r.answer(Result{}, err)
	default:
		r.answer(Result{Version: a.version, Position: o.folded()}, nil)
	}
}

// propose returns the facts that r would have recorded now, or why there are
// none.
func (o *Owner) propose(r *request, a *aggregate) ([]Fact, error) {
	if r.Expected != nil && *r.Expected != a.version {
		return nil, &ConflictError{*r.Expected, a.version}
	}
	facts, err := o.run(r, a)
	if err != nil {
		return nil, err
	}
	return facts, check(r, facts)
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

// check refuses facts that do not fit in one commit, or in an envelope: recorded,
// they would be foreign to every reader.
func check(r *request, facts []Fact) error {
	if len(facts) > event.MaxCommit {
		return fmt.Errorf("%w: %d events in one commit, at most %d", eventlog.ErrTooLarge, len(facts), event.MaxCommit)
	}
	if len(r.Actor) > event.MaxName {
		return fmt.Errorf("actor of %d bytes: at most %d", len(r.Actor), event.MaxName)
	}
	size := 0
	for i := range facts {
		if n := len(facts[i].Type); n == 0 || n > event.MaxName {
			return fmt.Errorf("event name %.80q of %d bytes: want 1 to %d", facts[i].Type, n, event.MaxName)
		}
		size += len(facts[i].Data) + len(facts[i].Type) + len(r.Actor) + len(r.key) + envelopeSize
	}
	if size > eventlog.MaxBatch {
		return fmt.Errorf("%w: the command's events have %d bytes", eventlog.ErrTooLarge, size)
	}
	return nil
}

// envelopeSize is the most that a header has besides its texts.
const envelopeSize = 2 + 4*16 + 2*8 + 8*binary.MaxVarintLen64

// minHeader is room for one header; a larger one takes more.
const minHeader = 256

// commit puts a decision's facts into the batch and moves the state by them, as
// a reader of the log will: from their encoded form.
func (o *Owner) commit(r *request, a *aggregate, facts []Fact) {
	b := &o.batch
	if b.records == nil { // the log keeps both, so they are not used again
		b.records, b.headers = make([]eventlog.Record, 0, b.like), make([]byte, 0, max(b.bytes, minHeader))
	}
	before := len(b.records)
	o.encode(r, a, facts)
	size := eventlog.Size(b.records[before:])
	if b.size+size > eventlog.MaxBatch || len(b.records) > eventlog.MaxRecords {
		b.records, b.full = b.records[:before], true
		o.pending = append([]*request{r}, o.pending...)
		return
	}
	if !r.state.CompareAndSwap(queued, sent) {
		b.records = b.records[:before]
		return
	}
	o.versions.change(a)
	for i := range facts {
		if err := foldEvent(a.kind, a.state, facts[i].Type, facts[i].Data); err != nil {
			a.state, b.records = nil, b.records[:before] // to be folded anew: it holds a part of them
			r.answer(Result{}, fmt.Errorf("decision of %s: its own event cannot be folded: %w", r.key, err))
			return
		}
	}
	if !a.dirty {
		a.dirty = true
		b.dirty = append(b.dirty, a)
		if a.at == nowhere {
			o.versions.add(a)
		}
	}
	a.version += uint64(len(facts))
	o.unresolved[r.Command] = r
	b.size, b.commits = b.size+size, b.commits+1
	b.full = b.full || b.commits >= maxCommits
}

// encode adds a commit's records to the batch. Their ids follow from the
// command's, so that a decision made anew names the same events.
func (o *Owner) encode(r *request, a *aggregate, facts []Fact) {
	b := &o.batch
	e := event.Envelope{Command: r.Command, Digest: r.Digest, Epoch: o.epoch, Count: len(facts), Time: r.at,
		Actor: r.Actor, Correlation: r.Correlation, Causation: r.Causation}
	for i := range facts {
		e.ID, e.Type, e.Version, e.Index = r.Command.Derive(-1-i, r.at), facts[i].Type, a.version+uint64(i)+1, i
		from := len(b.headers)
		b.headers = e.Append(b.headers)
		b.records = append(b.records, eventlog.Record{Key: r.key, Header: b.headers[from:len(b.headers):len(b.headers)], Value: facts[i].Data})
	}
}

package framework

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

const (
	retryAfter = time.Second
	maxAhead   = 10 * time.Second // that a UUIDv7 key may be ahead of our clock: once forgotten it holds back all that are older
	maxHistory = 1000             // events of one answer of History
)

// Execute sends a command to the owner of its partition and waits for its
// outcome, at most Config.CommandWait. Errors: ErrUnknown, ErrInvalid, a
// cluster.Rejecter, *cluster.ConflictError, *cluster.UnavailableError,
// *cluster.BrokenError, cluster.ErrKeyReused, cluster.ErrTooLate,
// eventlog.ErrTooLarge.
func (a *App) Execute(ctx context.Context, c Call) (cluster.Result, error) {
	cmd, ok := a.commands[commandKey{c.Aggregate, c.Command}]
	if !ok {
		return cluster.Result{}, fmt.Errorf("%w command %q of %q", ErrUnknown, c.Command, c.Aggregate)
	}
	if err := a.checkCall(c); err != nil {
		return cluster.Result{}, err
	}
	owner, err := a.owner(c.Aggregate, c.ID)
	if err != nil {
		return cluster.Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.CommandWait)
	defer cancel()
	given := cluster.Given{Actor: c.Actor, At: a.cfg.Clock.Now().UTC(), ID: c.ID, Command: a.commandID(c)}
	request := cluster.Request{
		Aggregate: cmd.Aggregate, ID: c.ID, Command: given.Command, Fresh: c.Key == "", Digest: digest(c), Actor: c.Actor,
		Correlation: c.Correlation, Expected: c.Expected,
	}
	if request.Correlation.IsZero() {
		request.Correlation = given.Command
	}
	if cmd.Prepares && !request.Fresh { // what was accepted stays so, whatever Prepare would say now
		if res, known, err := owner.Recall(ctx, request); known || err != nil {
			return res, err
		}
	}
	if request.Decide, err = cmd.Bind(ctx, c.Body, given); err != nil {
		return cluster.Result{}, err
	}
	return owner.Execute(ctx, request)
}

func (a *App) checkCall(c Call) error {
	switch {
	case !IsID(c.ID):
		return fmt.Errorf("%w id %.200q: it must match %s", ErrInvalid, c.ID, IDPattern)
	case len(c.Actor) > event.MaxName:
		return fmt.Errorf("%w caller: more than %d bytes", ErrInvalid, event.MaxName)
	case !visible(c.Key) || len(c.Key) > 128:
		return fmt.Errorf("%w idempotency key: want 1 to 128 visible ASCII characters", ErrInvalid)
	}
	if c.Key == "" {
		return nil
	}
	if id, err := event.ParseID(c.Key); err == nil {
		if at, ok := id.Time(); ok && at.After(a.cfg.Clock.Now().Add(maxAhead)) {
			return fmt.Errorf("%w idempotency key: its time, %s, lies in the future", ErrInvalid, at.Format(time.RFC3339))
		}
	}
	return nil
}

// IsID reports whether s can be an id: it matches IDPattern and is neither "." nor
// "..", which a URL cannot hold as a segment.
func IsID(s string) bool {
	if s == "" || len(s) > 128 || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.', c == '_', c == '~', c == '-':
		default:
			return false
		}
	}
	return true
}

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// commandID names the command: by its key, scoped by caller and aggregate, else at
// random.
func (a *App) commandID(c Call) event.ID {
	if c.Key == "" {
		return clock.NewID(a.cfg.Clock)
	}
	return event.Scoped(c.Key, c.Actor, c.Aggregate, c.ID)
}

// digest tells a command from another under the same key. No body is the same as
// one without fields.
func digest(c Call) uint64 {
	body := bytes.TrimSpace(c.Body)
	if string(body) == "{}" {
		body = nil
	}
	h := fnv1a(fnvStart)
	h.part(c.Aggregate)
	h.part(c.ID)
	h.part(c.Command)
	h.part(string(body))
	return uint64(h)
}

// fnv1a is the 64-bit hash of Fowler, Noll and Vo. hash/fnv has it too, behind an
// interface, so that each part would be copied to the heap.
type fnv1a uint64

const (
	fnvStart = 14695981039346656037
	fnvPrime = 1099511628211
)

// part adds s, with its length before it in eight bytes, so that parts do not run
// into one another.
func (h *fnv1a) part(s string) {
	sum := *h
	for shift := 56; shift >= 0; shift -= 8 {
		sum = (sum ^ fnv1a(byte(len(s)>>shift))) * fnvPrime
	}
	for i := range len(s) {
		sum = (sum ^ fnv1a(s[i])) * fnvPrime
	}
	*h = sum
}

// owner returns the owner of an aggregate's partition, if it is this process.
func (a *App) owner(aggregate, id string) (*cluster.Owner, error) {
	p, err := a.now()
	if err != nil {
		return nil, err
	}
	n := eventlog.PartitionOf(partition.Key(aggregate, id), len(p.stations))
	o := p.stations[n].owner.Load()
	if o == nil {
		return nil, &cluster.UnavailableError{Reason: fmt.Sprintf("partition %d is not assigned to this process", n), RetryAfter: retryAfter}
	}
	return o, nil
}

// State returns an aggregate's folded state, once its partition is folded beyond
// min, for which it waits at most Config.ReadWait. Errors: ErrUnknown, ErrInvalid,
// ErrNotFound, *cluster.BrokenError, *cluster.UnavailableError.
func (a *App) State(ctx context.Context, aggregate, id string, min eventlog.Positions) (cluster.State, error) {
	return a.StateAsOf(ctx, aggregate, id, StateQuery{Min: min})
}

// History returns an aggregate's events behind version after, at most limit (1
// to 1000), as they would be written today, and the position up to which the
// partition was folded. It waits for min and fails as State does.
func (a *App) History(ctx context.Context, aggregate, id string, after uint64, limit int, min eventlog.Positions) ([]cluster.Recorded, eventlog.Position, error) {
	if limit < 1 || limit > maxHistory {
		return nil, eventlog.Position{}, fmt.Errorf("%w limit %d: want 1 to %d", ErrInvalid, limit, maxHistory)
	}
	var offsets []int64
	var at eventlog.Position
	err := a.read(ctx, aggregate, id, min, func(ctx context.Context, o *cluster.Owner, t Aggregate) (_ eventlog.Position, err error) {
		offsets, at, err = o.Offsets(ctx, t, id, after, limit)
		return at, err
	})
	if err != nil {
		return nil, at, err
	}
	if len(offsets) == 0 && after == 0 {
		return nil, at, fmt.Errorf("%s %q: %w", aggregate, id, ErrNotFound)
	}
	p, err := a.now()
	if err != nil {
		return nil, at, err
	}
	events, err := cluster.Fetch(ctx, p.Log, p.topic, at.Partition, offsets)
	if err != nil {
		return nil, at, a.readError(ctx, err)
	}
	out := make([]cluster.Recorded, len(events))
	for i := range events {
		out[i] = cluster.Record(&events[i])
		if out[i].Type, out[i].Data, err = a.aggregates[aggregate].Upcast(out[i].Type, out[i].Data); err != nil {
			position := eventlog.Position{Partition: at.Partition, Offset: events[i].Offset}
			return nil, at, &cluster.BrokenError{Aggregate: aggregate + "/" + id, Position: position, Err: err}
		}
	}
	return out, at, nil
}

// read asks an aggregate's owner until it has folded beyond min.
func (a *App) read(ctx context.Context, aggregate, id string, min eventlog.Positions,
	ask func(context.Context, *cluster.Owner, Aggregate) (eventlog.Position, error)) error {
	t, ok := a.aggregates[aggregate]
	if !ok {
		return fmt.Errorf("%w aggregate type %q", ErrUnknown, aggregate)
	}
	if !IsID(id) {
		return fmt.Errorf("%w id %.200q: it must match %s", ErrInvalid, id, IDPattern)
	}
	owner, err := a.owner(aggregate, id)
	if err != nil {
		return err
	}
	if err := a.checkMin(min); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.ReadWait)
	defer cancel()
	for asked := false; ; asked = true {
		at, err := ask(ctx, owner, t)
		if asked && ctx.Err() != nil {
			return a.notReached(min)
		}
		if err != nil {
			return err
		}
		if want, ok := min.Offsets[at.Partition]; !ok || at.Offset >= want {
			return nil
		}
		if err := clock.Sleep(ctx, a.cfg.Clock, 5*time.Millisecond); err != nil {
			return a.notReached(min)
		}
	}
}

func (a *App) notReached(min eventlog.Positions) error {
	return &cluster.UnavailableError{Reason: fmt.Sprintf("position %s was not reached within %v", min, a.cfg.ReadWait), RetryAfter: retryAfter}
}

// readError makes of a failed read of a log or store what a caller is told: to
// come again.
func (a *App) readError(ctx context.Context, err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalid) {
		return err
	}
	reason := "the store or log did not answer"
	switch ctx.Err() {
	case nil:
		a.cfg.Logger.Warn("a query failed", "err", err)
	case context.DeadlineExceeded:
		reason += fmt.Sprintf(" within %v", a.cfg.ReadWait)
		a.cfg.Logger.Warn("a query failed", "within", a.cfg.ReadWait, "err", err)
	}
	return &cluster.UnavailableError{Reason: reason, RetryAfter: retryAfter}
}

// Ask asks a view, once it has passed q.Min and what q.MaxStaleness asks for, for which it waits at most
// Config.ReadWait. All of an answer comes from the generations that were read at one
// place of the control log. Errors: ErrUnknown, ErrInvalid, *cluster.UnavailableError,
// and ErrNotFound, with which the Answer says all the same where that was so.
func (a *App) Ask(ctx context.Context, name string, q Query) (Answer, error) {
	p, k, err := a.viewed(name)
	if err != nil {
		return Answer{}, err
	}
	q.App, q.Partitions = a.cfg.App, a.cfg.Partitions
	if q.Limit == 0 {
		q.Limit = 20
	}
	if q.Limit < 1 || q.Limit > 100 || q.Skip < 0 || q.Skip > 10_000-q.Limit {
		return Answer{}, fmt.Errorf("%w limit %d or skip %d: want 1 to 100, together at most 10000", ErrInvalid, q.Limit, q.Skip)
	}
	if err := a.checkMin(q.Min); err != nil {
		return Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.ReadWait)
	defer cancel()
	reading, f, err := a.resolve(ctx, p, k, &q)
	if err != nil {
		return Answer{}, err
	}
	if q.Min, err = a.bounded(ctx, q.Min, q.MaxStaleness); err != nil {
		return Answer{}, err
	}
	out, err := a.answer(ctx, p, f, reading, &q)
	if err != nil {
		err = a.answerError(ctx, err)
	}
	if list := k.shadows.Load(); list != nil && (err == nil || errors.Is(err, ErrNotFound)) {
		p.shadower.offer(*list, k, &q, &out)
	}
	return out, err
}

// storeError is what a store said that did not answer a query.
type storeError struct{ error }

func (e *storeError) Unwrap() error { return e.error }

// answerError makes of what answer returns what a caller is told.
func (a *App) answerError(ctx context.Context, err error) error {
	if failed := (*storeError)(nil); errors.As(err, &failed) {
		return a.readError(ctx, failed.error)
	}
	return err
}

// answer answers a query from a generation, and from those that are read of the other
// views, once they have passed q.Min. Errors: those of App.Ask, and *storeError.
func (a *App) answer(ctx context.Context, p *process, f *following, reading *cluster.Reading, q *Query) (Answer, error) {
	filled := f.filled()
	at, err := a.passedAll(ctx, p, f, reading, q) // before the stores are read, so that they hold at least this
	if err != nil {
		return Answer{}, a.tooOld(ctx, err, q.MaxStaleness)
	}
	var seen map[int32]int64
	q.Shown, q.seen = f.toShow(q), &seen
	json, err := f.view.Answer(ctx, p.Resources, *q)
	if behind := (*view.BehindError)(nil); errors.As(err, &behind) {
		return Answer{}, beingFilled(f.view.Name) // it will be: its task finds the same, and says so
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Answer{}, &storeError{err}
	}
	if f.view.Kind == Search {
		f.shown.Store(filled) // not what may have been filled meanwhile
		f.narrow(at, q, seen, filled)
	}
	return Answer{JSON: json, Positions: at.positions().WithControl(reading.Offset), Generation: f.number}, err
}

// passedAll waits until all that a query is answered from has passed q.Min, and returns
// how far that is at least.
func (a *App) passedAll(ctx context.Context, p *process, f *following, reading *cluster.Reading, q *Query) (at reached, err error) {
	at = make(reached)
	if err := a.passed(ctx, p, f, f.view.Partition, q, at); err != nil {
		return nil, err
	}
	for _, r := range f.view.Reads {
		of, err := p.views[r.View].read(reading)
		if err != nil {
			return nil, err
		}
		if err := a.passed(ctx, p, of, r.Partition, q, at); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// resolve finds the generations that a query reads: those that were read at one place
// of the control log, not before the one that q.Min names.
func (a *App) resolve(ctx context.Context, p *process, k *kept, q *Query) (*cluster.Reading, *following, error) {
	if least, ok := q.Min.Control(); ok {
		if err := p.catalogue.Wait(ctx, least); err != nil {
			return nil, nil, a.notReached(q.Min)
		}
	}
	reading := p.catalogue.Reading()
	q.Generation = a.generations(reading)
	f, err := k.read(reading)
	return reading, f, err
}

// generations returns what says which generation of each view was read at a place of the
// control log.
func (a *App) generations(reading *cluster.Reading) func(string) view.Generation {
	return func(name string) view.Generation {
		return view.Generation{App: a.cfg.App, View: name, Number: reading.Of(name)}
	}
}

func (a *App) checkMin(min eventlog.Positions) error {
	for n := range min.Offsets {
		if int(n) >= a.cfg.Partitions {
			return fmt.Errorf("%w position %s: there are partitions 0 to %d", ErrInvalid, min, a.cfg.Partitions-1)
		}
	}
	return nil
}

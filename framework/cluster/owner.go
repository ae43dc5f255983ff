package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// OwnerConfig says what an owner works on. No field has a default.
type OwnerConfig struct {
	Log           eventlog.Log
	Topic         string
	Partition     int32
	Process       event.ID             // drawn at random at process start
	Aggregates    map[string]Aggregate // by type name; events of others keep their versions only
	AppendTimeout time.Duration        // an append's fate counts as unknown after it
	Memory        partition.Memory     // of accepted commands
	MaxQueue      int                  // requests waiting, above which they are refused
	Clock         clock.Clock
	Logger        *slog.Logger
	Metrics       *Metrics
}

// Limits of an owner.
const (
	maxCommits    = 1024                 // commits in one append
	probeInterval = 5 * time.Millisecond // between two probes
)

// Owner decides the commands of one partition, serially, on the state that it
// folds. Run makes it work; Execute and State may be called from anywhere.
//
// One goroutine, Run's, holds all state. A round takes the requests that wait,
// decides each on the folded state plus the batch being built, appends the batch,
// and folds it when its acknowledgement proves that nothing came between. What
// appends nothing (a rejection, a conflict, a no-op) is answered only after an
// append sent after it arrived, and decided anew then.
type Owner struct {
	cfg      OwnerConfig
	requests chan *request
	status   atomic.Pointer[Status]

	fold       *partition.Fold
	aggregates map[string]*aggregate
	epoch      uint64                // of the last claim sent
	unresolved map[event.ID]*request // sent, fate unknown
	pending    []*request            // to be decided before those in requests
	batch      batch
	lastProbe  time.Time
}

// Status is how an owner fares.
type Status struct {
	Serving bool
	Reason  string // why it is not serving
}

// NewOwner returns an owner that does nothing until Run.
func NewOwner(cfg OwnerConfig) *Owner {
	o := &Owner{
		cfg:        cfg,
		requests:   make(chan *request, cfg.MaxQueue),
		fold:       partition.New(cfg.Memory),
		aggregates: make(map[string]*aggregate),
		unresolved: make(map[event.ID]*request),
	}
	o.setStatus(false, "not started")
	return o
}

// Status returns how the owner fares.
func (o *Owner) Status() Status { return *o.status.Load() }

func (o *Owner) setStatus(serving bool, reason string) {
	o.status.Store(&Status{serving, reason})
}

// A request's states. The owner moves it between queued and sent, the caller
// who gives up moves it to gone or left.
const (
	queued int32 = iota
	sent         // in an append: it may be accepted
	gone         // given up while queued: it must not be decided any more
	left         // given up while sent
)

type request struct {
	Request
	at      time.Time
	key     []byte
	covered bool // an append sent after it arrived has been acknowledged
	inspect func(*aggregate) error
	state   atomic.Int32
	done    chan reply // holds one
}

type reply struct {
	result Result
	err    error
}

func (r *request) answer(res Result, err error) { r.done <- reply{res, err} }

// Execute hands a command to the owner and waits for its outcome until ctx ends.
// Errors: a Rejecter, *ConflictError, *UnavailableError, *BrokenError,
// ErrKeyReused, ErrTooLate, eventlog.ErrTooLarge, or what the decision returned.
func (o *Owner) Execute(ctx context.Context, req Request) (Result, error) {
	return o.wait(ctx, &request{Request: req})
}

// State returns the folded state of an aggregate; its version is 0 if it has no
// events. Errors: *UnavailableError, *BrokenError.
func (o *Owner) State(ctx context.Context, t Aggregate, id string) (State, error) {
	var s State
	_, err := o.wait(ctx, &request{Request: Request{Aggregate: t, ID: id}, inspect: func(a *aggregate) (err error) {
		s.Version, s.Position = a.version, o.folded()
		s.JSON, err = t.StateJSON(a.state)
		return err
	}})
	return s, err
}

// Offsets returns where an aggregate's events behind version after lie, at most
// limit of them, and the position folded.
func (o *Owner) Offsets(ctx context.Context, t Aggregate, id string, after uint64, limit int) ([]int64, eventlog.Position, error) {
	var offsets []int64
	var at eventlog.Position
	_, err := o.wait(ctx, &request{Request: Request{Aggregate: t, ID: id}, inspect: func(a *aggregate) error {
		offsets, at = a.offsets.list(after, limit), o.folded()
		return nil
	}})
	return offsets, at, err
}

func (o *Owner) folded() eventlog.Position {
	return eventlog.Position{Partition: o.cfg.Partition, Offset: o.fold.Next() - 1}
}

func (o *Owner) wait(ctx context.Context, r *request) (Result, error) {
	r.at, r.done = o.cfg.Clock.Now().UTC(), make(chan reply, 1)
	r.key = partition.Key(r.Aggregate.TypeName(), r.ID)
	if s := o.Status(); s.Serving || s.Reason == starting {
		select {
		case o.requests <- r:
		default:
			return Result{}, o.unavailable("partition %d is overloaded: %d requests wait", o.cfg.Partition, cap(o.requests))
		}
	} else {
		return Result{}, o.unavailable("partition %d is not served: %s", o.cfg.Partition, s.Reason)
	}
	select {
	case a := <-r.done:
		return a.result, a.err
	case <-ctx.Done():
		return o.giveUp(r)
	}
}

// giveUp ends a caller's wait; an answer that has just come is still taken.
func (o *Owner) giveUp(r *request) (Result, error) {
	unsent := r.state.CompareAndSwap(queued, gone)
	if !unsent {
		r.state.CompareAndSwap(sent, left)
	}
	select {
	case a := <-r.done:
		return a.result, a.err
	default:
	}
	if unsent {
		return Result{}, o.unavailable("partition %d did not get to it in time", o.cfg.Partition)
	}
	return Result{}, &UnavailableError{Reason: "the outcome is not known yet", Unresolved: true, RetryAfter: time.Second}
}

func (o *Owner) unavailable(format string, args ...any) error {
	return &UnavailableError{Reason: fmt.Sprintf(format, args...), RetryAfter: time.Second}
}

// permanent reports whether err can pass by itself.
func permanent(err error) bool {
	var damaged *eventlog.DamagedError
	return errors.Is(err, event.ErrNewer) || errors.Is(err, eventlog.ErrOffset) || errors.Is(err, eventlog.ErrUnknownTopic) ||
		errors.Is(err, errLostRecords) || errors.Is(err, errBroken) || errors.As(err, &damaged)
}

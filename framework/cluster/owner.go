package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// OwnerConfig says what an owner works on. No field has a default, but those from
// Snapshots on; Heartbeat may be zero.
type OwnerConfig struct {
	App           string // its name, for its snapshots
	Log           eventlog.Log
	Topic         string
	Partition     int32
	Process       event.ID             // drawn at random at process start
	Aggregates    map[string]Aggregate // by type name; events of others keep their versions only
	AppendTimeout time.Duration        // an append's fate counts as unknown after it
	Memory        partition.Memory     // of accepted commands
	Heartbeat     time.Duration        // a partition without events for so long gets a heartbeat, and again each time; 0: none
	MaxQueue      int                  // requests not yet looked at, above which they are refused; as many may wait for a probe
	Clock         clock.Clock
	Logger        *slog.Logger
	Metrics       *Metrics

	Snapshots     snapshot.BlobStore // keeps copies of what is folded, so that a start reads only what came after; nil: none
	SnapshotEvery time.Duration      // between two of them; default stream.SnapshotEvery
	// Claimed is told of each claim that was read back as valid; it must not wait. Nil:
	// nobody is.
	Claimed func(partition int32, epoch uint64)
}

// Limits of an owner.
const (
	maxCommits    = 1024                 // commits in one append
	maxProbes     = 3                    // that fail in a row, before the owner claims anew
	maxClaims     = 2                    // that fail in a row, before all who wait are sent away
	maxSends      = 3                    // of a command that come to nothing, before its caller is told
	probeInterval = 5 * time.Millisecond // between two probes
	retryAfter    = time.Second          // told to who is refused
)

// Owner decides the commands of one partition, serially, on the state that it
// folds. Run makes it work, once; the other methods may be called from anywhere.
//
// One goroutine, Run's, holds all state. A round takes the requests that wait,
// decides each on the folded state plus the batch being built, appends the batch,
// and folds it when its acknowledgement proves that nothing came between. What
// appends nothing (a rejection, a conflict, a no-op) is answered only after an
// append sent after it arrived, and decided anew then.
type Owner struct {
	cfg      OwnerConfig
	requests chan *request
	spare    sync.Pool                     // of requests that were answered, given back by the caller who got the answer
	ended    chan struct{}                 // closed when Run has stopped to work
	stalled  atomic.Pointer[chan struct{}] // closed, and replaced, when claims keep failing
	status   atomic.Pointer[Status]

	units      *stream.Units[*aggregate]
	fold       *partition.Fold       // that of units
	versions   *versions             // by which it reads and changes units
	last       []byte                // header of the last record folded
	epoch      uint64                // of the last claim sent
	unresolved map[event.ID]*request // sent, fate unknown
	pending    []*request            // to be decided before those in requests
	batch      batch
	lastProbe  time.Time
	silent     time.Time       // since then the owner has appended no event and no heartbeat
	failed     int             // probes and heartbeats in a row
	lasting    context.Context // Run's, for an append: it is not given up when Run is to end

	each     int              // keepEach, or a test's
	restored bool             // what snapshots have is taken over
	restores int              // tries of it
	unread   error            // why the last one could not be held against the log
	wake     <-chan time.Time // tells an idle owner to go on with snapshots; nil: nothing does
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
		ended:      make(chan struct{}),
		unresolved: make(map[event.ID]*request),
	}
	o.units, o.each = o.newUnits(), keepEach
	o.fold = o.units.Fold()
	o.spare.New = func() any { return &request{done: make(chan struct{}, 1)} }
	o.stall()
	o.setStatus(false, "not started")
	return o
}

// Status returns how the owner fares.
func (o *Owner) Status() Status { return *o.status.Load() }

func (o *Owner) setStatus(serving bool, reason string) {
	o.status.Store(&Status{serving, reason})
}

// A request's states. The owner moves it between the first three, a caller who
// gives up moves it to gone.
const (
	queued int32 = iota
	sent         // in an append: it may be accepted
	behind       // waits for the fate of the same command, sent before
	gone         // given up: not decided any more if it was queued
)

type request struct {
	Request
	at      time.Time
	key     []byte
	covered bool // an append sent after it arrived has been acknowledged
	sends   int  // appends of it that came to nothing
	inspect inspection
	state   atomic.Int32
	done    chan struct{} // gets one value, after which the owner has forgotten the request
	reply   reply         // valid then
}

// inspection is what a request wants to see that is no command; zero: nothing.
type inspection struct {
	of     func(*aggregate) error
	bare   bool // of does without the state, and gets nil for an aggregate without events
	strong bool // the request must be covered
}

type reply struct {
	result Result
	events []int64 // of a retry: the offsets of what result is made of
	err    error
}

func (r *request) answer(res Result, err error) { r.tell(reply{result: res, err: err}) }

func (r *request) tell(a reply) {
	r.reply = a
	r.done <- struct{}{}
}

// Execute hands a command to the owner and waits for its outcome until ctx ends.
// Errors: a Rejecter, *ConflictError, *UnavailableError, *BrokenError,
// ErrKeyReused, ErrTooLate, eventlog.ErrTooLarge, or what the decision returned.
func (o *Owner) Execute(ctx context.Context, req Request) (Result, error) {
	a := o.wait(ctx, req, inspection{})
	if a.err != nil || a.events == nil {
		return a.result, a.err
	}
	events, err := Fetch(ctx, o.cfg.Log, o.cfg.Topic, o.cfg.Partition, a.events)
	if err != nil {
		return Result{}, &UnavailableError{Reason: "the recorded outcome cannot be read now", Unresolved: true, RetryAfter: retryAfter}
	}
	return o.result(events), nil
}

// State returns the folded state of an aggregate; its version is 0 if it has no
// events. Errors: *UnavailableError, *BrokenError, or what StateJSON returned.
func (o *Owner) State(ctx context.Context, t Aggregate, id string) (State, error) {
	return o.show(ctx, t, id, false)
}

// StrongState is State after an append that was sent once the call had begun, so that
// the state holds whatever anybody was told before.
func (o *Owner) StrongState(ctx context.Context, t Aggregate, id string) (State, error) {
	return o.show(ctx, t, id, true)
}

func (o *Owner) show(ctx context.Context, t Aggregate, id string, strong bool) (State, error) {
	var s State
	look := inspection{strong: strong, of: func(a *aggregate) (err error) {
		s.Version, s.Position = a.version, o.folded()
		s.JSON, err = stateJSON(t, a.state)
		return err
	}}
	if err := o.wait(ctx, Request{Aggregate: t, ID: id}, look).err; err != nil {
		return State{}, err // s may still be written to
	}
	return s, nil
}

// Offsets returns where an aggregate's events behind version after lie, at most
// limit of them, and the position folded. Errors: as State.
func (o *Owner) Offsets(ctx context.Context, t Aggregate, id string, after uint64, limit int) ([]int64, eventlog.Position, error) {
	var offsets []int64
	var at eventlog.Position
	err := o.look(ctx, t, id, func(a *aggregate) error {
		offsets, at = a.offsets.List(after, limit), o.folded()
		return nil
	})
	if err != nil {
		return nil, eventlog.Position{}, err
	}
	return offsets, at, nil
}

// look lets the owner run inspect on an aggregate. What inspect writes may be
// read only if look returns nil.
func (o *Owner) look(ctx context.Context, t Aggregate, id string, inspect func(*aggregate) error) error {
	return o.wait(ctx, Request{Aggregate: t, ID: id}, inspection{of: inspect}).err
}

// stateJSON shows a state; a panic of the user's code is an error.
func stateJSON(t Aggregate, state any) (b []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("to show the state of a %s panicked: %v", t.TypeName(), p)
		}
	}()
	return t.StateJSON(state)
}

func (o *Owner) folded() eventlog.Position {
	return eventlog.Position{Partition: o.cfg.Partition, Offset: o.fold.Next() - 1}
}

// wait queues a request and waits for its answer until ctx or Run ends.
func (o *Owner) wait(ctx context.Context, req Request, inspect inspection) reply {
	if s := o.Status(); !s.Serving && s.Reason != starting {
		return reply{err: o.notServed()}
	}
	stalled := *o.stalled.Load()
	r := o.spare.Get().(*request)
	*r = request{Request: req, at: o.cfg.Clock.Now().UTC(), key: partition.Key(req.Aggregate.TypeName(), req.ID), inspect: inspect, done: r.done}
	select {
	case o.requests <- r:
	default:
		return reply{err: o.unavailable("partition %d is overloaded: %d requests wait", o.cfg.Partition, cap(o.requests))}
	}
	select {
	case <-r.done:
		return o.take(r)
	case <-ctx.Done():
		return o.giveUp(r, o.unavailable("partition %d did not get to it in time", o.cfg.Partition))
	case <-stalled:
		return o.giveUp(r, o.notServed())
	case <-o.ended:
		return o.giveUp(r, o.notServed())
	}
}

// stall sends away all who wait: the log does not even take a claim, so they had
// better come again.
func (o *Owner) stall() {
	stalled := make(chan struct{})
	if before := o.stalled.Swap(&stalled); before != nil {
		close(*before)
	}
}

// take returns an answer that has come.
func (o *Owner) take(r *request) reply {
	a := r.reply
	*r = request{done: r.done}
	o.spare.Put(r)
	return a
}

// giveUp ends a caller's wait; an answer that has just come is still taken. A
// request that was not sent gets err.
func (o *Owner) giveUp(r *request, err error) reply {
	was := r.state.Swap(gone)
	select {
	case <-r.done:
		return o.take(r)
	default:
	}
	if was == queued {
		return reply{err: err}
	}
	return reply{err: &UnavailableError{Reason: "the outcome is not known yet", Unresolved: true, RetryAfter: retryAfter}}
}

func (o *Owner) notServed() error {
	return o.unavailable("partition %d is not served now", o.cfg.Partition) // the log and Status say why
}

func (o *Owner) unavailable(format string, args ...any) error {
	return &UnavailableError{Reason: fmt.Sprintf(format, args...), RetryAfter: retryAfter}
}

// permanent reports whether err does not pass by itself.
func permanent(err error) bool {
	var damaged *eventlog.DamagedError
	return errors.Is(err, event.ErrNewer) || errors.Is(err, eventlog.ErrOffset) || errors.Is(err, eventlog.ErrUnknownTopic) ||
		errors.Is(err, errLostRecords) || errors.Is(err, errBroken) || errors.As(err, &damaged)
}

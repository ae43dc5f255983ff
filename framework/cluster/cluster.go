// Package cluster is the partitions of an application at work: for each, an
// [Owner] that alone decides commands, after the protocol that package partition
// judges:
//
//	owner := cluster.NewOwner(cluster.OwnerConfig{Log: log, Topic: "app.events", Partition: 3, …})
//	go owner.Run(ctx)
//	res, err := owner.Execute(ctx, cluster.Request{Aggregate: tribes, ID: "hikers", Command: id, Decide: join})
//	state, err := owner.State(ctx, tribes, "hikers")
//
// Where several processes share the partitions, each has a [Catalogue], which knows
// the processes and what they own from the control log.
package cluster

import (
	"errors"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Aggregate is an aggregate type as an owner needs it; *aggregates.Type is one.
// A state is a pointer that Zero made.
type Aggregate interface {
	TypeName() string
	Zero() any
	// Fold moves state by one recorded event.
	Fold(state any, name string, data []byte) error
	// StateJSON returns state as JSON.
	StateJSON(state any) ([]byte, error)
}

// Given is what a decision is told besides the state.
type Given struct {
	Actor   string
	At      time.Time // when the request arrived, UTC
	ID      string    // of the aggregate
	Command event.ID
}

// Fact is an event that a decision wants recorded: its name and payload.
type Fact struct {
	Type string
	Data []byte
}

// Decide is a decision bound to its command. It is pure and must not change
// state. No facts and no error is a no-op. An error that is a [Rejecter] is a
// rejection.
type Decide func(state any, g Given) ([]Fact, error)

// Rejecter is an error by which a decision says no, for the caller's eyes;
// forbidden if the caller is the reason. aggregates.Rejection is one.
type Rejecter interface {
	error
	Rejected() (reason string, forbidden bool)
}

// Request asks an owner to decide a command.
type Request struct {
	Aggregate   Aggregate
	ID          string
	Command     event.ID // names the command: a second request with it is a retry
	Fresh       bool     // Command was drawn for this request alone: it is no retry, and never too late however long it waits
	Digest      uint64   // of the command's name and body
	Actor       string
	Correlation event.ID
	Causation   event.ID
	Expected    *uint64 // the version that the aggregate must have; nil: any
	Decide      Decide
}

// Result is an accepted command, or a no-op: then it has no events.
type Result struct {
	Version  uint64 // of the aggregate, after the command
	Position eventlog.Position
	Events   []Recorded
}

// Recorded is an event as it stands in the log.
type Recorded struct {
	ID      event.ID
	Type    string
	Version uint64
	Time    time.Time
	Actor   string
	Data    []byte // the payload
}

// State is an aggregate's folded state.
type State struct {
	JSON     []byte
	Version  uint64 // 0: no event
	Position eventlog.Position
}

// ConflictError says that an aggregate has not the version that was expected.
type ConflictError struct{ Expected, Actual uint64 }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("expected version %d, but it is %d", e.Expected, e.Actual)
}

// UnavailableError says that nothing can be said now. This request may yet be
// accepted only if Unresolved; an earlier one with the same id is not spoken of.
type UnavailableError struct {
	Reason     string
	Unresolved bool          // it was sent, or another with its id, and the outcome is not known yet; ask again with the same id
	RetryAfter time.Duration // a sensible pause
}

func (e *UnavailableError) Error() string { return e.Reason }

// BrokenError says that an aggregate's events cannot be folded by this program.
type BrokenError struct {
	Aggregate string // "type/id"
	Position  eventlog.Position
	Err       error
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("aggregate %s cannot be folded: event at %v: %v", e.Aggregate, e.Position, e.Err)
}

// Unwrap returns Err.
func (e *BrokenError) Unwrap() error { return e.Err }

// Errors of a command.
var (
	ErrKeyReused = errors.New("this idempotency key was used for another command or body")
	ErrTooLate   = errors.New("too late to retry: outcomes this old are forgotten, and the command may have run")
)

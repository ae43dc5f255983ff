package framework

import (
	"context"
	"errors"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

type running struct{}

func newRunning() running { return running{} }

var errNotYet = errors.New("not built yet")

// Run runs the application until ctx ends, then stops it in order and returns
// nil. It returns early with what keeps it from running at all.
func (a *App) Run(ctx context.Context) error { return errNotYet }

// Unready returns the reasons why the application is not ready, none if it is:
// every partition assigned to this process is served, and every view has passed
// the end that the log had at start.
func (a *App) Unready() []string { return nil }

// Execute sends a command to the owner of its partition and waits for its
// outcome, at most Config.CommandWait. Errors: ErrUnknown, ErrInvalid, a
// cluster.Rejecter, *cluster.ConflictError, *cluster.UnavailableError,
// *cluster.BrokenError, cluster.ErrKeyReused, cluster.ErrTooLate,
// eventlog.ErrTooLarge.
func (a *App) Execute(ctx context.Context, c Call) (cluster.Result, error) {
	return cluster.Result{}, errNotYet
}

// State returns an aggregate's folded state. Errors: ErrUnknown, ErrInvalid,
// ErrNotFound, *cluster.BrokenError, *cluster.UnavailableError.
func (a *App) State(ctx context.Context, aggregate, id string, min eventlog.Positions) (cluster.State, error) {
	return cluster.State{}, errNotYet
}

// History returns an aggregate's events behind version after, at most limit (1
// to 1000), and the position up to which the partition was folded. Errors as of
// State.
func (a *App) History(ctx context.Context, aggregate, id string, after uint64, limit int) ([]cluster.Recorded, eventlog.Position, error) {
	return nil, eventlog.Position{}, errNotYet
}

// Ask asks a view, once it has passed q.Min, for which it waits at most
// Config.ReadWait. Errors: ErrUnknown, ErrInvalid, ErrNotFound,
// *cluster.UnavailableError.
func (a *App) Ask(ctx context.Context, view string, q Query) (Answer, error) {
	return Answer{}, errNotYet
}

package framework

import (
	"context"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// StateQuery says which state of an aggregate is wanted: the present one, unless one
// of Version, At and Position is set.
type StateQuery struct {
	Min eventlog.Positions // what is to be folded before
	// MaxStaleness lets the present state hold what the log held so long before, as of
	// Query.
	MaxStaleness time.Duration
	Strong       bool // whatever anybody was told before is to be in it: the owner proves by a record that it still is
	AsOf
}

// AsOf names a moment of the past, by at most one of its fields. The zero AsOf is the
// present.
type AsOf struct {
	// Version is that after the aggregate's event of this number, from 1.
	Version uint64
	// At is after all events before the first that is later. A time to come is the
	// present.
	At time.Time
	// Position is after all commits that had taken effect there. It may name several
	// partitions, among them the aggregate's, and is waited for as StateQuery.Min is.
	Position eventlog.Positions
}

// IsZero reports whether it is the present.
func (m AsOf) IsZero() bool {
	return m.Version == 0 && m.At.IsZero() && len(m.Position.Offsets) == 0
}

func (m AsOf) check() error {
	n := 0
	for _, set := range []bool{m.Version > 0, !m.At.IsZero(), len(m.Position.Offsets) > 0} {
		if set {
			n++
		}
	}
	if n > 1 {
		return fmt.Errorf("%w moment: want one of version, time and position, not %d", ErrInvalid, n)
	}
	return nil
}

// in returns the bound for a partition's events.
func (m AsOf) in(part int32) (cluster.AsOf, error) {
	as := cluster.AsOf{Version: m.Version, At: m.At, Offset: -1}
	if len(m.Position.Offsets) > 0 {
		offset, ok := m.Position.Offsets[part]
		if !ok {
			return as, fmt.Errorf("%w position %s: it does not name partition %d, in which the events lie", ErrInvalid, m.Position, part)
		}
		as.Offset = offset
	}
	return as, nil
}

// StateAsOf returns an aggregate's state as q asks for it. One of the past is folded
// from the aggregate's own events, within Config.ReadWait; its Position is that of the
// last commit in it. Errors are State's; ErrNotFound where there was no event by then,
// or is none of that version; ErrInvalid for two moments at once, and for a position
// that does not name the aggregate's partition.
func (a *App) StateAsOf(ctx context.Context, aggregate, id string, q StateQuery) (cluster.State, error) {
	if err := q.check(); err != nil {
		return cluster.State{}, err
	}
	if !q.IsZero() {
		return a.past(ctx, aggregate, id, q)
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.ReadWait)
	defer cancel()
	min, err := a.bounded(ctx, q.Min, q.MaxStaleness)
	if err != nil {
		return cluster.State{}, err
	}
	q.Min = min
	var s cluster.State
	err = a.read(ctx, aggregate, id, q.Min, func(ctx context.Context, o *cluster.Owner, t Aggregate) (at eventlog.Position, err error) {
		show := o.State
		if q.Strong {
			show = o.StrongState
		}
		s, err = show(ctx, t, id)
		return s.Position, err
	})
	if err == nil && s.Version == 0 {
		err = fmt.Errorf("%s %q: %w", aggregate, id, ErrNotFound)
	}
	return s, a.tooOld(ctx, err, q.MaxStaleness)
}

// past folds an aggregate's state as of a moment.
func (a *App) past(ctx context.Context, aggregate, id string, q StateQuery) (cluster.State, error) {
	if err := a.checkMin(q.Position); err != nil {
		return cluster.State{}, err
	}
	owner, trail, err := a.trail(ctx, aggregate, id, q)
	if err != nil {
		return cluster.State{}, err
	}
	as, err := q.in(trail.Position.Partition)
	if err != nil {
		return cluster.State{}, err
	}
	within, cancel := context.WithTimeout(ctx, a.cfg.ReadWait)
	defer cancel()
	s, err := owner.StateAsOf(within, a.aggregates[aggregate], id, trail, as)
	switch {
	case err != nil:
		return s, err
	case s.Version == 0 && trail.Len() > 0:
		return s, fmt.Errorf("%s %q as of then: %w; it has %d events by now", aggregate, id, ErrNotFound, trail.Len())
	case s.Version == 0:
		return s, fmt.Errorf("%s %q: %w", aggregate, id, ErrNotFound)
	}
	return s, nil
}

// trail asks an aggregate's owner where its events lie, once it has folded beyond
// what q waits for.
func (a *App) trail(ctx context.Context, aggregate, id string, q StateQuery) (owner *cluster.Owner, trail cluster.Trail, err error) {
	min := eventlog.NewPositions()
	for n, offset := range q.Min.Offsets {
		min.Offsets[n] = offset
	}
	for n, offset := range q.Position.Offsets {
		min.Offsets[n] = max(offset, min.Offsets[n])
	}
	err = a.read(ctx, aggregate, id, min, func(ctx context.Context, o *cluster.Owner, t Aggregate) (at eventlog.Position, err error) {
		owner = o
		trail, err = o.Trail(ctx, t, id, q.Strong)
		return trail.Position, err
	})
	return owner, trail, err
}

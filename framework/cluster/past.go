package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// Trail is where an aggregate's events lie, as its owner had folded them when it was
// asked.
type Trail struct {
	Position eventlog.Position // up to where the partition was folded
	offsets  packed.Offsets    // a copy, whose bytes are never changed
}

// Len returns how many events there are, which is the aggregate's version.
func (t *Trail) Len() uint64 { return uint64(t.offsets.Count) }

// Behind returns the trail without its first n events, so that Walk begins with the one
// of version n+1.
func (t *Trail) Behind(n uint64) Trail {
	if n == 0 {
		return *t
	}
	rest := Trail{Position: t.Position}
	for i, offset := range t.offsets.All {
		if uint64(i) >= n {
			rest.offsets.Add(offset)
		}
	}
	return rest
}

// Trail returns where an aggregate's events lie, also of one that cannot be folded.
// If strong, it has all that was accepted before the call. Errors:
// *UnavailableError.
func (o *Owner) Trail(ctx context.Context, t Aggregate, id string, strong bool) (Trail, error) {
	var trail Trail
	look := inspection{bare: true, strong: strong, of: func(a *aggregate) error {
		trail.Position = o.folded()
		if a != nil {
			trail.offsets = a.offsets
		}
		return nil
	}}
	if err := o.wait(ctx, Request{Aggregate: t, ID: id}, look).err; err != nil {
		return Trail{}, err // trail may still be written to
	}
	return trail, nil
}

// AsOf ends a history early. Bounds that are set hold together.
type AsOf struct {
	Version uint64    // the last event's; 0: no bound
	At      time.Time // ends before the first event that is later; zero: no bound
	Offset  int64     // of the last record that is taken into account; negative: no bound
}

// Walk hands the events of a trail to f, in order and as far as as goes: those of
// commits that had taken effect by then, and of the last one those up to the version.
// commit is the offset at which the event took effect, that of its commit's last.
// Errors: f's, or the log's.
func (o *Owner) Walk(ctx context.Context, trail Trail, as AsOf, f func(e *partition.Event, commit int64) error) error {
	read := newFetcher(o.cfg.Log, o.cfg.Topic, o.cfg.Partition)
	defer read.Close()
	var commit []partition.Event // as far as it was read
	for _, offset := range trail.offsets.All {
		if as.Offset >= 0 && offset > as.Offset {
			return nil
		}
		var e partition.Event
		if err := read.fetch(ctx, offset, &e); err != nil {
			return err
		}
		if !as.At.IsZero() && e.Time.After(as.At) {
			return nil
		}
		if commit = append(commit, e); e.Index+1 < e.Count {
			continue
		}
		for i := range commit {
			if as.Version > 0 && commit[i].Version > as.Version {
				return nil
			}
			if err := f(&commit[i], offset); err != nil {
				return err
			}
		}
		commit = commit[:0]
	}
	return nil
}

// StateAsOf folds the events of a trail as far as as goes, without the owner: its
// Position is that of the last commit in it, its Version 0 if there was none, or none
// of the version asked for. Errors: *BrokenError, *UnavailableError, or what StateJSON
// returned.
func (o *Owner) StateAsOf(ctx context.Context, t Aggregate, id string, trail Trail, as AsOf) (State, error) {
	var s State
	if as.Version > trail.Len() {
		return s, nil
	}
	state := t.Zero()
	err := o.Walk(ctx, trail, as, func(e *partition.Event, commit int64) error {
		s.Version, s.Position = e.Version, eventlog.Position{Partition: o.cfg.Partition, Offset: commit}
		if err := foldEvent(t, state, e.Type, e.Data); err != nil {
			return &BrokenError{t.TypeName() + "/" + id, eventlog.Position{Partition: o.cfg.Partition, Offset: e.Offset}, err}
		}
		return nil
	})
	if err != nil {
		return State{}, o.walkError(ctx, err, trail)
	}
	if s.Version == 0 {
		return s, nil
	}
	s.JSON, err = stateJSON(t, state)
	return s, err
}

// walkError makes of a log that does not answer what a caller is told: to come again.
func (o *Owner) walkError(ctx context.Context, err error, trail Trail) error {
	var broken *BrokenError
	switch {
	case errors.As(err, &broken):
		return err
	case ctx.Err() != nil:
		return o.unavailable("its %d events were not folded in time", trail.Len())
	}
	o.cfg.Logger.Warn("a history cannot be read now", "partition", o.cfg.Partition, "err", err)
	return o.unavailable("its history cannot be read now")
}

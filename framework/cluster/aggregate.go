package cluster

import (
	"context"
	"fmt"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// aggregate is what an owner holds of one aggregate.
type aggregate struct {
	key     string
	at      int32     // its place among the units; nowhere: none yet
	kind    Aggregate // nil: a type that the program does not declare
	state   any       // nil: to be made of packed, or folded from the events at offsets
	packed  []byte    // while state is nil: the state as a snapshot has brought it; nil: none
	half    any       // while state is nil: what the first done events give
	done    int
	version uint64         // as folded, or as decided in the batch being built if dirty
	folded  uint64         // version without that batch
	dirty   bool           // moved by the batch being built or in flight
	offsets packed.Offsets // of its events, as folded
	broken  *BrokenError
}

// nowhere is the place of an aggregate without events.
const nowhere = -1

// find returns what the owner holds of key, nil if it has no event.
func (o *Owner) find(key []byte) *aggregate { return o.versions.find(key) }

// load returns key's aggregate with its state folded; one without events is not
// kept until a commit. Its state is nil only while it is dirty: the batch must be
// acknowledged before it can be folded. The error is a *BrokenError, or the log's.
func (o *Owner) load(ctx context.Context, key []byte, kind Aggregate) (*aggregate, error) {
	a := o.find(key)
	if a == nil {
		return &aggregate{key: string(key), at: nowhere, kind: kind, state: kind.Zero()}, nil
	}
	if a.broken != nil {
		return nil, a.broken
	}
	if a.kind == nil { // its events came before the type was asked for
		a.kind = kind
	}
	if a.packed != nil {
		o.unpack(a)
	}
	if a.state == nil && !a.dirty {
		if err := o.refold(ctx, key, a); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// breaks notes that an aggregate's event cannot be folded, so that its commands
// are refused from now on while all others go on.
func (o *Owner) breaks(key []byte, a *aggregate, offset int64, err error) error {
	a.broken = &BrokenError{string(key), eventlog.Position{Partition: o.cfg.Partition, Offset: offset}, err}
	a.state, a.half = nil, nil
	o.cfg.Logger.Error("aggregate cannot be folded", "aggregate", string(key), "position", a.broken.Position.String(), "err", err)
	return a.broken
}

// apply folds a commit that has just taken effect and was not decided in this batch.
func (o *Owner) apply(events []partition.Event) {
	a := o.versions.last
	if a.packed != nil {
		o.unpack(a)
	}
	for i := range events {
		a.offsets.Add(events[i].Offset)
		if a.state == nil {
			continue
		}
		if err := foldEvent(a.kind, a.state, events[i].Type, events[i].Data); err != nil {
			o.breaks(events[i].Key, a, events[i].Offset, err)
		}
	}
	a.version = a.folded
}

// confirm notes that a commit that has just taken effect, and whose events are in
// the state already, is in the log.
func (o *Owner) confirm(events []partition.Event) {
	for i := range events {
		o.versions.last.offsets.Add(events[i].Offset)
	}
}

// foldEvent folds one event; a panic of the user's code is an error.
func foldEvent(kind Aggregate, state any, name string, data []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("evolve %s panicked: %v", name, p)
		}
	}()
	return kind.Fold(state, name, data)
}

func typeOf(key []byte) string {
	for i, c := range key {
		if c == '/' {
			return string(key[:i])
		}
	}
	return string(key)
}

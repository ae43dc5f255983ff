package control

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// MaxMembers is the most members that a fold keeps: one more lets it forget the
// member that was announced first.
const MaxMembers = 1024

// Fold is the catalogue that a prefix of a control log makes. It is not safe for
// concurrent use.
type Fold struct {
	next    int64
	took    bool // the last record had an effect on a view
	members map[event.ID]announced
	owners  map[int32]Owner
	views   map[string]*Lineage

	cuts     []standing
	released []event.ID // those that did last
}

type announced struct {
	Member
	at int64
}

// New returns the fold of no record.
func New() *Fold {
	return &Fold{members: make(map[event.ID]announced), owners: make(map[int32]Owner), views: make(map[string]*Lineage)}
}

// Next returns one past the last offset that was folded.
func (f *Fold) Next() int64 { return f.next }

// Took reports whether the record that was folded last took effect, if it is one of a
// view: of a generation, switch, cut or shadow.
func (f *Fold) Took() bool { return f.took }

// Step folds the next record. A record that is of no known form has no effect; a
// payload's unknown fields are ignored. The only errors are event.ErrNewer for a
// later format or kind, at which a reader must stop, and an offset that was folded
// before; the fold is unchanged then.
func (f *Fold) Step(r *eventlog.Record) error {
	if r.Offset < f.next {
		return fmt.Errorf("control: offset %d comes after %d", r.Offset, f.next-1)
	}
	kind, err := kindOf(r.Header)
	if errors.Is(err, event.ErrNewer) {
		return fmt.Errorf("control: offset %d: %w", r.Offset, err)
	}
	f.next, f.took = r.Offset+1, false
	if err != nil {
		return nil
	}
	switch kind {
	case KindMember:
		f.join(r)
	case KindLeft:
		var l left
		if json.Unmarshal(r.Value, &l) == nil {
			delete(f.members, l.Process)
		}
	case KindOwner:
		f.own(r)
	default:
		f.took = f.view(kind, r)
	}
	return nil
}

// view folds a record of a view, and reports whether it took effect.
func (f *Fold) view(kind Kind, r *eventlog.Record) bool {
	switch kind {
	case KindGeneration:
		return f.build(r)
	case KindSwitch:
		return f.turn(r)
	case KindRetired:
		return f.retire(r)
	case KindDropped:
		return f.drop(r)
	case KindCut:
		return f.cut(r)
	case KindHeld:
		return f.hold(r)
	case KindShadow:
		return f.shadow(r)
	}
	return f.release(r)
}

// join adds a member, in place of an earlier run of the same instance: that has
// ended, or the group has fenced it.
func (f *Fold) join(r *eventlog.Record) {
	var m Member
	if json.Unmarshal(r.Value, &m) != nil || m.Process.IsZero() || !m.bounded() {
		return
	}
	for id, other := range f.members {
		if m.Instance != "" && other.Instance == m.Instance {
			delete(f.members, id)
		}
	}
	f.members[m.Process] = announced{m, r.Offset}
	if len(f.members) > MaxMembers {
		delete(f.members, f.Members()[0].Process)
	}
}

// own takes the greatest epoch of a partition: of two claims the later valid one
// has it, in whatever order their owners come to say so.
func (f *Fold) own(r *eventlog.Record) {
	var o Owner
	if json.Unmarshal(r.Value, &o) != nil || o.Process.IsZero() || o.Partition < 0 || o.Partition >= MaxPartition {
		return
	}
	if o.Epoch > f.owners[o.Partition].Epoch {
		f.owners[o.Partition] = o
	}
}

// Owner returns who said last that it owns a partition, by epoch; ok is false if
// nobody did. Its process may be no member any more.
func (f *Fold) Owner(partition int32) (o Owner, ok bool) {
	o, ok = f.owners[partition]
	return o, ok
}

// Owned returns the partitions of a process, ascending.
func (f *Fold) Owned(process event.ID) []int32 {
	list := []int32{}
	for n, o := range f.owners {
		if o.Process == process {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list
}

// Member returns a process that is there; ok is false if it never said so, has
// left, was forgotten, or has started anew.
func (f *Fold) Member(process event.ID) (m Member, ok bool) {
	a, ok := f.members[process]
	return a.Member, ok
}

// Members returns the processes that are there, in the order in which they said so.
// One that was killed is among them until its instance starts anew.
func (f *Fold) Members() []Member {
	byAge := slices.SortedFunc(maps.Values(f.members), func(a, b announced) int { return cmp.Compare(a.at, b.at) })
	list := make([]Member, len(byAge))
	for i, a := range byAge {
		list[i] = a.Member
	}
	return list
}

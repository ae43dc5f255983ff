package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// StateKeeper is an Aggregate whose states snapshots can hold; *aggregates.Type is
// one. The states of another are folded anew after a restart, from the aggregate's
// own events, when they are asked for.
type StateKeeper interface {
	Aggregate
	// Shape says in a few words, with a digest, all that makes a state of the same
	// events: no snapshot of another shape is used. Empty: no states are kept.
	Shape() string
	// AppendState appends to b what DecodeState makes an equal state of. An error
	// leaves this state out.
	AppendState(b []byte, state any) ([]byte, error)
	// DecodeState must keep nothing of data.
	DecodeState(data []byte) (state any, err error)
}

// ownerFold is the version of what an owner makes of a partition.
const ownerFold = 1

func keeperOf(kind Aggregate) StateKeeper {
	if k, ok := kind.(StateKeeper); ok && k.Shape() != "" {
		return k
	}
	return nil
}

// identity says whose the owner's snapshots are.
func (c *OwnerConfig) identity() snapshot.Identity {
	var shapes []string
	for _, name := range slices.Sorted(maps.Keys(c.Aggregates)) {
		if k := keeperOf(c.Aggregates[name]); k != nil {
			shapes = append(shapes, name+" "+k.Shape())
		}
	}
	return snapshot.Identity{App: c.App, Operator: "owner", Topic: c.Topic, Partition: c.Partition, Version: ownerFold,
		State: strings.Join(shapes, ", ")}
}

// newUnits makes what the owner folds.
func (o *Owner) newUnits() *stream.Units[*aggregate] {
	c := &o.cfg
	return stream.NewUnits(stream.UnitsConfig[*aggregate]{
		Codec:  stream.Codec[*aggregate]{Append: appendAggregate, Decode: decodeAggregate},
		Memory: c.Memory,
		Versions: func(u *stream.Units[*aggregate]) partition.Versions {
			o.versions = &versions{units: u, kinds: c.Aggregates}
			return o.versions
		},
		Head:      func(b []byte) []byte { return binary.BigEndian.AppendUint32(b, tailOf(o.last)) },
		Resume:    o.resume,
		Snapshots: c.Snapshots, Identity: c.identity(), Every: c.SnapshotEvery, Clock: c.Clock,
		Logger: c.Logger.With("operator", "owner", "topic", c.Topic, "partition", c.Partition),
	})
}

// appendAggregate writes an aggregate as a snapshot has it: version, its last event's
// offset, all offsets as differences, and the state if there is one. What cannot be
// encoded is left out.
func appendAggregate(b []byte, of **aggregate) ([]byte, error) {
	a := *of
	b = binary.AppendUvarint(b, a.folded)
	b = binary.AppendUvarint(b, uint64(a.offsets.Last))
	b = packed.AppendBytes(b, a.offsets.Deltas)
	if a.packed != nil {
		return append(append(b, 1), a.packed...), nil
	}
	if k := keeperOf(a.kind); k != nil && a.state != nil {
		if with, err := appendState(append(b, 1), k, a.state); err == nil {
			return with, nil
		}
	}
	return append(b, 0), nil
}

// appendState calls AppendState; a panic of the user's code is an error.
func appendState(b []byte, k StateKeeper, state any) (with []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("to encode the state of a %s panicked: %v", k.TypeName(), p)
		}
	}()
	return k.AppendState(b, state)
}

var errMangled = errors.New("mangled")

// decodeAggregate reads what appendAggregate wrote, but for the state itself, which
// waits until it is asked for.
func decodeAggregate(data []byte, of **aggregate) error {
	r := packed.Read(data)
	a := &aggregate{version: r.Number()}
	a.folded = a.version
	a.offsets = packed.Offsets{Last: int64(r.Number()), Deltas: bytes.Clone(r.Bytes()), Count: int(a.version)}
	if has := r.Take(1); has != nil && has[0] == 1 {
		a.packed = append([]byte{}, r.Rest()...)
	}
	if r.Bad() || a.version == 0 {
		return errMangled
	}
	*of = a
	return nil
}

// unpack makes the state that a snapshot has brought. If that fails, it is folded
// anew.
func (o *Owner) unpack(a *aggregate) {
	data := a.packed
	a.packed = nil
	k := keeperOf(a.kind)
	if k == nil {
		return
	}
	state, err := decodeState(k, data)
	if err != nil {
		o.cfg.Logger.Warn("a state of a snapshot is folded anew", "aggregate", a.key, "err", err)
		return
	}
	a.state = state
}

// decodeState calls DecodeState; a panic of the user's code is an error.
func decodeState(k StateKeeper, data []byte) (state any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("to decode the state of a %s panicked: %v", k.TypeName(), p)
		}
	}()
	return k.DecodeState(data)
}

// versions are those of the aggregates, as the owner's fold asks for them.
type versions struct {
	units *stream.Units[*aggregate]
	kinds map[string]Aggregate
	last  *aggregate // that Get has found, or Set has changed
}

func (v *versions) find(key []byte) *aggregate {
	if i := v.units.Find(key); i >= 0 {
		return *v.units.At(i)
	}
	return nil
}

// Get implements partition.Versions.
func (v *versions) Get(key []byte) uint64 {
	if v.last = v.find(key); v.last == nil {
		return 0
	}
	return v.last.folded
}

// Set implements partition.Versions. A key that is new gets an aggregate.
func (v *versions) Set(key []byte, version uint64) {
	if v.last == nil || v.last.key != string(key) {
		v.last = v.find(key)
	}
	a := v.last
	if a == nil {
		kind := v.kinds[typeOf(key)]
		a = &aggregate{key: string(key), at: nowhere, kind: kind}
		if kind != nil {
			a.state = kind.Zero()
		}
		v.add(a)
		v.last = a
	}
	v.change(a)
	a.folded = version
}

// All implements partition.Versions.
func (v *versions) All() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for i, key := range v.units.All() {
			if n := (*v.units.At(i)).folded; n > 0 && !yield(key, n) {
				return
			}
		}
	}
}

// add makes a one of the units.
func (v *versions) add(a *aggregate) {
	a.at = v.units.Make(a.key)
	*v.units.At(a.at) = a
}

// change is to be called before an aggregate changes: a cut under way then has it as
// it is. One that is not among the units is in no cut.
func (v *versions) change(a *aggregate) {
	if a.at == nowhere {
		return
	}
	if err := v.units.Change(a.at); err != nil {
		panic(err) // appendAggregate returns none
	}
}

func (v *versions) remove(a *aggregate) {
	if err := v.units.Remove(a.at); err != nil {
		panic(err) // as in change
	}
	a.at = nowhere
}

// keep begins a snapshot when one is due, and goes on with the one under way. It is
// called when all states are folded ones, and no append is in flight.
func (o *Owner) keep() (more bool) {
	more, err := o.units.Step(o.lasting, o.each)
	if err != nil {
		panic(err) // as in change
	}
	return more
}

// keepEach is how many aggregates are encoded between two appends, besides those
// that change: few, so that nobody waits for them.
const keepEach = 32

// kept goes on with snapshots. It reports whether there is more to be done at once;
// else wake tells when it is to be called again though no request comes, nil: never.
func (o *Owner) kept() (more bool, wake <-chan time.Time) {
	if o.keep() {
		return true, nil
	}
	if o.wake == nil {
		d, ok := o.units.Idle()
		if ok && d == 0 {
			return true, nil
		}
		if ok {
			o.wake = o.cfg.Clock.After(d)
		}
	}
	return false, o.wake
}

// maxRestores is how often a blob store that does not answer is asked before the log
// is folded instead.
const maxRestores = 3

// restore takes over the newest snapshot at or below the log's end, once. It returns
// the end, which may be farther by now.
func (o *Owner) restore(ctx context.Context, end int64) (now int64, err error) {
	if o.restored {
		return end, nil
	}
	o.unread = nil
	began := o.cfg.Clock.Now()
	found, err := o.units.Restore(ctx, func(position int64) bool {
		if position > end { // an owner elsewhere may have stored it meanwhile
			if now, err := o.cfg.Log.End(ctx, o.cfg.Topic, o.cfg.Partition); err == nil {
				end = now
			}
		}
		if position > end {
			o.cfg.Logger.Warn("a snapshot is not used", "topic", o.cfg.Topic, "partition", o.cfg.Partition,
				"err", fmt.Errorf("it is at %d, beyond the log's end at %d: it is of another log, or the log has lost records", position, end))
		}
		return position <= end
	})
	o.fold = o.units.Fold()
	switch o.restores++; {
	case ctx.Err() != nil:
		return end, ctx.Err()
	case o.unread != nil:
		return end, o.unread
	case err != nil && o.restores < maxRestores:
		return end, err
	case err != nil:
		o.cfg.Logger.Warn("snapshots cannot be read; the log is folded instead", "topic", o.cfg.Topic, "partition", o.cfg.Partition, "err", err)
	case found:
		o.cfg.Logger.Info("partition restored from a snapshot", "topic", o.cfg.Topic, "partition", o.cfg.Partition,
			"next", o.fold.Next(), "end", end, "took", o.cfg.Clock.Now().Sub(began))
	}
	o.restored = true
	return end, nil
}

// resume is the last part of a restore: the aggregates get what their keys say, and
// the snapshot is held against the log, which may be another one of the same name.
func (o *Owner) resume(ctx context.Context, head []byte) error {
	v := o.versions
	for i, key := range v.units.All() {
		a := *v.units.At(i)
		a.key, a.at, a.kind = key, i, o.cfg.Aggregates[typeOf([]byte(key))]
	}
	if len(head) != 4 {
		return errMangled
	}
	last := v.units.Fold().Next() - 1
	within, cancel := context.WithTimeout(ctx, o.cfg.AppendTimeout)
	defer cancel()
	f := eventlog.Fetcher{Log: o.cfg.Log, Topic: o.cfg.Topic, Partition: o.cfg.Partition}
	defer f.Close()
	r, err := f.At(within, last)
	switch {
	case err != nil && !errors.Is(err, eventlog.ErrOffset):
		o.unread = err
		return o.unread
	case err != nil || tailOf(r.Header) != binary.BigEndian.Uint32(head):
		return fmt.Errorf("the log has another record at %d: it is of another log, or the log has lost records", last)
	}
	o.last = r.Header
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// tailOf tells a record, by its header, from others that may lie at its place in
// another log.
func tailOf(header []byte) uint32 { return crc32.Checksum(header, castagnoli) }

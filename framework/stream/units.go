package stream

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/internal/clock"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// Units is what a loop that is no task folds of an events partition, on the engine's
// states and snapshots: a value of V for each key, changed in place, and the fold
// that judges the records. A cluster's owner is such a loop:
//
//	units.Change(i) // before each change, so that a cut under way has what was
//	units.At(i).n++
//	…
//	units.Step(ctx, 64) // between two changes, when all that is folded may be kept
//
// It is used by one goroutine. What is read of its snapshots comes back by Restore.
type Units[V any] struct {
	cfg    UnitsConfig[V]
	states *states[V]
	fold   *partition.Fold
	queue  *remembered
	saver  *saver // nil: no snapshots
}

// UnitsConfig says how units are kept. Codec and Versions are required; a zero field
// is its default.
type UnitsConfig[V any] struct {
	Codec  Codec[V]
	Memory partition.Memory // the fold's
	// Versions returns the fold's versions, which may lie in the units.
	Versions func(*Units[V]) partition.Versions
	// Head appends what a snapshot holds besides the units and the fold, as they are
	// now, and Resume takes it over, as the last part of a restore; default: nothing.
	Head   func(b []byte) []byte
	Resume func(ctx context.Context, head []byte) error

	Snapshots snapshot.BlobStore // nil: none are kept
	Identity  snapshot.Identity
	Every     time.Duration // between two snapshots; default SnapshotEvery
	Clock     clock.Clock   // default: the machine's
	Logger    *slog.Logger  // is told of each snapshot that is not stored, or not used; default: nowhere
}

// SnapshotEvery is the default time between two snapshots.
const SnapshotEvery = 10 * time.Second

// NewUnits returns units of an empty log.
func NewUnits[V any](cfg UnitsConfig[V]) *Units[V] {
	cfg.Clock = cmp.Or(cfg.Clock, clock.System)
	cfg.Every = cmp.Or(cfg.Every, SnapshotEvery)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	u := &Units[V]{cfg: cfg}
	if cfg.Snapshots != nil {
		u.saver = newSaver(u, cfg.Snapshots, cfg.Identity, cfg.Every, cfg.Clock, cfg.Logger)
	}
	u.clear()
	return u
}

// clear makes all empty.
func (u *Units[V]) clear() {
	u.states = newStates(0, "units", u.cfg.Codec)
	u.queue = &remembered{number: 1}
	u.take(partition.NewOn(u.cfg.Memory, u.cfg.Versions(u)))
}

func (u *Units[V]) take(f *partition.Fold) { u.fold, u.queue.fold = f, f }

// Fold returns the fold of the records. Restore makes another one.
func (u *Units[V]) Fold() *partition.Fold { return u.fold }

// Find returns the place of a key's unit, -1 if it has none.
func (u *Units[V]) Find(key []byte) int32 { return u.states.find(key) }

// Make gives a key that has no unit one, and returns its place.
func (u *Units[V]) Make(key string) int32 { return u.states.make(key) }

// At returns the unit at a place.
func (u *Units[V]) At(i int32) *V { return &u.states.unit(i).state }

// Change is to be called before the unit at a place changes: a cut under way then
// holds it as it is now.
func (u *Units[V]) Change(i int32) error { return u.states.change(i) }

// Remove takes the unit at a place away.
func (u *Units[V]) Remove(i int32) error { return u.states.remove(i) }

// All yields the places of all units with their keys, in no order.
func (u *Units[V]) All() iter.Seq2[int32, string] {
	return func(yield func(int32, string) bool) {
		for i, s := range u.states.all() {
			if !yield(i, s.key) {
				return
			}
		}
	}
}

// Restore takes over the newest snapshot that can be used, and reports whether there
// was one; else all is empty. It passes over those whose position does not fit, and
// those that are damaged, of another identity, or refused by Resume, and says why.
// An error is that of ctx or of listing the snapshots.
func (u *Units[V]) Restore(ctx context.Context, fits func(position int64) bool) (found bool, err error) {
	if u.saver == nil {
		return false, nil
	}
	found, _, err = u.saver.restore(ctx, fits, func(head []byte, blobs []io.Reader) error {
		u.clear()
		return u.load(ctx, head, blobs)
	})
	if !found {
		u.clear()
	}
	return found, err
}

// unitsFormat is the version of what begin returns.
const unitsFormat = 1

func (u *Units[V]) load(ctx context.Context, head []byte, blobs []io.Reader) error {
	if len(head) == 0 || head[0] != unitsFormat {
		return fmt.Errorf("its head begins with % x, this program reads format %d", head[:min(len(head), 1)], unitsFormat)
	}
	r := packed.Read(head[1:])
	f, err := partition.Resume(r.Bytes(), u.cfg.Memory, u.cfg.Versions(u))
	if err != nil {
		return err
	}
	u.take(f)
	for _, b := range blobs {
		if err := loadAll(u.kept(), buffered(b)); err != nil {
			return err
		}
	}
	if err := f.Remembering(); err != nil || u.cfg.Resume == nil {
		return err
	}
	return u.cfg.Resume(ctx, r.Rest())
}

func (u *Units[V]) kept() []keyedStates { return []keyedStates{u.states, u.queue} }

// begin implements cutter.
func (u *Units[V]) begin(full bool, to *frames) (head []byte) {
	for _, k := range u.kept() {
		k.begin(full, to)
	}
	head = packed.AppendBytes([]byte{unitsFormat}, u.fold.AppendHead(nil))
	if u.cfg.Head != nil {
		head = u.cfg.Head(head)
	}
	return head
}

// encode implements cutter.
func (u *Units[V]) encode(n int, to *frames) (bool, error) { return encodeAll(u.kept(), n, to) }

// abandon implements cutter.
func (u *Units[V]) abandon() {
	for _, k := range u.kept() {
		k.abandon()
	}
}

// Step begins a snapshot if one is due, or goes on with the one under way, by about
// n units; more says that it is to be called again soon. A snapshot holds all that
// is folded as the Step that begins it is called. The error is the Codec's.
func (u *Units[V]) Step(ctx context.Context, n int) (more bool, err error) {
	s := u.saver
	if s == nil {
		return false, nil
	}
	if next := u.fold.Next(); s.due(next) {
		s.begin(ctx, next)
		s.release() // whoever folds elsewhere has nothing to be acknowledged
	}
	err = s.step(n)
	return s.encoding(), err
}

// Idle returns how long Step has nothing to do if nothing is folded meanwhile; ok is
// false if that is for ever.
func (u *Units[V]) Idle() (d time.Duration, ok bool) {
	s := u.saver
	switch {
	case s == nil || s.now == nil && u.fold.Next() <= s.position:
		return 0, false
	case s.encoding():
		return 0, true
	}
	d = max(0, s.every-s.clock.Now().Sub(s.last))
	if s.now != nil && d == 0 { // the store is slower than that: look again
		d = max(s.every/8, time.Millisecond)
	}
	return d, true
}

// Close gives up the snapshot under way, and returns once the store has let go of it.
func (u *Units[V]) Close() {
	if u.saver != nil {
		u.saver.end()
	}
}

// remembered keeps a fold's remembered commands in frames: runs of them, each under
// the number of its first as eight bytes.
type remembered struct {
	number int
	fold   *partition.Fold
	held   uint64 // number of the first that no snapshot holds

	cutting bool
	now     partition.Remembered
	at      uint64 // number of the next to be encoded
	frames  *frames
}

var _ keyedStates = (*remembered)(nil)

func (r *remembered) begin(full bool, to *frames) {
	r.cutting, r.now, r.frames = true, r.fold.Remembered(), to
	var end uint64
	r.at, end = r.now.Bounds()
	if !full {
		r.at = max(r.at, r.held)
	}
	r.held = end
}

// commandsPerUnit is how many commands are encoded in the place of a unit.
const commandsPerUnit = 8

func (r *remembered) encode(n int) (done bool, err error) {
	_, end := r.now.Bounds()
	if !r.cutting || r.at >= end {
		r.abandon()
		return true, nil
	}
	from := r.at
	r.at = min(end, from+commandsPerUnit*uint64(n))
	key := string(binary.BigEndian.AppendUint64(nil, from))
	return false, r.frames.put(r.number, key, func(b []byte) ([]byte, error) { return r.now.Append(b, from, r.at), nil })
}

func (r *remembered) abandon() { r.cutting, r.now, r.frames = false, partition.Remembered{}, nil }

func (r *remembered) load(key string, unit []byte) error {
	if len(key) != 8 || unit == nil {
		return errMangled
	}
	if err := r.fold.Remember(binary.BigEndian.Uint64([]byte(key)), unit); err != nil {
		return err
	}
	_, r.held = r.fold.Remembered().Bounds()
	return nil
}

package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// states are one operator's keyed states in one task: units in slabs, found by
// key. A cut needs neither a copy nor a lock: each cut has a number, and a unit
// that the cut shall hold is encoded before its first change after it, or by
// encode between events, whichever comes first.
type states[S any] struct {
	number int // of the operator in its stage
	name   string
	codec  Codec[S]
	check  func(key string) error // whether a key that is loaded can be one; nil: each can
	index  map[string]int32
	last   int32 // what find has found last: it is often asked for again
	slabs  [][]unit[S]
	used   int32   // units ever made
	free   []int32 // of these, those that hold no key

	epoch   uint32              // changes of now are in the cut after this one
	changed []int32             // since the last cut, each once while its slot lives
	gone    map[string]struct{} // deleted since the last cut

	cutting bool
	full    bool
	list    []int32 // what a delta holds; a full cut holds all below limit
	limit   int32
	at      int32 // next of the list, or of all, to be encoded
	graves  map[string]struct{}
	frames  *frames

	undo   *undo  // nil: changes are never taken back
	undoer undoer // what takes them back
}

// keyedStates is states whatever their type, or something else that frames hold.
type keyedStates interface {
	begin(full bool, to *frames)
	encode(n int) (done bool, err error)
	abandon()
	load(key string, unit []byte) error
}

// slab is how many units lie together.
const slab = 256

// unit is one key's state.
type unit[S any] struct {
	key    string
	state  S
	timers []timer
	seen   int64  // event time of the last change
	dirty  uint32 // the last epoch in which it changed
	cut    uint32 // the last cut that has it, or need not have it
	live   bool
}

// timer is a timer of a key; its name tells it from the key's others.
type timer struct {
	at   int64 // Unix nanoseconds
	name string
}

func newStates[S any](number int, name string, codec Codec[S]) *states[S] {
	return &states[S]{number: number, name: name, codec: codec, index: make(map[string]int32), gone: make(map[string]struct{}), epoch: 1}
}

func (s *states[S]) unit(i int32) *unit[S] { return &s.slabs[i/slab][i%slab] }

// find returns a key's unit, -1 if it has none.
func (s *states[S]) find(key []byte) int32 {
	if s.last < s.used {
		if u := s.unit(s.last); u.live && u.key == string(key) {
			return s.last
		}
	}
	i, ok := s.index[string(key)]
	if !ok {
		return -1
	}
	s.last = i
	return i
}

// near is what the judge of a stage keeps of a key for the first operator, whose states
// then hold the same string, and need not be searched.
type near struct {
	key string
	at  *int32 // where the place of the key's unit is kept, or was: it may be another key's by now; nil: nothing is known
}

// findAt is find for a key of which more is known.
func (s *states[S]) findAt(n near) int32 {
	if i := *n.at; i < s.used {
		if u := s.unit(i); u.live && u.key == n.key { // the same string as a rule, whose bytes are not looked at
			return i
		}
	}
	i, ok := s.index[n.key]
	if !ok {
		return -1
	}
	*n.at = i
	return i
}

// make gives a key that has none a unit.
func (s *states[S]) make(key string) int32 {
	_ = s.note(key, nil) // there is nothing to be encoded
	var i int32
	if n := len(s.free); n > 0 {
		i, s.free = s.free[n-1], s.free[:n-1]
	} else {
		if int(s.used/slab) == len(s.slabs) {
			s.slabs = append(s.slabs, make([]unit[S], slab))
		}
		i = s.used
		s.used++
	}
	*s.unit(i) = unit[S]{key: key, cut: s.epoch, live: true}
	s.index[key] = i
	delete(s.gone, key)
	return i
}

// change is to be called before a unit changes.
func (s *states[S]) change(i int32) error {
	u := s.unit(i)
	if err := s.note(u.key, u); err != nil {
		return err
	}
	var err error
	if s.frames == nil || s.frames.planted != plantNoSave {
		err = s.save(u)
	}
	if u.dirty != s.epoch {
		u.dirty = s.epoch
		s.changed = append(s.changed, i)
	}
	return err
}

// save encodes a unit that the cut under way shall hold and does not yet.
func (s *states[S]) save(u *unit[S]) error {
	if !s.cutting || !u.live || u.cut == s.epoch || !s.full && u.dirty != s.epoch-1 {
		return nil
	}
	u.cut = s.epoch
	return s.frames.put(s.number, u.key, func(b []byte) ([]byte, error) { return s.appendUnit(b, u) })
}

// remove takes a key's unit away.
func (s *states[S]) remove(i int32) error {
	u := s.unit(i)
	if err := s.note(u.key, u); err != nil {
		return err
	}
	if s.frames == nil || s.frames.planted != plantGraves {
		if err := s.save(u); err != nil {
			return err
		}
	}
	delete(s.index, u.key)
	s.gone[u.key] = struct{}{}
	*u = unit[S]{cut: s.epoch}
	s.free = append(s.free, i)
	return nil
}

// begin starts a cut: from here on, what was is encoded before it changes.
func (s *states[S]) begin(full bool, to *frames) {
	s.cutting, s.full, s.frames, s.at, s.limit = true, full, to, 0, s.used
	s.epoch++
	s.list, s.changed = s.changed, nil
	s.graves, s.gone = s.gone, make(map[string]struct{})
	if full {
		s.list, s.graves = nil, nil
	}
}

// encode encodes at most n units of the cut under way and reports whether that
// was all of it.
func (s *states[S]) encode(n int) (done bool, err error) {
	if !s.cutting {
		return true, nil
	}
	for key := range s.graves {
		if n--; n < 0 {
			return false, nil
		}
		delete(s.graves, key)
		if s.frames.planted != plantNoBury {
			s.frames.bury(s.number, key)
		}
	}
	for ; n > 0; n-- {
		i, ok := s.next()
		if !ok {
			s.cutting, s.list, s.graves = false, nil, nil
			return true, nil
		}
		if err := s.save(s.unit(i)); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (s *states[S]) next() (i int32, ok bool) {
	i = s.at
	s.at++
	if s.full {
		return i, i < s.limit
	}
	if int(i) >= len(s.list) {
		return 0, false
	}
	return s.list[i], true
}

// abandon forgets a cut that is not to be finished. What it should have held is
// in no other, so the next one is to be full.
func (s *states[S]) abandon() { s.cutting, s.list, s.graves = false, nil, nil }

func (s *states[S]) appendUnit(b []byte, u *unit[S]) ([]byte, error) {
	b = binary.AppendVarint(b, u.seen)
	b = binary.AppendUvarint(b, uint64(len(u.timers)))
	for _, t := range u.timers {
		b = binary.AppendVarint(b, t.at)
		b = packed.AppendBytes(b, t.name)
	}
	b, err := s.codec.Append(b, &u.state)
	if err != nil {
		return b, fmt.Errorf("encode the state of %s under key %q: %w", s.name, u.key, err)
	}
	return b, nil
}

var errMangled = errors.New("mangled")

// load takes over one frame of a snapshot; nil data deletes the key.
func (s *states[S]) load(key string, data []byte) error {
	i, known := s.index[key]
	switch {
	case data == nil && known:
		*s.unit(i) = unit[S]{cut: s.epoch}
		delete(s.index, key)
		s.free = append(s.free, i)
		return nil
	case data == nil:
		return nil
	case !known && s.check != nil:
		if err := s.check(key); err != nil {
			return fmt.Errorf("key %q of %s: %w", key, s.name, err)
		}
	}
	if !known {
		i = s.make(key)
	}
	u := s.unit(i)
	*u = unit[S]{key: key, cut: s.epoch, live: true}
	return s.fill(u, data)
}

// all yields the units in the order of their places.
func (s *states[S]) all() iter.Seq2[int32, *unit[S]] {
	return func(yield func(int32, *unit[S]) bool) {
		for i := range s.used {
			if u := s.unit(i); u.live && !yield(i, u) {
				return
			}
		}
	}
}

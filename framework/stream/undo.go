package stream

import (
	"fmt"
	"slices"

	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// undo is how what a failed call has changed is taken back. To encode each state
// before it changes would cost every call what only a failed one needs, so a task
// begins without: it notes only whether a call has changed anything. One that has, and
// fails, cannot be taken back; the task then starts anew, once, and is careful from
// there on.
type undo struct {
	careful bool // states are encoded before they change
	active  bool // a call is under way
	dirty   bool // it has changed a state
	log     []undone
}

// undone is a key's state as it was before a change; nil data: there was none.
type undone struct {
	of   undoer
	key  string
	data []byte
}

// undoer takes back the change of one key's state.
type undoer interface {
	takeBack(key string, data []byte) error
}

func (u *undo) begin() {
	u.active, u.dirty = true, false
	clear(u.log)
	u.log = u.log[:0]
}

func (u *undo) end() { u.active = false }

// revert takes back all that the call has changed, the last change first.
func (u *undo) revert() error {
	for i := len(u.log) - 1; i >= 0; i-- {
		e := &u.log[i]
		if err := e.of.takeBack(e.key, e.data); err != nil {
			return Final(fmt.Errorf("take back what a failed call did to key %q: %w", e.key, err))
		}
	}
	return nil
}

// note is called before a unit changes; a nil one is about to be made.
func (s *states[S]) note(key string, u *unit[S]) error {
	if s.undo == nil || !s.undo.active {
		return nil
	}
	s.undo.dirty = true
	if !s.undo.careful || s.undo.has(s.undoer, key) {
		return nil
	}
	e := undone{of: s.undoer, key: key}
	if u != nil {
		var err error
		if e.data, err = s.appendUnit([]byte{}, u); err != nil {
			return err
		}
	}
	s.undo.log = append(s.undo.log, e)
	return nil
}

// noted is how far back the log is searched for a change that it has: most calls
// change one state, again and again.
const noted = 4

func (u *undo) has(of undoer, key string) bool {
	last := u.log[max(0, len(u.log)-noted):]
	return slices.ContainsFunc(last, func(e undone) bool { return e.of == of && e.key == key })
}

// undoing lets the changes of states be taken back by to.
func (s *states[S]) undoing(c *core, to undoer) {
	if c.parking != nil {
		s.undo, s.undoer = &c.parking.undo, to
	}
}

// takeBack implements undoer.
func (s *states[S]) takeBack(key string, data []byte) error {
	i, there := s.index[key]
	switch {
	case data == nil && there:
		return s.remove(i)
	case data == nil:
		return nil
	case !there:
		i = s.make(key)
	}
	if err := s.change(i); err != nil {
		return err
	}
	return s.fill(s.unit(i), data)
}

// fill gives a unit what appendUnit wrote.
func (s *states[S]) fill(u *unit[S], data []byte) error {
	var none S
	u.state, u.timers = none, nil
	r := packed.Read(data)
	u.seen = r.Signed()
	for range r.Count(2) {
		u.timers = append(u.timers, timer{r.Signed(), string(r.Bytes())})
	}
	if r.Bad() {
		return fmt.Errorf("state of %s under key %q: %w", s.name, u.key, errMangled)
	}
	if err := s.codec.Decode(r.Rest(), &u.state); err != nil {
		return fmt.Errorf("decode the state of %s under key %q: %w", s.name, u.key, err)
	}
	return nil
}

// takeBack implements undoer.
func (e *entries[V]) takeBack(full string, data []byte) error {
	key, _ := split(full)
	i, there := e.states.index[full]
	switch {
	case data == nil && there:
		e.leave([]byte(key), i)
	case data != nil:
		if err := e.states.takeBack(full, data); err != nil {
			return err
		}
		if !there {
			e.join(key, e.states.index[full])
		}
	}
	if of := e.keys[key]; of != nil {
		e.number(of)
	}
	return e.core.fault
}

// number finds the ends of a list anew.
func (e *entries[V]) number(of *members) {
	of.first, of.last = 0, 0
	for _, i := range of.units {
		if n, ok := number(second(split(e.states.unit(i).key))); ok {
			of.reach(n)
		}
	}
}

func second(_, name string) string { return name }

// reach lets a list hold its n-th value.
func (of *members) reach(n uint64) {
	of.last = max(of.last, n)
	if of.first == 0 || n < of.first {
		of.first = n
	}
}

package stream

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// MapState is a state of many entries beside a key's own state, of which a change
// costs as much as the entry it changes, however many there are. Declare it as a
// variable, name it in Process.Maps, and use it with that operator's Context:
//
//	var bumpers = stream.NewMapState[bool]("bumpers")
//	…
//	if !bumpers.Has(c, user) {
//		bumpers.Put(c, user, true)
//	}
type MapState[V any] struct {
	name  string
	codec Codec[V]
}

// NewMapState declares a map of V by strings; its name is data, for ever. The codec is
// the default, JSON, unless one is given.
func NewMapState[V any](name string, codec ...Codec[V]) *MapState[V] {
	m := &MapState[V]{name: name}
	if len(codec) > 0 {
		m.codec = codec[0]
	}
	return m
}

// Entries is a map or list, whatever it holds.
type Entries interface {
	entriesName() string
	identity() any
	declare() error
	start(c *core, number int) mapOfTask
}

// mapOfTask is a map's entries in one task, whatever they are.
type mapOfTask interface{ clear(key []byte) }

// Keyed is the Context of an operator, whatever its types.
type Keyed interface {
	coreAndKey() (*core, []byte)
	changed()
}

func (c *Context[S, Out]) coreAndKey() (*core, []byte) { return c.core, c.key }

// Shared returns the Context's partition under the empty key, at which broadcast
// elements come: what an operator has put into its maps and lists for these can be
// read, and changed, while it works for any key.
//
//	for ban := range bans.All(stream.Shared(c)) { … }
func Shared(c Keyed) Keyed {
	core, _ := c.coreAndKey()
	return shared{core}
}

type shared struct{ core *core }

func (s shared) coreAndKey() (*core, []byte) { return s.core, nil }

// changed lets nothing live longer: only what is done under the empty key does.
func (s shared) changed() {}

func (m *MapState[V]) entriesName() string { return m.name }
func (m *MapState[V]) identity() any       { return m }

func (m *MapState[V]) declare() error {
	if !nameRule.MatchString(m.name) {
		return fmt.Errorf("map %q: a name must match %s", m.name, nameRule)
	}
	return m.codec.check("map " + m.name)
}

func (m *MapState[V]) start(c *core, number int) mapOfTask {
	return once(c, m, func() *entries[V] {
		e := &entries[V]{core: c, states: newStates(number, m.name, m.codec.orJSON()), keys: make(map[string]*members)}
		e.states.check = checkFull
		e.states.undoing(c, e)
		c.place(number, e)
		return e
	})
}

// entries are a map's entries in one task: states under the key and the entry's
// name together.
type entries[V any] struct {
	core   *core
	states *states[V]
	keys   map[string]*members
	place  []int32 // of each unit, among its key's members
	buf    []byte
}

// members are the units of one key's entries, in no order. Of a list, first and
// last are the numbers of its ends.
type members struct {
	units       []int32
	first, last uint64
}

var (
	_ operator  = (*entries[int])(nil)
	_ mapOfTask = (*entries[int])(nil)
)

func (m *MapState[V]) of(c Keyed) (*entries[V], []byte) {
	core, key := c.coreAndKey()
	e, ok := core.made[m].(*entries[V])
	if !ok {
		panic(fmt.Errorf("map %s: the operator does not have it; name it in its Process.Maps", m.name))
	}
	return e, key
}

// full returns the key of an entry's unit.
func (e *entries[V]) full(key []byte, name string) []byte {
	e.buf = packed.AppendBytes(e.buf[:0], key)
	e.buf = append(e.buf, name...)
	return e.buf
}

// split returns the key and the name that full has put together.
func split(full string) (key, name string) {
	n, size := binary.Uvarint([]byte(full[:min(len(full), binary.MaxVarintLen64)]))
	full = full[size:]
	return full[:n], full[n:]
}

// checkFull refuses what full cannot have put together.
func checkFull(key string) error {
	r := packed.Read([]byte(key))
	if r.Bytes(); r.Bad() {
		return errMangled
	}
	return nil
}

func (e *entries[V]) find(key []byte, name string) int32 { return e.states.find(e.full(key, name)) }

// join makes unit i a member of its key.
func (e *entries[V]) join(key string, i int32) *members {
	of := e.keys[key]
	if of == nil {
		of = &members{}
		e.keys[key] = of
	}
	for int(i) >= len(e.place) {
		e.place = append(e.place, 0)
	}
	e.place[i] = int32(len(of.units))
	of.units = append(of.units, i)
	return of
}

// leave takes unit i away; the last member takes its place.
func (e *entries[V]) leave(key []byte, i int32) {
	of := e.keys[string(key)]
	at, last := e.place[i], len(of.units)-1
	moved := of.units[last]
	of.units[at], e.place[moved] = moved, at
	of.units = of.units[:last]
	if last == 0 {
		delete(e.keys, string(key))
	}
	e.core.keep(e.states.remove(i))
}

// Get returns an entry and whether it is there.
func (m *MapState[V]) Get(c Keyed, name string) (V, bool) {
	e, key := m.of(c)
	if i := e.find(key, name); i >= 0 {
		return e.states.unit(i).state, true
	}
	var none V
	return none, false
}

// Has reports whether an entry is there.
func (m *MapState[V]) Has(c Keyed, name string) bool {
	e, key := m.of(c)
	return e.find(key, name) >= 0
}

// Len returns how many entries the key has.
func (m *MapState[V]) Len(c Keyed) int {
	e, key := m.of(c)
	if of := e.keys[string(key)]; of != nil {
		return len(of.units)
	}
	return 0
}

// Put sets an entry.
func (m *MapState[V]) Put(c Keyed, name string, v V) {
	e, key := m.of(c)
	c.changed()
	i := e.find(key, name)
	if i < 0 {
		i = e.states.make(string(e.full(key, name)))
		e.join(string(key), i)
	}
	e.core.keep(e.states.change(i))
	e.states.unit(i).state = v
}

// Delete takes an entry away, if it is there.
func (m *MapState[V]) Delete(c Keyed, name string) {
	e, key := m.of(c)
	if i := e.find(key, name); i >= 0 {
		c.changed()
		e.leave(key, i)
	}
}

// All yields the key's entries in the order of their names. They must not be
// changed meanwhile.
func (m *MapState[V]) All(c Keyed) iter.Seq2[string, V] {
	e, key := m.of(c)
	return func(yield func(string, V) bool) {
		of := e.keys[string(key)]
		if of == nil {
			return
		}
		slices.SortFunc(of.units, func(i, j int32) int { return strings.Compare(e.states.unit(i).key, e.states.unit(j).key) })
		for at, i := range of.units {
			e.place[i] = int32(at)
		}
		for _, i := range of.units {
			u := e.states.unit(i)
			if _, name := split(u.key); !yield(name, u.state) {
				return
			}
		}
	}
}

// Clear takes all of the key's entries away.
func (m *MapState[V]) Clear(c Keyed) {
	e, key := m.of(c)
	if e.keys[string(key)] != nil {
		c.changed()
		e.clear(key)
	}
}

func (e *entries[V]) clear(key []byte) {
	of := e.keys[string(key)]
	for of != nil && len(of.units) > 0 {
		e.leave(key, of.units[len(of.units)-1])
	}
}

func (e *entries[V]) keyed() keyedStates { return e.states }

func (e *entries[V]) fire(*alarm) error { return nil } // entries have no timers

// wake finds out, after a restore, which entries each key has.
func (e *entries[V]) wake() {
	clear(e.keys)
	for i, u := range e.states.all() {
		key, name := split(u.key)
		of := e.join(key, i)
		if n, ok := number(name); ok {
			of.reach(n)
		}
	}
}

// ListState is a state of many values in the order in which they were added, of which
// an addition or removal costs one entry. It is declared and used as a MapState is.
type ListState[V any] struct{ entries *MapState[V] }

// NewListState declares a list; see NewMapState.
func NewListState[V any](name string, codec ...Codec[V]) *ListState[V] {
	return &ListState[V]{NewMapState(name, codec...)}
}

func (l *ListState[V]) entriesName() string                 { return l.entries.name }
func (l *ListState[V]) identity() any                       { return l.entries }
func (l *ListState[V]) declare() error                      { return l.entries.declare() }
func (l *ListState[V]) start(c *core, number int) mapOfTask { return l.entries.start(c, number) }

// numbered returns the name of a list's n-th value.
func numbered(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

func number(name string) (uint64, bool) {
	if len(name) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64([]byte(name)), true
}

// Len returns how many values the key has.
func (l *ListState[V]) Len(c Keyed) int { return l.entries.Len(c) }

// Append adds a value at the end.
func (l *ListState[V]) Append(c Keyed, v V) {
	e, key := l.entries.of(c)
	c.changed()
	i := e.states.make(string(e.full(key, numbered(e.next(key)))))
	of := e.join(string(key), i)
	of.last++
	of.first = max(of.first, 1)
	e.core.keep(e.states.change(i))
	e.states.unit(i).state = v
}

func (e *entries[V]) next(key []byte) uint64 {
	if of := e.keys[string(key)]; of != nil {
		return of.last + 1
	}
	return 1
}

// All yields the values in the order in which they were added.
func (l *ListState[V]) All(c Keyed) iter.Seq[V] {
	all := l.entries.All(c) // the names of numbers are in their order
	return func(yield func(V) bool) {
		for _, v := range all {
			if !yield(v) {
				return
			}
		}
	}
}

// Drop takes the n oldest values away, or all if there are fewer.
func (l *ListState[V]) Drop(c Keyed, n int) {
	e, key := l.entries.of(c)
	for ; n > 0; n-- {
		of := e.keys[string(key)]
		if of == nil {
			return
		}
		c.changed()
		i := e.find(key, numbered(of.first))
		if i < 0 {
			e.core.keep(fmt.Errorf("list %s of key %q: %w: value %d is missing", l.entries.name, key, errMangled, of.first))
			return
		}
		of.first++
		e.leave(key, i)
	}
}

// Clear takes all of the key's values away.
func (l *ListState[V]) Clear(c Keyed) { l.entries.Clear(c) }

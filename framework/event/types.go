package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Codec turns facts into the payloads of records and back. The default is
// [JSON]. A log is read with the codec it was written with.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

// JSON is the standard library's codec.
var JSON Codec = stdJSON{}

type stdJSON struct{}

func (stdJSON) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (stdJSON) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// Types names the facts of E, a sealed interface, in the log. A name once
// written is kept for ever: when a fact is renamed or reshaped, the old name
// stays as [Was] or [Up].
type Types[E any] map[string]Entry[E]

// Entry is one name's meaning; made by As, Was and Up.
type Entry[E any] struct {
	goType reflect.Type
	now    string // of a rename: the name written today
	writes bool
	decode func(Codec, []byte) (E, error)
	err    error
}

// As declares that T is written and read under the name.
func As[E, T any]() Entry[E] {
	e := read[E](func(t T) T { return t })
	e.writes = true
	return e
}

// Was declares an older name of T, which is written as now today.
func Was[E, T any](now string) Entry[E] {
	e := read[E](func(t T) T { return t })
	e.now = now
	if now == "" {
		e.err = errors.New("event.Was needs the name that is written today")
	}
	return e
}

// Up declares an upcaster: what was written under the name has the shape Old,
// and f makes a T of it. f must be pure.
func Up[E, Old, T any](f func(Old) T) Entry[E] { return read[E](f) }

func read[E, Old, T any](f func(Old) T) Entry[E] {
	e := Entry[E]{goType: reflect.TypeFor[T]()}
	switch _, ok := any(*new(T)).(E); {
	case e.goType.Kind() == reflect.Interface:
		e.err = fmt.Errorf("%s is an interface; name the type of one fact", e.goType)
	case !ok:
		e.err = fmt.Errorf("%s does not implement %s; give it the methods, or name the type that has them", e.goType, reflect.TypeFor[E]())
	case f == nil:
		e.err = errors.New("event.Up needs a function that makes today's shape of the old one")
	}
	e.decode = func(c Codec, data []byte) (E, error) {
		var old Old
		if err := c.Unmarshal(data, &old); err != nil {
			var none E
			return none, err
		}
		return any(f(old)).(E), nil
	}
	return e
}

// Catalog is Types checked and indexed both ways.
type Catalog[E any] struct {
	byName map[string]Entry[E]
	byType map[reflect.Type]string
}

// UnknownTypeError says that a log holds a name which the program does not
// declare.
type UnknownTypeError struct {
	Name  string
	Known []string // sorted
}

func (e *UnknownTypeError) Error() string {
	return fmt.Sprintf("unknown event type %q; declared are %s: add it, or keep the old name as event.Was or event.Up",
		e.Name, strings.Join(e.Known, ", "))
}

// Catalog checks t: every type implements E, is written under exactly one
// name, and every rename points to that name. The error names the entry and
// the remedy. Later changes of t do not reach the Catalog.
func (t Types[E]) Catalog() (*Catalog[E], error) {
	c := &Catalog[E]{byName: maps.Clone(t), byType: make(map[reflect.Type]string, len(t))}
	for _, name := range t.Names() {
		e := t[name]
		switch {
		case e.decode == nil:
			return nil, fmt.Errorf("event type %q: make its entry with event.As, event.Was or event.Up", name)
		case e.err != nil:
			return nil, fmt.Errorf("event type %q: %w", name, e.err)
		case name == "" || len(name) > MaxName:
			return nil, fmt.Errorf("event type %q: a name has 1 to %d bytes", name, MaxName)
		}
		if other, taken := c.byType[e.goType]; taken && e.writes {
			return nil, fmt.Errorf("event type %q: %s is written as %q already; keep one event.As and make the other event.Was", name, e.goType, other)
		}
		if e.writes {
			c.byType[e.goType] = name
		}
	}
	for _, name := range t.Names() {
		e := t[name]
		now, ok := c.byType[e.goType]
		if !ok {
			return nil, fmt.Errorf("event type %q: %s has no event.As, so it could be read but not written", name, e.goType)
		}
		if e.now != "" && e.now != now {
			return nil, fmt.Errorf("event type %q: event.Was says %q, but %s is written as %q", name, e.now, e.goType, now)
		}
	}
	return c, nil
}

// Names returns the declared names, sorted.
func (t Types[E]) Names() []string {
	names := make([]string, 0, len(t))
	for n := range t {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Names returns the declared names, sorted.
func (c *Catalog[E]) Names() []string { return Types[E](c.byName).Names() }

// Written returns the names under which facts are written today with their Go
// types.
func (c *Catalog[E]) Written() map[string]reflect.Type {
	out := make(map[string]reflect.Type, len(c.byType))
	for t, n := range c.byType {
		out[n] = t
	}
	return out
}

// Name returns the name under which fact is written.
func (c *Catalog[E]) Name(fact E) (string, error) {
	name, ok := c.byType[reflect.TypeOf(fact)]
	if !ok {
		return "", fmt.Errorf("%T is not declared in event.Types; add event.As for it", fact)
	}
	return name, nil
}

// Current returns the name under which what was written as name is written
// today, or name itself if it is unknown.
func (c *Catalog[E]) Current(name string) string {
	if e, ok := c.byName[name]; ok {
		return c.byType[e.goType]
	}
	return name
}

// Decode reads a fact. Its errors are *UnknownTypeError, or the codec's.
func (c *Catalog[E]) Decode(codec Codec, name string, data []byte) (E, error) {
	e, ok := c.byName[name]
	if !ok {
		var none E
		return none, &UnknownTypeError{name, c.Names()}
	}
	fact, err := e.decode(codec, data)
	if err != nil {
		return fact, fmt.Errorf("decode %s: %w", name, err)
	}
	return fact, nil
}

package aggregates

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"sync"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/internal/wire"
)

// Type is a kind of aggregate with state S and events E, a sealed interface.
// Declare it once, as a package variable; its fields must not change once it is
// in use.
type Type[S, E any] struct {
	Name   string         // in URLs and keys, for ever: [a-z][a-z0-9-]*, at most 64 bytes, not "views"
	Evolve func(S, E) S   // a fact moves the state; pure, but it may change what S holds in place
	Events event.Types[E] // the names of E's facts in the log
	Codec  event.Codec    // of the payloads, used by several goroutines at once; default event.JSON

	// Version is that of Evolve, and of the Codecs: raise it when they make something
	// else of the same events, since a snapshot's states are then of no use, and nothing
	// else tells. What S and the events look like is noticed. Default 1.
	Version int
	// StateCodec is how states are kept in snapshots. Default: JSON, if S is a type that
	// JSON restores as it was; else none are kept, and the state of an aggregate is folded
	// from its events, when it is first asked for after a restart. event.JSON says that a
	// type is restored though it does not look so: it marshals and unmarshals itself, say.
	StateCodec event.Codec

	once    sync.Once
	catalog *event.Catalog[E]
	err     error
	shape   string // empty: no states are kept
}

var typeName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)

// Check returns what is wrong with the declaration, with the remedy. The zero S
// is the state of an aggregate without events.
func (t *Type[S, E]) Check() error {
	t.once.Do(func() { t.err = t.check() })
	return t.err
}

func (t *Type[S, E]) check() (err error) {
	switch {
	case !typeName.MatchString(t.Name) || t.Name == "views":
		return fmt.Errorf("aggregate type %q: Name must match %s and not be \"views\"", t.Name, typeName)
	case t.Evolve == nil:
		return fmt.Errorf("aggregate type %q: set Evolve", t.Name)
	case len(t.Events) == 0:
		return fmt.Errorf("aggregate type %q: set Events", t.Name)
	case t.Version < 0:
		return fmt.Errorf("aggregate type %q: Version is %d, want 1 or more", t.Name, t.Version)
	}
	if t.catalog, err = t.Events.Catalog(); err != nil {
		return fmt.Errorf("aggregate type %q: %w", t.Name, err)
	}
	if err := wire.Check(reflect.TypeFor[S]()); err != nil {
		return fmt.Errorf("aggregate type %q: state: %w", t.Name, err)
	}
	for name, goType := range t.catalog.Written() {
		if err := wire.Check(goType); err != nil {
			return fmt.Errorf("aggregate type %q: event %q: %w", t.Name, name, err)
		}
	}
	if t.StatesLost() == nil {
		t.shape = fmt.Sprintf("v%d %s", max(t.Version, 1), t.digest())
	}
	return nil
}

func (t *Type[S, E]) codec() event.Codec {
	if t.Codec == nil {
		return event.JSON
	}
	return t.Codec
}

// TypeName returns Name.
func (t *Type[S, E]) TypeName() string { return t.Name }

// StateType returns S.
func (t *Type[S, E]) StateType() reflect.Type { return reflect.TypeFor[S]() }

// Zero returns a pointer to the state of an aggregate without events.
func (t *Type[S, E]) Zero() any { return new(S) }

// Fold moves state, a pointer that Zero made, by one recorded event.
func (t *Type[S, E]) Fold(state any, name string, data []byte) error {
	if err := t.Check(); err != nil {
		return err
	}
	fact, err := t.catalog.Decode(t.codec(), name, data)
	if err != nil {
		return err
	}
	s := state.(*S)
	*s = t.Evolve(*s, fact)
	return nil
}

// DecodeFact reads a recorded event for FoldFact: together they are Fold. Several
// goroutines may call it at once.
func (t *Type[S, E]) DecodeFact(name string, data []byte) (fact any, err error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	return t.catalog.Decode(t.codec(), name, data)
}

// FoldFact moves state, a pointer that Zero made, by what DecodeFact returned.
func (t *Type[S, E]) FoldFact(state, fact any) error {
	s := state.(*S)
	*s = t.Evolve(*s, fact.(E))
	return nil
}

// Encode returns a fact's name and payload in the log.
func (t *Type[S, E]) Encode(fact E) (name string, data []byte, err error) {
	if err := t.Check(); err != nil {
		return "", nil, err
	}
	if name, err = t.catalog.Name(fact); err != nil {
		return "", nil, err
	}
	if data, err = t.codec().Marshal(fact); err != nil {
		return "", nil, fmt.Errorf("encode %s: %w", name, err)
	}
	return name, data, nil
}

// StateJSON returns state, a pointer that Zero made, as JSON.
func (t *Type[S, E]) StateJSON(state any) ([]byte, error) { return json.Marshal(state) }

// Written returns the names under which events are written today, with their Go
// types. Check must have passed.
func (t *Type[S, E]) Written() map[string]reflect.Type {
	if t.Check() != nil {
		return nil
	}
	return t.catalog.Written()
}

// Upcast returns a recorded event as it would be written today: under its present
// name and in its present shape.
func (t *Type[S, E]) Upcast(name string, data []byte) (nowName string, nowData []byte, err error) {
	if err := t.Check(); err != nil {
		return "", nil, err
	}
	if t.catalog.Current(name) == name {
		return name, data, nil
	}
	fact, err := t.catalog.Decode(t.codec(), name, data)
	if err != nil {
		return "", nil, err
	}
	return t.Encode(fact)
}

// Stream is the events of one or several aggregate types, as a view reads them.
type Stream[E any] struct {
	from map[string]source[E] // by aggregate type
	err  error
}

// source is the events of one aggregate type.
type source[E any] struct {
	decode  func(name string, data []byte) (E, error)
	current func(name string) string
}

// Stream returns the events of all aggregates of this type.
func (t *Type[S, E]) Stream() Stream[E] {
	decode := func(name string, data []byte) (E, error) { return t.catalog.Decode(t.codec(), name, data) }
	current := func(name string) string { return t.catalog.Current(name) }
	return Stream[E]{map[string]source[E]{t.Name: {decode, current}}, t.Check()}
}

// Any returns s with its events as plain values, to be merged with others.
func (s Stream[E]) Any() Stream[any] {
	out := Stream[any]{make(map[string]source[any], len(s.from)), s.err}
	for name, from := range s.from {
		out.from[name] = source[any]{func(event string, data []byte) (any, error) { return from.decode(event, data) }, from.current}
	}
	return out
}

// Merge returns the events of all the streams.
func Merge(streams ...Stream[any]) Stream[any] {
	out := Stream[any]{from: make(map[string]source[any])}
	for _, s := range streams {
		for name, from := range s.from {
			if out.Has(name) {
				out.err = fmt.Errorf("aggregates.Merge: two streams of %q; give each aggregate type once", name)
			}
			out.from[name] = from
		}
		if s.err != nil {
			out.err = s.err
		}
	}
	return out
}

// Check returns what is wrong with the types that the stream comes from.
func (s Stream[E]) Check() error {
	if s.err == nil && len(s.from) == 0 {
		return fmt.Errorf("a stream of no aggregate type; use Type.Stream or aggregates.Merge")
	}
	return s.err
}

// Types returns the names of the aggregate types, sorted.
func (s Stream[E]) Types() []string { return slices.Sorted(maps.Keys(s.from)) }

// Has reports whether the stream holds the events of an aggregate type.
func (s Stream[E]) Has(aggregate string) bool { return s.from[aggregate].decode != nil }

// Decode reads an event of an aggregate type that the stream has.
func (s Stream[E]) Decode(aggregate, name string, data []byte) (E, error) {
	return s.from[aggregate].decode(name, data)
}

// Current returns the name under which an event of an aggregate type that the
// stream has, recorded as name, is written today.
func (s Stream[E]) Current(aggregate, name string) string { return s.from[aggregate].current(name) }

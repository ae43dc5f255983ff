package projections

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/internal/packed"
	"github.com/drivetrain-go/drivetrain/internal/wire"
)

// counter is a field of a document whose JSON is not all that there is of it.
type counter interface {
	appendState(b []byte) []byte
	restoreState(data []byte) error
}

var (
	_ counter = (*Unique)(nil)
	_ counter = (*Top)(nil)

	counters = []reflect.Type{reflect.TypeFor[Unique](), reflect.TypeFor[Top]()}
)

// refolded returns why snapshots cannot hold a D, nil if they can.
func refolded[D any]() error { return wire.Lossless(reflect.TypeFor[D](), counters...) }

// stateCodec is how snapshots hold a D: as JSON and, if it counts, behind that what
// its fields count by, in the order of the fields, elements and keys.
func stateCodec[D any]() stream.Codec[D] {
	holds := counting(reflect.TypeFor[D]())
	if !holds[reflect.TypeFor[D]()] {
		return stream.Of[D](event.JSON)
	}
	return stream.Codec[D]{
		Append: func(b []byte, v *D) ([]byte, error) {
			data, err := json.Marshal(v)
			if err != nil {
				return b, err
			}
			b = packed.AppendBytes(b, data)
			err = holds.visit(reflect.ValueOf(v), func(c counter) error {
				b = packed.AppendBytes(b, c.appendState(nil))
				return nil
			})
			return b, err
		},
		Decode: func(data []byte, v *D) error {
			r := packed.Read(data)
			if err := json.Unmarshal(r.Bytes(), v); err != nil {
				return err
			}
			if err := holds.visit(reflect.ValueOf(v), func(c counter) error { return c.restoreState(r.Bytes()) }); err != nil {
				return err
			}
			if r.Bad() || len(r.Rest()) > 0 {
				return errors.New("mangled counts of a document")
			}
			return nil
		},
	}
}

// holding says of the types in a document which hold counters.
type holding map[reflect.Type]bool

// counting returns what is so of t and the types in it.
func counting(t reflect.Type) holding {
	h := make(holding)
	for changed := true; changed; { // again as long as something was found, for types may hold themselves
		before := len(h)
		h.mark(t, make(map[reflect.Type]bool))
		changed = len(h) > before
	}
	return h
}

// mark notes the types in t, and t, that hold counters, as far as that can be seen now.
func (h holding) mark(t reflect.Type, seen map[reflect.Type]bool) {
	if seen[t] {
		return
	}
	seen[t] = true
	if slices.Contains(counters, t) {
		h[t] = true
		return
	}
	var inner []reflect.Type
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			inner = append(inner, t.Field(i).Type)
		}
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		inner = append(inner, t.Elem())
	}
	for _, in := range inner {
		h.mark(in, seen)
		if h[in] {
			h[t] = true
		}
	}
}

// visit calls f with each counter in what v points to, and puts those of maps back.
func (h holding) visit(v reflect.Value, f func(counter) error) error {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		if v.CanInterface() {
			if c, ok := v.Interface().(counter); ok {
				return f(c)
			}
		}
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Pointer:
		return h.visit(v, f)
	case reflect.Struct:
		return h.visitFields(v, f)
	case reflect.Slice, reflect.Array:
		if !h[v.Type().Elem()] {
			return nil
		}
		for i := range v.Len() {
			if err := h.visit(v.Index(i).Addr(), f); err != nil {
				return err
			}
		}
	case reflect.Map:
		return h.visitMap(v, f)
	}
	return nil
}

func (h holding) visitFields(v reflect.Value, f func(counter) error) error {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !h[field.Type] || !field.IsExported() && !field.Anonymous {
			continue
		}
		if err := h.visit(v.Field(i).Addr(), f); err != nil {
			return err
		}
	}
	return nil
}

func (h holding) visitMap(v reflect.Value, f func(counter) error) error {
	if !h[v.Type().Elem()] {
		return nil
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, compareKeys)
	for _, k := range keys {
		one := reflect.New(v.Type().Elem())
		one.Elem().Set(v.MapIndex(k))
		if err := h.visit(one, f); err != nil {
			return fmt.Errorf("under %v: %w", k, err)
		}
		v.SetMapIndex(k, one.Elem())
	}
	return nil
}

// compareKeys orders keys of maps, which are texts or whole numbers.
func compareKeys(a, b reflect.Value) int {
	switch {
	case a.Kind() == reflect.String:
		return cmp.Compare(a.String(), b.String())
	case a.CanInt():
		return cmp.Compare(a.Int(), b.Int())
	}
	return cmp.Compare(a.Uint(), b.Uint())
}

package projections

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

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
// its fields count by, in the order of the fields, elements and keys. The zero Codec
// is JSON alone.
func stateCodec[D any]() stream.Codec[D] {
	if !counts(reflect.TypeFor[D](), make(map[reflect.Type]bool)) {
		return stream.Codec[D]{}
	}
	return stream.Codec[D]{
		Append: func(b []byte, v *D) ([]byte, error) {
			data, err := json.Marshal(v)
			if err != nil {
				return b, err
			}
			b = packed.AppendBytes(b, data)
			err = visit(reflect.ValueOf(v), func(c counter) error {
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
			if err := visit(reflect.ValueOf(v), func(c counter) error { return c.restoreState(r.Bytes()) }); err != nil {
				return err
			}
			if r.Bad() || len(r.Rest()) > 0 {
				return errors.New("mangled counts of a document")
			}
			return nil
		},
	}
}

// counts reports whether a t holds counters.
func counts(t reflect.Type, seen map[reflect.Type]bool) bool {
	if slices.Contains(counters, t) {
		return true
	}
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if counts(t.Field(i).Type, seen) {
				return true
			}
		}
		return false
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return counts(t.Elem(), seen)
	}
	return false
}

// visit calls f with each counter in what v points to, and puts those of maps back.
func visit(v reflect.Value, f func(counter) error) error {
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
		return visit(v, f)
	case reflect.Struct:
		return visitFields(v, f)
	case reflect.Slice, reflect.Array:
		if !counts(v.Type().Elem(), make(map[reflect.Type]bool)) {
			return nil
		}
		for i := range v.Len() {
			if err := visit(v.Index(i).Addr(), f); err != nil {
				return err
			}
		}
	case reflect.Map:
		return visitMap(v, f)
	}
	return nil
}

func visitFields(v reflect.Value, f func(counter) error) error {
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() && !v.Type().Field(i).Anonymous {
			continue
		}
		if err := visit(v.Field(i).Addr(), f); err != nil {
			return err
		}
	}
	return nil
}

func visitMap(v reflect.Value, f func(counter) error) error {
	if !counts(v.Type().Elem(), make(map[reflect.Type]bool)) {
		return nil
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, compareKeys)
	for _, k := range keys {
		one := reflect.New(v.Type().Elem())
		one.Elem().Set(v.MapIndex(k))
		if err := visit(one, f); err != nil {
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

package wire

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

// Lossless returns why a T that encoding/json has written and read again may not be
// what it was, nil if it always is: as far as types tell, for a time is written
// without its monotonic clock, and text that is no UTF-8 is spoilt, for which see
// ErrText. Types that are kept apart from the JSON are taken to come back.
func Lossless(t reflect.Type, apart ...reflect.Type) error {
	l := &lossless{apart: apart, pointed: make(map[reflect.Type]bool), within: make(map[reflect.Type]bool)}
	return l.check(t, t.String())
}

// lossless is one look at a type.
type lossless struct {
	apart   []reflect.Type
	pointed map[reflect.Type]bool // by a pointer met before
	within  map[reflect.Type]bool // structs on the way here
}

// trusted marshal themselves and come back.
var trusted = map[reflect.Type]bool{reflect.TypeFor[time.Time](): true, reflect.TypeFor[event.ID](): true}

func (l *lossless) check(t reflect.Type, at string) error {
	switch {
	case trusted[t], slices.Contains(l.apart, t):
		return nil
	case t.Kind() == reflect.Pointer && slices.Contains(l.apart, t.Elem()):
		return l.pointer(t, at)
	case marshals(t):
		return fmt.Errorf("%s is a %s, which marshals itself", at, t)
	}
	switch t.Kind() {
	case reflect.Struct:
		return l.fields(t, at)
	case reflect.Pointer:
		return l.pointer(t, at)
	case reflect.Slice, reflect.Array:
		return l.check(t.Elem(), at+"[]")
	case reflect.Map:
		if k := t.Key(); marshals(k) || k.Kind() != reflect.String && (k.Kind() < reflect.Int || k.Kind() > reflect.Uint64) {
			return fmt.Errorf("%s has keys of %s", at, k)
		}
		return l.check(t.Elem(), at+"[]")
	case reflect.Interface, reflect.Func, reflect.Chan, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128, reflect.Uintptr:
		return fmt.Errorf("%s is a %s", at, t)
	}
	return nil
}

// marshals reports whether a t, or what a pointer to it is, writes or reads itself.
func marshals(t reflect.Type) bool {
	for _, t := range []reflect.Type{t, reflect.PointerTo(t)} {
		for _, i := range []reflect.Type{jsonType, textType, reflect.TypeFor[json.Unmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()} {
			if t.Implements(i) {
				return true
			}
		}
	}
	return false
}

// pointer refuses what may be pointed to twice: it would come back as two values.
func (l *lossless) pointer(t reflect.Type, at string) error {
	switch t.Elem().Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return fmt.Errorf("%s is a %s, of which nil may be one of two", at, t)
	}
	if l.pointed[t.Elem()] {
		return fmt.Errorf("%s is not the only %s: both may point to one", at, t)
	}
	l.pointed[t.Elem()] = true
	return l.check(t.Elem(), at)
}

func (l *lossless) fields(t reflect.Type, at string) error {
	if l.within[t] {
		return fmt.Errorf("%s holds a %s within another", at, t)
	}
	l.within[t] = true
	defer delete(l.within, t)
	names := make(map[string]bool)
	return l.each(t, at, names)
}

// each looks at the fields that make one JSON object, those of embedded structs too.
func (l *lossless) each(t reflect.Type, at string, names map[string]bool) error {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		at := at + "." + f.Name
		switch {
		case f.Type.Size() == 0 && f.Type.Kind() == reflect.Struct:
			continue
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct && !trusted[f.Type] && !marshals(f.Type):
			if err := l.each(f.Type, at, names); err != nil {
				return err
			}
			continue
		case !f.IsExported():
			return fmt.Errorf("%s is not exported", at)
		case name == "-" && options == "":
			return fmt.Errorf("%s is left out", at)
		case strings.Contains(options, "omitempty") && (f.Type.Kind() == reflect.Slice || f.Type.Kind() == reflect.Map):
			return fmt.Errorf("%s has omitempty: empty, it would come back nil", at)
		case strings.Contains(options, "omitzero") && !trusted[f.Type] && hasIsZero(f.Type):
			return fmt.Errorf("%s has omitzero and says itself what is zero", at)
		}
		if name == "" {
			name = f.Name
		}
		if name = strings.ToLower(name); names[name] {
			return fmt.Errorf("%s is not the only field of the name %s", at, name)
		}
		names[name] = true
		if err := l.check(f.Type, at); err != nil {
			return err
		}
	}
	return nil
}

func hasIsZero(t reflect.Type) bool {
	_, has := reflect.PointerTo(t).MethodByName("IsZero")
	return has
}

// ErrText is text that is no UTF-8: JSON would spoil it.
var ErrText = errors.New("it holds text that is no UTF-8")

// Shape describes a type as JSON tells it: kinds, and fields by their names on the
// wire. Types that marshal themselves are told by their Go names.
func Shape(t reflect.Type) string {
	var b strings.Builder
	shape(&b, t, make(map[reflect.Type]bool))
	return b.String()
}

func shape(b *strings.Builder, t reflect.Type, within map[reflect.Type]bool) {
	if trusted[t] || marshals(t) || within[t] {
		b.WriteString(t.PkgPath() + "." + t.Name())
		return
	}
	within[t] = true
	defer delete(within, t)
	b.WriteString(t.Kind().String())
	switch t.Kind() {
	case reflect.Array:
		fmt.Fprintf(b, "%d", t.Len())
		fallthrough
	case reflect.Slice, reflect.Pointer:
		b.WriteByte('(')
		shape(b, t.Elem(), within)
		b.WriteByte(')')
	case reflect.Map:
		b.WriteByte('(')
		shape(b, t.Key(), within)
		b.WriteByte(' ')
		shape(b, t.Elem(), within)
		b.WriteByte(')')
	case reflect.Struct:
		b.WriteByte('{')
		for i := range t.NumField() {
			f := t.Field(i)
			name := f.Tag.Get("json")
			if name == "" {
				name = f.Name
			}
			fmt.Fprintf(b, "%q ", name)
			shape(b, f.Type, within)
			b.WriteByte(';')
		}
		b.WriteByte('}')
	}
}

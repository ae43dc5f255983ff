// Package wire checks that Go types say how they are written: every field of a
// struct that travels as JSON has a snake_case json tag, since wire names are
// for ever and Go names are not.
package wire

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
)

var name = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

var (
	jsonType = reflect.TypeFor[json.Marshaler]()
	textType = reflect.TypeFor[encoding.TextMarshaler]()
)

// Check returns an error that names the first exported field in t, or in what
// t holds, that has no snake_case json tag.
func Check(t reflect.Type) error { return check(t, make(map[reflect.Type]bool)) }

func check(t reflect.Type, seen map[reflect.Type]bool) error {
	if seen[t] || t.Implements(jsonType) || t.Implements(textType) {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return check(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if err := field(t, t.Field(i), seen); err != nil {
				return err
			}
		}
	}
	return nil
}

func field(t reflect.Type, f reflect.StructField, seen map[reflect.Type]bool) error {
	tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	switch {
	case f.Anonymous && tag == "":
		return check(f.Type, seen)
	case !f.IsExported() || tag == "-":
		return nil
	case !name.MatchString(tag):
		return fmt.Errorf("field %s of %s has no snake_case json tag: add `json:\"…\"`, or `json:\"-\"` to leave it out", f.Name, t)
	}
	return check(f.Type, seen)
}

// Decode reads a JSON object into v, a pointer to a struct. Empty data is an
// object without fields; an unknown field, or anything after the object, is an
// error.
func Decode(data []byte, v any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("more than one JSON value")
	}
	return nil
}

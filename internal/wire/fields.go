package wire

import (
	"reflect"
	"strings"
)

// Fields returns the types of the fields that a t has in JSON, by their names there, those
// of embedded structs too. Without ok, t is no struct, or says itself how it is written.
func Fields(t reflect.Type) (fields map[string]reflect.Type, ok bool) {
	for t.Kind() == reflect.Pointer && !marshals(t) {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || marshals(t) {
		return nil, false
	}
	fields = make(map[string]reflect.Type)
	addFields(t, fields, make(map[reflect.Type]bool))
	return fields, true
}

func addFields(t reflect.Type, fields map[string]reflect.Type, within map[reflect.Type]bool) {
	if within[t] {
		return
	}
	within[t] = true
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		held := f.Type
		if held.Kind() == reflect.Pointer {
			held = held.Elem()
		}
		switch {
		case f.Anonymous && name == "" && held.Kind() == reflect.Struct && !marshals(held):
			addFields(held, fields, within)
		case f.IsExported() && name != "" && name != "-":
			fields[name] = f.Type
		}
	}
}

// Marshals reports whether a t, or what a pointer to it is, writes or reads its JSON
// itself.
func Marshals(t reflect.Type) bool { return marshals(t) }

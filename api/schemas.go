package api

import (
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

const schemaPrefix = "#/components/schemas/"

// namer names the schemas of types: those of an aggregate or view begin with
// its name, so that two types named State do not meet.
type namer struct {
	scope    string       // what names begin with
	root     reflect.Type // the type that is asked for
	rootName string
	names    map[scoped]string
	taken    map[string]bool
}

// scoped is a type where it is used: as the schema of a name, or below others.
type scoped struct {
	scope, root string
	t           reflect.Type
}

// name is called by the registry for each type it meets; the same type gets the
// same name within a scope.
func (n *namer) name(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return ""
	}
	key := scoped{scope: n.scope, t: t}
	wish := n.scope + camel(huma.DefaultSchemaNamer(t, hint))
	if t == n.root {
		key.root, wish = n.rootName, n.rootName
	}
	if known, ok := n.names[key]; ok {
		return known
	}
	n.names[key] = n.take(wish)
	return n.names[key]
}

// take takes wish for a schema, or wish with the next free number.
func (n *namer) take(wish string) string {
	name := wish
	for i := 2; n.taken[name]; i++ {
		name = wish + strconv.Itoa(i)
	}
	n.taken[name] = true
	return name
}

// schema returns the schema of t: a reference to name, if t is a struct.
func (s *spec) schema(scope, name string, t reflect.Type) *huma.Schema {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	s.namer.scope, s.namer.root, s.namer.rootName = scope, t, name
	if out := s.registry.Schema(t, true, name); out != nil {
		return out
	}
	return &huma.Schema{}
}

// own adds a schema that no Go type has, and returns a reference to it.
func (s *spec) own(name string, schema *huma.Schema) *huma.Schema {
	name = s.namer.take(name)
	s.registry.Map()[name] = schema
	return ref(name)
}

func ref(name string) *huma.Schema { return &huma.Schema{Ref: schemaPrefix + name} }

// resolve follows references.
func (s *spec) resolve(schema *huma.Schema) *huma.Schema {
	for schema.Ref != "" {
		schema = s.registry.SchemaFromRef(schema.Ref)
	}
	return schema
}

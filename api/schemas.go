package api

import (
	"path"
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
	name := n.free(wish, t)
	n.names[key], n.taken[name] = name, true
	return name
}

// free returns wish, or what else tells t from the type that has the name.
func (n *namer) free(wish string, t reflect.Type) string {
	if !n.taken[wish] {
		return wish
	}
	if p := path.Base(t.PkgPath()); t.PkgPath() != "" && !n.taken[wish+"Of"+camel(p)] {
		return wish + "Of" + camel(p)
	}
	for i := 2; ; i++ {
		if name := wish + strconv.Itoa(i); !n.taken[name] {
			return name
		}
	}
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

// own adds a schema that no Go type has.
func (s *spec) own(name string, schema *huma.Schema) *huma.Schema {
	s.namer.taken[name] = true
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

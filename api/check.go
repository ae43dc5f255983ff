package api

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
)

// maxFaults bounds how many faults a problem names, maxEcho the bytes of a value
// that it shows.
const (
	maxFaults = 100
	maxEcho   = 200
)

// rule is a schema prepared for checking. Objects and arrays are walked here, so
// that names are matched exactly and faults come in one order; single values,
// and schemas combined of others, are huma's to check.
type rule struct {
	schema  *huma.Schema
	walks   bool // an object or array, not combined of others
	members []member
	byName  map[string]*rule
	closed  bool  // no other members
	others  *rule // of an object: what other members are
	items   *rule // of an array
}

type member struct {
	name     string
	required bool
	missing  string // the fault's message
	rule     *rule
}

// rules prepares schemas of one registry, each once.
type rules struct {
	registry huma.Registry
	known    map[*huma.Schema]*rule
}

func newRules(registry huma.Registry) *rules {
	return &rules{registry, make(map[*huma.Schema]*rule)}
}

// of returns the rule for s. It panics where no value could be checked.
func (r *rules) of(s *huma.Schema) *rule {
	for s.Ref != "" {
		s = r.registry.SchemaFromRef(s.Ref)
	}
	if known := r.known[s]; known != nil {
		return known
	}
	out := &rule{schema: s}
	r.known[s] = out
	combined := s.OneOf != nil || s.AnyOf != nil || s.AllOf != nil || s.Not != nil
	out.walks = !combined && (s.Type == huma.TypeObject || s.Type == huma.TypeArray)
	if out.walks {
		r.fill(out, s)
	}
	return out
}

func (r *rules) fill(out *rule, s *huma.Schema) {
	out.byName = make(map[string]*rule, len(s.Properties))
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		m := member{name: name, required: slices.Contains(s.Required, name), rule: r.of(s.Properties[name]),
			missing: fmt.Sprintf(validation.MsgExpectedRequiredProperty, name)}
		out.members = append(out.members, m)
		out.byName[name] = m.rule
	}
	switch more := s.AdditionalProperties.(type) {
	case bool:
		out.closed = !more
	case *huma.Schema:
		out.others = r.of(more)
	}
	if s.Items != nil {
		out.items = r.of(s.Items)
	}
	if s.UniqueItems && (out.items == nil || out.items.walks || out.items.schema.Type == "") {
		panic(fmt.Errorf("api: uniqueItems needs items that are texts, numbers or truth values; leave the tag out"))
	}
}

// check is one value's check.
type check struct {
	registry huma.Registry
	at       []byte // the path
	faults   []*huma.ErrorDetail
	result   huma.ValidateResult
	empty    *huma.PathBuffer
}

var checks = sync.Pool{New: func() any { return &check{empty: huma.NewPathBuffer(nil, 0)} }}

// check returns what is wrong with v, which stands at the path where.
func (r *rules) check(rule *rule, where string, v any) []*huma.ErrorDetail {
	c := checks.Get().(*check)
	defer checks.Put(c)
	c.registry, c.at, c.faults = r.registry, append(c.at[:0], where...), nil
	c.value(rule, v)
	return c.faults
}

func (c *check) add(message string, value any) {
	switch {
	case len(c.faults) < maxFaults:
		c.faults = append(c.faults, &huma.ErrorDetail{Message: message, Location: string(c.at), Value: echo(value)})
	case len(c.faults) == maxFaults:
		c.faults = append(c.faults, &huma.ErrorDetail{Message: "and more faults that are not listed"})
	}
}

// echo is a value as a problem shows it: not whole if it is long.
func echo(v any) any {
	switch v := v.(type) {
	case string:
		if len(v) > maxEcho {
			return strings.ToValidUTF8(v[:maxEcho], "") + "…"
		}
	case map[string]any, []any:
		return nil
	}
	return v
}

func (c *check) value(r *rule, v any) {
	if r.walks {
		switch v := v.(type) {
		case map[string]any:
			if r.schema.Type == huma.TypeObject {
				c.object(r, v)
				return
			}
		case []any:
			if r.schema.Type == huma.TypeArray {
				c.array(r, v)
				return
			}
		}
	}
	c.single(r.schema, v)
}

// single lets huma check v.
func (c *check) single(s *huma.Schema, v any) {
	c.result.Reset()
	c.empty.Reset()
	huma.Validate(c.registry, s, c.empty, huma.ModeWriteToServer, v, &c.result)
	for _, err := range c.result.Errors {
		d, ok := err.(*huma.ErrorDetail)
		if !ok {
			d = &huma.ErrorDetail{Message: err.Error()}
		}
		below := len(c.at)
		if d.Location != "" {
			c.at = append(append(c.at, '.'), d.Location...)
		}
		c.add(d.Message, d.Value)
		c.at = c.at[:below]
	}
}

// below checks v, which stands under name within what is checked.
func (c *check) below(r *rule, name string, v any) {
	n := len(c.at)
	c.at = append(append(c.at, '.'), name...)
	c.value(r, v)
	c.at = c.at[:n]
}

func (c *check) fault(name, message string, v any) {
	n := len(c.at)
	c.at = append(append(c.at, '.'), name...)
	c.add(message, v)
	c.at = c.at[:n]
}

func (c *check) object(r *rule, m map[string]any) {
	c.size(r.schema.MinProperties, r.schema.MaxProperties, len(m), validation.MsgExpectedMinProperties, validation.MsgExpectedMaxProperties)
	found := 0
	for i := range r.members {
		want := &r.members[i]
		v, given := m[want.name]
		if given {
			found++
		}
		switch {
		case !given && want.required:
			c.fault(want.name, want.missing, nil)
		case !given, v == nil && (!want.required || want.rule.schema.Nullable):
		default:
			c.dependents(r.schema, want.name, m)
			c.below(want.rule, want.name, v)
		}
	}
	if found < len(m) && (r.closed || r.others != nil) {
		c.others(r, m)
	}
}

// dependents names what must come with name and does not.
func (c *check) dependents(s *huma.Schema, name string, m map[string]any) {
	for _, other := range s.DependentRequired[name] {
		if m[other] == nil {
			c.fault(other, fmt.Sprintf(validation.MsgExpectedDependentRequiredProperty, other, name), nil)
		}
	}
}

// others checks the members that the schema does not name.
func (c *check) others(r *rule, m map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if len(c.faults) > maxFaults {
			return
		}
		if r.byName[name] != nil {
			continue
		}
		if r.others != nil {
			c.below(r.others, name, m[name])
			continue
		}
		c.fault(echo(name).(string), c.unexpected(r, name), m[name])
	}
}

func (c *check) unexpected(r *rule, name string) string {
	for i := range r.members {
		if known := r.members[i].name; strings.EqualFold(known, name) {
			return validation.MsgUnexpectedProperty + "; it is written " + known
		}
	}
	return validation.MsgUnexpectedProperty
}

func (c *check) array(r *rule, list []any) {
	c.size(r.schema.MinItems, r.schema.MaxItems, len(list), validation.MsgExpectedMinItems, validation.MsgExpectedMaxItems)
	var seen map[any]bool
	if r.schema.UniqueItems {
		seen = make(map[any]bool, len(list))
	}
	for i, v := range list {
		n := len(c.at)
		c.at = append(strconv.AppendInt(append(c.at, '['), int64(i), 10), ']')
		if seen != nil && plain(v) {
			if seen[v] {
				c.add(validation.MsgExpectedArrayItemsUnique, v)
			}
			seen[v] = true
		}
		if r.items != nil {
			c.value(r.items, v)
		}
		c.at = c.at[:n]
	}
}

// plain reports whether v can be compared.
func plain(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

func (c *check) size(least, most *int, n int, tooFew, tooMany string) {
	if least != nil && n < *least {
		c.add(fmt.Sprintf(tooFew, *least), nil)
	}
	if most != nil && n > *most {
		c.add(fmt.Sprintf(tooMany, *most), nil)
	}
}

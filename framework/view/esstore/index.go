package esstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// format is the version of what an index holds: settings, mappings, documents. Those of
// the first, which are of Text and Keyword fields alone, are used on, but not sorted.
const format = 2

// maxKeyword is the most characters of a keyword that is indexed: in UTF-8 they
// stay within the 32,766 bytes of a term.
const maxKeyword = 8191

// definition is an index as declared here; what the server adds is not compared.
type definition struct {
	Aliases  map[string]struct{} `json:"aliases"`
	Mappings mappings            `json:"mappings"`
	Settings settings            `json:"settings"`
}

type mappings struct {
	Dynamic    string              `json:"dynamic"`
	Meta       meta                `json:"_meta"`
	Properties map[string]property `json:"properties"`
}

type meta struct {
	Format int               `json:"format"`
	Fields map[string]string `json:"fields"` // as given to Prepare
}

type property struct {
	Type       string              `json:"type,omitempty"`
	Analyzer   string              `json:"analyzer,omitempty"`
	Asked      string              `json:"search_analyzer,omitempty"` // of a query's text; default: Analyzer
	MaxLength  int                 `json:"ignore_above,omitempty"`
	Index      *bool               `json:"index,omitempty"`
	Properties map[string]property `json:"properties,omitempty"`
}

type settings struct {
	Index struct {
		UUID     string `json:"uuid,omitempty"` // the server's
		Shards   text   `json:"number_of_shards,omitempty"`
		Replicas text   `json:"number_of_replicas,omitempty"`
		Window   text   `json:"max_result_window"`
		Deletes  string `json:"gc_deletes"`
		Translog struct {
			Durability string `json:"durability"`
		} `json:"translog"`
		Analysis struct {
			Analyzer map[string]analysis `json:"analyzer"`
			Filter   map[string]filter   `json:"filter,omitempty"`
		} `json:"analysis"`
	} `json:"index"`
}

// text is a setting, which the server returns as text.
type text string

func number(n int) text { return text(strconv.Itoa(n)) }

// Every query leaves out what is not of this kind.
const (
	kindDocument = "document"
	kindDeleted  = "deleted"
	kindMark     = "mark"
)

// define declares the index of a generation.
func (x *generation) define(c Config, format int) definition {
	d := definition{Aliases: map[string]struct{}{x.alias: {}}, Mappings: mappings{
		Dynamic:    "false",
		Meta:       meta{Format: format, Fields: make(map[string]string, len(x.fields))},
		Properties: map[string]property{"kind": {Type: "keyword"}, "key": {Type: "keyword"}, "partition": {Type: "integer"}},
	}}
	fields, order := make(map[string]property, len(x.fields)), make(map[string]property)
	for name, kind := range x.fields {
		d.Mappings.Meta.Fields[name] = kind.String()
		fields[fieldName(name)] = propertyOf(kind)
		if kind.Sorts() {
			order[fieldName(name)] = property{Type: "keyword", Index: new(bool)}
		}
	}
	if len(fields) > 0 {
		d.Mappings.Properties["fields"] = property{Properties: fields}
	}
	if len(order) > 0 && format > 1 {
		d.Mappings.Properties["order"] = property{Properties: order}
	}
	at := &d.Settings.Index
	at.Shards, at.Replicas, at.Window = number(c.Shards), number(c.Replicas), number(view.MaxDepth)
	at.Deletes, at.Translog.Durability = "0s", "request"
	at.Analysis.Analyzer, at.Analysis.Filter = analyses(x.fields)
	return d
}

// differs says why an index that is there cannot serve as d.
func (d definition) differs(there definition) error {
	switch {
	case there.Mappings.Meta.Format == 0:
		return errors.New("another program has made an index of this name; delete it")
	case there.Mappings.Meta.Format != d.Mappings.Meta.Format:
		return fmt.Errorf("the index is of format %d, not %d; start a new generation", there.Mappings.Meta.Format, d.Mappings.Meta.Format)
	case !maps.Equal(there.Mappings.Meta.Fields, d.Mappings.Meta.Fields):
		return fmt.Errorf("fields %v differ from the index's %v; start a new generation", d.Mappings.Meta.Fields, there.Mappings.Meta.Fields)
	case !reflect.DeepEqual(there.Mappings, d.Mappings):
		return fmt.Errorf("the index's mappings %v are not those declared, %v; start a new generation", there.Mappings, d.Mappings)
	}
	for alias := range d.Aliases {
		if _, ok := there.Aliases[alias]; !ok {
			return fmt.Errorf("the index has lost its alias %s; start a new generation", alias)
		}
	}
	a, b := there.Settings.Index, d.Settings.Index
	a.UUID, a.Shards, a.Replicas, b.Shards, b.Replicas = "", "", "", "", "" // these are the operator's
	if !reflect.DeepEqual(a, b) {
		return fmt.Errorf("the index's settings %v are not those declared, %v; start a new generation", a, b)
	}
	return nil
}

// Prepare implements view.Search. An index that is there must have the same
// fields. Config's Shards and Replicas count for new indices only.
func (s *Store) Prepare(ctx context.Context, g view.Generation, fields view.Fields) error {
	if err := s.prepare(ctx, g, fields); err != nil {
		return fmt.Errorf("elasticsearch: prepare %s: %w", g, err)
	}
	return nil
}

func (s *Store) prepare(ctx context.Context, g view.Generation, fields view.Fields) error {
	if err := s.open(); err != nil {
		return err
	}
	if err := fields.Check(); err != nil {
		return err
	}
	name := indexName(g)
	x := &generation{fields: maps.Clone(fields), name: name, alias: name + ".writes", turn: make(chan struct{}, 1), reached: make(map[int32]int64), shown: make(map[int32]int64), moved: make(map[int32]place)}
	x.turn <- struct{}{}
	if err := s.ensure(ctx, x); err != nil {
		return err
	}
	s.keep(g, x).take(x)
	return nil
}

// keep returns x, or what an earlier Prepare with the same fields has kept.
func (s *Store) keep(g view.Generation, x *generation) *generation {
	s.mu.Lock()
	defer s.mu.Unlock()
	if there, ok := s.generations[g]; ok && maps.Equal(there.fields, x.fields) {
		return there
	}
	s.generations[g] = x
	return x
}

// ensure makes an index that is missing and checks one that is there.
func (s *Store) ensure(ctx context.Context, x *generation) error {
	want := x.define(s.config, format)
	for range 3 { // it may be made or deleted by others in between
		there, err := s.look(ctx, x)
		if err == nil {
			if there.Mappings.Meta.Format == 1 && !slices.ContainsFunc(slices.Collect(maps.Values(x.fields)), isNew) {
				want = x.define(s.config, 1)
			}
			if err = want.differs(there); err == nil {
				x.seen(there)
			}
			return err
		}
		if !has(err, http.StatusNotFound) {
			return err
		}
		if err := s.create(ctx, x, want); err != nil && !named(err, "resource_already_exists_exception") {
			return err
		}
	}
	return errors.New("the index comes and goes; another program deletes it")
}

// look reads an index's definition, and fails with status 404 if there is none.
func (s *Store) look(ctx context.Context, x *generation) (definition, error) {
	var found map[string]definition
	if err := s.call(ctx, esapi.IndicesGetRequest{Index: []string{x.name}}, &found); err != nil {
		return definition{}, err
	}
	there, ok := found[x.name]
	if !ok {
		return definition{}, fmt.Errorf("%s is an alias; delete it", x.name)
	}
	return there, nil
}

func (s *Store) create(ctx context.Context, x *generation, d definition) error {
	body, err := json.Marshal(d)
	if err != nil {
		return err
	}
	var made struct {
		Acknowledged bool `json:"acknowledged"`
		Shards       bool `json:"shards_acknowledged"`
	}
	if err := s.call(ctx, esapi.IndicesCreateRequest{Index: x.name, Body: bytes.NewReader(body)}, &made); err != nil {
		return err
	}
	if !made.Acknowledged || !made.Shards {
		return errors.New("the index was made, but its shards are not up yet; see _cluster/allocation/explain")
	}
	return nil
}

// isNew reports whether no index of the first format has fields of this kind.
func isNew(kind view.FieldKind) bool { return kind != view.Text && kind != view.Keyword }

func (x *generation) seen(there definition) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.become(there.Settings.Index.UUID, there.Mappings.Meta.Format)
}

// sorted returns an error for a query that this index cannot sort.
func (x *generation) sorted(q view.Query) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if q.Sort != "" && x.format == 1 {
		return fmt.Errorf("%w: index %s was made before there were sorted queries; rebuild the view, and switch to what is built", view.ErrQuery, x.name)
	}
	return nil
}

// take takes over what another has seen of the index.
func (x *generation) take(from *generation) {
	if x == from {
		return
	}
	from.mu.Lock()
	uuid, format := from.uuid, from.format
	from.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.become(uuid, format)
}

// become takes an index for the one that is there. The caller holds mu.
func (x *generation) become(uuid string, format int) {
	if x.uuid != uuid {
		x.unknown()
	}
	x.uuid, x.format = uuid, format
}

// incarnation tells one index from another of the same name.
func (x *generation) incarnation() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.uuid
}

// Drop implements view.Store: it deletes the generation's index.
func (s *Store) Drop(ctx context.Context, g view.Generation) error {
	err := s.open()
	if err == nil {
		err = s.call(ctx, esapi.IndicesDeleteRequest{Index: []string{indexName(g)}}, nil)
	}
	if err != nil && !has(err, http.StatusNotFound) {
		return fmt.Errorf("elasticsearch: drop %s: %w", g, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.generations, g)
	return nil
}

// indexName returns the name of a generation's index. Escaped names hold no dot,
// so no two generations share one.
func indexName(g view.Generation) string {
	name := fmt.Sprintf("%s.%d", baseName(g), g.Number)
	if len(name) > maxName {
		return fmt.Sprintf("drivetrain..%x", sha256.Sum256([]byte(name)))
	}
	return name
}

// maxName is the longest name of an index, of the 255 bytes that Elasticsearch takes:
// its aliases have longer ones.
const maxName = 200

// baseName is what the names of a view's indices begin with.
func baseName(g view.Generation) string {
	return fmt.Sprintf("drivetrain.%s.%s", escape(g.App, ""), escape(g.View, ""))
}

// fieldName returns what a field is called in the index, below "fields".
func fieldName(name string) string { return escape(name, upper) }

// upper are the letters that names of fields keep, and names of indices, which
// have lower ones only, do not.
const upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// escape keeps lower letters, digits, hyphens and what is in keep, and writes
// other bytes as _ and two hexadecimal digits.
func escape(name, keep string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || strings.IndexByte(keep, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}

package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/internal/wire"
)

// source says where a view's documents lie: in the partition of their aggregate.
type source struct {
	view string
	kind string // the aggregate type; empty if the view merges several
}

// aggregate returns the aggregate that a document's key stands for.
func (s source) aggregate(key string) (kind, id string, ok bool) {
	if s.kind != "" {
		return s.kind, key, true
	}
	return strings.Cut(key, ".")
}

// key returns the key of an aggregate's document.
func (s source) key(kind, id string) string {
	if s.kind != "" {
		return id
	}
	return kind + "." + id
}

func (s source) ref(key string, partitions int) view.Ref {
	kind, id, _ := s.aggregate(key)
	return view.Ref{Partition: eventlog.PartitionOf(partition.Key(kind, id), partitions), Key: key}
}

func (v *View[D, E]) cards() source {
	s := source{view: v.Name}
	if types := v.From.Types(); len(types) == 1 {
		s.kind = types[0]
	}
	return s
}

func (v *View[D, E]) item() reflect.Type { return reflect.TypeFor[D]() }

func (v *View[D, E]) check() error {
	if err := v.From.Check(); err != nil {
		return fmt.Errorf("view %q: From: %w", v.Name, err)
	}
	if v.Fold == nil {
		return fmt.Errorf("view %q: set Fold", v.Name)
	}
	if v.Search != nil && v.Sizes != nil {
		return fmt.Errorf("view %q: Sizes are for documents, not for Search", v.Name)
	}
	if err := wire.Check(reflect.TypeFor[D]()); err != nil {
		return fmt.Errorf("view %q: document: %w", v.Name, err)
	}
	return nil
}

func (v *View[D, E]) register(app *framework.App) error {
	fv, err := v.declare()
	if err == nil {
		app.AddView(fv)
	}
	return err
}

func (v *View[D, E]) declare() (framework.View, error) {
	if err := v.check(); err != nil {
		return framework.View{}, err
	}
	out := framework.View{Name: v.Name, Kind: framework.Document, Item: reflect.TypeFor[D](),
		Operator: func(r framework.Resources, g view.Generation) stream.Operator {
			return &operator{v.Name, func(n int32) stream.Part { return v.part(r, g, n) }}
		},
	}
	for _, s := range v.Sizes {
		out.Reads = append(out.Reads, s.Of.feedName())
	}
	if v.Search != nil {
		out.Kind, out.Answer = framework.Search, v.find
		for name, kind := range v.Search {
			if kind == view.Keyword {
				out.Is = append(out.Is, name)
			}
		}
		slices.Sort(out.Is)
		return out, nil
	}
	out.Answer = v.get
	if v.Sizes == nil {
		out.Partition = func(q framework.Query) (int32, bool) { return v.cards().ref(q.Key, q.Partitions).Partition, true }
	}
	return out, nil
}

func (v *View[D, E]) get(ctx context.Context, r framework.Resources, q framework.Query) ([]byte, error) {
	docs, err := r.Documents.Get(ctx, q.Generation(v.Name), []view.Ref{v.cards().ref(q.Key, q.Partitions)})
	if err != nil {
		return nil, err
	}
	if docs[0] == nil {
		return nil, fmt.Errorf("%w: %s has no %q", framework.ErrNotFound, v.Name, q.Key)
	}
	if v.Sizes == nil {
		return docs[0], nil
	}
	return v.fill(ctx, r, q, docs[0])
}

// fill adds the sizes of sets to a document.
func (v *View[D, E]) fill(ctx context.Context, r framework.Resources, q framework.Query, data []byte) ([]byte, error) {
	var doc D
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("decode document %q of view %s: %w", q.Key, v.Name, err)
	}
	for _, s := range v.Sizes {
		sizes, err := r.Documents.Sizes(ctx, q.Generation(s.Of.feedName()), parts(q.Partitions, q.Key))
		if err != nil {
			return nil, err
		}
		var sum int64
		for _, n := range sizes {
			sum += n
		}
		s.Put(&doc, sum)
	}
	return json.Marshal(doc)
}

func (v *View[D, E]) find(ctx context.Context, r framework.Resources, q framework.Query) ([]byte, error) {
	g := q.Generation(v.Name)
	if len(q.Min.Offsets) > 0 {
		if err := r.Search.Refresh(ctx, g); err != nil {
			return nil, err
		}
	}
	hits, err := r.Search.Find(ctx, g, view.Query{Text: q.Text, Is: q.Is, Skip: q.Skip, Size: q.Limit})
	if errors.Is(err, view.ErrQuery) {
		return nil, fmt.Errorf("%w search: %w", framework.ErrInvalid, err)
	}
	if err != nil {
		return nil, err
	}
	out := Found[json.RawMessage]{Items: make([]json.RawMessage, len(hits.Items)), Total: hits.Total}
	for i, h := range hits.Items {
		out.Items[i] = h.Value
	}
	return json.Marshal(out)
}

// part is a view's documents on one partition.
type part[D, E any] struct {
	sink
	view    *View[D, E]
	prepare func(context.Context) error

	comparable bool // documents hold only values, so that equal ones need not be written again
	docs       map[string]*document[D]
	changed    []string // keys, each once
}

type document[D any] struct {
	doc     D
	offset  int64 // of the event that last moved it
	changed bool
}

func (v *View[D, E]) part(r framework.Resources, g view.Generation, number int32) stream.Part {
	p := &part[D, E]{view: v, comparable: plain(reflect.TypeFor[D]()), sink: sink{store: r.Documents, generation: g, number: number}}
	p.prepare = func(context.Context) error { return nil }
	if v.Search != nil {
		p.store = r.Search
		p.prepare = func(ctx context.Context) error { return r.Search.Prepare(ctx, g, maps.Clone(v.Search)) }
	}
	return p
}

// plain reports whether values of t are equal exactly when they compare so: they
// hold no pointer, interface or the like.
func plain(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if !plain(t.Field(i).Type) {
				return false
			}
		}
		return true
	case reflect.Array:
		return plain(t.Elem())
	}
	return t.Kind() <= reflect.Complex128 && t.Kind() != reflect.Invalid || t.Kind() == reflect.String
}

// Open empties the documents and takes the part of the store.
func (p *part[D, E]) Open(ctx context.Context) (int64, error) {
	p.docs, p.changed = make(map[string]*document[D]), nil
	if err := p.prepare(ctx); err != nil {
		return 0, fmt.Errorf("prepare view %s: %w", p.view.Name, err)
	}
	return p.open(ctx)
}

// Fold moves the document of e's aggregate.
func (p *part[D, E]) Fold(e *partition.Event) error {
	fact, ok, err := decode(p.view.From, e)
	if !ok {
		return err
	}
	key := p.view.cards().key(fact.Aggregate, fact.ID)
	d, known := p.docs[key]
	if !known {
		d = &document[D]{}
		p.docs[key] = d
	}
	before := d.doc
	if err := guard(func() { d.doc = p.view.Fold(d.doc, fact) }); err != nil {
		return err
	}
	if known && p.comparable && any(before) == any(d.doc) {
		return nil
	}
	if d.offset = e.Offset; !d.changed {
		d.changed = true
		p.changed = append(p.changed, key)
	}
	return nil
}

// Pending returns how many documents have changed.
func (p *part[D, E]) Pending() int { return len(p.changed) }

// Discard forgets which documents have changed.
func (p *part[D, E]) Discard() {
	for _, key := range p.changed {
		p.docs[key].changed = false
	}
	p.changed = p.changed[:0]
}

// maxWrite is the bytes of documents after which a batch is written: the rest
// follows in another, and only the last moves the mark.
const maxWrite = 16 << 20

// Flush writes each changed document once.
func (p *part[D, E]) Flush(ctx context.Context, next int64) error {
	size := 0
	for _, key := range p.changed {
		n, err := p.add(key, p.docs[key])
		if err != nil {
			return err
		}
		if size += n; size > maxWrite {
			if err := p.write(ctx, p.mark.Next); err != nil {
				return err
			}
			size = 0
		}
	}
	if err := p.write(ctx, next); err != nil {
		return err
	}
	p.Discard()
	return nil
}

// add puts a document into the batch and returns its size.
func (p *part[D, E]) add(key string, d *document[D]) (int, error) {
	if p.view.Gone != nil && p.view.Gone(d.doc) {
		p.batch.Deletes = append(p.batch.Deletes, view.Ref{Partition: p.number, Key: key, Offset: d.offset})
		return 0, nil
	}
	data, err := json.Marshal(d.doc)
	if err == nil && len(data) > view.MaxValue {
		err = fmt.Errorf("it has %d bytes, at most %d: keep less in it", len(data), view.MaxValue)
	}
	if err != nil {
		return 0, stream.Final(fmt.Errorf("document %q of view %s: %w", key, p.view.Name, err))
	}
	p.batch.Puts = append(p.batch.Puts, view.Put{Key: key, Value: data, Offset: d.offset})
	return len(data), nil
}

package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/internal/wire"
)

// source says where a view's documents lie: in the partition of their aggregate or,
// behind a shuffle, of their key.
type source struct {
	view  string
	kind  string // the aggregate type; empty if the view merges several
	keyed bool   // the view says itself what its keys are
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

// moved returns the key of the document that a fold under key of the engine moves.
func (s source) moved(key string) string {
	if s.keyed {
		return key
	}
	kind, id, _ := strings.Cut(key, "/")
	return s.key(kind, id)
}

func (s source) ref(key string, partitions int) view.Ref {
	if s.keyed {
		return keyRef(key, partitions)
	}
	kind, id, _ := s.aggregate(key)
	return view.Ref{Partition: eventlog.PartitionOf(partition.Key(kind, id), partitions), Key: key}
}

func (v *View[D, E]) cards() source {
	s := source{view: v.Name, keyed: v.Key != nil}
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
	if err := checkFields(v.Search, reflect.TypeFor[D]()); err != nil {
		return fmt.Errorf("view %q: Search: %w", v.Name, err)
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
	out := framework.View{Name: v.Name, Version: v.Version, Kind: framework.Document, Item: reflect.TypeFor[D](),
		Topology: v.topology, Drop: v.drop, Refolded: refolded[D](), Origins: v.origins()}
	if v.Key != nil {
		out.Shuffle = keys
	}
	for _, s := range v.Sizes {
		out.Reads = append(out.Reads, framework.Read{View: s.Of.feedName(), Partition: setPartition})
	}
	if v.Search != nil {
		out.Kind, out.Answer = framework.Search, v.find
		out.Fields = v.Search
		return out, nil
	}
	out.Answer = v.get
	cards := v.cards()
	out.Partition = func(q framework.Query) (int32, bool) { return cards.ref(q.Key, q.Partitions).Partition, true }
	return out, nil
}

// drop deletes the documents of a generation.
func (v *View[D, E]) drop(ctx context.Context, r framework.Resources, g view.Generation) error {
	if v.Search != nil {
		return drop(ctx, r, r.Search, g, v.Key != nil)
	}
	return drop(ctx, r, r.Documents, g, v.Key != nil)
}

func (v *View[D, E]) get(ctx context.Context, r framework.Resources, q framework.Query) ([]byte, error) {
	docs, err := r.Documents.Get(ctx, q.Generation(v.Name), []view.Ref{held(&q, v.Name, v.cards().ref(q.Key, q.Partitions))})
	if err != nil {
		return nil, err
	}
	if docs[0] == nil {
		return nil, fmt.Errorf("%w: %s has no %q", framework.ErrNotFound, v.Name, q.Key)
	}
	err = v.fill(ctx, r, q, []string{q.Key}, docs)
	return docs[0], err
}

// held returns a ref of a view of which the store must hold what it was known to, when
// the view was found to be whole. A task finds what its store has lost a moment later,
// and others see that it is filled again later still: an answer that lacks it until then
// would be false.
func held(q *framework.Query, name string, r view.Ref) view.Ref {
	r.Least = q.Least(name, r.Partition)
	return r
}

// fill adds the sizes of sets to documents, by one call of the store for each Size.
// A document that is nil stays so.
func (v *View[D, E]) fill(ctx context.Context, r framework.Resources, q framework.Query, keys []string, docs [][]byte) error {
	if v.Sizes == nil || len(docs) == 0 {
		return nil
	}
	read := make([]D, len(docs))
	sets := make([]view.Ref, len(docs))
	for i, data := range docs {
		if data == nil {
			continue
		}
		if err := json.Unmarshal(data, &read[i]); err != nil {
			return fmt.Errorf("decode document %q of view %s: %w", keys[i], v.Name, err)
		}
	}
	for _, s := range v.Sizes {
		for i, key := range keys {
			sets[i] = held(&q, s.Of.feedName(), keyRef(key, q.Partitions))
		}
		sizes, err := r.Documents.Sizes(ctx, q.Generation(s.Of.feedName()), sets)
		if err != nil {
			return err
		}
		for i := range read {
			if docs[i] != nil {
				s.Put(&read[i], sizes[i])
			}
		}
	}
	for i := range docs {
		if docs[i] == nil {
			continue
		}
		var err error
		if docs[i], err = json.Marshal(read[i]); err != nil {
			return fmt.Errorf("encode document %q of view %s: %w", keys[i], v.Name, err)
		}
	}
	return nil
}

// reads are the views that a page of these documents is made of.
func (v *View[D, E]) reads() []framework.Read {
	out := []framework.Read{{View: v.Name}}
	for _, s := range v.Sizes {
		out = append(out, framework.Read{View: s.Of.feedName()})
	}
	return out
}

// topology declares the fold of the view's documents, and where they are kept.
func (v *View[D, E]) topology(f framework.Following) *stream.Topology {
	if f.Park != nil && refolded[D]() != nil {
		park := *f.Park
		park.Refold = true // the codec would not bring a document back as it was before a fold that fails
		f.Park = &park
	}
	t, facts := v.facts(f)
	docs, _ := stream.Via(facts, &stream.Process[kept[D], Event[E], *kept[D]]{Name: "fold", State: keptCodec[D](), Shape: wire.Shape(reflect.TypeFor[D]()), OnEvent: v.fold()})
	stream.Fill(docs, &stream.Store[*kept[D]]{
		Name:         "documents",
		MostBehind:   mostBehind,
		WriteTimeout: -1, // a call may write many batches; sink.write bounds each
		MarkEvery:    f.MarkEvery,
		Part: func(n int32) stream.Part[*kept[D]] {
			d := &documents[D]{of: v.cards(), gone: v.Gone, index: make(map[string]int),
				sink: sink{store: f.Documents, generation: f.Generation, number: n}}
			if v.Search != nil {
				d.store, d.search, d.fields = f.Search, f.Search, v.Search
			}
			return d
		}})
	return t
}

// facts are the events, each under the key whose document it moves.
func (v *View[D, E]) facts(f framework.Following) (*stream.Topology, *stream.Stream[Event[E]]) {
	if v.Key != nil {
		return v.routed(f)
	}
	of := v.cards()
	return topology(f, func(e *partition.Event, fact *Event[E]) (ok bool, err error) {
		if *fact, ok, err = decode(v.From, e); ok {
			fact.Key = of.key(fact.Aggregate, fact.ID)
		}
		return ok, err
	})
}

// fold moves the document of an event's key, and hands it on if it has changed.
// Where documents hold only values, equal ones are not written again.
func (v *View[D, E]) fold() func(*stream.Context[kept[D], *kept[D]], Event[E]) error {
	if !plain(reflect.TypeFor[D]()) {
		return func(c *stream.Context[kept[D], *kept[D]], e Event[E]) error {
			doc := c.State()
			if v.Key != nil {
				e.Key = c.Key()
			}
			err := v.move(&doc.value, doc.value, e)
			c.Emit(doc)
			return err
		}
	}
	return func(c *stream.Context[kept[D], *kept[D]], e Event[E]) error {
		before, known := c.Peek()
		if v.Key != nil {
			e.Key = c.Key()
		}
		var after D
		if err := v.move(&after, before.value, e); err != nil || known && any(before.value) == any(after) {
			return err
		}
		doc := c.State()
		doc.value = after
		c.Emit(doc)
		return nil
	}
}

// move makes of a document, in after, what an event makes of it.
func (v *View[D, E]) move(after *D, before D, e Event[E]) error {
	err := guard(func() { *after = v.Fold(before, e) })
	if err != nil && v.Key != nil { // the engine knows no more than a record of the shuffle
		err = fmt.Errorf("%s of %s/%s, for the document %q: %w", e.Name, e.Aggregate, e.ID, e.Key, err)
	}
	return err
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

// documents are a view's documents on one partition, as far as they are not
// written yet.
type documents[D any] struct {
	sink
	of      source
	gone    func(D) bool
	fields  view.Fields // of a search view
	search  view.Search // its store, which is to be prepared; nil: another kind of view
	changed []change[D]
	index   map[string]int // of changed, by the engine's key
}

// kept is a document as the engine keeps it.
type kept[D any] struct {
	value D
	place int // among the changes that wait, when it last was one of them; in no snapshot
}

// keptCodec is how snapshots hold a document.
func keptCodec[D any]() stream.Codec[kept[D]] {
	of := stateCodec[D]()
	return stream.Codec[kept[D]]{
		Append: func(b []byte, k *kept[D]) ([]byte, error) { return of.Append(b, &k.value) },
		Decode: func(data []byte, k *kept[D]) error { return of.Decode(data, &k.value) },
	}
}

// change is a document that is to be written as it is when that is done.
type change[D any] struct {
	key    string
	doc    *kept[D]
	offset int64 // of the event that last moved it
}

// Open prepares the store and takes its part.
func (d *documents[D]) Open(ctx context.Context) (int64, error) {
	d.forget()
	if d.search != nil {
		if err := d.search.Prepare(ctx, d.generation, maps.Clone(d.fields)); err != nil {
			return 0, fmt.Errorf("prepare view %s: %w", d.generation.View, err)
		}
	}
	return d.sink.Open(ctx)
}

func (d *documents[D]) forget() {
	clear(d.index)
	clear(d.changed)
	d.changed = d.changed[:0]
}

// Put notes that a document has changed. That of a document which waits already is
// found by its place, but for one that was taken back and has forgotten it.
func (d *documents[D]) Put(e *stream.Element, doc *kept[D]) error {
	if doc.place >= len(d.changed) || d.changed[doc.place].doc != doc {
		doc.place = d.wait(string(e.Key), doc)
	}
	d.changed[doc.place].offset = e.Offset
	return nil
}

// wait returns the place of a key among the changes.
func (d *documents[D]) wait(key string, doc *kept[D]) int {
	i, known := d.index[key]
	if !known {
		i = len(d.changed)
		d.index[key] = i
		d.changed = append(d.changed, change[D]{key: d.of.moved(key)})
	}
	d.changed[i].doc = doc
	return i
}

// Pending returns how many documents have changed.
func (d *documents[D]) Pending() int { return len(d.changed) }

// mostBehind is how many documents of a partition a rebuild gathers before it
// writes them.
const mostBehind = 1 << 16

// maxWrite and maxPuts are the bytes and the number of documents after which a batch
// is written: the rest follows in another, and only the last moves the mark.
const (
	maxWrite = 16 << 20
	maxPuts  = 4096
)

// Batch encodes each changed document once.
func (d *documents[D]) Batch(next int64) (func(context.Context) error, error) {
	batches := []*view.Batch{{}}
	size := 0
	for i := range d.changed {
		if last := batches[len(batches)-1]; size > maxWrite || len(last.Puts)+len(last.Deletes) == maxPuts {
			batches, size = append(batches, &view.Batch{}), 0
		}
		n, err := d.add(batches[len(batches)-1], &d.changed[i])
		if err != nil {
			return nil, err
		}
		size += n
	}
	d.forget()
	return func(ctx context.Context) error {
		for _, b := range batches[:len(batches)-1] {
			if err := d.write(ctx, b, d.mark.Next); err != nil {
				return err
			}
		}
		return d.write(ctx, batches[len(batches)-1], next)
	}, nil
}

// add puts a document into a batch and returns its size.
func (d *documents[D]) add(b *view.Batch, c *change[D]) (int, error) {
	if d.gone != nil && d.gone(c.doc.value) {
		b.Deletes = append(b.Deletes, view.Ref{Partition: d.number, Key: c.key, Offset: c.offset})
		return 0, nil
	}
	data, err := json.Marshal(&c.doc.value)
	if err == nil && len(data) > view.MaxValue {
		err = fmt.Errorf("it has %d bytes, at most %d: keep less in it", len(data), view.MaxValue)
	}
	if err != nil {
		return 0, fmt.Errorf("document %q of view %s: %w", c.key, d.generation.View, err)
	}
	b.Puts = append(b.Puts, view.Put{Key: c.key, Value: data, Offset: c.offset})
	return len(data), nil
}

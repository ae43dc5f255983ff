package projections

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

func (f *Feed[E]) feedName() string { return f.Name }

func (f *Feed[E]) check() error {
	if err := f.From.Check(); err != nil {
		return fmt.Errorf("feed %q: From: %w", f.Name, err)
	}
	if f.Place == nil || f.Cards == nil {
		return fmt.Errorf("feed %q: set Place and Cards", f.Name)
	}
	if f.Cards.cards().kind == "" {
		return fmt.Errorf("feed %q: Cards must be a view of one aggregate type", f.Name)
	}
	return nil
}

func (f *Feed[E]) register(app *framework.App) error {
	if err := f.check(); err != nil {
		return err
	}
	app.AddView(framework.View{Name: f.Name, Version: f.Version, Kind: framework.Feed, Item: f.Cards.item(),
		Reads:    []framework.Read{{View: f.Cards.cards().view}},
		Topology: f.topology, Shuffle: sets, Partition: setPartition, Answer: f.page, Drop: f.drop})
	return nil
}

// sets is the shuffle that brings the entries of a set together.
const sets = "sets"

// setPartition returns where the set lies that a query asks for.
func setPartition(q framework.Query) (int32, bool) { return setRef(q).Partition, true }

func setRef(q framework.Query) view.Ref {
	return view.Ref{Partition: eventlog.PartitionOf([]byte(q.Key), q.Partitions), Key: q.Key}
}

// sourceOf names what holds how far the sources of a generation have come.
func sourceOf(g view.Generation) view.Generation {
	g.View += ".source"
	return g
}

// drop deletes the entries of a generation.
func (f *Feed[E]) drop(ctx context.Context, r framework.Resources, g view.Generation) error {
	if err := drop(ctx, r.Documents, g); err != nil {
		return err
	}
	return drop(ctx, r.Documents, sourceOf(g))
}

// topology declares how entries come from the events to their sets.
func (f *Feed[E]) topology(at framework.Following) *stream.Topology {
	t, placed := topology(at, f.read)
	if at.MarkEvery > 0 {
		source := sourceOf(at.Generation)
		stream.Trace(placed, "progress", at.MarkEvery, func(n int32) stream.Marker {
			return &sink{store: at.Documents, generation: source, number: n}
		})
	}
	entries := stream.KeyBy(placed, sets, func(e view.Entry) string { return e.Set }, stream.Codec[view.Entry]{Append: appendEntry, Decode: decodeEntry})
	stream.Fill(entries, &stream.Store[view.Entry]{Name: "entries", MarkEvery: at.MarkEvery, Part: func(n int32) stream.Part[view.Entry] {
		return &entriesOf{sink: sink{store: at.Documents, generation: at.Generation, number: n}}
	}})
	return t
}

// read makes of an event the entry that it places, if it does.
func (f *Feed[E]) read(e *partition.Event, v *view.Entry) (bool, error) {
	fact, ok, err := decode(f.From, e)
	if !ok {
		return false, err
	}
	var place Place
	if err := guard(func() { place, ok = f.Place(fact) }); err != nil || !ok {
		return false, err
	}
	switch {
	case place.At.UnixNano() < 0:
		return false, fmt.Errorf("feed %s: Place.At is %v, want 1970 or later", f.Name, place.At)
	case place.Set == "" || place.Key == "" || len(place.Set) > view.MaxKey || len(place.Key) > view.MaxKey:
		return false, fmt.Errorf("feed %s: Place.Set and Place.Key have %d and %d bytes, want 1 to %d", f.Name, len(place.Set), len(place.Key), view.MaxKey)
	}
	*v = view.Entry{Set: place.Set, Sort: sortable(place.At), Member: place.Key}
	return true, nil
}

// appendEntry writes an entry as its three texts, each with its length before it.
func appendEntry(b []byte, e *view.Entry) ([]byte, error) {
	b = packed.AppendBytes(b, e.Set)
	b = packed.AppendBytes(b, e.Sort)
	return packed.AppendBytes(b, e.Member), nil
}

func decodeEntry(data []byte, e *view.Entry) error {
	r := packed.Read(data)
	e.Set, e.Sort, e.Member = string(r.Bytes()), string(r.Bytes()), string(r.Bytes())
	if r.Bad() || len(r.Rest()) > 0 {
		return errors.New("mangled entry of a feed")
	}
	return nil
}

// page reads a page of a set and fetches the cards: two round trips.
func (f *Feed[E]) page(ctx context.Context, r framework.Resources, q framework.Query) ([]byte, error) {
	after, err := parseCursor(q.After)
	if err != nil {
		return nil, err
	}
	entries, err := r.Documents.Page(ctx, q.Generation(f.Name), []view.Ref{setRef(q)}, after, q.Limit+1)
	if err != nil {
		return nil, err
	}
	more := len(entries) > q.Limit
	if more {
		entries = entries[:q.Limit]
	}
	cards := f.Cards.cards()
	refs := make([]view.Ref, len(entries))
	for i, e := range entries {
		refs[i] = cards.ref(e.Member, q.Partitions)
	}
	docs, err := r.Documents.Get(ctx, q.Generation(cards.view), refs)
	if err != nil {
		return nil, err
	}
	out := Page[json.RawMessage]{Items: make([]json.RawMessage, 0, len(docs))}
	for _, d := range docs {
		if d != nil {
			out.Items = append(out.Items, d)
		}
	}
	if more {
		out.Next = cursor(entries[len(entries)-1])
	}
	return json.Marshal(out)
}

// cursor names an entry in a URL.
func cursor(e view.Entry) string {
	return base64.RawURLEncoding.EncodeToString([]byte(e.Sort + "\x00" + e.Member))
}

func parseCursor(s string) (*view.Entry, error) {
	if s == "" {
		return nil, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(s)
	sort, member, ok := strings.Cut(string(text), "\x00")
	if err != nil || !ok {
		return nil, fmt.Errorf("%w: after %.80q: want the next of the page before", framework.ErrInvalid, s)
	}
	return &view.Entry{Sort: sort, Member: member}, nil
}

// sortable writes a time so that texts order as times do, to the nanosecond.
func sortable(t time.Time) string { return fmt.Sprintf("%016x", uint64(t.UnixNano())) }

// entriesOf are a feed's entries on one partition, as far as they are not written
// yet.
type entriesOf struct {
	sink
	adds []view.Entry
}

// Open takes the part of the store.
func (p *entriesOf) Open(ctx context.Context) (int64, error) {
	p.adds = nil
	return p.sink.Open(ctx)
}

// Put adds an entry.
func (p *entriesOf) Put(_ *stream.Element, e view.Entry) error {
	p.adds = append(p.adds, e)
	return nil
}

// Pending returns how many entries wait.
func (p *entriesOf) Pending() int { return len(p.adds) }

// Batch takes the entries.
func (p *entriesOf) Batch(next int64) (func(context.Context) error, error) {
	b := &view.Batch{Adds: p.adds}
	p.adds = nil
	return func(ctx context.Context) error { return p.write(ctx, b, next) }, nil
}

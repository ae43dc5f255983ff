package projections

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework"
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
	if (f.Place == nil) == (f.Places == nil) || f.Cards == nil {
		return fmt.Errorf("feed %q: set Place and Cards, or Places and Cards", f.Name)
	}
	return checkCards("feed "+f.Name, f.Cards)
}

func checkCards(of string, cards Cards) error {
	if c := cards.cards(); c.kind == "" && !c.keyed {
		return fmt.Errorf("%s: Cards must be a view of one aggregate type, or one with Key", of)
	}
	return nil
}

func (f *Feed[E]) register(app *framework.App) error {
	if err := f.check(); err != nil {
		return err
	}
	app.AddView(framework.View{Name: f.Name, Version: f.Version, Kind: framework.Feed, Item: f.Cards.item(),
		Reads:    f.Cards.reads(),
		Topology: f.topology, Shuffle: sets, Partition: setPartition, Answer: f.page, Drop: dropSets, Origins: f.origins()})
	return nil
}

func (f *Feed[E]) origins() *framework.Origins {
	if f.Places != nil {
		return placingOrigins(f.placings(), shownAt)
	}
	return entryOrigins(f.read)
}

func (f *Feed[E]) placings() func(*partition.Event, *[]placing) (bool, error) {
	return placingsBy("feed "+f.Name+": Places", f.From, f.Places, Place.placing)
}

// topology declares how entries come from the events to their sets.
func (f *Feed[E]) topology(at framework.Following) *stream.Topology {
	if f.Places != nil {
		return spread(at, f.placings(), false)
	}
	t, placed := topology(at, f.read)
	trace(at, placed)
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
	p, err := place.placing()
	if err == nil && p.op == opRemove {
		err = errors.New("Place.Remove is for Places")
	}
	if err != nil {
		return false, fmt.Errorf("feed %s: %w", f.Name, err)
	}
	*v = standsAt(p.order).entry(p.set, p.member)
	return true, nil
}

func (p Place) placing() (placing, error) {
	out := placing{op: opPlace, set: p.Set, member: p.Key}
	switch {
	case p.Set == "" || p.Key == "" || len(p.Set) > view.MaxKey || len(p.Key) > view.MaxKey:
		return out, fmt.Errorf("Place.Set and Place.Key have %d and %d bytes, want 1 to %d", len(p.Set), len(p.Key), view.MaxKey)
	case p.Remove:
		out.op = opRemove
	case p.At.UnixNano() < 0:
		return out, fmt.Errorf("Place.At is %v, want 1970 or later", p.At)
	default:
		out.order = uint64(p.At.UnixNano())
	}
	return out, nil
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
	entries, err := r.Documents.Page(ctx, q.Generation(f.Name), []view.Ref{held(&q, f.Name, setRef(q))}, after, q.Limit+1)
	if err != nil {
		return nil, err
	}
	more := len(entries) > q.Limit
	if more {
		entries = entries[:q.Limit]
	}
	docs, err := shown(ctx, r, q, f.Cards, entries)
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

// shown returns the documents that entries stand for, nil where there is none.
func shown(ctx context.Context, r framework.Resources, q framework.Query, of Cards, entries []view.Entry) ([][]byte, error) {
	cards := of.cards()
	refs, keys := make([]view.Ref, len(entries)), make([]string, len(entries))
	for i, e := range entries {
		refs[i], keys[i] = held(&q, cards.view, cards.ref(e.Member, q.Partitions)), e.Member
	}
	docs, err := r.Documents.Get(ctx, q.Generation(cards.view), refs)
	if err == nil {
		err = of.fill(ctx, r, q, keys, docs)
	}
	return docs, err
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

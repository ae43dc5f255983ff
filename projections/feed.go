package projections

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
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
	app.AddView(framework.View{Name: f.Name, Kind: framework.Feed, Item: f.Cards.item(), Reads: []string{f.Cards.cards().view},
		Operator: func(r framework.Resources, g view.Generation) stream.Operator {
			return &operator{f.Name, func(n int32) stream.Part {
				return &feedPart[E]{feed: f, sink: sink{store: r.Documents, generation: g, number: n}}
			}}
		},
		Answer: f.page,
	})
	return nil
}

// page merges the parts of a set and fetches the cards: two round trips.
func (f *Feed[E]) page(ctx context.Context, r framework.Resources, q framework.Query) ([]byte, error) {
	after, err := parseCursor(q.After)
	if err != nil {
		return nil, err
	}
	entries, err := r.Documents.Page(ctx, q.Generation(f.Name), parts(q.Partitions, q.Key), after, q.Limit+1)
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

// feedPart is a feed's entries on one partition. It has no state: folding an
// event twice places the same entry.
type feedPart[E any] struct {
	sink
	feed *Feed[E]
}

// Open takes the part of the store.
func (p *feedPart[E]) Open(ctx context.Context) (int64, error) { return p.open(ctx) }

// Fold places what e places.
func (p *feedPart[E]) Fold(e *partition.Event) error {
	fact, ok, err := decode(p.feed.From, e)
	if !ok {
		return err
	}
	var place Place
	if err := guard(func() { place, ok = p.feed.Place(fact) }); err != nil || !ok {
		return err
	}
	switch {
	case place.At.UnixNano() < 0:
		return fmt.Errorf("feed %s: Place.At is %v, want 1970 or later", p.feed.Name, place.At)
	case place.Set == "" || place.Key == "" || len(place.Set) > view.MaxKey || len(place.Key) > view.MaxKey:
		return fmt.Errorf("feed %s: Place.Set and Place.Key have %d and %d bytes, want 1 to %d", p.feed.Name, len(place.Set), len(place.Key), view.MaxKey)
	}
	p.batch.Adds = append(p.batch.Adds, view.Entry{Set: place.Set, Sort: sortable(place.At), Member: place.Key})
	return nil
}

// sortable writes a time so that texts order as times do, to the nanosecond.
func sortable(t time.Time) string { return fmt.Sprintf("%016x", uint64(t.UnixNano())) }

// Pending returns how many entries wait.
func (p *feedPart[E]) Pending() int { return len(p.batch.Adds) }

// Discard forgets the entries.
func (p *feedPart[E]) Discard() { p.clear() }

// Flush writes the entries.
func (p *feedPart[E]) Flush(ctx context.Context, next int64) error { return p.write(ctx, next) }

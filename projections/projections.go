// Package projections declares what follows recorded events: views, which are
// folds into documents that are ready to read, and effects.
//
//	var Cards = &projections.View[Card, tribe.Event]{
//		Name: "tribe-card",
//		From: tribe.Type.Stream(),
//		Fold: func(c Card, e projections.Event[tribe.Event]) Card {
//			switch fact := e.Fact.(type) {
//			case tribe.Founded:
//				c.ID, c.Name = e.ID, fact.Name
//			case tribe.Joined:
//				c.Members++
//			}
//			return c
//		},
//	}
//
// A [View] keeps a document per aggregate, in the document store or, with
// Search set, in the search store. A [Feed] keeps sets of documents of another view
// in the order of time, a [Ranking] in that of a score. A fold is pure: the framework runs it again from the first
// event whenever a store has lost what it wrote.
//
// An [Effect] acts on the world instead, once for each event and, after a crash,
// perhaps once more.
package projections

import (
	"context"
	"reflect"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/view"
)

// Event is a recorded event as a fold or an effect sees it.
type Event[E any] struct {
	Fact      E
	Aggregate string // the aggregate type's name
	ID        string // of the aggregate
	Version   uint64 // of the aggregate after this event
	Time      time.Time
	Actor     string
	EventID   event.ID // of the event itself
	Name      string   // the event's, as it is written today: such as "tribe.founded"
	Key       string   // of the document that Fold is to move; empty for what is no View's Fold
}

// View is a document of type D for each aggregate that From reads. Its key is
// the aggregate's id, or "type.id" where From merges several types; with Key set,
// a document for each key that Key returns.
//
// The view's tasks start from snapshots, which hold documents as JSON, and beside it
// what a [Unique] or [Top] counts by. Where that would not bring a D back as it was (a
// field that is not exported or left out, an interface, a slice with omitempty) they
// fold the log from its beginning instead.
type View[D, E any] struct {
	Name string // in URLs and store keys, for ever: [a-z][a-z0-9-]*
	// Version is to be raised with any change of what Fold makes of the same events;
	// default 1. Register the former View too as long as its generation is read: see
	// framework.Config.ReplaceViews, and doc/operating.md.
	Version int
	From    aggregates.Stream[E] // the events it is made of
	Fold    func(D, Event[E]) D  // moves an aggregate's document by one event; pure
	Gone    func(D) bool         // optional: a document that is to be deleted
	// Key returns the keys of the documents that an event moves, if these are not the
	// aggregate's own: of a tribe's event, say, the member. Optional; pure. Fold is
	// called once for each, with Event.Key; a key that is repeated counts once, none
	// moves nothing. At most MaxKeys, each of 1 to 512 bytes; over HTTP only those that
	// match framework.IDPattern can be asked for. The events of one aggregate come to a
	// document in their order, those of several in the order in which they met.
	Key func(Event[E]) []string

	// Search keeps the documents in the search store, with these fields of their JSON
	// indexed; the view is then asked by words, keywords and ranges, and sorted. With
	// other fields, or another kind of one, the index is another: raise Version.
	Search view.Fields
	// Sizes are filled in when a document is read, not when it is folded.
	Sizes []Size[D]
}

// MaxKeys is the most documents that one event may move, see View.Key.
const MaxKeys = 1000

// Size puts the size of a feed's or ranking's set, the one with the document's key,
// into the document.
type Size[D any] struct {
	Of  Set
	Put func(doc *D, size int64)
}

// Set is a feed or ranking, whatever its events; *Feed and *Ranking are.
type Set interface{ feedName() string }

// Feed is sorted sets of keys, shown as pages of another view's documents,
// greatest first. Set Place or Places.
type Feed[E any] struct {
	Name    string
	Version int // of Place or Places, as View's of Fold
	From    aggregates.Stream[E]
	Cards   Cards // the view whose documents are shown; those it does not have are left out

	// Place says where an event puts what, if it does; pure. An entry stays for ever,
	// once however often it is placed; a key that is placed at two times is there twice.
	Place func(Event[E]) (Place, bool)
	// Places says what an event puts where, and what it takes away; pure. A set holds
	// a key once: placed again, it moves to the later Place's time. Each entry is kept
	// in the memory of the process that folds its set, beside the store. At most
	// MaxKeys an event.
	Places func(Event[E]) []Place
}

// Place puts a key of the feed's Cards into a set.
type Place struct {
	Set    string    // 1 to 512 bytes
	Key    string    // 1 to 512 bytes
	At     time.Time // the order; equal ones are ordered by Key. Must not be before 1970
	Remove bool      // of Places: take the key out of the set instead, wherever it is; At does not matter
}

// Ranking is sets of keys ordered by a score, shown as pages of another view's
// documents, the greatest score first and equal ones by key, from the greatest down.
// A set holds a key once, with the last score that it was given. Each entry is kept in
// the memory of the process that folds its set, beside the store.
//
// Its answer is a Page of Ranked. With framework.Query's From it begins with the entry
// of that key.
type Ranking[E any] struct {
	Name    string
	Version int // of Scores, as View's of Fold
	From    aggregates.Stream[E]
	Scores  func(Event[E]) []Score // what an event does to scores, at most MaxKeys; pure
	Cards   Cards                  // the view whose documents are shown; an entry that it does not have is shown without
}

// Score is what an event does to the score of a key in a set.
type Score struct {
	Set    string  // Set and Key have 1 to 510 bytes together
	Key    string  // of the ranking's Cards
	Score  float64 // is its score from now on; a number, and finite
	Add    bool    // Score is added to what it has instead, to 0 if it is not there
	Remove bool    // take the key out of the set instead; Score does not matter
}

// Ranked is an entry of a Ranking as it is answered.
type Ranked[D any] struct {
	Rank  int64   `json:"rank"` // from 1, as of the reading
	Key   string  `json:"key"`
	Score float64 `json:"score"`
	Item  D       `json:"item"` // the document; null if the Cards do not have it
}

// Cards is a view of documents, whatever their type; *View is one, unless it has
// Search set or merges several aggregate types.
type Cards interface {
	cards() source
	item() reflect.Type
	reads() []framework.Read
	fill(ctx context.Context, r framework.Resources, q framework.Query, keys []string, docs [][]byte) error
}

// Registered is what Register takes: *View, *Feed, *Ranking or *Effect.
type Registered interface {
	register(*framework.App) error
}

// Register adds views and effects to an application. It panics, with the fix, on
// a declaration that cannot work.
func Register(app *framework.App, declared ...Registered) {
	for _, d := range declared {
		if err := d.register(app); err != nil {
			panic(err)
		}
	}
}

// Page is the answer of a feed and, with D a Ranked, of a ranking.
type Page[D any] struct {
	Items []D    `json:"items"`
	Next  string `json:"next"` // pass as after to get the next page; empty at the end
}

// Found is the answer of a search.
type Found[D any] struct {
	Items []D    `json:"items"`
	Total int64  `json:"total"` // all that match, wherever the page begins
	Next  string `json:"next"`  // pass as after to get the next page; empty at the end
}

var (
	_ Registered = (*View[int, int])(nil)
	_ Registered = (*Feed[int])(nil)
	_ Registered = (*Ranking[int])(nil)
	_ Registered = (*Effect[int])(nil)
	_ Cards      = (*View[int, int])(nil)
	_ Set        = (*Feed[int])(nil)
	_ Set        = (*Ranking[int])(nil)
)

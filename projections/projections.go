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
// Search set, in the search store. A [Feed] keeps sorted sets of documents of
// another view. A fold is pure: the framework runs it again from the first
// event whenever a store has lost what it wrote.
//
// An [Effect] acts on the world instead, once for each event and, after a crash,
// perhaps once more.
package projections

import (
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
}

// View is a document of type D for each aggregate that From reads. Its key is
// the aggregate's id, or "type.id" where From merges several types.
//
// The view's tasks start from snapshots, which hold documents as JSON. Where that
// would not bring a D back as it was (a field that is not exported or left out, an
// interface, a slice with omitempty) they fold the log from its beginning instead.
type View[D, E any] struct {
	Name string // in URLs and store keys, for ever: [a-z][a-z0-9-]*
	// Version is to be raised with any change of what Fold makes of the same events,
	// default 1: the view is then made anew, in a generation of this number.
	Version int
	From    aggregates.Stream[E] // the events it is made of
	Fold    func(D, Event[E]) D  // moves an aggregate's document by one event; pure
	Gone    func(D) bool         // optional: a document that is to be deleted

	// Search keeps the documents in the search store, with these fields indexed;
	// the view is then asked by words, and by its keyword fields.
	Search view.Fields
	// Sizes are filled in when a document is read, not when it is folded.
	Sizes []Size[D]
}

// Size puts the size of a feed's set, the one with the document's key, into the
// document.
type Size[D any] struct {
	Of  Set
	Put func(doc *D, size int64)
}

// Set is a feed, whatever its events; *Feed is one.
type Set interface{ feedName() string }

// Feed is sorted sets of keys, shown as pages of another view's documents,
// greatest first. An event may place a key in a set, once however often it is
// folded.
type Feed[E any] struct {
	Name    string
	Version int // of Place, as View's of Fold
	From    aggregates.Stream[E]
	Place   func(Event[E]) (Place, bool) // where an event puts what, if it does; pure
	Cards   Cards                        // the view whose documents are shown; those it does not have are left out
}

// Place puts a key of the feed's Cards into a set.
type Place struct {
	Set string
	Key string
	At  time.Time // the order; equal ones are ordered by Key. Must not be before 1970
}

// Cards is a view of documents, whatever their type; *View is one, unless it has
// Search set or merges several aggregate types.
type Cards interface {
	cards() source
	item() reflect.Type
}

// Registered is what Register takes: *View, *Feed or *Effect.
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

// Page is the answer of a feed.
type Page[D any] struct {
	Items []D    `json:"items"`
	Next  string `json:"next"` // pass as after to get the next page; empty at the end
}

// Found is the answer of a search.
type Found[D any] struct {
	Items []D   `json:"items"`
	Total int64 `json:"total"`
}

var (
	_ Registered = (*View[int, int])(nil)
	_ Registered = (*Feed[int])(nil)
	_ Registered = (*Effect[int])(nil)
	_ Cards      = (*View[int, int])(nil)
	_ Set        = (*Feed[int])(nil)
)

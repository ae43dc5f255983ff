// Package book is the books of a small library: each is added once, and lent to
// one reader at a time.
package book

import (
	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework/event"
)

// Event is a fact about a book. It is sealed: these are all there are.
type Event interface{ book() }

// Added says that the library has the book from now on.
type Added struct {
	Title string `json:"title"`
}

// Lent says that a reader has taken the book home.
type Lent struct {
	Reader string `json:"reader"`
}

// Returned says that the book is back.
type Returned struct{}

func (Added) book()    {}
func (Lent) book()     {}
func (Returned) book() {}

// Book is what decisions need to know, and no more.
type Book struct {
	Title  string `json:"title"`  // empty: the library does not have it
	Reader string `json:"reader"` // who has it at home; empty: it is on its shelf
}

// Evolve returns the book after a fact.
func (b Book) Evolve(e Event) Book {
	switch e := e.(type) {
	case Added:
		b.Title = e.Title
	case Lent:
		b.Reader = e.Reader
	case Returned:
		b.Reader = ""
	}
	return b
}

// Add gives the library a book.
type Add struct {
	Title string `json:"title" minLength:"1" maxLength:"200"`
	aggregates.Meta
}

// Lend gives the caller the book.
type Lend struct{ aggregates.Meta }

// Return brings it back.
type Return struct{ aggregates.Meta }

// Add takes an id that no book has yet.
func (b Book) Add(c Add) ([]Event, error) {
	if b.Title != "" {
		return nil, aggregates.Reject("the library has book %s already", c.ID())
	}
	return []Event{Added{c.Title}}, nil
}

// Lend rejects whoever comes second, and does nothing for who has it.
func (b Book) Lend(c Lend) ([]Event, error) {
	switch {
	case b.Title == "":
		return nil, aggregates.Reject("there is no book %s", c.ID())
	case b.Reader == c.By():
		return nil, nil
	case b.Reader != "":
		return nil, aggregates.Reject("%s has it until it is returned", b.Reader)
	}
	return []Event{Lent{c.By()}}, nil
}

// Return is for the reader who has it.
func (b Book) Return(c Return) ([]Event, error) {
	if b.Reader != c.By() {
		return nil, aggregates.Forbid("only who has a book may return it")
	}
	return []Event{Returned{}}, nil
}

// Type is the aggregate type. The names of its events are in the log for ever.
var Type = &aggregates.Type[Book, Event]{Name: "book", Evolve: Book.Evolve,
	Events: event.Types[Event]{
		"book.added":    event.As[Event, Added](),
		"book.lent":     event.As[Event, Lent](),
		"book.returned": event.As[Event, Returned](),
	}}

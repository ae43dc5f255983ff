// Package tribe is the groups that people found, join and leave.
package tribe

import (
	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework/event"
)

// Event is a fact about a tribe. It is sealed: these are all there are.
type Event interface{ tribe() }

// Founded says that a tribe exists from now on. It has no member yet.
type Founded struct {
	Name string `json:"name"`
}

// Joined says that a user has become a member.
type Joined struct {
	Member string `json:"member"`
}

// Left says that a user is no longer a member.
type Left struct {
	Member string `json:"member"`
}

func (Founded) tribe() {}
func (Joined) tribe()  {}
func (Left) tribe()    {}

// Tribe is what decisions need to know of a tribe. Its history is folded in
// place: the set of members is the state's own.
type Tribe struct {
	Name    string          `json:"name"`    // empty: not founded
	Members map[string]bool `json:"members"` // a set
}

// Evolve returns the tribe after a fact.
func (t Tribe) Evolve(e Event) Tribe {
	switch e := e.(type) {
	case Founded:
		t.Name, t.Members = e.Name, make(map[string]bool)
	case Joined:
		t.Members[e.Member] = true
	case Left:
		delete(t.Members, e.Member)
	}
	return t
}

// Found makes a tribe. Its founder joins it like anybody else.
type Found struct {
	Name string `json:"name" minLength:"1" maxLength:"100"`
	aggregates.Meta
}

// Join makes the caller a member.
type Join struct{ aggregates.Meta }

// Leave ends the caller's membership.
type Leave struct{ aggregates.Meta }

// Found takes an id that no tribe has yet.
func (t Tribe) Found(c Found) ([]Event, error) {
	if t.Name != "" {
		return nil, aggregates.Reject("tribe %s exists already", c.ID())
	}
	return []Event{Founded{c.Name}}, nil
}

// Join does nothing for a member.
func (t Tribe) Join(c Join) ([]Event, error) {
	switch {
	case t.Name == "":
		return nil, aggregates.Reject("there is no tribe %s", c.ID())
	case t.Members[c.By()]:
		return nil, nil
	}
	return []Event{Joined{c.By()}}, nil
}

// Leave does nothing for who is no member, of an unknown tribe either.
func (t Tribe) Leave(c Leave) ([]Event, error) {
	if !t.Members[c.By()] {
		return nil, nil
	}
	return []Event{Left{c.By()}}, nil
}

// Type is the aggregate type. The names of its events are in the log for ever:
// a tribe was "created" before it was "founded".
var Type = &aggregates.Type[Tribe, Event]{Name: "tribe", Evolve: Tribe.Evolve,
	Events: event.Types[Event]{
		"tribe.founded": event.As[Event, Founded](),
		"tribe.created": event.Was[Event, Founded]("tribe.founded"),
		"tribe.joined":  event.As[Event, Joined](),
		"tribe.left":    event.As[Event, Left](),
	}}

// Package user is the people of Drivetribe: its facts, its one command, and the
// decision on it. Like every domain package it imports aggregates and event only,
// and its tests need neither a framework nor a server.
package user

import (
	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework/event"
)

// Event is a fact about a user. It is sealed: these are all there are.
type Event interface{ user() }

// Registered says that a user exists from now on.
type Registered struct {
	Name string `json:"name"`
}

func (Registered) user() {}

// User is what decisions need to know of a user.
type User struct {
	Name string `json:"name"` // empty: not registered
}

// Evolve returns the user after a fact.
func (u User) Evolve(e Event) User {
	switch e := e.(type) {
	case Registered:
		u.Name = e.Name
	}
	return u
}

// Register makes the caller a user, under the caller's own id.
type Register struct {
	Name string `json:"name" minLength:"1" maxLength:"100" doc:"Shown beside what the user writes"`
	aggregates.Meta
}

// Register allows everyone to register once, and nobody to register another.
func (u User) Register(c Register) ([]Event, error) {
	switch {
	case c.By() != c.ID():
		return nil, aggregates.Forbid("%s cannot register %s: everyone registers for oneself", c.By(), c.ID())
	case u.Name != "":
		return nil, aggregates.Reject("user %s is registered already", c.ID())
	}
	return []Event{Registered{c.Name}}, nil
}

// Type is the aggregate type. The names of its events are in the log for ever.
var Type = &aggregates.Type[User, Event]{Name: "user", Evolve: User.Evolve,
	Events: event.Types[Event]{
		"user.registered": event.As[Event, Registered](),
	}}

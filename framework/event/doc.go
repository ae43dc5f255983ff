// Package event holds what a log is made of: facts, their envelopes, and the
// names under which they are kept for ever. It does no I/O.
//
// A fact is an ordinary Go value of a sealed interface; [Types] says under
// which name each is written and which older names and shapes are still read:
//
//	type Event interface{ tribe() }
//	type Founded struct{ Name string `json:"name"` }
//	func (Founded) tribe() {}
//
//	var Types = event.Types[Event]{
//		"tribe.founded": event.As[Event, Founded](),
//		"tribe.created": event.Was[Event, Founded]("tribe.founded"),
//	}
package event

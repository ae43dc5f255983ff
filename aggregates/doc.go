// Package aggregates is how a domain is written: what a kind of aggregate is
// called, which events it has, and how they move its state. A domain package
// imports this and framework/event, and nothing else of ours:
//
//	var Tribes = &aggregates.Type[Tribe, Event]{
//		Name:   "tribe",
//		Evolve: Tribe.Evolve,
//		Events: event.Types[Event]{"tribe.founded": event.As[Event, Founded]()},
//	}
//
//	type Found struct {
//		Name string `json:"name" minLength:"1"`
//		aggregates.Meta
//	}
//
//	func (t Tribe) Found(c Found) ([]Event, error) {
//		if t.Name != "" {
//			return nil, aggregates.Reject("tribe %q exists", c.ID())
//		}
//		return []Event{Founded{c.Name}}, nil
//	}
//
// Evolve and decisions are pure: no I/O, no clock, no randomness; what they
// need of these is in the command's [Meta]. A test folds events with Evolve,
// makes a Meta with [Given], and compares what the decision returns.
package aggregates

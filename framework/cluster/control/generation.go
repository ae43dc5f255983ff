package control

import (
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Limits of what a fold keeps. A record that would go beyond the first two has no
// effect; of the others the oldest is forgotten.
const (
	MaxViews    = 1024 // views that have generations
	MaxKept     = 16   // generations of a view that are not retired
	MaxRetired  = 100  // generations of a view that are
	MaxSwitches = 100  // of a view
	MaxCuts     = 64   // that stand, over all views
	MaxReleased = 256  // cuts that do not any more
)

// Generation is a complete copy of a view, made by one version of its fold. As a
// record it says that the copy is to be built, and takes effect only if Number is one
// above the view's greatest so far, or is 1 or more and the view has none.
type Generation struct {
	View    string    `json:"view"`
	Number  int       `json:"number"`
	Version int       `json:"version"`        // of the fold, 1 or more
	Rate    int       `json:"rate,omitempty"` // events a second over the whole application while it is building; 0: no limit
	By      string    `json:"by,omitempty"`   // who wants it
	At      time.Time `json:"at"`

	Retired  *Retired  `json:"-"` // it is given up; nil: it is not
	Dropped  bool      `json:"-"` // and what the stores held of it is deleted
	Shadowed Shadowing `json:"-"` // what it is asked beside the one that is read
}

// Shadowing is what a generation that is not read is asked beside the one that is.
type Shadowing struct {
	Share float64 // of the view's queries, 0 to 1; 0: none
	Turn  int     // how often it has changed
	Begun int     // the turn by which it became more than 0 last; 0: it never did
}

// Switch says which generation of a view is read. It takes effect only if Turn is one
// above the last one's, From the one that is read before, and To another one that is
// there and not retired. So a copy of it that comes late, when the view has been
// switched back, has no effect.
type Switch struct {
	View   string    `json:"view"`
	Turn   int       `json:"turn"` // counts the view's switches, from 1
	From   int       `json:"from"` // 0: none was read yet
	To     int       `json:"to"`
	Forced bool      `json:"forced,omitempty"` // whatever a comparison says
	Back   bool      `json:"back,omitempty"`   // it undoes the switch before it
	Reason string    `json:"reason,omitempty"` // of a forced one
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at"`
}

// Retired says that a generation is given up. It takes effect only if that is there,
// is not read and is not retired yet.
type Retired struct {
	View   string    `json:"view"`
	Number int       `json:"number"`
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at"`
}

// Dropped says that what the stores held of a retired generation is deleted. It takes
// effect only if it is retired.
type Dropped struct {
	View   string `json:"view"`
	Number int    `json:"number"`
}

// Cut says that every process is to hold the tasks that read the events for these
// generations at these offsets, so that they can be compared: until it is released,
// or Until has passed by the process's clock. It takes effect only if the generations
// are there and not retired, and no cut has had its ID before.
type Cut struct {
	View        string          `json:"view"`
	ID          event.ID        `json:"id"` // drawn at random
	Generations []int           `json:"generations"`
	At          map[int32]int64 `json:"at"` // by partition: the offset of the first record that they do not take
	Until       time.Time       `json:"until"`
}

// Held says that a cut has stopped what follows a partition for one of its
// generations: all events below Next are folded, and what they make is in the shuffle
// or the store; nothing beyond is, until the cut ends. It takes effect only if the cut
// stands and is of that generation and partition, and Next is not below its offset.
type Held struct {
	ID         event.ID `json:"id"` // of the cut
	Generation int      `json:"generation"`
	Partition  int32    `json:"partition"`
	Next       int64    `json:"next"`

	// Derived is the end of the generation's shuffle at the same partition, as far as it
	// is folded and written; 0: nothing is, or there is no shuffle. Parked is how many
	// keys it holds back of both, as of Next and Derived.
	Derived int64 `json:"derived,omitempty"`
	Parked  int   `json:"parked,omitempty"`
}

// Released says that a cut is over. It takes effect only if the cut stands.
type Released struct {
	ID event.ID `json:"id"`
}

// Shadow says which share of a view's queries a generation is to be asked too, beside
// the one that is read. It takes effect only if that is there, another one is read, it is
// not retired, Turn is one above the last one's, and Share another one. A switch of
// the view, back too, ends all: it sets the shares of its generations to 0, by a turn of each
// that has one; so does retiring, of the one that is retired. So a copy that comes late has
// no effect.
type Shadow struct {
	View   string    `json:"view"`
	Number int       `json:"number"`
	Turn   int       `json:"turn"`  // counts the changes of the generation's share, from 1
	Share  float64   `json:"share"` // 0 to 1; 0: none any more
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at"`
}

// Record returns the record by which a generation is to be built.
func (g Generation) Record() eventlog.Record { return record(KindGeneration, g) }

// Record returns the record of the switch.
func (s Switch) Record() eventlog.Record { return record(KindSwitch, s) }

// Record returns the record by which a generation is retired.
func (r Retired) Record() eventlog.Record { return record(KindRetired, r) }

// Record returns the record by which a generation is said to be deleted.
func (d Dropped) Record() eventlog.Record { return record(KindDropped, d) }

// Record returns the record of the cut.
func (c Cut) Record() eventlog.Record { return record(KindCut, c) }

// Record returns the record by which a generation is said to be held.
func (h Held) Record() eventlog.Record { return record(KindHeld, h) }

// Record returns the record by which a cut is released.
func (r Released) Record() eventlog.Record { return record(KindReleased, r) }

// Record returns the record by which a generation is to be asked a share of the queries.
func (s Shadow) Record() eventlog.Record { return record(KindShadow, s) }

package aggregates

import (
	"errors"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

// Meta is what a command is given besides its body: embed it in the command's
// struct. No caller can set it, and it shows in no schema. The zero Meta says
// nobody, never, nothing.
type Meta struct{ given *given }

type given struct {
	by      string
	at      time.Time
	id      string
	command event.ID
	ids     int
}

// Given makes a Meta: who asks, when, for which aggregate id, by which command.
// The framework does it for a running application, a test by itself.
func Given(by string, at time.Time, id string, command event.ID) Meta {
	return Meta{&given{by: by, at: at, id: id, command: command}}
}

// By returns the caller, as authenticated.
func (m Meta) By() string {
	if m.given == nil {
		return ""
	}
	return m.given.by
}

// At returns the time of the command, UTC, which is the event time of what it
// causes.
func (m Meta) At() time.Time {
	if m.given == nil {
		return time.Time{}
	}
	return m.given.at
}

// ID returns the id of the aggregate that the command is for.
func (m Meta) ID() string {
	if m.given == nil {
		return ""
	}
	return m.given.id
}

// NewID returns a new id, another one at each call, also of a copy. When the
// framework makes a request's decision anew, it gets the same ones.
func (m Meta) NewID() event.ID {
	if m.given == nil {
		panic("aggregates: NewID on a command without Meta; make one with aggregates.Given")
	}
	m.given.ids++
	return m.given.command.Derive(m.given.ids, m.given.at)
}

func (m *Meta) bind(to Meta) { *m = to }

// Bind gives m to cmd, a pointer to a struct that embeds Meta, and reports
// whether it is one.
func Bind(cmd any, m Meta) bool {
	c, ok := cmd.(interface{ bind(Meta) })
	if ok {
		c.bind(m)
	}
	return ok
}

// Rejection is a decision's "no": final, and shown to the caller.
type Rejection struct {
	Reason    string
	Forbidden bool // the caller, rather than the state, is the reason
}

func (r *Rejection) Error() string { return r.Reason }

// Rejected returns what is in r; the framework knows a rejection by this method.
func (r *Rejection) Rejected() (reason string, forbidden bool) { return r.Reason, r.Forbidden }

// Reject returns a *Rejection with a reason for the caller's eyes, formatted as
// by fmt.Sprintf. Over HTTP it is a 422.
func Reject(format string, args ...any) error {
	return &Rejection{Reason: fmt.Sprintf(format, args...)}
}

// Forbid is Reject for what this caller may not do. Over HTTP it is a 403.
func Forbid(format string, args ...any) error {
	return &Rejection{Reason: fmt.Sprintf(format, args...), Forbidden: true}
}

// IsRejection reports whether err is a rejection.
func IsRejection(err error) bool {
	var r *Rejection
	return errors.As(err, &r)
}

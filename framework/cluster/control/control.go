// Package control is what the records of an application's control log mean: which
// processes there are, at which addresses, which of them owns which partition, and
// which generations of the views are built, read and retired. It is pure: records in,
// a catalogue out.
//
//	fold := control.New()
//	for _, r := range records {
//		if err := fold.Step(r); err != nil {
//			return err // a newer version wrote it
//		}
//	}
//	owner, ok := fold.Owner(3)
//	member, ok := fold.Member(owner.Process)
//
// What it says of owners are hints. Who may decide for a partition is settled in the
// partition itself, see package partition; a process that is asked for what it does
// not own says so. What it says of generations is how it is: each of their records
// takes effect only where things are as who wrote it believed, so that two at once, or
// one that comes again, do no harm.
package control

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Format is the version of the records that this code writes. Readers take this
// one and every earlier one.
const Format = 1

// Kind says what a record of a control log is.
type Kind byte

// The kinds of record. Their numbers are part of the format, never change, and are
// none of those that an events partition has.
const (
	KindMember Kind = 65 // a process says that it is there
	KindLeft   Kind = 66 // a process says that it ends
	KindOwner  Kind = 67 // a process says that its claim of a partition is valid

	KindGeneration Kind = 68 // a generation of a view is to be built
	KindSwitch     Kind = 69 // another generation is read
	KindRetired    Kind = 70 // a generation is given up
	KindDropped    Kind = 71 // and nothing is left of it
	KindCut        Kind = 72 // generations are to be held where they can be compared
	KindReleased   Kind = 73 // and need not be any more
	KindHeld       Kind = 74 // one is held, at one partition
	KindShadow     Kind = 75 // a share of the queries is to be asked of one that is not read, too
)

// Limits of what a record may hold. One that is beyond them has no effect.
const (
	MaxText      = 256                    // bytes of each text
	MaxPartition = eventlog.MaxPartitions // one above the highest partition
)

// Member is a process of an application.
type Member struct {
	Process  event.ID  `json:"process"`           // drawn at random when it started; claims name it
	Instance string    `json:"instance"`          // its name over restarts; empty: none
	Address  string    `json:"address,omitempty"` // URL of its API, as Address gives it; empty: it gives none
	Host     string    `json:"host,omitempty"`    // name of its machine, which a loopback address needs
	Started  time.Time `json:"started"`

	// Views are the versions of each view whose folds it carries, ascending. A process
	// of before there were generations says none.
	Views map[string][]int `json:"views,omitempty"`
}

// Owner is who owns a partition.
type Owner struct {
	Partition int32    `json:"partition"`
	Epoch     uint64   `json:"epoch"` // of its claim, 1 or more
	Process   event.ID `json:"process"`
}

// left is the payload of KindLeft.
type left struct {
	Process event.ID `json:"process"`
}

// Record returns the record by which m says that it is there.
func (m Member) Record() eventlog.Record { return record(KindMember, m) }

// Left returns the record by which m says that it ends.
func (m Member) Left() eventlog.Record { return record(KindLeft, left{m.Process}) }

// Record returns the record by which a process says that it owns a partition, once
// it has read its claim back as valid.
func (o Owner) Record() eventlog.Record { return record(KindOwner, o) }

func record(k Kind, payload any) eventlog.Record {
	value, err := json.Marshal(payload)
	if err != nil {
		panic(fmt.Errorf("control: encode a record of kind %d: %w", k, err)) // only a time beyond the year 9999 cannot be
	}
	return eventlog.Record{Header: []byte{Format, byte(k)}, Value: value}
}

// kindOf reads format and kind. Errors: event.ErrForeign and event.ErrNewer, wrapped.
func kindOf(header []byte) (Kind, error) {
	switch {
	case len(header) < 2 || header[0] == 0:
		return 0, fmt.Errorf("%w: header of %d bytes", event.ErrForeign, len(header))
	case header[0] > Format:
		return 0, fmt.Errorf("%w: format %d of the control log, this program reads up to %d", event.ErrNewer, header[0], Format)
	case len(header) > 2 || header[1] < byte(KindMember):
		return 0, fmt.Errorf("%w: kind %d, %d bytes", event.ErrForeign, header[1], len(header))
	case header[1] > byte(KindShadow):
		return 0, fmt.Errorf("%w: kind %d in the control log", event.ErrNewer, header[1])
	}
	return Kind(header[1]), nil
}

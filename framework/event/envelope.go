package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Format is the version of the record header that this code writes. Readers
// take this one and every earlier one.
const Format = 1

// Kind says what a record of an events partition is.
type Kind byte

// The kinds of record. Their numbers are part of the format and never change.
const (
	KindEvent Kind = 1 // a fact, one of a commit
	KindClaim Kind = 2 // a process takes ownership of the partition
	KindProbe Kind = 3 // proof that its sender was the owner; no effect for any reader

	KindDerived     Kind = 4 // what a fold emitted, in a shuffle topic; see package partition
	KindUnversioned Kind = 5 // what is KindPublished now, without the fold version; not written any more
	KindHeartbeat   Kind = 6 // an owner says that no event is older; no effect on commits
	KindPublished   Kind = 7 // what a fold published, in a topic for others; see stream.Origin
	kindLast             = KindPublished
)

// Errors of reading a header.
var (
	// ErrForeign is a header that no version of this format wrote: another
	// program's record, or a mangled one.
	ErrForeign = errors.New("not a drivetrain record")
	// ErrNewer is a header of a later format or an unknown kind. A reader must
	// stop at it, since skipping it could change what later records mean.
	ErrNewer = errors.New("written by a newer version of drivetrain")
)

// KindOf reads format and kind from a header. Its errors are ErrForeign and
// ErrNewer, wrapped.
func KindOf(header []byte) (Kind, error) {
	switch {
	case len(header) < 2 || header[0] == 0:
		return 0, fmt.Errorf("%w: header of %d bytes", ErrForeign, len(header))
	case header[0] > Format:
		return 0, fmt.Errorf("%w: format %d, this program reads up to %d", ErrNewer, header[0], Format)
	case header[1] < byte(KindEvent) || header[1] > byte(kindLast):
		return 0, fmt.Errorf("%w: kind %d", ErrNewer, header[1])
	}
	return Kind(header[1]), nil
}

// Envelope is an event's metadata as recorded, in the record's one header.
type Envelope struct {
	ID          ID        // the event's own, a UUIDv7
	Command     ID        // of the command that caused it
	Digest      uint64    // of the command's name and body, to tell a retry from another command under the same key
	Type        string    // name in the log, such as "tribe.founded"
	Version     uint64    // of its aggregate after this event; the first is 1
	Epoch       uint64    // the owner's term in which it was decided
	Index       int       // place within its commit, from 0
	Count       int       // events in its commit, 1 to MaxCommit
	Time        time.Time // event time, UTC, to the nanosecond; from 1678 to 2261, as for time.Time.UnixNano
	Actor       string    // who caused it; empty if nobody is known
	Correlation ID        // shared by all that one request set off; zero: none
	Causation   ID        // the event or command that led to this one; zero: none
	Tenant      string    // reserved
	Subject     string    // reserved: the person whose erasable key encrypts the payload
}

// Limits of an envelope.
const (
	MaxCommit = 1 << 12 // events that one command may cause
	MaxName   = 256     // bytes of each text in an envelope
)

// The fixed part: format, kind, four IDs, digest, time.
const fixed = 2 + 4*16 + 8 + 8

// Append appends the header for e to b and returns it. It does not check e: one
// without a type, with a text above MaxName, or whose place lies outside its
// commit reads back as ErrForeign.
func (e *Envelope) Append(b []byte) []byte {
	const numbers = 8 * binary.MaxVarintLen64 // four and four lengths, at most
	b = slices.Grow(b, fixed+numbers+len(e.Type)+len(e.Actor)+len(e.Tenant)+len(e.Subject))
	b = append(b, Format, byte(KindEvent))
	b = append(b, e.ID[:]...)
	b = append(b, e.Command[:]...)
	b = append(b, e.Correlation[:]...)
	b = append(b, e.Causation[:]...)
	b = binary.BigEndian.AppendUint64(b, e.Digest)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time.UnixNano()))
	b = binary.AppendUvarint(b, e.Version)
	b = binary.AppendUvarint(b, e.Epoch)
	b = binary.AppendUvarint(b, uint64(e.Index))
	b = binary.AppendUvarint(b, uint64(e.Count))
	for _, s := range [4]string{e.Type, e.Actor, e.Tenant, e.Subject} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// A Decoder reads envelopes. It keeps the names of types it has seen, so that
// reading allocates for the actor at most. The zero Decoder is ready; it is not
// safe for concurrent use.
type Decoder struct {
	names map[string]string
	last  string // of them: most often it comes again
}

// Decode reads header into e. Its errors are ErrForeign and ErrNewer, wrapped;
// a header of another kind is ErrForeign.
func (d *Decoder) Decode(header []byte, e *Envelope) error {
	kind, err := KindOf(header)
	if err != nil {
		return err
	}
	if kind != KindEvent || len(header) < fixed {
		return noEvent(kind, header)
	}
	copy(e.ID[:], header[2:])
	copy(e.Command[:], header[18:])
	copy(e.Correlation[:], header[34:])
	copy(e.Causation[:], header[50:])
	e.Digest = binary.BigEndian.Uint64(header[66:])
	e.Time = time.Unix(0, int64(binary.BigEndian.Uint64(header[74:]))).UTC()
	r := reader{b: header[fixed:]}
	e.Version, e.Epoch = r.number(), r.number()
	index, count := r.number(), r.number()
	e.Type = d.name(r.text())
	e.Actor, e.Tenant, e.Subject = string(r.text()), string(r.text()), string(r.text())
	if r.bad || len(r.b) != 0 || count == 0 || count > MaxCommit || index >= count || e.Type == "" {
		return errEnvelope
	}
	e.Index, e.Count = int(index), int(count)
	return nil
}

// TypeOf reads no more of header than the event's type: all that a fold needs of an
// event that has been found valid. Its errors are as of Decode, where that much shows
// them.
func (d *Decoder) TypeOf(header []byte) (string, error) {
	kind, err := KindOf(header)
	if err != nil {
		return "", err
	}
	if kind != KindEvent || len(header) < fixed {
		return "", noEvent(kind, header)
	}
	r := reader{b: header[fixed:]}
	for range 4 { // version, epoch, index, count
		r.number()
	}
	name := r.text()
	if r.bad || len(name) == 0 {
		return "", errEnvelope
	}
	return d.name(name), nil
}

func noEvent(kind Kind, header []byte) error {
	return fmt.Errorf("%w: kind %d of %d bytes is no event", ErrForeign, kind, len(header))
}

var errEnvelope = fmt.Errorf("%w: mangled envelope", ErrForeign)

// maxNames bounds the names kept: a log holds as many types as its program
// declares, so more are garbage.
const maxNames = 1 << 12

func (d *Decoder) name(b []byte) string {
	if d.last == string(b) {
		return d.last
	}
	if s, ok := d.names[string(b)]; ok {
		d.last = s
		return s
	}
	if d.names == nil || len(d.names) >= maxNames {
		d.names = make(map[string]string)
	}
	s := string(b)
	d.names[s], d.last = s, s
	return s
}

// reader takes numbers and texts off a slice; bad once one does not fit.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 { // as nearly all
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	return r.long()
}

func (r *reader) long() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) text() []byte {
	n := r.number()
	if n > MaxName || n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

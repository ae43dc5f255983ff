package partition

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

// Key returns the record key of an aggregate, "type/id".
func Key(aggregate, id string) []byte {
	b := make([]byte, 0, len(aggregate)+1+len(id))
	b = append(append(b, aggregate...), '/')
	return append(b, id...)
}

// ClaimHeader returns the header of a claim record. Its key and value are empty.
func ClaimHeader(c Claim) []byte { return term(event.KindClaim, c) }

// ProbeHeader returns the header of a probe record of c's owner. Its key and
// value are empty.
func ProbeHeader(c Claim) []byte { return term(event.KindProbe, c) }

// HeartbeatHeader returns the header of a heartbeat record of c's owner: it has no
// event that is older than at, in Unix nanoseconds. Its key and value are empty.
func HeartbeatHeader(c Claim, at int64) []byte {
	return binary.BigEndian.AppendUint64(term(event.KindHeartbeat, c), uint64(at))
}

func term(kind event.Kind, c Claim) []byte {
	b := append(make([]byte, 0, 40), event.Format, byte(kind))
	return binary.AppendUvarint(append(b, c.Owner[:]...), c.Epoch)
}

// DecodeClaim reads the header of a claim or a probe. Its errors are those of
// event.KindOf, and event.ErrForeign for anything else.
func DecodeClaim(header []byte) (Claim, error) {
	c, rest, err := decodeTerm(header, event.KindClaim, event.KindProbe)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: mangled claim or probe", event.ErrForeign)
	}
	if err != nil {
		return Claim{}, err
	}
	return c, nil
}

// DecodeHeartbeat reads the header of a heartbeat: whose it is, and its time in
// Unix nanoseconds. Its errors are as of DecodeClaim.
func DecodeHeartbeat(header []byte) (c Claim, at int64, err error) {
	c, rest, err := decodeTerm(header, event.KindHeartbeat)
	if err == nil && len(rest) != 8 {
		err = fmt.Errorf("%w: mangled heartbeat", event.ErrForeign)
	}
	if err != nil {
		return Claim{}, 0, err
	}
	return c, int64(binary.BigEndian.Uint64(rest)), nil
}

// decodeTerm reads what term has written, and returns what follows it.
func decodeTerm(header []byte, kinds ...event.Kind) (c Claim, rest []byte, err error) {
	kind, err := event.KindOf(header)
	if err != nil {
		return c, nil, err
	}
	const fixed = 2 + len(c.Owner)
	if !slices.Contains(kinds, kind) || len(header) < fixed {
		return c, nil, fmt.Errorf("%w: kind %d of %d bytes is not of an owner's term", event.ErrForeign, kind, len(header))
	}
	epoch, n := binary.Uvarint(header[fixed:])
	if n <= 0 || epoch == 0 {
		return c, nil, fmt.Errorf("%w: mangled epoch", event.ErrForeign)
	}
	return Claim{epoch, event.ID(header[2:fixed])}, header[fixed+n:], nil
}

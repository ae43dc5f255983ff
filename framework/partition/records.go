package partition

import (
	"encoding/binary"
	"fmt"

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

func term(kind event.Kind, c Claim) []byte {
	b := append(make([]byte, 0, 32), event.Format, byte(kind))
	return binary.AppendUvarint(append(b, c.Owner[:]...), c.Epoch)
}

// DecodeClaim reads the header of a claim or a probe. Its errors are those of
// event.KindOf, and event.ErrForeign for anything else.
func DecodeClaim(header []byte) (Claim, error) {
	kind, err := event.KindOf(header)
	if err != nil {
		return Claim{}, err
	}
	const fixed = 2 + len(event.ID{})
	if kind == event.KindEvent || len(header) < fixed {
		return Claim{}, fmt.Errorf("%w: no claim or probe", event.ErrForeign)
	}
	epoch, n := binary.Uvarint(header[fixed:])
	if n <= 0 || fixed+n != len(header) || epoch == 0 {
		return Claim{}, fmt.Errorf("%w: mangled claim or probe", event.ErrForeign)
	}
	return Claim{epoch, event.ID(header[2:fixed])}, nil
}

package packed_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/drivetrain-go/drivetrain/internal/packed"
)

func TestWhatIsAppendedIsTakenInOrder(t *testing.T) {
	b := binary.AppendUvarint(nil, 300)
	b = binary.AppendVarint(b, -7)
	b = packed.AppendBytes(b, "abc")
	b = append(b, 'x', 'y', 'z')
	r := packed.Read(b)
	if n, s, text := r.Number(), r.Signed(), string(r.Bytes()); n != 300 || s != -7 || text != "abc" {
		t.Errorf("took %d, %d, %q", n, s, text)
	}
	if got := r.Take(2); !bytes.Equal(got, []byte("xy")) || r.Bad() || string(r.Rest()) != "z" {
		t.Errorf("took %q, bad %v, left %q", got, r.Bad(), r.Rest())
	}
}

func TestAPartThatDoesNotFitMakesTheReaderBadForGood(t *testing.T) {
	for name, take := range map[string]func(*packed.Reader){
		"number": func(r *packed.Reader) { r.Take(3); r.Number() },
		"signed": func(r *packed.Reader) { r.Take(3); r.Signed() },
		"bytes":  func(r *packed.Reader) { r.Bytes() },
		"take":   func(r *packed.Reader) { r.Take(4) },
		"count":  func(r *packed.Reader) { r.Count(1) },
	} {
		r := packed.Read([]byte{200, 1, 7})
		if take(r); !r.Bad() || r.Take(1) != nil || r.Number() != 0 && !r.Bad() {
			t.Errorf("%s: bad %v, left %v", name, r.Bad(), r.Rest())
		}
	}
}

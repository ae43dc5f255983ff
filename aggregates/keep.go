package aggregates

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/internal/wire"
)

// StatesLost returns why states cannot be kept in snapshots, and are folded anew after
// a restart; nil if they can, see StateCodec.
func (t *Type[S, E]) StatesLost() error {
	if t.StateCodec != nil {
		return nil
	}
	return wire.Lossless(reflect.TypeFor[S]())
}

// Shape says what a state follows from besides the events: Version, and a digest of
// S, the names of the events, and their types. It is empty if no states are kept.
func (t *Type[S, E]) Shape() string {
	if t.Check() != nil {
		return ""
	}
	return t.shape
}

// digest is eight bytes, in hexadecimal, of all that Go's types tell.
func (t *Type[S, E]) digest() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%T\n%T\n", wire.Shape(reflect.TypeFor[S]()), t.StateCodec, t.Codec)
	written := t.catalog.Written()
	for _, name := range t.catalog.Names() {
		now := t.catalog.Current(name)
		fmt.Fprintf(h, "%s %s %s\n", name, now, wire.Shape(written[now]))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// AppendState appends state, a pointer that Zero or DecodeState made, to b.
func (t *Type[S, E]) AppendState(b []byte, state any) ([]byte, error) {
	marshal := json.Marshal
	if t.StateCodec != nil {
		marshal = t.StateCodec.Marshal
	}
	data, err := marshal(state)
	if err == nil && t.StateCodec == nil && bytes.Contains(data, spoilt) {
		err = fmt.Errorf("a state of %s: %w", t.Name, wire.ErrText)
	}
	return append(b, data...), err
}

// spoilt is how encoding/json writes what is no UTF-8.
var spoilt = []byte(`\ufffd`)

// DecodeState returns what AppendState appended, as a pointer that Fold takes.
func (t *Type[S, E]) DecodeState(data []byte) (any, error) {
	s := new(S)
	codec := t.StateCodec
	if codec == nil {
		codec = event.JSON
	}
	if err := codec.Unmarshal(bytes.Clone(data), s); err != nil {
		return nil, err
	}
	return s, nil
}

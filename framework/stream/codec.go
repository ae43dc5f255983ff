package stream

import (
	"fmt"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

// Codec turns values of T into bytes and back: what travels between operators,
// and states in snapshots. The zero Codec is the standard library's JSON. Equal
// values must give equal bytes.
type Codec[T any] struct {
	Append func(b []byte, v *T) ([]byte, error) // appends v to b
	Decode func(data []byte, v *T) error        // v is zero; it must keep nothing of data
}

// Of returns the Codec of T that uses c, such as a faster JSON.
func Of[T any](c event.Codec) Codec[T] {
	return Codec[T]{
		Append: func(b []byte, v *T) ([]byte, error) {
			data, err := c.Marshal(v)
			return append(b, data...), err
		},
		Decode: func(data []byte, v *T) error { return c.Unmarshal(data, v) },
	}
}

// orJSON returns c, or the default where it is the zero Codec.
func (c Codec[T]) orJSON() Codec[T] {
	if c.Append == nil && c.Decode == nil {
		return Of[T](event.JSON)
	}
	return c
}

func (c Codec[T]) check(what string) error {
	if (c.Append == nil) != (c.Decode == nil) {
		return fmt.Errorf("%s: set both functions of its Codec, or neither", what)
	}
	return nil
}

// reused returns a place for values, and what encodes the one that is there: made
// once, so that an element costs no allocation of its own.
func (c Codec[T]) reused() (v *T, encode func([]byte) ([]byte, error)) {
	v = new(T)
	return v, func(b []byte) ([]byte, error) { return c.Append(b, v) }
}

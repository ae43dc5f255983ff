package projections

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// keys is the shuffle that brings the events of a key together.
const keys = "keys"

// routedFormat is the version of what appendRouted writes.
const routedFormat = 1

// routed is an event on its way to the keys whose documents it moves.
type routed[E any] struct {
	keys []string
	key  string           // one of them
	from *partition.Event // as recorded; good for the call
	fact Event[E]         // that it is, once it has arrived
}

// routed declares how events come from where they were recorded to their keys. They
// travel as they were recorded, so that what reads them later is upcast then.
func (v *View[D, E]) routed(f framework.Following) (*stream.Topology, *stream.Stream[Event[E]]) {
	t, events := topology(f, v.route)
	trace(f, events)
	each := stream.FlatMap(events, func(r routed[E], yield func(routed[E])) {
		for _, key := range r.keys {
			r.key = key
			yield(r)
		}
	})
	arrived := stream.KeyBy(each, keys, func(r routed[E]) string { return r.key }, stream.Codec[routed[E]]{
		Append: func(b []byte, r *routed[E]) ([]byte, error) { return appendRouted(b, r.from), nil },
		Decode: func(data []byte, r *routed[E]) (err error) {
			var from partition.Event
			if err = decodeRouted(data, &from); err == nil {
				r.fact, _, err = decode(v.From, &from)
			}
			return err
		},
	})
	return t, stream.Map(arrived, func(r routed[E]) Event[E] { return r.fact })
}

// route finds the keys whose documents an event moves.
func (v *View[D, E]) route(e *partition.Event, r *routed[E]) (bool, error) {
	fact, ok, err := decode(v.From, e)
	if !ok {
		return false, err
	}
	if err := guard(func() { r.keys = v.Key(fact) }); err != nil {
		return false, err
	}
	if len(r.keys) > MaxKeys {
		return false, fmt.Errorf("view %s: Key returns %d keys, at most %d", v.Name, len(r.keys), MaxKeys)
	}
	for _, key := range r.keys {
		if key == "" || len(key) > view.MaxKey {
			return false, fmt.Errorf("view %s: Key returns a key of %d bytes, want 1 to %d", v.Name, len(key), view.MaxKey)
		}
	}
	if len(r.keys) > 1 {
		r.keys = distinct(r.keys)
	}
	r.from = e
	return len(r.keys) > 0, nil
}

// distinct returns the keys, each at its first place.
func distinct(keys []string) []string {
	seen := make(map[string]bool, len(keys))
	var out []string
	for _, key := range keys {
		if !seen[key] {
			seen[key] = true
			out = append(out, key)
		}
	}
	return out
}

// appendRouted writes what a fold sees of an event.
func appendRouted(b []byte, e *partition.Event) []byte {
	b = append(b, routedFormat)
	b = packed.AppendBytes(b, e.Key)
	b = append(b, e.ID[:]...)
	b = packed.AppendBytes(b, e.Type)
	b = binary.AppendUvarint(b, e.Version)
	b = binary.AppendVarint(b, e.Time.UnixNano())
	b = packed.AppendBytes(b, e.Actor)
	return append(b, e.Data...)
}

func decodeRouted(data []byte, e *partition.Event) error {
	if len(data) == 0 || data[0] != routedFormat {
		return fmt.Errorf("event of a key begins with % x, this program reads format %d", data[:min(len(data), 1)], routedFormat)
	}
	r := packed.Read(data[1:])
	e.Key = r.Bytes()
	copy(e.ID[:], r.Take(len(e.ID)))
	e.Type, e.Version, e.Time = string(r.Bytes()), r.Number(), time.Unix(0, r.Signed()).UTC()
	e.Actor, e.Data = string(r.Bytes()), r.Rest()
	if r.Bad() {
		return errors.New("mangled event of a key")
	}
	return nil
}

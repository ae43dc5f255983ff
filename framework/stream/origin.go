package stream

import (
	"encoding/binary"
	"fmt"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// PublishedHeader is the header of a published record that holds its Origin. A copy
// that is written again after a crash has the same.
const PublishedHeader = "drivetrain"

// Origin says what a published record was made of. No two records of a topology have
// the same, but for copies.
type Origin struct {
	Version   uint64 // of the topology; 0: written before versions were named
	Output    string // the name of the Publish
	Partition int32  // of the input of the task that made it
	Offset    int64  // of the input
	Index     uint64 // among all that this input made, from 0
}

// OriginOf reads the origin off a list of headers, see eventlog.Headers. Its errors
// are event.ErrForeign, for one that no topology has written, and event.ErrNewer,
// wrapped.
func OriginOf(headers []byte) (o Origin, err error) {
	id := eventlog.Header(headers, PublishedHeader)
	kind, err := event.KindOf(id)
	if err != nil {
		return Origin{}, fmt.Errorf("header %s: %w", PublishedHeader, err)
	}
	r := packed.Read(id[2:])
	if kind == event.KindPublished {
		o.Version = r.Number()
	}
	part, offset := r.Number(), r.Number()
	o.Partition, o.Offset, o.Index, o.Output = int32(part), int64(offset), r.Number(), string(r.Rest())
	if kind != event.KindPublished && kind != event.KindUnversioned || r.Bad() || o.Partition < 0 || uint64(o.Partition) != part || o.Offset < 0 {
		return Origin{}, fmt.Errorf("header %s: %w: %x", PublishedHeader, event.ErrForeign, id)
	}
	return o, nil
}

// append appends a list of headers that holds the origin.
func (o *Origin) append(list []byte) []byte {
	var packed [2 + 6*binary.MaxVarintLen64]byte
	id := append(packed[:0], event.Format, byte(event.KindPublished))
	id = binary.AppendUvarint(id, o.Version)
	id = binary.AppendUvarint(id, uint64(o.Partition))
	id = binary.AppendUvarint(id, uint64(o.Offset))
	id = binary.AppendUvarint(id, o.Index)
	id = append(id, o.Output...)
	return eventlog.AppendHeader(list, PublishedHeader, id)
}

package partition

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// NoMark is the watermark of a source that has told none yet: nothing is known of
// what may still come.
const NoMark int64 = math.MinInt64

// Timeless is the watermark of a source whose elements belong to no time, each of
// which replaces those before it. Nobody waits for its watermark, and its numbers
// ascend with gaps: any that is higher than the last takes effect.
const Timeless int64 = math.MaxInt64

// Source names who writes derived records: a task of an upstream operator.
type Source struct {
	Operator  uint32 // the writer's place among those that write to the topic, as the reader's declaration counts them
	Partition int32  // of the writer's own input
}

// Derived is the header of a record of a shuffle topic: what an upstream task
// emitted for one input.
type Derived struct {
	Fold   uint64 // the writer's fold version
	Source Source
	Number uint64 // one higher than this source's previous record in this partition; the first is 1. See Timeless
	Offset int64  // of the input that made it, in the writer's own partition
	Index  uint64 // its place among all that this input made, over all partitions
	Port   uint64 // which of the reader's inputs it is, from 1; 0: it only tells Mark
	Time   int64  // event time, Unix nanoseconds
	Mark   int64  // the source's watermark, Unix nanoseconds: what follows is not earlier; NoMark: none
}

// Append appends the header to b and returns it.
func (d *Derived) Append(b []byte) []byte {
	b = append(b, event.Format, byte(event.KindDerived))
	b = binary.BigEndian.AppendUint64(b, uint64(d.Time))
	b = binary.BigEndian.AppendUint64(b, uint64(d.Mark))
	b = binary.AppendUvarint(b, d.Fold)
	b = binary.AppendUvarint(b, uint64(d.Source.Operator))
	b = binary.AppendUvarint(b, uint64(d.Source.Partition))
	b = binary.AppendUvarint(b, d.Number)
	b = binary.AppendUvarint(b, uint64(d.Offset))
	b = binary.AppendUvarint(b, d.Index)
	return binary.AppendUvarint(b, d.Port)
}

// Decode reads a header that Append wrote. Its errors are event.ErrForeign and
// event.ErrNewer, wrapped.
func (d *Derived) Decode(header []byte) error {
	kind, err := event.KindOf(header)
	if err != nil {
		return err
	}
	if kind != event.KindDerived || len(header) < 18 {
		return fmt.Errorf("%w: kind %d of %d bytes is no derived record", event.ErrForeign, kind, len(header))
	}
	d.Time = int64(binary.BigEndian.Uint64(header[2:]))
	d.Mark = int64(binary.BigEndian.Uint64(header[10:]))
	r := packed.Read(header[18:])
	d.Fold = r.Number()
	operator, part := r.Number(), r.Number()
	d.Number = r.Number()
	d.Offset = int64(r.Number())
	d.Index, d.Port = r.Number(), r.Number()
	if r.Bad() || len(r.Rest()) != 0 || operator > math.MaxUint32 || part > math.MaxInt32 || d.Number == 0 || d.Offset < 0 {
		return fmt.Errorf("%w: mangled derived record", event.ErrForeign)
	}
	d.Source = Source{uint32(operator), int32(part)}
	return nil
}

// Numbers judges the derived records of one shuffle partition: of each source
// exactly the next number takes effect, and only of one fold version. A lower
// number is a duplicate; a higher one follows something that was lost, whose
// writer will write it again. The rule needs no claims: two tasks of a source
// that both believe to be it write the same records, see tests/model.
type Numbers struct {
	fold    uint64
	sources map[Source]*told
	least   int64 // of the sources' watermarks
	timed   int   // sources that have told one, but for those that are Timeless
}

// told is what a source has told so far.
type told struct {
	number uint64
	mark   int64
}

// NewNumbers returns the judge of an empty partition that takes records of one
// fold version.
func NewNumbers(fold uint64) *Numbers {
	return &Numbers{fold: fold, sources: make(map[Source]*told), least: math.MaxInt64}
}

// Step judges the next record and reads its header into d. Its error is
// event.ErrNewer, wrapped.
func (n *Numbers) Step(header []byte, d *Derived) (Verdict, Reason, error) {
	switch err := d.Decode(header); {
	case errors.Is(err, event.ErrForeign):
		return Void, Foreign, nil
	case err != nil:
		return 0, NoReason, err
	case d.Fold != n.fold:
		return Void, OtherFold, nil
	}
	s := n.sources[d.Source]
	if s == nil {
		s = &told{mark: NoMark}
		n.sources[d.Source], n.least = s, NoMark
	}
	switch {
	case d.Number <= s.number:
		return Void, Duplicate, nil
	case d.Number > s.number+1 && d.Mark != Timeless:
		return Void, Gap, nil
	}
	s.number = d.Number
	if d.Mark > s.mark {
		moved := s.mark == n.least
		s.mark = d.Mark
		if moved {
			n.refresh()
		}
	}
	return Valid, NoReason, nil
}

// Mark returns the least watermark of all sources, given how many there are that
// are not Timeless: NoMark until each has told one.
func (n *Numbers) Mark(sources int) int64 {
	if n.timed < sources {
		return NoMark
	}
	return n.least
}

func (n *Numbers) refresh() {
	n.least, n.timed = math.MaxInt64, 0
	for _, s := range n.sources {
		n.least = min(n.least, s.mark)
		if s.mark != NoMark && s.mark != Timeless {
			n.timed++
		}
	}
}

// AppendSnapshot appends what Restore takes. Equal judges give equal bytes.
func (n *Numbers) AppendSnapshot(b []byte) []byte {
	b = binary.AppendUvarint(b, n.fold)
	b = binary.AppendUvarint(b, uint64(len(n.sources)))
	for _, s := range slices.SortedFunc(maps.Keys(n.sources), compareSources) {
		b = binary.AppendUvarint(b, uint64(s.Operator))
		b = binary.AppendUvarint(b, uint64(s.Partition))
		b = binary.AppendUvarint(b, n.sources[s].number)
		b = binary.AppendVarint(b, n.sources[s].mark)
	}
	return b
}

func compareSources(a, b Source) int {
	return cmp.Or(cmp.Compare(a.Operator, b.Operator), cmp.Compare(a.Partition, b.Partition))
}

// RestoreNumbers returns the judge that AppendSnapshot wrote, and what follows it
// in b.
func RestoreNumbers(b []byte) (*Numbers, []byte, error) {
	r := packed.Read(b)
	n := NewNumbers(r.Number())
	for range r.Count(4) {
		s := Source{uint32(r.Number()), int32(r.Number())}
		n.sources[s] = &told{number: r.Number(), mark: r.Signed()}
	}
	n.refresh()
	if r.Bad() {
		return nil, nil, fmt.Errorf("restore numbers: mangled snapshot of %d bytes", len(b))
	}
	return n, r.Rest(), nil
}

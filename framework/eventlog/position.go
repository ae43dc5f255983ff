package eventlog

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Position is a place in a log: a record's partition and offset.
// It is written "3@81234" while the log is in its first generation; later
// generations will add theirs.
type Position struct {
	Partition int32
	Offset    int64
}

// String returns "partition@offset".
func (p Position) String() string {
	return strconv.Itoa(int(p.Partition)) + "@" + strconv.FormatInt(p.Offset, 10)
}

// Positions names a place in several partitions at once, by the last offset of
// each, and the offset of the control log that goes with it, if any. The zero
// Positions names no place.
type Positions struct {
	Offsets map[int32]int64
	control int64 // its offset + 1; 0: none
}

// NewPositions returns the vector of the given positions, without a control
// offset. The greatest of several in the same partition counts.
func NewPositions(at ...Position) Positions {
	p := Positions{Offsets: make(map[int32]int64, len(at))}
	for _, a := range at {
		p.add(a)
	}
	return p
}

func (p Positions) add(a Position) { p.Offsets[a.Partition] = max(a.Offset, p.Offsets[a.Partition]) }

// WithControl returns p with the offset of the control log, at least 0, that goes with
// it. They share their Offsets.
func (p Positions) WithControl(offset int64) Positions {
	p.control = offset + 1
	return p
}

// Join returns the places that lie behind both: of each partition, and of the
// control log, the greater offset.
func (p Positions) Join(o Positions) Positions {
	all := Positions{Offsets: make(map[int32]int64, max(len(p.Offsets), len(o.Offsets))), control: max(p.control, o.control)}
	for _, offsets := range []map[int32]int64{p.Offsets, o.Offsets} {
		for n, offset := range offsets {
			all.add(Position{n, offset})
		}
	}
	return all
}

// Control returns the offset of the control log, and whether there is one.
func (p Positions) Control() (offset int64, ok bool) { return p.control - 1, p.control > 0 }

// String returns "0@12,3@81234", by partition, with ";c@57" behind it if there
// is a control offset.
func (p Positions) String() string {
	var b strings.Builder
	for i, n := range slices.Sorted(maps.Keys(p.Offsets)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(Position{n, p.Offsets[n]}.String())
	}
	if c, ok := p.Control(); ok {
		fmt.Fprintf(&b, ";c@%d", c)
	}
	return b.String()
}

// MaxPositions bounds the text that ParsePositions takes.
const MaxPositions = 16 << 10

// ParsePositions takes what String gives, and each of its parts. The error says
// what was expected.
func ParsePositions(s string) (Positions, error) {
	p := NewPositions()
	list, control, has := strings.Cut(s, ";")
	bad := fmt.Errorf("position %.80q: want partition@offset such as 3@81234, several joined by commas, then ;c@offset if there is one", s)
	if len(s) > MaxPositions || s == "" {
		return p, bad
	}
	if has || strings.HasPrefix(list, "c@") {
		if !has {
			list, control = "", list
		}
		n, ok := strings.CutPrefix(control, "c@")
		c, err := number(n, 63)
		if !ok || err != nil || c == math.MaxInt64 {
			return p, bad
		}
		p.control = c + 1
	}
	if list == "" {
		return p, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		left, right, ok := strings.Cut(part, "@")
		n, err1 := number(left, 31)
		o, err2 := number(right, 63)
		if !ok || err1 != nil || err2 != nil {
			return p, bad
		}
		p.add(Position{int32(n), o})
	}
	return p, nil
}

func number(s string, bits int) (int64, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	return int64(n), err
}

package packed

import "encoding/binary"

// Offsets is a list of ascending offsets of a log, as differences of one to three bytes
// each mostly.
type Offsets struct {
	Deltas []byte // unsigned varints, the first is of 0
	Last   int64
	Count  int
}

// Add appends an offset, which must be above the last one, or 0 or more if it is the first.
func (l *Offsets) Add(offset int64) {
	l.Deltas = binary.AppendUvarint(l.Deltas, uint64(offset-l.Last))
	l.Last = offset
	l.Count++
}

// All yields the offsets in order, with their index.
func (l *Offsets) All(yield func(int, int64) bool) {
	at := int64(0)
	for i, b := 0, l.Deltas; len(b) > 0; i++ {
		d, n := binary.Uvarint(b)
		at, b = at+int64(d), b[n:]
		if !yield(i, at) {
			return
		}
	}
}

// List returns at most limit offsets from the one at index skip on.
func (l *Offsets) List(skip uint64, limit int) []int64 {
	if skip >= uint64(l.Count) || limit <= 0 {
		return nil
	}
	out := make([]int64, 0, min(limit, l.Count-int(skip)))
	for i, at := range l.All {
		if i >= int(skip) {
			out = append(out, at)
		}
		if len(out) == limit {
			break
		}
	}
	return out
}

// Between returns the offsets from first to last.
func (l *Offsets) Between(first, last int64) (out []int64) {
	for _, at := range l.All {
		if at > last {
			break
		}
		if at >= first {
			out = append(out, at)
		}
	}
	return out
}

// Sound reports whether the list, which was read, can have been made by Add: All does not
// end with one that is not.
func (l *Offsets) Sound() bool {
	at, count := int64(0), 0
	for b := l.Deltas; len(b) > 0; count++ {
		d, n := binary.Uvarint(b)
		next := at + int64(d)
		if n <= 0 || next < at || next == at && count > 0 {
			return false
		}
		at, b = next, b[n:]
	}
	return count == l.Count && at == l.Last
}

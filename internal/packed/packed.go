// Package packed takes numbers and bytes off a slice, as the packed formats hold
// them; package encoding/binary appends them.
package packed

import "encoding/binary"

// Reader takes parts off its slice. Once a part does not fit it is bad, and gives
// zeros from then on, so that one look at the end is enough.
type Reader struct {
	rest []byte
	bad  bool
}

// Read returns a reader of b, of which it keeps nothing but what it hands out.
func Read(b []byte) *Reader { return &Reader{rest: b} }

// Rest returns what has not been taken.
func (r *Reader) Rest() []byte { return r.rest }

// Bad reports whether a part did not fit.
func (r *Reader) Bad() bool { return r.bad }

// Spoil makes the reader bad: what was taken cannot be.
func (r *Reader) Spoil() { r.bad = true }

// Number takes an unsigned varint.
func (r *Reader) Number() uint64 {
	v, n := binary.Uvarint(r.rest)
	r.Take(max(n, 0))
	r.bad = r.bad || n <= 0
	return v
}

// Signed takes a signed varint.
func (r *Reader) Signed() int64 {
	v, n := binary.Varint(r.rest)
	r.Take(max(n, 0))
	r.bad = r.bad || n <= 0
	return v
}

// Count takes how many items follow; the reader is bad, and it is 0, if so many
// of at least size bytes cannot.
func (r *Reader) Count(size int) uint64 {
	n := r.Number()
	if n > uint64(len(r.rest)/size) {
		r.bad = true
		return 0
	}
	return n
}

// Bytes takes a length and so many bytes.
func (r *Reader) Bytes() []byte {
	n := r.Number()
	if n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	return r.Take(int(n))
}

// Take takes n bytes; nil if there are fewer.
func (r *Reader) Take(n int) []byte {
	if r.bad || n > len(r.rest) {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// AppendBytes appends what Bytes takes.
func AppendBytes[B []byte | string](to []byte, b B) []byte {
	return append(binary.AppendUvarint(to, uint64(len(b))), b...)
}

package partition

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"
)

// SnapshotFormat is the version of what AppendSnapshot writes.
const SnapshotFormat = 1

// AppendSnapshot appends the whole fold to b and returns it: epoch, owner,
// versions, the unfinished commit, and the commands remembered with their
// horizon. Equal folds give equal bytes.
func (f *Fold) AppendSnapshot(b []byte) []byte {
	b = append(b, SnapshotFormat)
	b = binary.AppendUvarint(b, uint64(f.next))
	b = binary.AppendUvarint(b, f.epoch)
	b = append(b, f.owner[:]...)
	b = binary.AppendUvarint(b, uint64(len(f.versions)))
	for _, key := range slices.Sorted(maps.Keys(f.versions)) {
		b = appendBytes(b, []byte(key))
		b = binary.AppendUvarint(b, f.versions[key])
	}
	b = binary.AppendUvarint(b, uint64(len(f.open)))
	for i := range f.open {
		e := &f.open[i]
		b = binary.AppendUvarint(b, uint64(e.Offset))
		b = appendBytes(b, e.Key)
		b = appendBytes(b, e.Append(nil))
		b = appendBytes(b, e.Data)
	}
	return f.commands.appendSnapshot(b)
}

func (c *commands) appendSnapshot(b []byte) []byte {
	b = appendTime(b, c.latest)
	b = appendTime(b, c.horizon)
	b = binary.AppendUvarint(b, uint64(len(c.queue)-c.head))
	for _, r := range c.queue[c.head:] {
		o := c.byID[r.id]
		b = append(b, r.id[:]...)
		b = appendTime(b, r.at)
		b = binary.BigEndian.AppendUint64(b, o.Digest)
		b = binary.AppendUvarint(b, uint64(o.First))
		b = binary.AppendUvarint(b, uint64(o.Last))
	}
	return b
}

// Restore returns the fold that AppendSnapshot wrote, remembering commands
// within m from now on. The error names what does not fit.
func Restore(b []byte, m Memory) (*Fold, error) {
	if len(b) == 0 || b[0] != SnapshotFormat {
		return nil, fmt.Errorf("fold snapshot: format %d, want %d", append(b, 0)[0], SnapshotFormat)
	}
	r := &snapshotReader{b: b[1:]}
	f := New(m)
	f.next = int64(r.number())
	f.epoch = r.number()
	copy(f.owner[:], r.take(len(f.owner)))
	for range r.count(2) {
		key := string(r.bytes())
		f.versions[key] = r.number()
	}
	for range r.count(4) {
		e := Event{Offset: int64(r.number()), Key: r.bytes()}
		if err := f.decoder.Decode(r.bytes(), &e.Envelope); err != nil {
			return nil, fmt.Errorf("fold snapshot: unfinished commit: %w", err)
		}
		e.Data = r.bytes()
		f.open = append(f.open, e)
	}
	f.commands.restore(r)
	if r.bad || len(r.b) != 0 {
		return nil, fmt.Errorf("fold snapshot: mangled, %d bytes left over", len(r.b))
	}
	return f, nil
}

func (c *commands) restore(r *snapshotReader) {
	c.latest, c.horizon = r.time(), r.time()
	for range r.count(26) {
		var q remembered
		copy(q.id[:], r.take(len(q.id)))
		q.at = r.time()
		var o Outcome
		if digest := r.take(8); digest != nil {
			o.Digest = binary.BigEndian.Uint64(digest)
		}
		o.First, o.Last = int64(r.number()), int64(r.number())
		c.byID[q.id] = o
		c.queue = append(c.queue, q)
	}
	c.forget()
}

func appendBytes(b, s []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendTime writes nanoseconds since 1970 plus one; zero is the zero time.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.AppendVarint(b, 0)
	}
	return binary.AppendVarint(b, t.UnixNano()+1)
}

// snapshotReader takes parts off b; bad once one does not fit.
type snapshotReader struct {
	b   []byte
	bad bool
}

func (r *snapshotReader) number() uint64 {
	v, n := binary.Uvarint(r.b)
	r.take(max(n, 0))
	r.bad = r.bad || n <= 0
	return v
}

func (r *snapshotReader) time() time.Time {
	v, n := binary.Varint(r.b)
	r.take(max(n, 0))
	if r.bad = r.bad || n <= 0; v == 0 {
		return time.Time{}
	}
	return time.Unix(0, v-1).UTC()
}

// count returns how many items follow, none if so many of at least size bytes
// cannot.
func (r *snapshotReader) count(size int) uint64 {
	n := r.number()
	if n > uint64(len(r.b)/size) {
		r.bad = true
		return 0
	}
	return n
}

func (r *snapshotReader) bytes() []byte {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	return r.take(int(n))
}

func (r *snapshotReader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}

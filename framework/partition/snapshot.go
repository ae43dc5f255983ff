package partition

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
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
	b = f.versions.appendSnapshot(b)
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
	b = binary.AppendVarint(b, c.latest)
	b = binary.AppendVarint(b, c.horizon)
	b = binary.AppendUvarint(b, uint64(len(c.queue)-c.head))
	for _, r := range c.queue[c.head:] {
		o := c.byID[r.id]
		b = append(b, r.id[:]...)
		b = binary.AppendVarint(b, r.at)
		b = binary.BigEndian.AppendUint64(b, o.Digest)
		b = binary.AppendUvarint(b, uint64(o.First))
		b = binary.AppendUvarint(b, uint64(o.Last))
	}
	return b
}

// Restore returns the fold that AppendSnapshot wrote, remembering commands
// within m from now on. It keeps nothing of b. The error names what does not
// fit; the log is then to be folded from its start.
func Restore(b []byte, m Memory) (*Fold, error) {
	if len(b) == 0 {
		return nil, errors.New("restore fold: the snapshot is empty")
	}
	if b[0] != SnapshotFormat {
		return nil, fmt.Errorf("restore fold: snapshot format %d, this program reads %d", b[0], SnapshotFormat)
	}
	r := &snapshotReader{b: b[1:]}
	f := New(m)
	f.next = int64(r.number())
	f.epoch = r.number()
	copy(f.owner[:], r.take(len(f.owner)))
	f.versions.restore(r)
	if err := f.restoreOpen(r); err != nil {
		return nil, fmt.Errorf("restore fold: unfinished commit: %w", err)
	}
	f.commands.restore(r)
	if r.bad || len(r.b) != 0 {
		return nil, fmt.Errorf("restore fold: mangled snapshot, %d bytes left over", len(r.b))
	}
	return f, nil
}

// restoreOpen reads the unfinished commit and checks that it hangs together.
func (f *Fold) restoreOpen(r *snapshotReader) error {
	for range r.count(4) {
		e := Event{Offset: int64(r.number()), Key: bytes.Clone(r.bytes())}
		if err := f.decoder.Decode(r.bytes(), &e.Envelope); err != nil {
			return err
		}
		e.Data = bytes.Clone(r.bytes())
		if e.Epoch != f.epoch || e.Index != len(f.open) || !f.continues(&e) || e.Index == e.Count-1 {
			return fmt.Errorf("event %d of %d at offset %d does not belong to it", e.Index+1, e.Count, e.Offset)
		}
		f.open = append(f.open, e)
	}
	return nil
}

func (c *commands) restore(r *snapshotReader) {
	c.latest, c.horizon = r.signed(), r.signed()
	for range r.count(27) {
		var q remembered
		copy(q.id[:], r.take(len(q.id)))
		q.at = r.signed()
		var o Outcome
		if digest := r.take(8); digest != nil {
			o.Digest = binary.BigEndian.Uint64(digest)
		}
		o.First, o.Last = int64(r.number()), int64(r.number())
		if _, twice := c.byID[q.id]; twice {
			r.bad = true
		}
		c.byID[q.id] = o
		c.queue = append(c.queue, q)
	}
	c.forget()
}

func appendBytes(b, s []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
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

func (r *snapshotReader) signed() int64 {
	v, n := binary.Varint(r.b)
	r.take(max(n, 0))
	r.bad = r.bad || n <= 0
	return v
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

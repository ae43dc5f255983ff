package partition

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// SnapshotFormat is the version of what AppendSnapshot writes.
const SnapshotFormat = 1

// AppendSnapshot appends the whole fold to b and returns it: epoch, owner,
// versions, the unfinished commit, and the commands remembered with their
// horizon. Equal folds give equal bytes.
func (f *Fold) AppendSnapshot(b []byte) []byte {
	b = f.appendTerm(append(b, SnapshotFormat))
	b = appendVersions(b, f.versions)
	b = f.appendOpen(b)
	b = binary.AppendVarint(b, f.commands.latest)
	b = binary.AppendVarint(b, f.commands.horizon)
	all := f.commands.captured()
	b = binary.AppendUvarint(b, all.end-all.first)
	return all.Append(b, all.first, all.end)
}

// appendTerm appends the position and the current term.
func (f *Fold) appendTerm(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(f.next))
	b = binary.AppendUvarint(b, f.epoch)
	return append(b, f.owner[:]...)
}

func (f *Fold) restoreTerm(r *packed.Reader) {
	f.next = int64(r.Number())
	f.epoch = r.Number()
	copy(f.owner[:], r.Take(len(f.owner)))
}

// appendOpen appends the unfinished commit.
func (f *Fold) appendOpen(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(f.open)))
	for i := range f.open {
		e := &f.open[i]
		b = binary.AppendUvarint(b, uint64(e.Offset))
		b = packed.AppendBytes(b, e.Key)
		b = packed.AppendBytes(b, e.Append(nil))
		b = packed.AppendBytes(b, e.Data)
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
	r := packed.Read(b[1:])
	f := New(m)
	f.restoreTerm(r)
	restoreVersions(f.versions, r)
	if err := f.restoreOpen(r); err != nil {
		return nil, fmt.Errorf("restore fold: unfinished commit: %w", err)
	}
	f.commands.latest, f.commands.horizon = r.Signed(), r.Signed()
	for range r.Count(leastCommand) {
		f.commands.restore(takeRemembered(r), r)
	}
	f.commands.forget()
	if r.Bad() || len(r.Rest()) != 0 {
		return nil, fmt.Errorf("restore fold: mangled snapshot, %d bytes left over", len(r.Rest()))
	}
	return f, nil
}

// restoreOpen reads the unfinished commit and checks that it hangs together.
func (f *Fold) restoreOpen(r *packed.Reader) error {
	for range r.Count(4) {
		e := Event{Offset: int64(r.Number()), Key: bytes.Clone(r.Bytes())}
		if err := f.decoder.Decode(r.Bytes(), &e.Envelope); err != nil {
			return err
		}
		e.Data = bytes.Clone(r.Bytes())
		if e.Epoch != f.epoch || e.Index != len(f.open) || !f.continues(&e) || e.Index == e.Count-1 {
			return fmt.Errorf("event %d of %d at offset %d does not belong to it", e.Index+1, e.Count, e.Offset)
		}
		f.open = append(f.open, e)
	}
	return nil
}

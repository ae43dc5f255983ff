package partition

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// HeadFormat is the version of what AppendHead writes. It is none of those of
// AppendSnapshot, so that either is known by its first byte.
const HeadFormat = 2

// AppendHead appends what a snapshot of the fold holds besides the versions and
// the commands that it remembers, of which it says the numbers: epoch, owner, the
// unfinished commit, and the horizon. It takes the same time however long the log
// is. Equal folds of one log give equal bytes.
func (f *Fold) AppendHead(b []byte) []byte {
	b = f.appendOpen(f.appendTerm(append(b, HeadFormat)))
	b = binary.AppendVarint(b, f.commands.latest)
	b = binary.AppendVarint(b, f.commands.horizon)
	b = binary.AppendUvarint(b, f.commands.first)
	return binary.AppendUvarint(b, f.commands.end)
}

// Remembered returns the commands that the fold remembers now.
func (f *Fold) Remembered() Remembered { return f.commands.captured() }

// Resume returns a fold of which AppendHead wrote head; v holds the versions, or
// will before the first Step, and the commands are to be given to Remember, then
// to be ended with Remembering. It keeps nothing of head. The error names what
// does not fit; the log is then to be folded from its start.
func Resume(head []byte, m Memory, v Versions) (*Fold, error) {
	switch {
	case len(head) == 0:
		return nil, errors.New("resume fold: the head is empty")
	case head[0] != HeadFormat:
		return nil, fmt.Errorf("resume fold: head format %d, this program reads %d", head[0], HeadFormat)
	}
	r := packed.Read(head[1:])
	f := NewOn(m, v)
	f.restoreTerm(r)
	if err := f.restoreOpen(r); err != nil {
		return nil, fmt.Errorf("resume fold: unfinished commit: %w", err)
	}
	c := &f.commands
	c.latest, c.horizon = r.Signed(), r.Signed()
	c.due.first, c.due.end = r.Number(), r.Number()
	c.first, c.end = c.due.first, c.due.first
	if r.Bad() || len(r.Rest()) != 0 || c.due.first > c.due.end || f.next < 0 {
		return nil, fmt.Errorf("resume fold: mangled head, %d bytes left over", len(r.Rest()))
	}
	return f, nil
}

// Remember takes over commands that Remembered.Append appended, the first of which
// has the number from. They come in their order; what the head does not name is
// passed over.
func (f *Fold) Remember(from uint64, commands []byte) error {
	c, r := &f.commands, packed.Read(commands)
	for n := from; len(r.Rest()) > 0 && !r.Bad(); n++ {
		switch {
		case n < c.due.first:
			takeRemembered(r)
		case n == c.end && n < c.due.end:
			c.restore(takeRemembered(r), r)
		default:
			return fmt.Errorf("remembered commands: number %d comes as number %d of %d to %d", n, c.end, c.due.first, c.due.end)
		}
	}
	if r.Bad() {
		return fmt.Errorf("remembered commands from number %d: mangled", from)
	}
	return nil
}

// Remembering ends what Remember began: it returns an error if commands are
// missing, and forgets those that are beyond the memory.
func (f *Fold) Remembering() error {
	c := &f.commands
	if c.end != c.due.end {
		return fmt.Errorf("remembered commands: numbers %d to %d are missing", c.end, c.due.end-1)
	}
	c.forget()
	return nil
}

package stream

import (
	"encoding/binary"
	"fmt"

	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// headFormat is the version of what head writes. The first one does not say which
// topic the snapshot is of.
const headFormat = 2

// head returns what a snapshot holds beside the states: its topic's id, position,
// watermark, counters and judge. Equal cores give equal bytes.
func (c *core) head() []byte {
	b := append([]byte(nil), headFormat)
	b = packed.AppendBytes(b, c.topicID)
	b = binary.AppendUvarint(b, uint64(c.next))
	b = binary.AppendVarint(b, c.mark)
	b = binary.AppendVarint(b, c.maxTime)
	b = binary.AppendUvarint(b, uint64(len(c.operators)))
	for _, name := range c.stage.operators {
		b = packed.AppendBytes(b, name)
	}
	b = binary.AppendUvarint(b, uint64(len(c.outs)))
	for _, g := range c.outs {
		b = packed.AppendBytes(b, g.of.name)
		b = binary.AppendUvarint(b, uint64(len(g.boxes)))
		for _, box := range g.boxes {
			b = binary.AppendUvarint(b, box.number)
			b = binary.AppendVarint(b, box.told)
		}
	}
	return c.judge.appendSnapshot(b)
}

// restoreHead takes over what head wrote. The error says what does not fit.
func (c *core) restoreHead(b []byte) error {
	switch {
	case len(b) == 0:
		return fmt.Errorf("its head is empty: %w", errMangled)
	case b[0] == 0 || b[0] > headFormat:
		return fmt.Errorf("its head has format %d, this program reads 1 to %d", b[0], headFormat)
	}
	r := packed.Read(b[1:])
	if b[0] > 1 {
		if err := c.checkID(string(r.Bytes())); err != nil {
			return err
		}
	}
	c.next, c.mark, c.maxTime = int64(r.Number()), r.Signed(), r.Signed()
	if err := restoreNames(r, c.stage.operators, "operators"); err != nil {
		return err
	}
	if n := r.Number(); n != uint64(len(c.outs)) {
		return fmt.Errorf("it has %d ways out, the topology %d; raise Topology.Version when operators change", n, len(c.outs))
	}
	for _, g := range c.outs {
		if name, n := string(r.Bytes()), r.Number(); name != g.of.name || n != uint64(len(g.boxes)) {
			return fmt.Errorf("it has counters of %q over %d partitions, want %s over %d; raise Topology.Version when operators or partitions change", name, n, g.of.name, len(g.boxes))
		}
		for _, box := range g.boxes {
			box.number, box.told = r.Number(), r.Signed()
			switch c.planted {
			case plantCounters:
				box.number = 0
			case plantTold:
				box.told = partition.NoMark
			}
		}
	}
	if r.Bad() {
		return fmt.Errorf("its head is %w", errMangled)
	}
	switch c.planted {
	case plantOffByOne:
		c.next++
	case plantAgain:
		c.next = max(c.next-1, 0)
	case plantMarks:
		return nil
	}
	rest, err := c.judge.restore(r.Rest())
	if err == nil && len(rest) > 0 {
		err = errMangled
	}
	c.scheduleTell()
	return err
}

func restoreNames(r *packed.Reader, want []string, what string) error {
	n := r.Count(1)
	same := n == uint64(len(want))
	for i := range n {
		name := string(r.Bytes())
		same = same && name == want[i]
	}
	if !same {
		return fmt.Errorf("it has other %s than %v; raise Topology.Version when they change", what, want)
	}
	return nil
}

// begin starts a cut: it returns the head, and from now on every operator writes
// to frames what it had at this position. encode goes on with that.
func (c *core) begin(full bool, to *frames) (head []byte) {
	for _, k := range c.kept {
		k.begin(full, to)
	}
	return c.head()
}

// encode encodes about n units of the cut under way and reports whether it is
// whole.
func (c *core) encode(n int, to *frames) (done bool, err error) {
	return encodeAll(c.kept, n, to)
}

// abandon forgets the cut under way.
func (c *core) abandon() {
	for _, k := range c.kept {
		k.abandon()
	}
}

// load takes over one blob of frames.
func (c *core) load(r bytesReader) error { return loadAll(c.kept, r) }

// wake makes a core that was loaded ready to be fed.
func (c *core) wake() {
	for _, o := range c.operators {
		o.wake()
	}
	if c.parking != nil {
		c.parking.wake()
	}
}

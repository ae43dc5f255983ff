package partition

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// commands remembers accepted commands in log order and forgets the oldest. Each
// has a number, one higher than the one before, and never changes. They lie in
// blocks that hold no pointer to be traced.
type commands struct {
	memory  Memory
	byID    map[event.ID]uint64         // number
	blocks  []*block                    // those from first to end, and no other
	first   uint64                      // number of the oldest
	end     uint64                      // number that the next one gets
	latest  int64                       // the greatest event time so far, in Unix nanoseconds; none: the least number
	due     struct{ first, end uint64 } // numbers that a head names; used while it is resumed
	horizon int64                       // the greatest id time among the forgotten, in Unix milliseconds; none: -1
}

// blockSize is how many commands lie together.
const blockSize = 512

type block [blockSize]remembered

type remembered struct {
	id event.ID
	at int64 // event time, in Unix nanoseconds
	Outcome
}

func newCommands(m Memory) commands {
	return commands{memory: m, byID: make(map[event.ID]uint64), latest: math.MinInt64, horizon: -1}
}

// remember takes in an accepted command with its event time.
func (c *commands) remember(id event.ID, o Outcome, at int64) {
	c.latest = max(c.latest, at)
	if c.memory.Number <= 0 {
		c.raise(id)
		return
	}
	if _, known := c.byID[id]; !known {
		c.add(remembered{id, at, o})
	}
	c.forget()
}

func (c *commands) add(r remembered) {
	if c.end%blockSize == 0 || len(c.blocks) == 0 {
		c.blocks = append(c.blocks, new(block))
	}
	c.blocks[len(c.blocks)-1][c.end%blockSize] = r
	c.byID[r.id] = c.end
	c.end++
}

// find returns what is remembered of a command.
func (c *commands) find(id event.ID) (Outcome, bool) {
	n, ok := c.byID[id]
	if !ok {
		return Outcome{}, false
	}
	return c.captured().at(n).Outcome, true
}

// drop takes the oldest away.
func (c *commands) drop() {
	delete(c.byID, c.captured().at(c.first).id)
	if c.first++; c.first%blockSize == 0 || c.first == c.end {
		c.blocks = slices.Clone(c.blocks[1:]) // which lets go of the block; a capture has its own list
	}
}

// forget drops from the front what is too old or too much, and raises the
// horizon to each dropped id's own time.
func (c *commands) forget() {
	oldest := c.oldest()
	for c.first < c.end {
		front := c.captured().at(c.first)
		if c.end-c.first <= uint64(c.memory.Number) && front.at >= oldest {
			break
		}
		c.raise(front.id)
		c.drop()
	}
}

// oldest returns the least event time that is still remembered.
func (c *commands) oldest() int64 {
	age := int64(c.memory.Age)
	if c.latest < math.MinInt64+age {
		return math.MinInt64
	}
	return c.latest - age
}

// raise lifts the horizon to the time that id carries, if any.
func (c *commands) raise(id event.ID) {
	if at, ok := id.Time(); ok {
		c.horizon = max(c.horizon, at.UnixMilli())
	}
}

// Remembered is the commands that a fold remembered at some point, in log order.
// It stays what it is while the fold goes on, and costs nothing to take.
type Remembered struct {
	blocks     []*block
	first, end uint64
}

func (c *commands) captured() Remembered { return Remembered{c.blocks, c.first, c.end} }

func (r Remembered) at(n uint64) *remembered {
	return &r.blocks[n/blockSize-r.first/blockSize][n%blockSize]
}

// Bounds returns the number of the first of them, and one past that of the last:
// each accepted command has a number, one higher than the one before.
func (r Remembered) Bounds() (first, end uint64) { return r.first, r.end }

// Append appends those numbered from to end-1, which must be within Bounds, as
// Fold.Remember takes them.
func (r Remembered) Append(b []byte, from, end uint64) []byte {
	for ; from < end; from++ {
		e := r.at(from)
		b = append(b, e.id[:]...)
		b = binary.AppendVarint(b, e.at)
		b = binary.BigEndian.AppendUint64(b, e.Digest)
		b = binary.AppendUvarint(b, uint64(e.First))
		b = binary.AppendUvarint(b, uint64(e.Last))
	}
	return b
}

// takeRemembered takes what Append appended of one.
func takeRemembered(r *packed.Reader) (e remembered) {
	copy(e.id[:], r.Take(len(e.id)))
	e.at = r.Signed()
	if digest := r.Take(8); digest != nil {
		e.Digest = binary.BigEndian.Uint64(digest)
	}
	e.First, e.Last = int64(r.Number()), int64(r.Number())
	return e
}

// restore takes in e, which was taken from r; r is bad if it is there already.
func (c *commands) restore(e remembered, r *packed.Reader) {
	if _, twice := c.byID[e.id]; twice {
		r.Spoil()
	}
	if !r.Bad() {
		c.add(e)
	}
}

// leastCommand is how many bytes of a snapshot a command takes at least.
const leastCommand = 27

package stream

import (
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/reuse"
)

// group is one way out of a task: a box for each partition of the topic.
type group struct {
	core   *core
	of     *out
	number int
	boxes  []*box
	own    int32 // the partition of all elements that their key is not to place; -1: there is none
}

// box holds what is to be appended to one partition, in order. The driver takes a
// batch, appends it, and takes the next once it is acknowledged.
type box struct {
	records []eventlog.Record
	bytes   int    // as weight has them
	room    int    // for how many records room is made at once: as many as there were last
	flight  int    // records that are being appended, of the front
	added   uint64 // records ever
	acked   uint64 // of these, those that are acknowledged
	number  uint64 // of the last derived record
	told    int64  // the last watermark that a record carried
}

// newGroup makes the boxes of a way out. inputs is how many partitions the
// stage's own topic has.
func newGroup(c *core, o *out, partitions, inputs int) *group {
	g := &group{core: c, of: o, number: len(c.outs), own: -1}
	if o.to == nil && o.partition == nil && partitions == inputs {
		g.own = c.part
	}
	for range partitions {
		g.boxes = append(g.boxes, &box{told: partition.NoMark})
	}
	return g
}

func (g *group) partitionOf(key []byte) int32 {
	if g.of.partition != nil {
		return g.of.partition(key, len(g.boxes))
	}
	return eventlog.PartitionOf(key, len(g.boxes))
}

// add puts an emission into its box, with its header.
func (g *group) add(e *emission) {
	c, b := g.core, g.boxes[e.partition]
	index := c.index
	c.index++
	c.room()
	start := len(c.arena)
	if g.of.to != nil {
		b.number++
		if c.stage.timeless {
			b.number = uint64(c.offset) + 1
		}
		b.told = max(b.told, c.mark)
		d := partition.Derived{Fold: c.stage.of.version(), Source: partition.Source{Operator: g.of.source, Partition: c.part},
			Number: b.number, Offset: c.offset, Index: index, Port: e.port, Time: e.time, Mark: c.mark}
		if c.planted == plantMaxTime && e.port == 0 {
			d.Mark = c.maxTime
		}
		c.arena = d.Append(c.arena)
	} else {
		if g.of.mode == Transactional && c.offset < c.settled {
			return
		}
		o := Origin{Version: c.stage.of.version(), Output: g.of.name, Partition: c.part, Offset: c.offset, Index: index}
		c.arena = o.append(c.arena)
		r := eventlog.Record{Key: e.key, Header: c.arena[start:len(c.arena):len(c.arena)], Value: e.data}
		if e.time > 0 {
			r.At = e.time / int64(time.Millisecond)
		}
		b.put(r)
		return
	}
	b.put(eventlog.Record{Key: e.key, Header: c.arena[start:len(c.arena):len(c.arena)], Value: e.data})
}

// weight is what a record takes while it waits: its bytes, and 100 for itself.
func weight(r *eventlog.Record) int { return len(r.Key) + len(r.Header) + len(r.Value) + 100 }

func (b *box) put(r eventlog.Record) {
	if b.records == nil {
		b.records = emptied.Take(b.room)
	}
	b.records = append(b.records, r)
	b.bytes += weight(&r)
	b.added++
}

// take returns the next batch and puts it in flight; nil while one is.
func (b *box) take() []eventlog.Record {
	if b.flight > 0 || len(b.records) == 0 {
		return nil
	}
	size := 0
	for b.flight < min(len(b.records), eventlog.MaxRecords) {
		r := &b.records[b.flight]
		size += len(r.Key) + len(r.Header) + len(r.Value)
		if size > eventlog.MaxBatch {
			break
		}
		b.flight++
	}
	return b.records[:b.flight:b.flight]
}

// done notes that the batch in flight is acknowledged.
func (b *box) done() {
	for i := range b.flight {
		b.bytes -= weight(&b.records[i])
	}
	b.acked += uint64(b.flight)
	b.room = b.flight
	if rest := copy(b.records, b.records[b.flight:]); rest > 0 {
		clear(b.records[rest:])
		b.records = b.records[:rest]
	} else {
		emptied.Give(b.records)
		b.records = nil
	}
	b.flight = 0
}

// emptied is what boxes whose records are all acknowledged have left, for others.
var emptied reuse.Pool[eventlog.Record]

// waiting returns the bytes and records that are not acknowledged.
func (c *core) waiting() (bytes, records int) {
	for _, g := range c.outs {
		for _, b := range g.boxes {
			bytes, records = bytes+b.bytes, records+len(b.records)
		}
	}
	return bytes, records
}

// ticket is how much of each box and shelf must be acknowledged for something to be done.
type ticket []uint64

// ticket returns what covers all that was emitted so far.
func (c *core) ticket() ticket {
	var t ticket
	for _, g := range c.outs {
		for _, b := range g.boxes {
			t = append(t, b.added)
		}
	}
	for _, s := range c.shelves {
		t = append(t, s.added)
	}
	return t
}

// covered reports whether all that a ticket stands for is acknowledged.
func (c *core) covered(t ticket) bool {
	i := 0
	for _, g := range c.outs {
		for _, b := range g.boxes {
			if b.acked < t[i] {
				return false
			}
			i++
		}
	}
	for _, s := range c.shelves {
		if s.acked < t[i] {
			return false
		}
		i++
	}
	return true
}

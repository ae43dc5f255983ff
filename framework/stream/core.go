package stream

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// core is one task of a stage without its I/O: it is fed the records of its
// partition and holds states, timers, counters and what is to be appended. All
// that it does follows from these records. It is used by one goroutine.
type core struct {
	stage *stage
	part  int32
	judge judge
	outs  []*group
	// topicID tells the topic from others of its name; empty: it is not known.
	topicID string
	// shelves are what fills its stores.
	shelves []*shelf

	parking   *parking      // what it holds back; nil: it stops where an element cannot be folded
	operators []operator    // by number
	kept      []keyedStates // what the frames of a snapshot hold: of the operators, by number, and behind them of the judge
	made      map[any]any
	tables    *tables
	alarms    alarms
	mark      int64 // watermark: what follows is not earlier
	maxTime   int64 // the greatest event time so far
	next      int64 // all records below it are folded

	// The input and the call under way.
	offset  int64  // of the input
	index   uint64 // of its next emission
	time    int64  // of the element or timer
	key     []byte
	near    near       // what the judge knows of the key
	calls   []emission // of the call; written out in order at its end
	fault   error      // the first failure within the call
	arena   []byte
	block   int   // the size of the next block of it is twice that
	tellAt  int64 // the watermark at which a shuffle is to be told
	sources int   // that watermarks are waited for
	settled int64 // transactional outputs of inputs below it are published already

	planted planted    // by a test
	rng     *rand.Rand // of a planted bug
}

// judge says what a record means to a stage, and calls the core with each element
// that takes effect.
type judge interface {
	step(c *core, r *eventlog.Record) error
	appendSnapshot(b []byte) []byte
	restore(b []byte) (rest []byte, err error)
}

// emission is what a call sends to another log.
type emission struct {
	to        *group
	partition int32
	port      uint64
	time      int64
	key, data []byte
}

// shape is how many partitions lie around a stage.
type shape struct {
	inputs  int   // of its own topic
	outs    []int // of each way out
	sources int   // tasks that write to its topic, if that is a shuffle, and tell watermarks
	tables  *tables
	parts   []storePart       // of the stores; nil: new ones
	careful bool              // see undo
	known   map[callID]string // see parking
	topicID string            // of the stage's own topic, as a task has found it; empty: not yet, or the log has none
}

// newCore returns a task's core, empty.
func newCore(s *stage, part int32, around shape) *core {
	c := &core{stage: s, part: part, made: make(map[any]any), mark: partition.NoMark, maxTime: math.MinInt64, tellAt: math.MaxInt64, sources: around.sources, tables: around.tables, topicID: around.topicID}
	if s.of.Park != nil && !s.timeless {
		c.parking = newParking(c, *s.of.Park, around)
	}
	for i, o := range s.outs {
		c.outs = append(c.outs, newGroup(c, o, around.outs[i], around.inputs))
	}
	for i, st := range s.stores {
		shelf := &shelf{of: st}
		if around.parts != nil {
			shelf.part = around.parts[i]
		} else {
			shelf.part = st.part(opening{topic: s.input(), partition: part, report: func(error) {}})
		}
		c.shelves = append(c.shelves, shelf)
	}
	c.operators = make([]operator, len(s.operators))
	c.judge = s.open(c)
	for _, o := range c.operators {
		c.kept = append(c.kept, o.keyed())
	}
	if j, ok := c.judge.(interface{ keyed() keyedStates }); ok {
		c.kept = append(c.kept, j.keyed())
	}
	if c.parking != nil {
		c.kept = append(c.kept, c.parking.shelve(len(c.kept)))
	}
	c.scheduleTell()
	return c
}

func (c *core) place(number int, o operator) { c.operators[number] = o }

// keep notes the first failure of a call.
func (c *core) keep(err error) {
	if c.fault == nil {
		c.fault = err
	}
}

// feed folds records, in order; those that are folded already are passed over. An
// error is final: the same records and program will meet it again.
func (c *core) feed(records []eventlog.Record) error {
	for i := range records {
		r := &records[i]
		if r.Offset < c.next {
			continue
		}
		c.begins(r.Offset)
		if err := c.judge.step(c, r); err != nil {
			return fmt.Errorf("record %d@%d of %s: %w", c.part, r.Offset, c.stage.input(), err)
		}
		c.next = r.Offset + 1
	}
	if j, ok := c.judge.(interface{ end(*core) error }); ok { // of a table
		return j.end(c)
	}
	return nil
}

// begins begins with a record.
func (c *core) begins(offset int64) {
	c.offset, c.index = offset, 0
	if c.parking != nil {
		c.parking.tries = 0
	}
}

// input folds one element of the record under way, which lies at an offset by itself.
func (c *core) input(f func([]byte) error, key []byte, time int64, payload []byte, at int64) error {
	if c.parking != nil {
		return c.parking.input(f, key, time, payload, at)
	}
	c.key, c.time = key, time
	if err := f(payload); err != nil {
		return err
	}
	return c.finish()
}

// finish writes out what a call has emitted, in the order of target, key and
// kind, whatever order the call had.
func (c *core) finish() error {
	if c.fault != nil {
		return c.fault
	}
	if c.parking != nil {
		if err := c.parking.put(); err != nil {
			return err
		}
	}
	switch {
	case len(c.calls) > 1 && c.planted == plantOrder:
		c.rng.Shuffle(len(c.calls), func(i, j int) { c.calls[i], c.calls[j] = c.calls[j], c.calls[i] })
	case len(c.calls) > 1:
		slices.SortStableFunc(c.calls, compareEmissions)
	}
	for i := range c.calls {
		e := &c.calls[i]
		e.to.add(e)
		*e = emission{}
	}
	c.calls = c.calls[:0]
	return nil
}

func compareEmissions(a, b emission) int {
	return cmp.Or(cmp.Compare(a.to.number, b.to.number), cmp.Compare(a.partition, b.partition),
		bytes.Compare(a.key, b.key), cmp.Compare(a.port, b.port))
}

// emit sends an element to another log: to the partition given, or to that of its
// key if it is negative. The key is copied: that of an input lies in all that was
// fetched with it, which an output that waits would keep.
func emit[Key string | []byte](c *core, to *group, port uint64, part int32, key Key, encode func([]byte) ([]byte, error)) (err error) {
	c.room()
	e := emission{to: to, port: port, time: c.time}
	start := len(c.arena)
	c.arena = append(c.arena, key...)
	e.key = c.arena[start:len(c.arena):len(c.arena)]
	c.room()
	start = len(c.arena)
	if c.arena, err = encode(c.arena); err != nil {
		return fmt.Errorf("encode for %s: %w", to.of.name, err)
	}
	e.data = c.arena[start:len(c.arena):len(c.arena)]
	if size := len(e.key) + len(e.data); size > maxElement {
		return fmt.Errorf("an element for %s under key %.80q has %d bytes, at most %d fit: keep less in it", to.of.name, key, size, maxElement)
	}
	if e.partition = part; part < 0 {
		e.partition = to.partitionOf(e.key)
	}
	c.calls = append(c.calls, e)
	return nil
}

// maxElement bounds the key and payload of what is emitted, so that it fits in a
// batch with its header.
const maxElement = eventlog.MaxBatch - 4<<10

// arenaBlock is how much room is made at once, at most, for keys, payloads and
// headers.
const arenaBlock = 64 << 10

// room makes a new block before the last one is full, so that what it holds is
// seldom moved. Blocks go to the log and are never used again.
func (c *core) room() {
	if cap(c.arena)-len(c.arena) < 1<<10 {
		c.block = min(max(2*c.block, 4<<10), arenaBlock)
		c.arena = make([]byte, 0, c.block)
	}
}

// advance moves the watermark, if it is later, and fires the timers that are due:
// by the new one, or, set by this input, by the old one already. Then the shuffles
// are told.
func (c *core) advance(mark int64) error {
	if mark < c.mark {
		mark = c.mark
	}
	if c.planted == plantEager {
		c.mark = mark
	}
	if c.planted == plantDue && mark == c.mark {
		return nil
	}
	for fired := 0; len(c.alarms) > 0 && c.alarms[0].at <= mark; fired++ {
		if fired == maxFired {
			return fmt.Errorf("one input fired %d timers: does OnTimer set a timer that is due at once, for ever?", maxFired)
		}
		a := c.alarms.pop()
		if err := c.fire(&a); err != nil {
			return err
		}
	}
	if c.mark = mark; mark != partition.NoMark && mark >= c.tellAt {
		c.tell()
	}
	return nil
}

// fire calls a timer that is due.
func (c *core) fire(a *alarm) error {
	if c.parking != nil {
		return c.parking.fire(a)
	}
	if err := c.operators[a.operator].fire(a); err != nil {
		return err
	}
	return c.finish()
}

// maxFired bounds the timers that one input fires.
const maxFired = 10_000_000

// tell writes the watermark to the shuffle partitions that have not heard of it
// for long.
func (c *core) tell() {
	every := int64(c.stage.of.markEvery())
	for _, g := range c.outs {
		if g.of.to == nil || !g.of.to.timed {
			continue
		}
		for p, b := range g.boxes {
			if b.told == partition.NoMark || c.mark-b.told >= every {
				g.add(&emission{to: g, partition: int32(p), time: c.mark})
			}
		}
	}
	c.scheduleTell()
}

// scheduleTell finds the watermark at which the next box is to be told.
func (c *core) scheduleTell() {
	c.tellAt = math.MaxInt64
	every := int64(c.stage.of.markEvery())
	for _, g := range c.outs {
		if g.of.to == nil || !g.of.to.timed {
			continue
		}
		for _, b := range g.boxes {
			if b.told == partition.NoMark {
				c.tellAt = math.MinInt64
				return
			}
			c.tellAt = min(c.tellAt, b.told+every)
		}
	}
}

// finalError is told from errors that pass; see task.go.
func finally(err error) error {
	var known *finalError
	if err == nil || errors.As(err, &known) || passes(err) {
		return err
	}
	return Final(err)
}

package stream

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// Table reads a topic of others as a table: a key's value is its last record's, and
// one without a value deletes it. It is folded once in each process, for all tasks
// that look into it, and is no part of their snapshots.
//
// A task sees the table as of the last pins in its own partition: records that say
// how far the topic was, written to the shuffle by a small stage that follows the
// topic. So what comes of a look follows from the partition alone, whatever the
// table has come to meanwhile. A run of up to some hundred records of the topic costs
// one small record in each partition of the shuffle.
//
// In memory are each key's value, and those that have replaced it since the last pin
// of the task that is furthest behind, without a bound of their own. The topic must
// keep each key's last record: it is compacted, or keeps everything. If it is
// compacted, its min.compaction.lag.ms must be longer than any task may be behind,
// stopped or restored from an old snapshot; otherwise it may have lost what the task
// is to see. If the last record of a partition is a deletion, and is compacted away
// itself, a process that starts then waits for the next one, and says so.
type Table[V any] struct {
	Name   string // [a-z][a-z0-9-]*, for ever
	Topic  string
	Decode func(r *Record, v *V) error // v is zero; not called without a value. An error stops the tasks
}

// Reference is a table in a topology. Get and LookUp look into it.
type Reference[V any] struct {
	table  *Table[V]
	pinner *Stream[pin]
	number map[*stage]int // where it is pinned, the number of its operator
}

// pin says that a partition of the table's topic is to be seen up to an offset.
type pin struct {
	part int32
	next int64
}

var pinCodec = Codec[pin]{
	Append: func(b []byte, p *pin) ([]byte, error) {
		return binary.AppendUvarint(binary.AppendUvarint(b, uint64(p.part)), uint64(p.next)), nil
	},
	Decode: func(data []byte, p *pin) error {
		r := packed.Read(data)
		if p.part, p.next = int32(r.Number()), int64(r.Number()); r.Bad() {
			return errMangled
		}
		return nil
	},
}

// FromTable declares a table of a topology.
func FromTable[V any](t *Topology, table *Table[V]) *Reference[V] {
	t.claim("table", table.Name)
	if table.Topic == "" || table.Decode == nil {
		panic(fmt.Errorf("table %s: set Topic and Decode", table.Name))
	}
	s := &stage{of: t, name: table.Name, topic: table.Topic, group: t.Name, foreign: true, committed: true, timeless: true}
	r := &Reference[V]{table: table, pinner: &Stream[pin]{of: s}, number: make(map[*stage]int)}
	s.open = func(c *core) judge {
		c.mark = partition.Timeless
		next := r.pinner.sink(c)
		j := &pins{take: func([]byte) error { return next(pin{c.part, c.offset + 1}) }}
		j.check = func(r *eventlog.Record) error { _, err := table.decode(c.part, r); return err }
		return j
	}
	t.stages = append(t.stages, s)
	return r
}

// decode returns a record's value; nil: it deletes the key.
func (t *Table[V]) decode(part int32, r *eventlog.Record) (*V, error) {
	if r.Value == nil {
		return nil, nil
	}
	record := Record{Partition: part, Offset: r.Offset, Key: r.Key, Value: r.Value, Headers: r.Header}
	if r.At > 0 {
		record.Time = time.UnixMilli(r.At).UTC()
	}
	v := new(V)
	if err := t.Decode(&record, v); err != nil {
		return nil, fmt.Errorf("decode a record of table %s: %w", t.Name, err)
	}
	return v, nil
}

// pins judges a table's topic for the stage that writes pins: one at the end of each
// run of records. So the pins of another life may be others. That does no harm: a
// pin's number is the offset that it names, and of these a reader takes any that is
// higher than the last, see partition.Timeless.
type pins struct {
	open  *eventlog.Record // the last of the run
	check func(*eventlog.Record) error
	take  func([]byte) error
}

func (j *pins) step(_ *core, r *eventlog.Record) error {
	j.open = r
	return j.check(r)
}

func (j *pins) end(c *core) error {
	r := j.open
	if j.open = nil; r == nil {
		return nil
	}
	return c.input(j.take, r.Key, r.At*int64(time.Millisecond), nil, r.Offset)
}

func (j *pins) appendSnapshot(b []byte) []byte            { return b }
func (j *pins) restore(b []byte) (rest []byte, err error) { return b, nil }

// Pin lets the operators behind a shuffle look into the table; LookUp does it by
// itself. Done again it changes nothing.
func (r *Reference[V]) Pin(to *Shuffle) {
	s := to.of
	if _, done := r.number[s]; done {
		return
	}
	if s.topic != "" {
		panic(fmt.Errorf("table %s cannot be pinned in source %s: what it says must stand in the log between the elements; shuffle them with KeyBy first", r.table.Name, s.name))
	}
	arrived := Broadcast(r.pinner, to, pinCodec)
	r.number[s] = len(s.operators)
	s.operators = append(s.operators, r.table.Name)
	arrived.link(func(c *core) sink[pin] { return r.of(c).move })
}

// Get returns the value of a key as of the pins of the Context's partition. The value
// is shared and must not be changed.
func (r *Reference[V]) Get(c Keyed, key string) (v V, known bool) {
	core, _ := c.coreAndKey()
	return r.get(core, key)
}

func (r *Reference[V]) get(c *core, key string) (v V, known bool) {
	if _, pinned := r.number[c.stage]; !pinned {
		panic(fmt.Errorf("table %s is not pinned in %s; give Reference.Pin its shuffle", r.table.Name, c.stage.name))
	}
	v, known, err := r.of(c).get(key)
	c.keep(err)
	return v, known
}

// LookUp returns the stream of what join makes of each element and the value that
// the table has under key(v), if it has one. The stream must come out of a shuffle;
// both functions are pure and do not change the value.
func LookUp[In, V, Out any](in *Stream[In], r *Reference[V], key func(In) string, join func(v In, row V, known bool) Out) *Stream[Out] {
	r.Pin(&Shuffle{in.of})
	o := &Stream[Out]{of: in.of}
	in.link(func(c *core) sink[In] {
		next := o.sink(c)
		return func(v In) error {
			row, known := r.get(c, key(v))
			if c.fault != nil {
				return c.fault
			}
			return next(join(v, row, known))
		}
	})
	return o
}

// view is a table as one task sees it: its pins are the task's state.
type view[V any] struct {
	core   *core
	ref    *Reference[V]
	states *states[int64] // by partition of the table's topic, as binary
	at     map[int32]int64
	shared *rows[V] // nil: the task has not looked yet
}

var _ operator = (*view[int])(nil)

var offsetCodec = Codec[int64]{
	Append: func(b []byte, v *int64) ([]byte, error) { return binary.AppendVarint(b, *v), nil },
	Decode: func(data []byte, v *int64) error {
		r := packed.Read(data)
		if *v = r.Signed(); r.Bad() {
			return errMangled
		}
		return nil
	},
}

func (r *Reference[V]) of(c *core) *view[V] {
	return once(c, r, func() *view[V] {
		n := r.number[c.stage]
		v := &view[V]{core: c, ref: r, states: newStates(n, r.table.Name, offsetCodec), at: make(map[int32]int64)}
		c.place(n, v)
		return v
	})
}

func (v *view[V]) move(p pin) error {
	key := binary.BigEndian.AppendUint32(nil, uint32(p.part))
	i := v.states.find(key)
	if i < 0 {
		i = v.states.make(string(key))
	}
	v.core.keep(v.states.change(i))
	v.states.unit(i).state = p.next
	v.at[p.part] = p.next
	if v.shared != nil {
		v.shared.moved(v)
	}
	return v.core.fault
}

// wake finds the pins of a restored task.
func (v *view[V]) wake() {
	for _, u := range v.states.all() {
		v.at[int32(binary.BigEndian.Uint32([]byte(u.key)))] = u.state
	}
}

func (v *view[V]) keyed() keyedStates { return v.states }

func (v *view[V]) fire(*alarm) error { return nil } // pins have no timers

// look gives the value that the task would get.
func (v *view[V]) look(key string, to any) (bool, error) {
	out, ok := to.(*V)
	if !ok {
		return false, fmt.Errorf("the values of table %s are %T, which does not fit in %T", v.ref.table.Name, *new(V), to)
	}
	value, known, err := v.get(key)
	*out = value
	return known, err
}

func (v *view[V]) get(key string) (value V, known bool, err error) {
	if v.shared == nil {
		v.shared = rowsOf(v.core.tables, v.ref.table)
		v.shared.enter(v)
	}
	return v.shared.get(v, key)
}

// leave is called when the task ends.
func (v *view[V]) leave() {
	if v.shared != nil {
		v.shared.leave(v)
	}
}

// leave ends what a core has outside of itself.
func (c *core) leave() {
	for _, o := range c.operators {
		if v, ok := o.(interface{ leave() }); ok {
			v.leave()
		}
	}
}

// version is a key's value from an offset on.
type version[V any] struct {
	part   int32
	offset int64
	value  *V // nil: deleted
}

func compareVersions[V any](a, b version[V]) int {
	return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.offset, b.offset))
}

// seen returns the version of a key as of some pins. Where the key is in several
// partitions, which it should not be, the first one counts that has a value.
func seen[V any](all []version[V], at map[int32]int64) *V {
	for i := 0; i < len(all); {
		var last *V
		part := all[i].part
		for ; i < len(all) && all[i].part == part; i++ {
			if all[i].offset < at[part] {
				last = all[i].value
			}
		}
		if last != nil {
			return last
		}
	}
	return nil
}

// prune drops the versions of a partition that nobody will see any more, given the
// least pin.
func prune[V any](all []version[V], part int32, least int64) []version[V] {
	last := int64(-1) // of what all see
	for _, v := range all {
		if v.part == part && v.offset < least {
			last = v.offset
		}
	}
	return slices.DeleteFunc(all, func(v version[V]) bool {
		return v.part == part && (v.offset < last || v.offset == last && v.value == nil)
	})
}

// leastPin returns the least pin of a partition among views.
func leastPin[V any](users map[*view[V]]map[int32]int64, part int32) int64 {
	least := int64(math.MaxInt64)
	for at := range maps.Values(users) {
		least = min(least, at[part])
	}
	return least
}

package stream

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// Record is a record of a topic as a Source decodes it. Its bytes must not be
// kept nor changed.
type Record struct {
	Partition int32
	Offset    int64
	Time      time.Time // UTC, as the log stamped it; zero where the log keeps none
	Key       []byte
	Value     []byte
	Headers   []byte // all of them; see eventlog.Header and eventlog.Headers
}

// Source reads a topic that others write, in place: each record once, under the
// record's own key.
//
// The watermark of a partition is the greatest event time that its records have
// shown, less Late. So a partition that falls silent holds windows and timers open,
// by design: only the log may say that time has passed, or the same records would
// make other results another time. Its producers can say so, see Mark.
type Source[T any] struct {
	Name  string // [a-z][a-z0-9-]*, for ever
	Topic string
	// Intake lets the source read what that has copied of its topic, in place of Topic.
	Intake *Intake
	Decode func(r *Record, v *T) error // v is zero. An error stops the task
	// Time returns an element's event time; default: the record's.
	Time func(r *Record, v *T) time.Time
	// Mark recognises the records by which producers tell no more than the time, in
	// each partition, while they have nothing to send: for one of these it returns
	// the time, and true, and the record is not decoded. Default: there are none.
	Mark func(r *Record) (at time.Time, ok bool)
	// Late is by how much elements may come later than those before them, in event
	// time, and still be in time; default 0.
	Late time.Duration
	// Group is the consumer group by which progress is shown: its offsets are
	// committed once the outputs are acknowledged, for lag tools to see. Default:
	// the topology's name.
	Group string
	// Uncommitted takes records of Kafka transactions that are open or were aborted
	// too; default: committed ones only.
	Uncommitted bool
}

// From reads a source.
func From[T any](t *Topology, src *Source[T]) *Stream[T] {
	t.claim("source", src.Name)
	if err := src.check(); err != nil {
		panic(fmt.Errorf("source %s: %w", src.Name, err))
	}
	s := src.stage(t)
	o := &Stream[T]{of: s}
	s.open = func(c *core) judge {
		j := outside{late: int64(src.Late), mark: src.Mark, record: Record{Partition: c.part}}
		next := o.sink(c)
		var v, zero T
		j.take = func([]byte) error {
			v = zero
			if err := src.Decode(&j.record, &v); err != nil {
				return fmt.Errorf("decode: %w", err)
			}
			at := j.record.Time
			if src.Time != nil {
				at = src.Time(&j.record, &v)
			}
			c.time = at.UnixNano()
			c.maxTime = max(c.maxTime, c.time)
			return next(v)
		}
		if src.Intake != nil {
			return &copied{outside: &j, numbers: partition.NewNumbers(1)}
		}
		return &j
	}
	t.stages = append(t.stages, s)
	return o
}

// outside judges a topic of others: each record takes effect.
type outside struct {
	late   int64
	mark   func(*Record) (time.Time, bool)
	record Record
	take   func([]byte) error
}

func (j *outside) step(c *core, r *eventlog.Record) error {
	j.show(r)
	if j.mark != nil {
		if at, ok := j.mark(&j.record); ok {
			return c.pass(at.UnixNano(), j.late)
		}
	}
	if err := c.input(j.take, r.Key, 0, r.Value, c.offset); err != nil {
		return err
	}
	return c.pass(c.maxTime, j.late)
}

// show makes a record the one that is decoded.
func (j *outside) show(r *eventlog.Record) {
	j.record.Offset, j.record.Key, j.record.Value, j.record.Headers = r.Offset, r.Key, r.Value, r.Header
	j.record.Time = time.Time{}
	if r.At > 0 {
		j.record.Time = time.UnixMilli(r.At).UTC()
	}
}

// pass lets the time of a source become at, if that is later than before.
func (c *core) pass(at, late int64) error {
	c.maxTime = max(c.maxTime, at)
	if !c.stage.timed {
		return nil
	}
	return c.advance(c.maxTime - late)
}

func (j *outside) appendSnapshot(b []byte) []byte            { return b }
func (j *outside) restore(b []byte) (rest []byte, err error) { return b, nil }

// Events reads an application's events topic: the events of valid commits, each
// under its aggregate's key, "type/id".
//
// Watermarks are as of Source. Where the application has framework.Config.Heartbeat
// set, a partition that falls silent has its owner's heartbeats, which move them too.
type Events[T any] struct {
	Name  string // [a-z][a-z0-9-]*, for ever
	Topic string // "<app>.events"
	// Decode reads an event, and reports false for one that is not wanted. v is
	// zero. An error stops the task.
	Decode func(e *partition.Event, v *T) (ok bool, err error)
	Late   time.Duration // as of Source
	Group  string        // as of Source; NoGroup: progress is not shown
}

// NoGroup is the Group of a source whose progress is not to be committed.
const NoGroup = "-"

// FromEvents reads an events topic.
func FromEvents[T any](t *Topology, src *Events[T]) *Stream[T] {
	t.claim("source", src.Name)
	if src.Topic == "" || src.Decode == nil || src.Late < 0 {
		panic(fmt.Errorf("source %s: set Topic and Decode; Late is %v, want none below zero", src.Name, src.Late))
	}
	s := &stage{of: t, name: src.Name, topic: src.Topic, group: cmp.Or(src.Group, t.Name)}
	if src.Group == NoGroup {
		s.group = ""
	}
	o := &Stream[T]{of: s}
	s.open = func(c *core) judge {
		j := newCommits(c, int64(src.Late))
		next := o.sink(c)
		var v, zero T
		j.take = func([]byte) error {
			v = zero
			if ok, err := src.Decode(j.event, &v); err != nil || !ok {
				return err
			}
			return next(v)
		}
		return j
	}
	t.stages = append(t.stages, s)
	return o
}

// commits judges an events topic by the fold rule.
type commits struct {
	late     int64
	fold     *partition.Fold
	versions *versions
	event    *partition.Event
	take     func([]byte) error
	decoder  event.Decoder // of what is read again
}

func newCommits(c *core, late int64) *commits {
	v := &versions{core: c, states: newStates(len(c.stage.operators), "versions", versionCodec)}
	return &commits{late: late, versions: v, fold: partition.NewOn(partition.Memory{}, v)}
}

func (j *commits) keyed() keyedStates { return j.versions.states }

func (j *commits) step(c *core, r *eventlog.Record) error {
	got, err := j.fold.Step(r.Offset, r.Key, r.Header, r.Value)
	switch {
	case err != nil:
		return err
	case got.Verdict == partition.Heartbeat:
		return c.pass(got.Time, j.late)
	case got.Verdict != partition.Valid:
		return j.void(c, r, got.Reason)
	}
	c.near = j.versions.near() // of all that follows: a commit is one aggregate's
	for i := range got.Events {
		j.event = &got.Events[i]
		at := j.event.Time.UnixNano()
		c.maxTime = max(c.maxTime, at)
		if err := j.one(c, at); err != nil {
			return fmt.Errorf("%s of %s: %w", j.event.Type, j.event.Key, err)
		}
	}
	return c.pass(c.maxTime, j.late)
}

// one folds the event under way.
func (j *commits) one(c *core, at int64) error {
	if isRuling(j.event) {
		c.time = at
		return c.ruled(j.event.Data)
	}
	return c.input(j.take, j.event.Key, at, j.event.Data, j.event.Offset)
}

// void does nothing, as what is void does; but for a planted bug.
func (j *commits) void(c *core, r *eventlog.Record, why partition.Reason) error {
	if c.planted != plantOldBeat || why != partition.OldEpoch {
		return nil
	}
	_, at, err := partition.DecodeHeartbeat(r.Header)
	if err != nil {
		return nil
	}
	return c.pass(at, j.late)
}

func (j *commits) appendSnapshot(b []byte) []byte { return j.fold.AppendHead(b) }

func (j *commits) restore(b []byte) (rest []byte, err error) {
	if len(b) == 0 || b[0] != partition.SnapshotFormat {
		j.fold, err = partition.Resume(b, partition.Memory{}, j.versions)
		return nil, err
	}
	whole, err := partition.Restore(b, partition.Memory{}) // as it was before versions had frames
	if err != nil {
		return nil, err
	}
	for key, version := range whole.Versions() {
		j.versions.Set([]byte(key), version)
	}
	j.fold, err = partition.Resume(whole.AppendHead(nil), partition.Memory{}, j.versions)
	return nil, err
}

// versions are the versions of the aggregates, kept as an operator's states are.
type versions struct {
	core   *core
	states *states[aggregate]
	last   int32 // the place that was set last
}

// aggregate is what is kept of one.
type aggregate struct {
	version uint64
	near    int32 // its place among the first operator's states, or another's; in no snapshot
}

var versionCodec = Codec[aggregate]{
	Append: func(b []byte, a *aggregate) ([]byte, error) { return binary.AppendUvarint(b, a.version), nil },
	Decode: func(data []byte, a *aggregate) error {
		r := packed.Read(data)
		if a.version = r.Number(); r.Bad() || len(r.Rest()) > 0 {
			return errMangled
		}
		return nil
	},
}

// near is what is known of the last aggregate.
func (v *versions) near() near {
	u := v.states.unit(v.last)
	return near{u.key, &u.state.near}
}

// Get implements partition.Versions.
func (v *versions) Get(key []byte) uint64 {
	if i := v.states.find(key); i >= 0 {
		return v.states.unit(i).state.version
	}
	return 0
}

// Set implements partition.Versions.
func (v *versions) Set(key []byte, version uint64) {
	i := v.states.find(key)
	if i < 0 {
		i = v.states.make(string(key))
		v.states.unit(i).state.near = i // both are made in the order in which keys come, as a rule
	}
	v.core.keep(v.states.change(i))
	v.states.unit(i).state.version = version
	v.last = i
}

// All implements partition.Versions.
func (v *versions) All() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for _, u := range v.states.all() {
			if !yield(u.key, u.state.version) {
				return
			}
		}
	}
}

// shuffled judges a shuffle: the next number of each source takes effect.
type shuffled struct {
	numbers *partition.Numbers
	header  partition.Derived
	ports   []func([]byte) error
	counts  [partition.OtherFold + 1]int // by reason; NoReason: valid
}

func openShuffle(c *core) judge {
	j := &shuffled{numbers: partition.NewNumbers(c.stage.of.version())}
	for _, port := range c.stage.ports {
		j.ports = append(j.ports, port(c))
	}
	return j
}

func (j *shuffled) step(c *core, r *eventlog.Record) error {
	verdict, reason, err := j.numbers.Step(r.Header, &j.header)
	if err != nil {
		return err
	}
	j.counts[reason]++
	if verdict != partition.Valid && !c.planted.takes(reason) {
		return nil
	}
	d := &j.header
	switch {
	case d.Port == rulingPort:
		c.time = d.Time
		if err := c.ruled(r.Value); err != nil {
			return fmt.Errorf("ruling: %w", err)
		}
	case d.Port > uint64(len(j.ports)):
		return fmt.Errorf("%w: input %d of %s, which has %d; raise Topology.Version when the operators change", event.ErrNewer, d.Port, c.stage.name, len(j.ports))
	case d.Port > 0:
		if err := c.input(j.ports[d.Port-1], r.Key, d.Time, r.Value, r.Offset); err != nil {
			return fmt.Errorf("element of %v: %w", d.Source, err)
		}
	}
	if !c.stage.timed {
		return nil
	}
	if c.planted == plantLate {
		return c.advance(d.Mark)
	}
	return c.advance(j.numbers.Mark(c.sources))
}

func (j *shuffled) appendSnapshot(b []byte) []byte { return j.numbers.AppendSnapshot(b) }

func (j *shuffled) restore(b []byte) (rest []byte, err error) {
	j.numbers, rest, err = partition.RestoreNumbers(b)
	return rest, err
}

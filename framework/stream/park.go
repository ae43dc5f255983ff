package stream

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// Park lets the tasks of a topology go on where an element cannot be folded: one that
// Decode refuses, or an operator, with an error or a panic. Its key is parked. Nothing
// of the failed call stays; the key keeps the states that it had, its timers wait, and
// what comes under it afterwards is kept back too, in order, until a [Ruling] says what
// is to be done. All other keys go on.
//
// What is parked follows from the log and the fold version alone, so a task that folds
// again parks the same. It is part of the task's snapshots. A new Topology.Version
// folds everything anew, and has nothing parked but what fails there too.
//
// A task still stops for good at what is not of one key: damage in the log, a record
// or event type that only a newer program knows, an element that Broadcast sends to
// all keys, a store's Put or Batch.
type Park struct {
	// MaxKeys and MaxEvents bound what one task holds back: how many keys, and how many
	// events of them, of which it keeps the offsets and reads the rest again. Beyond
	// that the task stops with a final error: so many do not fail for what is in them,
	// but for a mistake in the fold, and a view that stands still for most of its keys
	// is to be seen as one that has stopped. Defaults: 1,000 and 100,000.
	MaxKeys, MaxEvents int
	// Refold says that the operators' codecs do not bring states back as they were. What
	// a failed call has changed is then undone by folding again, from the task's newest
	// snapshot or the log's beginning, once for each key that is parked; else once, if
	// at all.
	Refold bool
}

// Limits of Park.
const (
	maxParkedKeys   = 1_000
	maxParkedEvents = 100_000
	maxWhy          = 1 << 10 // bytes of an error's text
)

func (p *Park) check() error {
	if p != nil && (p.MaxKeys < 0 || p.MaxEvents < 0) {
		return fmt.Errorf("Park.MaxKeys is %d, Park.MaxEvents %d, want none below zero", p.MaxKeys, p.MaxEvents)
	}
	return nil
}

// parking is what a task holds back. The task's goroutine alone changes it; others
// read keys under mu.
type parking struct {
	core   *core
	limits Park

	mu    sync.Mutex
	keys  *states[parkedKey]
	count int // parked events

	undo  undo
	tries int // calls that this record has led to
	// known are calls that failed in an earlier attempt, where Refold is set.
	known map[callID]string
	waits []pendingPuts // what the call under way gives to stores

	records func() (at func(offset int64) (*eventlog.Record, error), end func()) // begins to read what is held back
	told    func(parkedEvent)                                                    // hears of each event that is parked; nil: nobody does
}

// callID names a call: the n-th that the record at an offset has led to.
type callID struct {
	offset int64
	n      int
}

// parkedEvent is an event that is parked, as it is told.
type parkedEvent struct {
	at    int64
	first bool // it is the one that failed
	stack []byte
}

// parkedKey is what is held back of one key.
type parkedKey struct {
	why      string         // the error of the first call that failed
	since    int64          // event time of it
	at       int64          // offset of the event, or of the record whose time let a timer fire
	attempts int            // rulings that have not ended it
	timer    *alarm         // whose call failed; nil: an event's
	events   packed.Offsets // in order; the first one failed, unless a timer did
}

func newParking(c *core, limits Park, around shape) *parking {
	limits.MaxKeys = cmp.Or(limits.MaxKeys, maxParkedKeys)
	limits.MaxEvents = cmp.Or(limits.MaxEvents, maxParkedEvents)
	p := &parking{core: c, limits: limits, known: around.known}
	p.undo.careful = around.careful
	return p
}

// shelve makes the place of what is parked in snapshots: the last one.
func (p *parking) shelve(number int) keyedStates {
	p.keys = newStates(number, "parked", parkedCodec(len(p.core.operators)))
	return p.keys
}

// wake counts what a snapshot has brought.
func (p *parking) wake() {
	p.count = 0
	if p.core.planted == plantParkedLost {
		p.keys = newStates(p.keys.number, p.keys.name, p.keys.codec)
	}
	for _, u := range p.keys.all() {
		p.count += u.state.events.Count
	}
}

// holds reports whether a key is parked.
func (p *parking) holds(key []byte) bool { return len(p.keys.index) > 0 && p.keys.find(key) >= 0 }

// input folds an element, or parks it.
func (p *parking) input(f func([]byte) error, key []byte, time int64, payload []byte, at int64) error {
	c := p.core
	c.key, c.time = key, time
	if p.holds(key) && c.planted != plantParkedOn {
		return p.follow(key, at)
	}
	failed, err := p.call(f, payload)
	if failed == nil || err != nil {
		return err
	}
	return p.park(key, at, nil, failed)
}

// fire calls a timer that is due, or parks its key.
func (p *parking) fire(a *alarm) error {
	if p.holds([]byte(a.key)) && p.core.planted != plantParkedTimers {
		return nil // it fires when the key is free
	}
	failed, err := p.callTimer(a)
	if failed == nil || err != nil {
		return err
	}
	return p.park([]byte(a.key), p.core.offset, a, failed)
}

func (p *parking) callTimer(a *alarm) (failed, err error) {
	return p.call(func([]byte) error { return p.core.operators[a.operator].fire(a) }, nil)
}

// call makes one call of the operators. If it fails for what is in it, nothing of it
// stays, and failed says why; err is what the task cannot go on with.
func (p *parking) call(f func([]byte) error, payload []byte) (failed, err error) {
	c := p.core
	at := callID{c.offset, p.tries}
	p.tries++
	p.undo.begin()
	if why, known := p.known[at]; known {
		failed = errors.New(why)
	} else {
		failed = p.guarded(f, payload)
	}
	p.undo.end()
	if failed == nil {
		return nil, c.finish()
	}
	if !p.parks(failed) {
		return nil, failed
	}
	c.fault, c.calls = nil, c.calls[:0]
	for _, w := range p.waits {
		w.drop()
	}
	if c.planted == plantNoUndo {
		return failed, nil
	}
	if p.undo.dirty && !p.undo.careful {
		return nil, &unsureError{at, failed}
	}
	return failed, p.undo.revert()
}

// pendingPuts is what a call gives to one store: nothing before it has succeeded.
type pendingPuts struct {
	put  func() error
	drop func()
}

// parkedPut lets what put takes wait until its call has succeeded.
func parkedPut[T any](p *parking, put sink[T]) sink[T] {
	var list []T
	drop := func() {
		clear(list)
		list = list[:0]
	}
	p.waits = append(p.waits, pendingPuts{drop: drop, put: func() error {
		for _, v := range list {
			if err := put(v); err != nil {
				return err
			}
		}
		drop()
		return nil
	}})
	return func(v T) error {
		list = append(list, v)
		return nil
	}
}

// put gives the stores what waits.
func (p *parking) put() error {
	for _, w := range p.waits {
		if err := w.put(); err != nil {
			return err
		}
	}
	return nil
}

// guarded calls f; a panic is an error.
func (p *parking) guarded(f func([]byte) error, payload []byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	if err := f(payload); err != nil {
		return err
	}
	return p.core.fault
}

type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("it panicked: %v", e.value) }

// parks reports whether a failure is of the element, and not of the program's age or
// of what it reads besides. What goes to all keys is of none.
func (p *parking) parks(err error) bool {
	var unknown *event.UnknownTypeError
	switch {
	case passes(err), errors.Is(err, event.ErrNewer), errors.As(err, &unknown):
		return false
	}
	return p.core.stage.topic != "" || len(p.core.key) > 0
}

// unsureError is a call that has failed, and changed states which nobody had kept:
// the task is to start anew, and to be careful.
type unsureError struct {
	at  callID
	err error
}

func (e *unsureError) Error() string {
	return fmt.Sprintf("the states before a failed call are folded again: %v", e.err)
}
func (e *unsureError) Unwrap() error { return e.err }

// park begins to hold a key back.
func (p *parking) park(key []byte, at int64, timer *alarm, why error) error {
	if n := len(p.keys.index); n >= p.limits.MaxKeys {
		return Final(fmt.Errorf("%d keys are parked, as many as may be (Park.MaxKeys), and what is at offset %d fails too: %w; mend the fold and raise its version, which folds everything anew, or allow more keys", n, at, why))
	}
	if err := p.room(at); timer == nil && err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.keys.make(string(key))
	if err := p.keys.change(i); err != nil {
		return err
	}
	u := p.keys.unit(i)
	u.state = parkedKey{why: textOf(why), since: p.core.time, at: at}
	if timer != nil {
		of := *timer
		u.state.timer = &of
		p.tell(at, why)
		return nil
	}
	p.hold(i, at, why)
	return nil
}

// room returns an error if no further event may be held back.
func (p *parking) room(at int64) error {
	if p.count < p.limits.MaxEvents {
		return nil
	}
	return Final(fmt.Errorf("%d events are parked, as many as may be (Park.MaxEvents), and offset %d is to be another; mend the fold and raise its version, which folds everything anew, or allow more events", p.count, at))
}

// follow holds back what comes under a parked key.
func (p *parking) follow(key []byte, at int64) error {
	if err := p.room(at); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.keys.find(key)
	if err := p.keys.change(i); err != nil {
		return err
	}
	p.hold(i, at, nil)
	return nil
}

// hold adds an event to a key's. The caller has the lock.
func (p *parking) hold(i int32, at int64, why error) {
	p.keys.unit(i).state.events.Add(at)
	p.count++
	p.tell(at, why)
}

func (p *parking) tell(at int64, why error) {
	if p.told == nil {
		return
	}
	e := parkedEvent{at: at, first: why != nil}
	var panicked *panicError
	if errors.As(why, &panicked) {
		e.stack = panicked.stack
	}
	p.told(e)
}

// textOf is an error's text, bounded.
func textOf(err error) string {
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	if len(text) > maxWhy {
		text = strings.ToValidUTF8(text[:maxWhy], "") + "…"
	}
	return text
}

// parkedFormat is the version of what parkedCodec writes.
const parkedFormat = 1

// parkedCodec writes and reads parked keys of a task with so many operators.
func parkedCodec(operators int) Codec[parkedKey] {
	return Codec[parkedKey]{
		Append: func(b []byte, v *parkedKey) ([]byte, error) { return appendParked(b, v), nil },
		Decode: func(data []byte, v *parkedKey) error { return decodeParked(data, v, operators) },
	}
}

func appendParked(b []byte, v *parkedKey) []byte {
	b = append(b, parkedFormat)
	b = packed.AppendBytes(b, v.why)
	b = binary.AppendVarint(b, v.since)
	b = binary.AppendVarint(b, v.at)
	b = binary.AppendUvarint(b, uint64(v.attempts))
	if t := v.timer; t == nil {
		b = append(b, 0)
	} else {
		b = binary.AppendUvarint(append(b, 1), uint64(t.operator))
		b = packed.AppendBytes(binary.AppendVarint(b, t.at), t.name)
		b = packed.AppendBytes(b, t.key)
	}
	b = binary.AppendUvarint(b, uint64(v.events.Count))
	b = binary.AppendUvarint(b, uint64(v.events.Last))
	return packed.AppendBytes(b, v.events.Deltas)
}

// decodeParked refuses what appendParked cannot have written, so that what is decoded
// can be worked with.
func decodeParked(data []byte, v *parkedKey, operators int) error {
	if len(data) == 0 || data[0] != parkedFormat {
		return fmt.Errorf("a parked key begins with % x, this program reads format %d: %w", data[:min(len(data), 1)], parkedFormat, errMangled)
	}
	r := packed.Read(data[1:])
	*v = parkedKey{why: string(r.Bytes()), since: r.Signed(), at: r.Signed(), attempts: int(r.Number())}
	there := r.Take(1)
	if len(there) == 1 && there[0] == 1 {
		v.timer = &alarm{operator: int(r.Number())}
		v.timer.at, v.timer.name, v.timer.key = r.Signed(), string(r.Bytes()), string(r.Bytes())
	}
	v.events.Count, v.events.Last = int(r.Number()), int64(r.Number())
	v.events.Deltas = slices.Clone(r.Bytes())
	switch {
	case r.Bad() || len(r.Rest()) > 0 || there[0] > 1 || v.attempts < 0 || !v.events.Sound():
		return errMangled
	case v.timer != nil && (v.timer.operator < 0 || v.timer.operator >= operators):
		return fmt.Errorf("a timer of operator %d, of %d: %w", v.timer.operator, operators, errMangled)
	}
	return nil
}

// Parked is a key that is held back.
type Parked struct {
	Operator  string // the stage: a source or shuffle
	Partition int32  // of its input
	Key       string
	Offset    int64     // of the event that failed, or of the record whose time let a timer fire
	Timer     string    // the timer whose call failed; empty: an event's did
	Events    int       // held back, the one that failed among them
	Since     time.Time // event time of what failed
	Attempts  int       // rulings that have not ended it
	Err       string    // why it failed, 1 KiB at most
}

// Parked returns the keys that the task holds back as it last ran, by offset. They are
// known where the task runs, not where it is watched.
func (t *Task) Parked() []Parked {
	p := t.parking.Load()
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Parked
	for _, u := range p.keys.all() {
		all = append(all, t.parked(u.key, &u.state))
	}
	slices.SortFunc(all, func(a, b Parked) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Key, b.Key))
	})
	return all
}

// ParkedKeys returns how many keys Parked returns.
func (t *Task) ParkedKeys() int {
	p := t.parking.Load()
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.keys.index)
}

func (t *Task) parked(key string, v *parkedKey) Parked {
	out := Parked{Operator: t.stage.name, Partition: t.part, Key: key, Offset: v.at, Events: v.events.Count,
		Since: time.Unix(0, v.since).UTC(), Attempts: v.attempts, Err: v.why}
	if v.timer != nil {
		out.Timer = v.timer.name
	}
	return out
}

// ParkedEvents returns the offsets of what is held back of a key, at most limit behind
// the first skip, in order; ok is false if the key is not parked.
func (t *Task) ParkedEvents(key string, skip, limit int) (list []int64, ok bool) {
	p := t.parking.Load()
	if p == nil {
		return nil, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.keys.index[key]
	if !ok {
		return nil, false
	}
	return p.keys.unit(i).state.events.List(uint64(max(skip, 0)), limit), true
}

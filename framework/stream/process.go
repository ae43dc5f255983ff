package stream

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// Process is a keyed process function: the operator that all others are made of.
// It holds a state S for each key, and is called with each element and for each
// timer that is due, one call at a time within a partition. What it does must
// follow from its state and arguments alone: no clock, no chance, no I/O. The
// engine calls it again for the same input after a crash, and expects the same.
type Process[S, In, Out any] struct {
	Name    string // [a-z][a-z0-9-]*, for ever
	OnEvent func(c *Context[S, Out], in In) error
	// OnTimer is called when the watermark has reached a timer's time.
	OnTimer func(c *Context[S, Out], t Timer) error
	// Timed says that OnEvent asks for the watermark, by Watermark or IsLate. OnTimer
	// and TTL imply it; without any of them the engine spares itself the watermarks.
	Timed bool
	// TTL drops a key's state, with its timers and map entries, once none of it was
	// changed for so long in event time; default: never.
	TTL time.Duration
	// State is how S is kept in snapshots; default JSON.
	State Codec[S]
	// Shape describes what State writes. A snapshot of another one is refused, and the
	// log folded instead if it is whole (see Config.KeepShuffles), where Topology.Version
	// does not tell them apart. Optional.
	Shape string
	// Maps are the states of many entries that the operator uses beside S.
	Maps []Entries
}

// Timer is a timer that is due.
type Timer struct {
	Name string
	Time time.Time // as it was set
}

// Via lets an operator work on a stream and returns what it emits, and the
// elements that it called late.
func Via[S, In, Out any](in *Stream[In], p *Process[S, In, Out]) (emitted *Stream[Out], late *Stream[In]) {
	emitted, late = &Stream[Out]{of: in.of}, &Stream[In]{of: in.of}
	if p.OnEvent == nil {
		panic(fmt.Errorf("process %q: set OnEvent", p.Name))
	}
	number := declare(in.of, p)
	in.link(func(c *core) sink[In] {
		w := once(c, p, func() *Context[S, Out] { return p.start(c, number, emitted) })
		lateSink := late.sink(c)
		return func(v In) error {
			w.late = false
			if err := w.enter(c.key); err != nil {
				return err
			}
			if err := p.OnEvent(w, v); err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			if err := w.leave(); err != nil || !w.late {
				return err
			}
			return lateSink(v)
		}
	})
	return emitted, late
}

// declare makes a place for an operator's states in a stage's snapshots.
func declare[S, In, Out any](s *stage, p *Process[S, In, Out]) (number int) {
	s.of.claim("process", p.Name)
	if p.TTL < 0 {
		panic(fmt.Errorf("process %s: TTL is %v, want none below zero", p.Name, p.TTL))
	}
	if err := p.State.check("process " + p.Name); err != nil {
		panic(err)
	}
	number = len(s.operators)
	s.operators = append(s.operators, p.Name)
	if p.Shape != "" {
		s.shapes = append(s.shapes, p.Name+" "+p.Shape)
	}
	for i, m := range p.Maps {
		if err := m.declare(); err != nil {
			panic(fmt.Errorf("process %s: Maps[%d]: %w", p.Name, i, err))
		}
		s.own(m, p.Name)
		s.operators = append(s.operators, p.Name+"/"+m.entriesName())
	}
	if p.OnTimer != nil || p.TTL > 0 || p.Timed {
		s.need()
	}
	return number
}

func (p *Process[S, In, Out]) start(c *core, number int, emitted *Stream[Out]) *Context[S, Out] {
	w := &Context[S, Out]{core: c, states: newStates(number, p.Name, p.State.orJSON()), emitted: emitted.sink(c), ttl: int64(p.TTL), at: -1}
	w.states.undoing(c, w.states)
	if p.OnTimer != nil {
		w.onTimer = func(t Timer) error { return p.OnTimer(w, t) }
	}
	c.place(number, w)
	for i, m := range p.Maps {
		w.maps = append(w.maps, m.start(c, number+1+i))
	}
	return w
}

// Context is what an operator's functions work with: the key's state, its timers,
// and the way out. It is good for the call that gets it, and no longer.
type Context[S, Out any] struct {
	core    *core
	states  *states[S]
	emitted sink[Out]
	onTimer func(Timer) error
	maps    []mapOfTask
	ttl     int64

	key  []byte
	at   int32 // the key's unit; -1: none yet
	late bool
}

// reserved is the name of the timer that ends a state's time to live.
const reserved = "\x00ttl"

// Key returns the key of the element or timer.
func (c *Context[S, Out]) Key() string {
	if c.at >= 0 {
		return c.states.unit(c.at).key
	}
	return string(c.key)
}

// Time returns the event time of the element, or of the timer.
func (c *Context[S, Out]) Time() time.Time { return time.Unix(0, c.core.time).UTC() }

// Watermark returns the time before which nothing more is expected, and whether
// one is known. It is that of before this input.
func (c *Context[S, Out]) Watermark() (at time.Time, ok bool) {
	c.timed()
	if c.core.mark == partition.NoMark {
		return time.Time{}, false
	}
	return time.Unix(0, c.core.mark).UTC(), true
}

// IsLate reports whether the watermark has passed t.
func (c *Context[S, Out]) IsLate(t time.Time) bool {
	c.timed()
	return t.UnixNano() < c.core.mark
}

// timed fails the call where no watermarks come, so that asking is not in vain.
func (c *Context[S, Out]) timed() {
	if !c.core.stage.timed {
		c.core.keep(fmt.Errorf("%s asks for the watermark; set Timed in its Process", c.states.name))
	}
}

// Late sends the element that OnEvent was called with to the late stream.
func (c *Context[S, Out]) Late() { c.late = true }

// State returns the key's state, zero at first, to be changed in place. A call
// counts as a change; Peek does not.
func (c *Context[S, Out]) State() *S {
	if c.at < 0 {
		c.at = c.states.make(c.text())
		c.states.unit(c.at).seen = c.core.time
	}
	c.core.keep(c.states.change(c.at))
	u := c.states.unit(c.at)
	u.seen = max(u.seen, c.core.time) // what comes late makes nothing older
	return &u.state
}

// changed notes that the key's map entries change: with a time to live that is a
// change of its state.
func (c *Context[S, Out]) changed() {
	if c.ttl > 0 {
		c.State()
	}
}

// Peek returns the key's state and whether there is one. It must not be changed.
func (c *Context[S, Out]) Peek() (*S, bool) {
	if c.at < 0 {
		var none S
		return &none, false
	}
	return &c.states.unit(c.at).state, true
}

// Clear drops the key's state, timers and map entries.
func (c *Context[S, Out]) Clear() {
	for _, m := range c.maps {
		m.clear(c.key)
	}
	if c.at >= 0 {
		c.core.keep(c.states.remove(c.at))
		c.at = -1
	}
}

// Emit sends an element on, under the same key and at the same time.
func (c *Context[S, Out]) Emit(v Out) { c.core.keep(c.emitted(v)) }

// SetTimer sets the key's timer of this name, in place of the one before: OnTimer
// is called once the watermark reaches t, after this input if it has already.
func (c *Context[S, Out]) SetTimer(name string, t time.Time) { c.setTimer(name, t.UnixNano()) }

func (c *Context[S, Out]) setTimer(name string, at int64) {
	c.State()
	c.arm(name, at)
}

// arm sets a timer of a state that there is, which does not make it live longer.
func (c *Context[S, Out]) arm(name string, at int64) {
	c.core.keep(c.states.change(c.at))
	if c.core.planted == plantTouch {
		c.State()
	}
	u := c.states.unit(c.at)
	i := slices.IndexFunc(u.timers, func(t timer) bool { return t.name == name })
	switch {
	case i < 0:
		u.timers = append(u.timers, timer{at, name})
	case u.timers[i].at == at:
		return
	default:
		u.timers[i].at = at
	}
	c.core.alarms.push(alarm{at, c.states.number, u.key, name})
}

// CancelTimer takes the key's timer of this name away, if there is one.
func (c *Context[S, Out]) CancelTimer(name string) {
	if c.at < 0 {
		return
	}
	u := c.states.unit(c.at)
	if i := slices.IndexFunc(u.timers, func(t timer) bool { return t.name == name }); i >= 0 {
		c.core.keep(c.states.change(c.at))
		u.timers = slices.Delete(u.timers, i, i+1)
	}
}

// enter begins a call under a key.
func (c *Context[S, Out]) enter(key []byte) error {
	if c.key = key; c.known() {
		c.at = c.states.findAt(c.core.near)
	} else {
		c.at = c.states.find(key)
	}
	if c.ttl > 0 && c.at >= 0 && c.expired(c.states.unit(c.at).seen, c.core.mark) {
		c.Clear()
	}
	return c.core.fault
}

// known reports whether the judge knows the key.
func (c *Context[S, Out]) known() bool {
	return c.core.near.at != nil && c.states.number == 0 && c.core.near.key == string(c.key)
}

// text returns the key to be kept, as what the judge keeps of it, if it does.
func (c *Context[S, Out]) text() string {
	if c.known() {
		return c.core.near.key
	}
	return string(c.key)
}

func (c *Context[S, Out]) expired(seen, mark int64) bool {
	return mark != partition.NoMark && seen <= math.MaxInt64-c.ttl && seen+c.ttl <= mark
}

// leave ends a call: what it kept is to end some day.
func (c *Context[S, Out]) leave() error {
	if c.ttl > 0 && c.at >= 0 {
		u := c.states.unit(c.at)
		if !slices.ContainsFunc(u.timers, func(t timer) bool { return t.name == reserved }) && u.seen <= math.MaxInt64-c.ttl {
			c.arm(reserved, u.seen+c.ttl)
		}
	}
	return c.core.fault
}

// fire calls OnTimer if the timer still stands.
func (c *Context[S, Out]) fire(a *alarm) error {
	key := []byte(a.key)
	i := c.states.find(key)
	if i < 0 {
		return nil
	}
	u := c.states.unit(i)
	n := slices.IndexFunc(u.timers, func(t timer) bool { return t.name == a.name && t.at == a.at })
	if n < 0 {
		return nil
	}
	if err := c.states.change(i); err != nil {
		return err
	}
	if c.core.planted != plantTimers {
		u.timers = slices.Delete(u.timers, n, n+1)
	}
	c.key, c.at = key, i
	c.core.key, c.core.time = key, a.at
	if a.name == reserved {
		if c.expired(u.seen, a.at) {
			c.Clear()
		}
		return c.leave()
	}
	if c.onTimer == nil {
		return fmt.Errorf("%s: a timer is due, and OnTimer is not set", c.states.name)
	}
	if err := c.onTimer(Timer{a.name, time.Unix(0, a.at).UTC()}); err != nil {
		return fmt.Errorf("%s: timer %q of key %q: %w", c.states.name, a.name, a.key, err)
	}
	return c.leave()
}

// wake sets the alarms of all timers, after a restore.
func (c *Context[S, Out]) wake() {
	for _, u := range c.states.all() {
		for _, t := range u.timers {
			if c.core.planted == plantTTL && t.name == reserved {
				continue
			}
			c.core.alarms.push(alarm{t.at, c.states.number, u.key, t.name})
		}
	}
}

func (c *Context[S, Out]) keyed() keyedStates { return c.states }

// operator is an operator's keyed work in one task.
type operator interface {
	keyed() keyedStates
	fire(*alarm) error
	wake()
	rouse(key []byte)                     // sets the alarms of a key's timers
	cancel(*alarm) error                  // takes a timer away
	look(key string, v any) (bool, error) // see Simulation.State
}

package memlog

import (
	"math/rand/v2"
	"slices"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Fault is what befalls one call.
type Fault int

// The faults. Whatever happens, a batch lands whole or not at all.
const (
	None         Fault = iota
	Lost               // not appended; ErrNoAnswer
	Unacked            // appended; ErrNoAnswer
	Late               // ErrNoAnswer; under way, to land later
	Twice              // appended and acknowledged; a second copy is under way
	UnackedTwice       // appended; ErrNoAnswer; a second copy is under way
	Delayed            // under way; Append waits until it lands, with its offset then, or until its context ends
	Held               // appended, acknowledged, counted by End; readers of the partition see nothing new until it is released
	EndFailed          // End fails with ErrNoAnswer
	NextFailed         // Next fails with ErrNoAnswer though there are records; they are still to be read
	Fenced             // of a commit: another producer takes the name at that moment; ErrFenced
	faultKinds
)

var faultNames = [faultKinds]string{"none", "lost", "unacked", "late", "twice", "unacked-twice", "delayed", "held",
	"end-failed", "next-failed", "fenced"}

// String returns the fault's name, such as "unacked".
func (f Fault) String() string {
	if f < 0 || f >= faultKinds {
		return "unknown"
	}
	return faultNames[f]
}

// Faults gives each fault's probability, 0 to 1. Those of an append exclude one
// another, so that their sum is at most 1. The zero value is a log without
// faults.
type Faults struct {
	Lost, Unacked, Late, Twice, UnackedTwice, Delayed, Held float64 // of each Append
	End                                                     float64 // of each End
	Next                                                    float64 // of each Next that has records
	CommitLost, CommitUnacked, CommitFenced                 float64 // of each Commit; they exclude one another too

	// Deliver is the chance, at each Append, that a batch under way lands
	// before it, for each such batch, in any order; and that a held partition
	// is released. With 0 only Deliver, DeliverAll and Release do so.
	Deliver float64
}

// Hook decides the fault of one append. It may use other connections, to append
// something in between as another process would, but not its own.
type Hook func(topic string, partition int32, batch []eventlog.Record) Fault

// MaxUnderWay is the most batches under way; one more lets the oldest land.
const MaxUnderWay = 4096

// pending is a batch that was sent and has not landed.
type pending struct {
	topic  string
	part   int32
	batch  []eventlog.Record
	lists  bool
	landed chan int64 // of 1, gets the base offset
}

// Pending shows a batch under way.
type Pending struct {
	Topic     string
	Partition int32
	Batch     []eventlog.Record
}

// SetFaults lets this connection suffer f, drawn from a generator with the
// seed. It replaces the faults before; the zero Faults ends them.
func (l *Log) SetFaults(seed uint64, f Faults) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults, l.rng = f, rand.New(rand.NewPCG(seed, 0))
}

// OnAppend lets hook decide about every append of this connection, in place of
// the probabilities; nil removes it.
func (l *Log) OnAppend(hook Hook) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hook = hook
}

// Count returns how often a fault befell this connection; of None, how many
// appends went well.
func (l *Log) Count(f Fault) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[f]
}

// UnderWay returns the batches of all connections that were sent and have not
// landed, in the order sent.
func (l *Log) UnderWay() []Pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Pending, len(l.underway))
	for i, p := range l.underway {
		out[i] = Pending{p.topic, p.part, p.batch}
	}
	return out
}

// Deliver lets the i-th batch of UnderWay land and returns its base offset, or
// -1 if there is none.
func (l *Log) Deliver(i int) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i < 0 || i >= len(l.underway) {
		return -1
	}
	return l.deliver(i)
}

// Drop takes the i-th batch of UnderWay away for ever and reports whether there
// was one.
func (l *Log) Drop(i int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i < 0 || i >= len(l.underway) {
		return false
	}
	l.underway = slices.Delete(l.underway, i, i+1)
	return true
}

// DeliverAll lets everything under way land, in the order sent, and releases
// all partitions. It returns the number of batches.
func (l *Log) DeliverAll() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.underway)
	for range n {
		l.deliver(0)
	}
	for _, name := range l.names() {
		for _, p := range l.topics[name] {
			p.release()
		}
	}
	return n
}

// Hold keeps what is appended to a partition from now on back from readers,
// until Release. An unknown partition is left alone.
func (l *Log) Hold(topic string, part int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ps := l.topics[topic]; part >= 0 && int(part) < len(ps) {
		ps[part].held = true
	}
}

// Release ends what Hold or the fault Held began.
func (l *Log) Release(topic string, part int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ps := l.topics[topic]; part >= 0 && int(part) < len(ps) {
		ps[part].release()
	}
}

func (p *partition) release() {
	p.held = false
	p.show()
}

// script asks the hook, outside the lock.
func (l *Log) script(topic string, part int32, batch []eventlog.Record) (bool, Fault) {
	l.mu.Lock()
	hook, dead := l.hook, l.closed
	_, err := l.find(topic, part)
	l.mu.Unlock()
	if hook == nil || dead || err != nil {
		return false, None
	}
	f := hook(topic, part, batch)
	if f < None || f > Held {
		f = None // no fault of an append
	}
	return true, f
}

// suffer does to a batch what the fault says. It returns the base offset, or -1
// if there is no answer; sent is not nil if the caller is to wait for it.
func (l *Log) suffer(f Fault, p *partition, b *pending) (base int64, sent *pending) {
	base = -1
	switch f {
	case Lost:
	case Late:
		l.send(b)
	case Delayed:
		l.send(b)
		return -1, b
	case Unacked:
		p.land(b.batch, b.lists)
	case UnackedTwice:
		p.land(b.batch, b.lists)
		l.send(b)
	case Twice:
		base = p.land(b.batch, b.lists)
		l.send(b)
	case Held:
		p.held = true
		base = p.land(b.batch, b.lists)
	default:
		base = p.land(b.batch, b.lists)
	}
	return base, nil
}

func (s *store) send(b *pending) {
	if len(s.underway) == MaxUnderWay {
		s.deliver(0)
	}
	b.batch = slices.Clone(b.batch) // the caller's is not to be kept
	s.underway = append(s.underway, b)
}

func (s *store) deliver(i int) int64 {
	b := s.underway[i]
	s.underway = slices.Delete(s.underway, i, i+1)
	base := s.topics[b.topic][b.part].land(b.batch, b.lists)
	select {
	case b.landed <- base:
	default:
	}
	return base
}

// draw picks the fault of an append.
func (l *Log) draw() Fault {
	f := &l.faults
	if *f == (Faults{}) {
		return None
	}
	x := l.rng.Float64()
	for _, c := range [...]struct {
		chance float64
		fault  Fault
	}{{f.Lost, Lost}, {f.Unacked, Unacked}, {f.Late, Late}, {f.Twice, Twice}, {f.UnackedTwice, UnackedTwice},
		{f.Delayed, Delayed}, {f.Held, Held}} {
		if x < c.chance {
			return c.fault
		}
		x -= c.chance
	}
	return None
}

// chance draws only where there is something to draw, so that a log without
// faults needs no generator.
func (l *Log) chance(p float64) bool { return p > 0 && l.rng.Float64() < p }

// shake lets batches under way land and partitions be released, by chance.
func (l *Log) shake() {
	if l.faults.Deliver <= 0 {
		return
	}
	var due []*pending
	for _, b := range l.underway {
		if l.chance(l.faults.Deliver) {
			due = append(due, b)
		}
	}
	l.rng.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
	for _, b := range due {
		l.deliver(slices.Index(l.underway, b))
	}
	for _, name := range l.names() {
		for _, p := range l.topics[name] {
			if p.held && l.chance(l.faults.Deliver) {
				p.release()
			}
		}
	}
}

// names returns the topics in an order that does not depend on the map's.
func (s *store) names() []string {
	names := make([]string, 0, len(s.topics))
	for n := range s.topics {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

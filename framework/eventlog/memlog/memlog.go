// Package memlog is an event log in memory, for simulations and tests. Without
// faults it keeps the whole contract of [eventlog.Log]; with them it does what
// a broker on a bad day may do, by a seed or by a test's script:
//
//	log := memlog.New()
//	err := log.Ensure(ctx, eventlog.Topic{Name: "app.events", Partitions: 2})
//	log.OnAppend(func(string, int32, []eventlog.Record) memlog.Fault { return memlog.Late })
//	_, err = log.Append(ctx, "app.events", 0, batch) // ErrNoAnswer, nothing there yet
//	log.DeliverAll()                                 // now the batch lands
//
// It reads no clock and starts no goroutine: the same seed and the same order
// of calls give the same log.
package memlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Limits of what one Next returns, as in the other drivers.
const (
	maxRun      = 10_000  // records
	maxRunBytes = 1 << 20 // bytes, unless a single record is larger
)

// ErrNoAnswer is what an append returns whose acknowledgement a fault took
// away. It says nothing about whether the batch is in the log.
var ErrNoAnswer = errors.New("no answer: the outcome is unknown")

// Log is one process's connection to a log in memory. It is safe for concurrent
// use. Make the first with New and those of further processes with Connect.
type Log struct {
	*store
	done chan struct{} // closed by Close

	// The rest is guarded by store.mu.
	closed bool
	hook   Hook
	faults Faults
	rng    *rand.Rand
	counts [faultKinds]int

	commits func(name string) Fault
}

var _ eventlog.Log = (*Log)(nil)

// store is what all connections share.
type store struct {
	mu       sync.Mutex
	topics   map[string][]*partition
	underway []*pending // sent, not landed

	created int             // topics ever made
	ids     map[string]int  // of each topic, its number
	epochs  map[string]int  // of each transactional name
	marks   map[place]int64 // offsets of groups
}

// partition holds records; those from visible on are held back from readers.
type partition struct {
	records []eventlog.Record
	lists   []bool // of each record, whether its header is a list
	start   int64  // first that is kept
	visible int
	held    bool
	changed chan struct{} // closed and replaced when visible moves
}

// New returns an empty log without faults.
func New() *Log {
	return connect(&store{topics: make(map[string][]*partition), ids: make(map[string]int),
		epochs: make(map[string]int), marks: make(map[place]int64)})
}

// Connect returns another connection to the same log, as a further process
// would have: without faults, with a Close of its own. It works after l is
// closed too, as a restarted process does.
func (l *Log) Connect() *Log { return connect(l.store) }

func connect(s *store) *Log { return &Log{store: s, done: make(chan struct{})} }

// Append implements [eventlog.Log]. An error other than the contract's own and
// the context's is ErrNoAnswer, by a fault.
func (l *Log) Append(ctx context.Context, topic string, part int32, batch []eventlog.Record) (int64, error) {
	base, err := l.append(ctx, topic, part, batch, false)
	if err != nil {
		return 0, fmt.Errorf("append to %s/%d: %w", topic, part, err)
	}
	return base, nil
}

func (l *Log) append(ctx context.Context, topic string, part int32, batch []eventlog.Record, lists bool) (int64, error) {
	if err := eventlog.Check(batch); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	scripted, fault := l.script(topic, part, batch)
	l.mu.Lock()
	p, err := l.find(topic, part)
	if err != nil {
		l.mu.Unlock()
		return 0, err
	}
	if !scripted {
		l.shake()
		fault = l.draw()
	}
	l.counts[fault]++
	base, sent := l.suffer(fault, p, &pending{topic: topic, part: part, batch: batch, lists: lists, landed: make(chan int64, 1)})
	l.mu.Unlock()
	if sent != nil {
		return l.await(ctx, sent)
	}
	if base < 0 {
		return 0, ErrNoAnswer
	}
	return base, nil
}

// await waits for a delayed batch to land. A log closed meanwhile is no
// ErrClosed, since the batch may land yet.
func (l *Log) await(ctx context.Context, sent *pending) (int64, error) {
	err := ErrNoAnswer
	select {
	case base := <-sent.landed:
		return base, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-l.done:
	}
	select {
	case base := <-sent.landed:
		return base, nil
	default:
		return 0, err
	}
}

// find returns a partition of an open log.
func (l *Log) find(topic string, part int32) (*partition, error) {
	if l.closed {
		return nil, eventlog.ErrClosed
	}
	ps := l.topics[topic]
	if part < 0 || int(part) >= len(ps) {
		return nil, fmt.Errorf("%w; create it with Ensure", eventlog.ErrUnknownTopic)
	}
	return ps[part], nil
}

// land puts a batch at the end and returns its base offset.
func (p *partition) land(batch []eventlog.Record, lists bool) int64 {
	base := int64(len(p.records))
	for i := range batch {
		r := batch[i]
		r.Offset = base + int64(i)
		if !lists {
			r.At = 0
		}
		p.lists = append(p.lists, lists)
		p.records = append(p.records, r)
	}
	p.show()
	return base
}

// show lets readers see everything unless the partition is held.
func (p *partition) show() {
	if p.held || p.visible == len(p.records) {
		return
	}
	p.visible = len(p.records)
	close(p.changed)
	p.changed = make(chan struct{})
}

// End implements [eventlog.Log].
func (l *Log) End(ctx context.Context, topic string, part int32) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, err := l.find(topic, part)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && l.chance(l.faults.End) {
		l.counts[EndFailed]++
		err = ErrNoAnswer
	}
	if err != nil {
		return 0, fmt.Errorf("end of %s/%d: %w", topic, part, err)
	}
	return int64(len(p.records)), nil
}

// Records returns what readers of a partition see now, for a test to look at;
// nil if there is no such partition.
func (l *Log) Records(topic string, part int32) []eventlog.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	ps := l.topics[topic]
	if part < 0 || int(part) >= len(ps) {
		return nil
	}
	p := ps[part]
	return p.records[p.start:p.visible:p.visible]
}

// Ensure implements [eventlog.Log].
func (l *Log) Ensure(ctx context.Context, t eventlog.Topic) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("ensure topic %s: %w", t.Name, eventlog.ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("ensure topic %s: %w", t.Name, err)
	}
	if err := t.Check(); err != nil {
		return err
	}
	have, ok := l.topics[t.Name]
	if ok && len(have) != t.Partitions {
		return &eventlog.TopicError{Topic: t.Name,
			Problem: fmt.Sprintf("it has %d partitions, not %d", len(have), t.Partitions),
			Remedy:  fmt.Sprintf("ask for %d partitions, or use another name", len(have))}
	}
	if !ok {
		l.made(t.Name, t.Partitions)
	}
	return nil
}

func newPartitions(n int) []*partition {
	ps := make([]*partition, n)
	for i := range ps {
		ps[i] = &partition{changed: make(chan struct{})}
	}
	return ps
}

// Close implements [eventlog.Log]: it ends this connection. Closing it again
// does nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.done)
	}
	return nil
}

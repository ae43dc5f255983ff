package memlog

import (
	"context"
	"fmt"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// transactions is a transactional producer of one connection.
type transactions struct {
	log    *Log
	name   string
	epoch  int
	ended  bool
	closed bool
}

var _ eventlog.Transactions = (*transactions)(nil)

// OnCommit lets hook decide the fault of every commit of this connection, given
// the transactional name, in place of the probabilities; nil removes it. The
// faults are Lost, Unacked and Fenced. It is called under a lock, so it may not use
// the log.
func (l *Log) OnCommit(hook func(name string) Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commits = hook
}

// Transact implements [eventlog.Transactor]. No fault befalls it.
func (l *Log) Transact(ctx context.Context, name string) (eventlog.Transactions, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, fmt.Errorf("transact as %.80q: %w", name, eventlog.ErrClosed)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("transact as %.80q: %w", name, ctx.Err())
	case name == "" || len(name) > 200:
		return nil, fmt.Errorf("transact as %.80q: its name has %d bytes, want 1 to 200", name, len(name))
	}
	l.epochs[name]++
	return &transactions{log: l, name: name, epoch: l.epochs[name]}, nil
}

// Commit implements [eventlog.Transactions]. By a fault it ends with ErrNoAnswer,
// which leaves open whether all of it landed or nothing.
func (t *transactions) Commit(ctx context.Context, outputs []eventlog.Output, group, topic string, part int32, next int64) error {
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	err := t.refuse(ctx, outputs)
	if err != nil {
		err = fmt.Errorf("%w: %w", eventlog.ErrNotCommitted, err)
	} else {
		err = t.land(outputs, place{group, topic, part}, next)
	}
	if err != nil {
		t.ended = true
		return fmt.Errorf("commit %d outputs as %s: %w", len(outputs), t.name, err)
	}
	return nil
}

// refuse returns why nothing of a commit is done.
func (t *transactions) refuse(ctx context.Context, outputs []eventlog.Output) error {
	switch {
	case t.closed || t.log.closed:
		return eventlog.ErrClosed
	case t.ended:
		return fmt.Errorf("the producer ended with an error; make a new one")
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if err := eventlog.CheckOutputs(outputs); err != nil {
		return err
	}
	for _, o := range outputs {
		if _, err := t.log.find(o.Topic, o.Partition); err != nil {
			return err
		}
	}
	if t.epoch != t.log.epochs[t.name] {
		return eventlog.ErrFenced
	}
	return nil
}

// land does what the fault leaves of a commit.
func (t *transactions) land(outputs []eventlog.Output, at place, next int64) error {
	l := t.log
	l.shake()
	fault := l.drawCommit(t.name)
	l.counts[fault]++
	switch fault {
	case Fenced: // by another, which has the name now
		l.epochs[t.name]++
		return fmt.Errorf("%w: %w", eventlog.ErrNotCommitted, eventlog.ErrFenced)
	case Lost:
		return ErrNoAnswer
	}
	for _, o := range outputs {
		l.topics[o.Topic][o.Partition].land(o.Records, true)
	}
	l.marks[at] = next
	if fault == Unacked {
		return ErrNoAnswer
	}
	return nil
}

// drawCommit picks the fault of a commit.
func (l *Log) drawCommit(name string) Fault {
	if l.commits != nil {
		f := l.commits(name)
		if f != Lost && f != Unacked && f != Fenced {
			return None
		}
		return f
	}
	f := &l.faults
	if f.CommitLost+f.CommitUnacked+f.CommitFenced == 0 {
		return None
	}
	switch x := l.rng.Float64(); {
	case x < f.CommitLost:
		return Lost
	case x < f.CommitLost+f.CommitUnacked:
		return Unacked
	case x < f.CommitLost+f.CommitUnacked+f.CommitFenced:
		return Fenced
	}
	return None
}

// Committed implements [eventlog.Transactions].
func (t *transactions) Committed(ctx context.Context, group, topic string, part int32) (int64, error) {
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	err := ctx.Err()
	if t.closed || t.log.closed {
		err = eventlog.ErrClosed
	}
	if err != nil {
		return 0, fmt.Errorf("offset of group %s in %s/%d: %w", group, topic, part, err)
	}
	if next, ok := t.log.marks[place{group, topic, part}]; ok {
		return next, nil
	}
	return -1, nil
}

// Close implements [eventlog.Transactions].
func (t *transactions) Close() error {
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	t.closed = true
	return nil
}

package memlog

import (
	"context"
	"fmt"
	"sync"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// reader follows one partition. Its slices lie in the log itself, whose records
// never change.
type reader struct {
	log   *Log
	topic string
	part  int32
	next  int64
	lists bool // headers are read as lists
	done  chan struct{}
	once  sync.Once
}

var (
	_ eventlog.Reader     = (*reader)(nil)
	_ eventlog.Positioned = (*reader)(nil)
)

// Read implements [eventlog.Log].
func (l *Log) Read(topic string, part int32, from int64) (eventlog.Reader, error) {
	r, err := l.read(topic, part, from)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (l *Log) read(topic string, part int32, from int64) (*reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.find(topic, part); err != nil {
		return nil, fmt.Errorf("read %s/%d: %w", topic, part, err)
	}
	return &reader{log: l, topic: topic, part: part, next: from, done: make(chan struct{})}, nil
}

// Next implements [eventlog.Reader].
func (r *reader) Next(ctx context.Context) ([]eventlog.Record, error) {
	for {
		run, changed, err := r.take(ctx)
		if err != nil {
			return nil, fmt.Errorf("read %s/%d from %d: %w", r.topic, r.part, r.next, err)
		}
		if len(run) > 0 {
			r.next += int64(len(run))
			return run, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-r.done:
		case <-r.log.done:
		}
	}
}

// Position implements [eventlog.Positioned].
func (r *reader) Position() int64 { return r.next }

// take returns what there is, or the channel that tells of more.
func (r *reader) take(ctx context.Context) ([]eventlog.Record, <-chan struct{}, error) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	p, err := l.find(r.topic, r.part)
	if err == nil {
		err = r.ended(ctx)
	}
	switch {
	case err != nil:
		return nil, nil, err
	case r.next < p.start:
		return nil, nil, fmt.Errorf("%w, which begins at %d", eventlog.ErrOffset, p.start)
	case r.next > int64(len(p.records)):
		return nil, nil, fmt.Errorf("%w, which ends at %d", eventlog.ErrOffset, len(p.records))
	case r.next >= int64(p.visible):
		return nil, p.changed, nil
	case l.chance(l.faults.Next):
		l.counts[NextFailed]++
		return nil, nil, ErrNoAnswer
	}
	return p.outward(bounded(p.records[r.next:p.visible:p.visible]), r.lists), nil, nil
}

func (r *reader) ended(ctx context.Context) error {
	select {
	case <-r.done:
		return eventlog.ErrClosed
	default:
		return ctx.Err()
	}
}

// bounded returns the longest run from the front that keeps the limits.
func bounded(rs []eventlog.Record) []eventlog.Record {
	size := 0
	for i := range rs {
		size += len(rs[i].Key) + len(rs[i].Header) + len(rs[i].Value)
		if i == maxRun || i > 0 && size > maxRunBytes {
			return rs[:i:i]
		}
	}
	return rs
}

// Close implements [eventlog.Reader]. Closing it again does nothing.
func (r *reader) Close() error {
	r.once.Do(func() { close(r.done) })
	return nil
}

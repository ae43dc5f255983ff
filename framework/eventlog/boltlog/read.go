package boltlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/reuse"
)

// What one Next returns: whole batches up to these limits, or a single batch,
// of which at most maxRun records.
const (
	softRun      = 4096      // records
	softRunBytes = 512 << 10 // bytes
	maxRun       = 10_000    // records
)

// reader follows one partition. What it returns lies in buffers of its own
// making, or in the tail's, never in the mapped file.
type reader struct {
	log   *Log
	p     *partition
	next  int64
	found []batch // scratch
	done  chan struct{}
	once  sync.Once
}

var (
	_ eventlog.Reader   = (*reader)(nil)
	_ eventlog.Recycler = (*reader)(nil)
)

// runs are what readers return, used again where they are given back.
var runs reuse.Pool[eventlog.Record]

// Recycle implements [eventlog.Recycler].
func (r *reader) Recycle(run []eventlog.Record) { runs.Give(run) }

// Read implements [eventlog.Log].
func (l *Log) Read(topic string, part int32, from int64) (eventlog.Reader, error) {
	p, err := l.find(topic, part)
	if err != nil {
		return nil, fmt.Errorf("read %s/%d: %w", topic, part, err)
	}
	return &reader{log: l, p: p, next: from, done: make(chan struct{})}, nil
}

// Close implements [eventlog.Reader]. Closing it again does nothing.
func (r *reader) Close() error {
	r.once.Do(func() { close(r.done) })
	return nil
}

// Next implements [eventlog.Reader].
func (r *reader) Next(ctx context.Context) ([]eventlog.Record, error) {
	run, err := r.wait(ctx)
	if err != nil {
		return nil, fmt.Errorf("read %s/%d from %d: %w", r.p.topic, r.p.part, r.next, err)
	}
	r.next += int64(len(run))
	return run, nil
}

func (r *reader) wait(ctx context.Context) ([]eventlog.Record, error) {
	for {
		if err := r.ended(ctx); err != nil {
			return nil, err
		}
		end, changed, err := r.look()
		if err != nil {
			return nil, err
		}
		if changed == nil {
			return r.take(end)
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-r.done:
		case <-r.log.done:
		}
	}
}

func (r *reader) ended(ctx context.Context) error {
	select {
	case <-r.log.done:
		return eventlog.ErrClosed
	case <-r.done:
		return eventlog.ErrClosed
	default:
		return ctx.Err()
	}
}

// look finds what there is to read: a channel that tells of more if there is
// nothing, batches of the tail in r.found, or none if the file has them.
func (r *reader) look() (end int64, changed <-chan struct{}, err error) {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	r.found = r.found[:0]
	switch {
	case r.next == p.end && p.damaged != nil:
		return 0, nil, p.damaged
	case r.next < 0 || r.next > p.end:
		return 0, nil, fmt.Errorf("%w, which ends at %d", eventlog.ErrOffset, p.end)
	case r.next == p.end:
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		return 0, p.changed, nil
	case len(p.tail) > 0 && r.next >= p.tail[0].base:
		i := sort.Search(len(p.tail), func(i int) bool { return p.tail[i].base > r.next }) - 1
		r.gather(p.tail[i:])
	}
	return p.end, nil, nil
}

// gather takes batches up to the limits.
func (r *reader) gather(from []batch) {
	count, size := 0, 0
	for _, b := range from {
		count, size = count+b.count, size+len(b.value)
		if len(r.found) > 0 && (count > softRun || size > softRunBytes) {
			return
		}
		r.found = append(r.found, b)
	}
}

// take returns the records of what look found, or of the file.
func (r *reader) take(end int64) ([]eventlog.Record, error) {
	defer func() { clear(r.found) }()
	if len(r.found) == 0 {
		if err := r.fetch(end); err != nil {
			return nil, err
		}
	}
	last := r.found[len(r.found)-1]
	n := last.base + int64(last.count) - r.next
	most := int(min(n, maxRun))
	run := runs.Take(most)[:0:most]
	for _, b := range r.found {
		got, err := unpack(run, b, r.next)
		if err != nil && len(got) == 0 {
			return nil, r.log.lost(r.p, b.base, err)
		}
		if run = got; err != nil {
			break // what came before it is whole; the next call meets it first
		}
	}
	return run, nil
}

// fetch copies batches out of the file into r.found, in one buffer, and checks
// them.
func (r *reader) fetch(end int64) error {
	r.log.filemu.RLock()
	defer r.log.filemu.RUnlock()
	f := r.log.file
	switch {
	case f == nil:
		return fmt.Errorf("%s could not be opened again after a failed write", r.log.path)
	case r.ended(context.Background()) != nil:
		return eventlog.ErrClosed
	}
	err := guard(func() error { return f.db.View(func(tx *bbolt.Tx) error { return r.copyOut(tx, end) }) })
	var m *mangled
	if errors.As(err, &m) {
		return r.log.lost(r.p, r.next, m)
	}
	if err != nil {
		return err
	}
	return r.check()
}

// copyOut collects the values from r.next on and copies them.
func (r *reader) copyOut(tx *bbolt.Tx, end int64) error {
	b := tx.Bucket(logBucket).Bucket(r.p.key)
	if b == nil {
		return r.log.lost(r.p, r.next, errors.New("its bucket is missing"))
	}
	c := b.Cursor()
	size, err := r.collect(c, end)
	if err != nil {
		return err
	}
	buf := make([]byte, 0, size)
	for i := range r.found {
		at := len(buf)
		buf = append(buf, r.found[i].value...)
		r.found[i].value = buf[at:len(buf):len(buf)]
	}
	return nil
}

// collect finds the batches, each where the one before ends. A gap at the first
// is an error, a later one ends the run.
func (r *reader) collect(c *bbolt.Cursor, end int64) (size int, err error) {
	want, count := r.next, 0
	for key, value := seek(c, r.next); want < end; key, value = c.Next() {
		b, err := entry(key, value, want, end)
		if err == nil && len(r.found) > 0 && b.base != want {
			err = fmt.Errorf("a batch at %d overlaps the one before", b.base)
		}
		if err != nil && len(r.found) == 0 {
			return 0, r.log.lost(r.p, want, err)
		}
		if count += b.count; err != nil || len(r.found) > 0 && (count > softRun || size+len(value) > softRunBytes) {
			return size, nil
		}
		r.found, size = append(r.found, b), size+len(value)
		want = b.base + int64(b.count)
	}
	return size, nil
}

// seek finds the batch that holds an offset, or else the one behind it.
func seek(c *bbolt.Cursor, offset int64) (key, value []byte) {
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], uint64(offset))
	key, value = c.Seek(at[:])
	if key != nil && string(key) == string(at[:]) {
		return key, value
	}
	if key == nil {
		return c.Last()
	}
	return c.Prev()
}

// entry makes a batch, not checked but for what it says of its place, which
// must hold offset and not go beyond end.
func entry(key, value []byte, offset, end int64) (batch, error) {
	switch {
	case key == nil:
		return batch{}, errors.New("its batches end too early")
	case len(key) != 8 || len(value) <= batchHead || len(value) > maxValue:
		return batch{}, fmt.Errorf("a batch with a key of %d and a value of %d bytes", len(key), len(value))
	}
	b := batch{int64(binary.BigEndian.Uint64(key)), countOf(value), value}
	if next := b.base + int64(b.count); b.base > offset || next <= offset || next > end {
		return b, fmt.Errorf("a batch of %d records at %d is where one of offset %d should be", b.count, b.base, offset)
	}
	return b, nil
}

// check verifies what was copied. A bad batch is an error if it is the first,
// else the run ends before it.
func (r *reader) check() error {
	for i, b := range r.found {
		var key [8]byte
		binary.BigEndian.PutUint64(key[:], uint64(b.base))
		if _, err := verify(key[:], b.value); err != nil {
			if i > 0 {
				r.found = r.found[:i]
				return nil
			}
			return r.log.lost(r.p, b.base, err)
		}
	}
	return nil
}

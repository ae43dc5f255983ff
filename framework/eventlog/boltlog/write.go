package boltlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// What one transaction may take.
const (
	maxCommitBytes    = 8 << 20
	maxCommitRequests = 4096
)

// request is an append; or, with part nil, an offset to be noted, or else a topic
// to be made.
type request struct {
	part  *partition
	batch batch
	sum   uint32 // of batch.value, see seal
	topic eventlog.Topic
	done  chan answer // of 1

	offsetKey, offset []byte // as they lie in the file
}

type answer struct {
	base int64
	err  error
}

// writer is the state of the writing goroutine.
type writer struct {
	suspect   bool  // a commit failed: what the file holds must be found out
	broken    error // never write again
	reqs      []*request
	tailBytes int    // the limit
	kept      []kept // what the tails hold, oldest first
	keptBytes int

	// fault, in tests, fails a commit before (true) or after it took place.
	fault func(before bool) error
}

type kept struct {
	part *partition
	size int
}

// Append implements [eventlog.Log]. If ctx ends first, the batch may still be
// appended, and the error says so.
func (l *Log) Append(ctx context.Context, topic string, part int32, records []eventlog.Record) (int64, error) {
	base, err := l.append(ctx, topic, part, records)
	if err != nil {
		return 0, fmt.Errorf("append to %s/%d: %w", topic, part, err)
	}
	return base, nil
}

func (l *Log) append(ctx context.Context, topic string, part int32, records []eventlog.Record) (int64, error) {
	if err := eventlog.Check(records); err != nil {
		return 0, err
	}
	p, err := l.find(topic, part)
	if err != nil {
		return 0, err
	}
	if l.readOnly {
		return 0, ErrReadOnly
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	value, sum := pack(records)
	return l.send(ctx, &request{part: p, batch: batch{count: len(records), value: value}, sum: sum, done: make(chan answer, 1)})
}

// send hands a request to the writer and waits for its answer.
func (l *Log) send(ctx context.Context, r *request) (int64, error) {
	select {
	case l.queue <- r:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-l.done:
		return 0, eventlog.ErrClosed
	}
	select {
	case a := <-r.done:
		return a.base, a.err
	case <-ctx.Done():
		return 0, fmt.Errorf("the outcome is unknown, it may still be written: %w", ctx.Err())
	case <-l.stopped:
	}
	select {
	case a := <-r.done:
		return a.base, a.err
	default:
		return 0, eventlog.ErrClosed // it came too late for the writer
	}
}

// run is the writing goroutine. It ends when the log is closed.
func (l *Log) run() {
	defer close(l.stopped)
	for {
		select {
		case <-l.done:
			l.refuse()
			return
		case r := <-l.queue:
			l.commit(l.gather(r))
		}
	}
}

// gather takes all that waits behind first, up to the limits of a transaction.
func (l *Log) gather(first *request) []*request {
	reqs, size := append(l.writer.reqs[:0], first), len(first.batch.value)
	for size < maxCommitBytes && len(reqs) < maxCommitRequests {
		select {
		case r := <-l.queue:
			reqs, size = append(reqs, r), size+len(r.batch.value)
			continue
		default:
		}
		break
	}
	l.writer.reqs = reqs
	return reqs
}

// refuse answers what waits once the log is closed.
func (l *Log) refuse() {
	for {
		select {
		case r := <-l.queue:
			r.done <- answer{err: eventlog.ErrClosed}
		default:
			return
		}
	}
}

// commit writes requests in one transaction and answers them.
func (l *Log) commit(reqs []*request) {
	err := l.mend()
	if err == nil {
		reqs = l.admit(reqs)
		if len(reqs) > 0 {
			err = l.write(reqs)
		}
	}
	for _, r := range reqs {
		if err == nil {
			l.publish(r)
		}
		r.done <- answer{r.batch.base, err}
	}
	clear(l.writer.reqs)
}

// admit answers the requests that cannot be written and returns the others.
func (l *Log) admit(reqs []*request) []*request {
	ok := reqs[:0]
	for _, r := range reqs {
		switch {
		case r.offset != nil:
		case r.part == nil:
			if err := l.has(r.topic); !errors.Is(err, eventlog.ErrUnknownTopic) && !errors.Is(err, eventlog.ErrClosed) {
				r.done <- answer{err: err}
				continue
			}
		case r.part.damaged != nil: // only this goroutine changes it
			r.done <- answer{err: r.part.damaged}
			continue
		}
		ok = append(ok, r)
	}
	return ok
}

// write commits. After an error the file is suspect, after damage never written
// again.
func (l *Log) write(reqs []*request) error {
	w := &l.writer
	err := w.failed(true)
	if err == nil {
		err = l.file.update(func(tx *bbolt.Tx) error { return l.put(tx, reqs) })
	}
	if err == nil {
		err = w.failed(false)
	}
	for _, r := range reqs {
		if r.part != nil {
			r.part.tx, r.part.bucket = nil, nil
		}
	}
	if err == nil {
		return nil
	}
	w.suspect = true
	if _, ok := errors.AsType[*eventlog.DamagedError](err); ok {
		w.broken = err
	}
	return fmt.Errorf("write %s: the outcome is unknown: %w", l.path, err)
}

func (w *writer) failed(before bool) error {
	if w.fault == nil {
		return nil
	}
	return w.fault(before)
}

func (l *Log) put(tx *bbolt.Tx, reqs []*request) error {
	for _, r := range reqs {
		err := error(nil)
		switch {
		case r.offset != nil:
			err = l.putOffset(tx, r)
		case r.part == nil:
			err = l.putTopic(tx, r.topic)
		default:
			err = l.putBatch(tx, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// putTopic makes a topic unless the same transaction already made it.
func (l *Log) putTopic(tx *bbolt.Tx, t eventlog.Topic) error {
	if tx.Bucket(topicsBucket).Get([]byte(t.Name)) != nil {
		return nil
	}
	return writeTopic(tx, t)
}

func (l *Log) putBatch(tx *bbolt.Tx, r *request) error {
	p := r.part
	if p.tx != tx {
		p.tx, p.bucket = tx, tx.Bucket(logBucket).Bucket(p.key)
		if p.bucket == nil {
			return l.lost(p, p.next, errors.New("its bucket is missing"))
		}
		p.bucket.FillPercent = 1 // keys only grow
	}
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], uint64(p.next))
	seal(r.batch.value, r.sum, key[:])
	if err := p.bucket.Put(key[:], r.batch.value); err != nil {
		return err
	}
	r.batch.base = p.next
	p.next += int64(r.batch.count)
	return p.bucket.SetSequence(uint64(p.next))
}

// publish shows readers what was committed.
func (l *Log) publish(r *request) {
	switch {
	case r.offset != nil:
		return
	case r.part == nil:
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.topics[r.topic.Name] == nil {
			l.topics[r.topic.Name] = newPartitions(r.topic.Name, r.topic.Partitions)
		}
		return
	}
	r.part.advance(r.batch.base+int64(r.batch.count), r.batch)
	l.writer.keep(r.part, len(r.batch.value))
}

// advance moves the end and wakes readers. A batch without a value is not kept,
// and must find the tail empty, as a tail has no gaps.
func (p *partition) advance(end int64, b batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end = end
	if b.value != nil {
		p.tail = append(p.tail, b)
	}
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// keep counts a batch that was put into a tail.
func (w *writer) keep(p *partition, size int) {
	w.kept = append(w.kept, kept{p, size})
	w.keptBytes += size
	w.evict(w.tailBytes)
}

// evict lets go of the oldest batches until the tails hold at most limit bytes.
func (w *writer) evict(limit int) {
	for len(w.kept) > 0 && w.keptBytes > limit {
		k := w.kept[0]
		w.kept[0] = kept{}
		w.kept = w.kept[1:]
		w.keptBytes -= k.size
		k.part.mu.Lock()
		k.part.tail[0] = batch{}
		k.part.tail = k.part.tail[1:]
		k.part.mu.Unlock()
	}
}

// mend opens the file anew after a failed commit, makes durable what it holds,
// and finds out where each partition ends now.
func (l *Log) mend() error {
	w := &l.writer
	if w.broken != nil {
		return w.broken
	}
	if !w.suspect {
		return nil
	}
	if err := l.reopen(); err != nil {
		return fmt.Errorf("open %s again after a failed write: %w", l.path, err)
	}
	if err := w.failed(true); err != nil {
		return err
	}
	if err := l.file.update(func(*bbolt.Tx) error { return nil }); err != nil {
		return fmt.Errorf("write %s again after a failed write: %w", l.path, err)
	}
	if err := l.reload(); err != nil {
		w.broken = err
		return err
	}
	w.suspect = false
	return nil
}

func (l *Log) reopen() error {
	l.filemu.Lock()
	defer l.filemu.Unlock()
	if l.file != nil {
		l.file.close()
	}
	var err error
	l.file, err = openFile(l.path, false)
	return err
}

// reload finds again the topics and ends of a file whose last commit may or may
// not have taken place.
func (l *Log) reload() error {
	l.writer.evict(0)
	return l.file.view(func(tx *bbolt.Tx) error {
		topics, err := readTopics(tx)
		if err != nil {
			return l.damaged(err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for name, n := range topics {
			if l.topics[name] == nil {
				l.topics[name] = newPartitions(name, n)
			}
			for _, p := range l.topics[name] {
				if err := l.reloadEnd(tx, p); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (l *Log) reloadEnd(tx *bbolt.Tx, p *partition) error {
	if p.damaged != nil {
		return nil
	}
	end, err := l.findEnd(tx, p)
	if err == nil && end < p.end {
		err = l.lost(p, end, fmt.Errorf("it ended at %d before", p.end))
	}
	if err != nil {
		return err
	}
	p.next = end
	if end > p.end {
		p.advance(end, batch{})
	}
	return nil
}

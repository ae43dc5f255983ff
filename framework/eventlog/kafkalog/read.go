package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// reader follows one partition. It takes a place in a slot at its first Next,
// and anew after an error, each time from the record that is due.
type reader struct {
	log  *Log
	at   place
	as   form
	from *slots
	next int64           // of Next's goroutine
	ctx  context.Context // ends with the reader and with the log
	stop context.CancelFunc

	mu   sync.Mutex
	feed *feed
}

var (
	_ eventlog.Reader     = (*reader)(nil)
	_ eventlog.Positioned = (*reader)(nil)
	_ eventlog.Recycler   = (*reader)(nil)
)

// Read implements [eventlog.Log]. It asks the cluster, 5 s at most, only for a
// topic that it does not know yet. Records of transactions that were aborted or
// are open are delivered too; Kafka's own markers only with Config.Markers, so
// offsets may have gaps in a topic to which others write.
func (l *Log) Read(topic string, part int32, from int64) (eventlog.Reader, error) {
	return l.read(&reader{at: place{topic, part}, as: ours, from: l.slots, next: from})
}

func (l *Log) read(r *reader) (eventlog.Reader, error) {
	ctx, cancel := context.WithTimeout(l.ctx, openTimeout)
	defer cancel()
	if err := l.find(ctx, r.at.topic, r.at.part); err != nil {
		return nil, fmt.Errorf("read %s/%d: %w", r.at.topic, r.at.part, err)
	}
	r.log = l
	r.ctx, r.stop = context.WithCancel(l.ctx)
	return r, nil
}

// Next implements [eventlog.Reader]. A run has at most 10,000 records and 1 MiB,
// or one record.
func (r *reader) Next(ctx context.Context) ([]eventlog.Record, error) {
	run, err := r.wait(ctx)
	if err != nil {
		return nil, fmt.Errorf("read %s/%d from %d: %w", r.at.topic, r.at.part, r.next, err)
	}
	return run, nil
}

// Position implements [eventlog.Positioned].
func (r *reader) Position() int64 { return r.next }

func (r *reader) wait(ctx context.Context) ([]eventlog.Record, error) {
	for {
		if err := r.over(ctx); err != nil {
			return nil, err
		}
		f, err := r.attached(ctx)
		if err != nil {
			return nil, r.verdict(err)
		}
		got, err := f.take()
		switch {
		case errors.Is(err, errSlow):
			r.detach()
			continue
		case err != nil:
			return nil, r.verdict(r.broken(ctx, err))
		case len(got.records) > 0:
			if run, err := r.convert(got); len(run) > 0 || err != nil {
				return run, err
			}
			continue
		case r.join(f):
			continue
		}
		var again <-chan time.Time
		if !f.slot.first {
			again = clock.System.After(joinPause)
		}
		select {
		case <-f.ready:
		case <-again:
		case <-ctx.Done():
		case <-r.ctx.Done():
		}
	}
}

// joinPause is after how long a reader that gets nothing looks again whether it may join
// others.
const joinPause = time.Second

// join leaves a place for the line of a slot before it that has come as far, if there is
// one, and reports whether it did. What the place would have brought comes there too.
func (r *reader) join(f *feed) bool {
	to := r.from.join(r.at, r.next, f.slot)
	if to == nil {
		return false
	}
	r.mu.Lock()
	closed := r.ctx.Err() != nil
	if !closed {
		r.feed = to
	}
	r.mu.Unlock()
	if closed {
		to.slot.detach(to)
		return false
	}
	f.slot.detach(f)
	return true
}

// over returns why Next shall not wait any longer.
func (r *reader) over(ctx context.Context) error {
	if r.ctx.Err() != nil {
		return eventlog.ErrClosed
	}
	return ctx.Err()
}

// verdict is ErrClosed for whatever a reader met while it was being closed.
func (r *reader) verdict(err error) error {
	if r.ctx.Err() != nil {
		return eventlog.ErrClosed
	}
	return err
}

// attached returns the feed, after checking that the position is in the
// partition: franz-go moves one that is not to where there are records.
func (r *reader) attached(ctx context.Context) (*feed, error) {
	r.mu.Lock()
	f := r.feed
	r.mu.Unlock()
	if f != nil {
		return f, nil
	}
	ctx, cancel := both(ctx, r.ctx)
	defer cancel()
	if err := r.check(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return nil, eventlog.ErrClosed
	}
	f, err := r.from.attach(r.at, r.next)
	r.feed = f
	return f, err
}

// check returns an ErrOffset if the position is outside the partition.
func (r *reader) check(ctx context.Context) error {
	if r.next < 0 {
		return fmt.Errorf("%w: it begins at 0", eventlog.ErrOffset)
	}
	end, err := r.log.offset(ctx, r.at.topic, r.at.part, endOffset)
	if err != nil {
		return err
	}
	if r.next > end {
		return errBeyond(r.next, end)
	}
	start, err := r.log.offset(ctx, r.at.topic, r.at.part, startOffset)
	if err == nil && r.next < start {
		err = errDeleted(r.next, start)
	}
	return err
}

// broken leaves the slot after an error and says what it means. The next Next
// takes a place again.
func (r *reader) broken(ctx context.Context, err error) error {
	from := r.detach()
	var loss *kgo.ErrDataLoss
	switch {
	case errors.As(err, &loss):
		return errLost(loss)
	case errors.Is(err, kerr.OffsetOutOfRange):
		if outside := r.check(ctx); outside != nil {
			return outside
		}
	case missing(err):
		if from != nil {
			from.forget(r.at.topic, err)
		}
		return r.log.lost(ctx, r.at.topic, r.at.part)
	}
	return r.log.closed(err)
}

// detach gives the reader's place up and returns the slot where it was, if any.
func (r *reader) detach() *slot {
	r.mu.Lock()
	f := r.feed
	r.feed = nil
	r.mu.Unlock()
	if f == nil {
		return nil
	}
	f.slot.detach(f)
	return f.slot
}

// convert makes a run of what franz-go fetched and moves the position behind it.
// Records before the position, of which a batch may hold some, are left out, and
// so are the markers of others' transactions, without Config.Markers. A gap is none of the log's: others'
// aborted records were in it, or compacted ones; a gap below the partition's first
// record means that records were deleted.
func (r *reader) convert(f fetched) ([]eventlog.Record, error) {
	got := f.records
	if !f.shared {
		defer recycle(got)
	}
	for len(got) > 0 && got[0].Offset < r.next {
		got = got[1:]
	}
	if len(got) == 0 {
		return nil, nil
	}
	if got[0].Offset > r.next && f.start > r.next {
		r.detach()
		return nil, errDeleted(r.next, f.start)
	}
	run := runs.Take(len(got))
	for _, g := range got {
		if r.log.cfg.Markers || !g.Attrs.IsControl() {
			run = append(run, eventlog.Record{Offset: g.Offset, Key: g.Key, Header: r.as.header(g), Value: g.Value, At: max(0, g.Timestamp.UnixMilli())})
		}
	}
	r.next = got[len(got)-1].Offset + 1
	return run, nil
}

// header returns what a record's headers are to the log: the value of "e", or
// all of them as a list.
func (f form) header(r *kgo.Record) []byte {
	if f == ours {
		for i := range r.Headers {
			if r.Headers[i].Key == headerKey {
				return r.Headers[i].Value
			}
		}
		return nil
	}
	size := 0
	for i := range r.Headers {
		size += len(r.Headers[i].Key) + len(r.Headers[i].Value) + 2*maxLength
	}
	if size == 0 {
		return nil
	}
	list := make([]byte, 0, size)
	for i := range r.Headers {
		list = eventlog.AppendHeader(list, r.Headers[i].Key, r.Headers[i].Value)
	}
	return list
}

// maxLength is the most bytes that the length of a header's key or value takes.
const maxLength = 4

// Close implements [eventlog.Reader]. Closing it again does nothing.
func (r *reader) Close() error {
	r.mu.Lock()
	r.stop()
	r.mu.Unlock()
	r.detach()
	return nil
}

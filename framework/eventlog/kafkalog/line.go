package kafkalog

import (
	"errors"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// line is a partition that a slot's client reads, and those who get what that brings.
// The slot's mu guards it.
type line struct {
	next  int64   // the offset behind what was handed out
	feeds []*feed // none: the last has left, and its place is not yet free
}

// joinAhead is how many records a reader may be ahead of a line that it joins: it comes
// to them sooner than it could ask for them.
const joinAhead = 100

// open reports whether a reader that is at next may join: what it waits for is still to
// be handed out, soon.
func (l *line) open(next int64) bool {
	return len(l.feeds) > 0 && l.next <= next && next-l.next <= joinAhead && !l.feeds[0].waits()
}

// put gives a fetch to all feeds. One that has enough leaves the others, who need not
// wait for it; the last has the partition paused. After an error all leave.
func (l *line) put(p *kgo.FetchPartition) {
	got := fetched{records: p.Records, start: p.LogStartOffset, shared: len(l.feeds) > 1}
	for _, r := range p.Records {
		got.bytes += weight(r)
	}
	if n := len(p.Records); n > 0 {
		l.next = p.Records[n-1].Offset + 1
	}
	for i, f := range slices.Backward(l.feeds) {
		if f.put(got, p.Err, len(l.feeds) == 1) {
			l.feeds = slices.Delete(l.feeds, i, i+1)
		}
	}
}

// errSlow is what a feed ends with that has left its line, since it had enough and others
// had not: its reader takes another place.
var errSlow = errors.New("the others of this line have gone on")

// feed is the bounded hand-over from a slot to one reader.
type feed struct {
	slot  *slot
	place place
	limit int           // bytes from which no more is to come
	ready chan struct{} // holds one when there is something to take

	mu     sync.Mutex
	queue  []fetched
	bytes  int
	paused bool // the partition is
	ended  bool
	err    error // after the queue
}

func newFeed(s *slot, p place, limit int) *feed {
	return &feed{slot: s, place: p, limit: limit, ready: make(chan struct{}, 1)}
}

// fetched is what one fetch brought.
type fetched struct {
	records []*kgo.Record
	bytes   int   // their weight
	start   int64 // first offset that the partition still had
	shared  bool  // other feeds have the same records
}

// put adds a fetch, and what is to be told behind it. A feed with enough has the partition
// paused if it is alone in its line, else it leaves; after an error the partition is paused
// in any case. It never waits.
func (f *feed) put(got fetched, err error, alone bool) (leaves bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return false
	}
	if f.err == nil {
		if len(got.records) > 0 {
			f.queue = append(f.queue, got)
			f.bytes += got.bytes
		}
		f.err = err
	}
	full := f.bytes >= f.limit
	switch {
	case full && !alone && f.err == nil:
		f.err, leaves = errSlow, true
	case (full || f.err != nil) && !f.paused:
		f.paused = true
		f.slot.client.PauseFetchPartitions(map[string][]int32{f.place.topic: {f.place.part}})
	}
	f.signal()
	return leaves
}

// waits reports whether nothing is fetched because of this feed.
func (f *feed) waits() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.paused || f.ended
}

func (f *feed) signal() {
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

// end drops what the feed holds and refuses more.
func (f *feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended, f.queue, f.bytes = true, nil, 0
}

// take returns the next run, which is not weighed, or the error that follows the last one,
// or nothing.
func (f *feed) take() (run fetched, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return fetched{}, f.err
	}
	head := &f.queue[0]
	n, size := head.bounded()
	run = fetched{records: head.records[:n], start: head.start, shared: head.shared}
	head.records = head.records[n:]
	head.bytes -= size
	f.bytes -= size
	if len(head.records) == 0 {
		f.queue[0] = fetched{}
		f.queue = f.queue[1:]
	}
	if f.paused && f.err == nil && f.bytes < f.limit/2 {
		f.paused = false
		f.slot.client.ResumeFetchPartitions(map[string][]int32{f.place.topic: {f.place.part}})
	}
	return run, nil
}

// Limits of what one Next returns.
const (
	maxRun      = 10_000  // records
	maxRunBytes = 1 << 20 // keys, headers and values, unless one record is larger
)

// bounded returns how many records from the front keep the limits, and their
// weight.
func (f *fetched) bounded() (n, weighs int) {
	if all := len(f.records); all <= maxRun && f.bytes <= maxRunBytes+all*overhead {
		return all, f.bytes
	}
	size := 0
	for n < len(f.records) && n < maxRun {
		b := bytesOf(f.records[n])
		if n > 0 && size+b > maxRunBytes {
			break
		}
		size += b
		n++
	}
	return n, size + n*overhead
}

// overhead is what a record costs beside its bytes while it waits.
const overhead = 200

func weight(r *kgo.Record) int { return bytesOf(r) + overhead }

func bytesOf(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Value)
	}
	return n
}

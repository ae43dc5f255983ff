package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// A franz-go client holds one position in each partition. So the clients that
// read form a list of slots: the first reader of a partition lives in the first
// slot, a second reader of the same partition, at the same time, in the second.
// A process that follows all partitions once needs one client for all of them. A
// client also has one isolation level, so each level has a list of its own.
//
// Each slot has one goroutine that polls its client and puts what it gets into
// the feeds of its readers. It never waits for a reader: a feed that holds
// enough has its partition paused until the reader has taken half of it.
//
// Locks are taken in this order: slots.mu, slot.life, slot.mu, feed.mu,
// franz-go's own.
type slots struct {
	cfg   Config
	auth  sasl.Mechanism
	level kgo.IsolationLevel // whether records of open and aborted transactions are read

	mu     sync.Mutex
	list   []*slot
	closed bool
}

func newSlots(cfg Config, auth sasl.Mechanism, level kgo.IsolationLevel) *slots {
	return &slots{cfg: cfg, auth: auth, level: level}
}

// attach lets a reader begin at from, in the first slot where its partition is
// free.
func (s *slots) attach(p place, from int64) (*feed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, eventlog.ErrClosed
	}
	for _, slot := range s.list {
		if f := slot.attach(p, from, s.cfg.ReadAhead); f != nil {
			return f, nil
		}
	}
	if len(s.list) == s.cfg.MaxReaders {
		return nil, fmt.Errorf("%d readers of this partition are open already; close one or raise Config.MaxReaders", len(s.list))
	}
	slot, err := newSlot(s.cfg, s.auth, s.level)
	if err != nil {
		return nil, err
	}
	s.list = append(s.list, slot)
	return slot.attach(p, from, s.cfg.ReadAhead), nil
}

func (s *slots) close() {
	s.mu.Lock()
	list := s.list
	s.list, s.closed = nil, true
	s.mu.Unlock()
	var all sync.WaitGroup // a client waits a second for brokers that do not answer
	for _, slot := range list {
		all.Go(slot.close)
	}
	all.Wait()
}

// slot is one client and the feeds of the partitions that it reads.
type slot struct {
	client *kgo.Client
	done   chan struct{} // closed when its goroutine has ended

	life   sync.RWMutex // held for reading around changes of what the client reads
	closed bool

	mu    sync.Mutex
	feeds map[place]*feed    // those that leave are in it until no poll can hold their records
	round chan struct{}      // closed when what the poll under way returned is handed out
	wake  context.CancelFunc // ends the poll under way
}

// Limits of what a broker sends at once.
const (
	fetchBytes = 16 << 20
	maxFetch   = 1 << 20 // of one partition, as it is sent: less costs a replay more than it saves memory
)

func newSlot(cfg Config, auth sasl.Mechanism, level kgo.IsolationLevel) (*slot, error) {
	client, err := kgo.NewClient(append(cfg.options(auth),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(level),
		kgo.KeepControlRecords(), // by them a reader knows that it is at the end
		kgo.WithPools(&fetchedRecords),
		kgo.FetchMinBytes(1),
		kgo.FetchMaxWait(cfg.FetchWait),
		kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxPartitionBytes(int32(min(maxFetch, cfg.ReadAhead/4))),
	)...)
	if err != nil {
		return nil, fmt.Errorf("another reader of the same partition: %w", err)
	}
	s := &slot{client: client, done: make(chan struct{}), feeds: make(map[place]*feed)}
	go s.run(s.begin())
	return s, nil
}

// attach returns nil if the partition is taken or the slot closed.
func (s *slot) attach(p place, from int64, limit int) *feed {
	s.life.RLock()
	defer s.life.RUnlock()
	s.mu.Lock()
	_, taken := s.feeds[p]
	if taken || s.closed {
		s.mu.Unlock()
		return nil
	}
	f := &feed{slot: s, place: p, limit: limit, ready: make(chan struct{}, 1)}
	s.feeds[p] = f
	s.mu.Unlock()
	s.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{p.topic: {p.part: kgo.NewOffset().At(from)}})
	return f
}

// detach ends a feed. Its place is free once a poll that may hold its records
// has been handed out, for the next reader of the partition must not get them.
func (s *slot) detach(f *feed) {
	f.end()
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed {
		return
	}
	parts := map[string][]int32{f.place.topic: {f.place.part}}
	s.client.RemoveConsumePartitions(parts)
	s.client.ResumeFetchPartitions(parts)
	s.mu.Lock()
	round := s.round
	s.wake()
	s.mu.Unlock()
	<-round
	s.mu.Lock()
	delete(s.feeds, f.place)
	s.mu.Unlock()
}

// forget makes the client ask for a topic anew, since franz-go goes on with the
// identity of one that was deleted and made again. Other readers of the topic
// take their places again.
func (s *slot) forget(topic string, err error) {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed {
		return
	}
	s.client.PurgeTopicsFromConsuming(topic)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell(topic, -1, err)
}

func (s *slot) close() {
	s.life.Lock()
	s.closed = true
	s.life.Unlock()
	s.client.Close()
	<-s.done
}

// run polls until the client is closed.
func (s *slot) run(ctx context.Context) {
	defer close(s.done)
	for {
		fetches := s.client.PollFetches(ctx)
		s.hand(fetches)
		ctx = s.begin()
		if fetches.IsClientClosed() {
			return
		}
	}
}

// begin ends a round and begins the next.
func (s *slot) begin() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake != nil {
		s.wake()
		close(s.round)
	}
	s.round, s.wake = make(chan struct{}), cancel
	return ctx
}

// hand gives each feed its part of what a poll returned.
func (s *slot) hand(fetches kgo.Fetches) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		switch f, ok := s.feeds[place{p.Topic, p.Partition}]; {
		case ok:
			f.put(&p.FetchPartition)
		case p.Err != nil && !errors.Is(p.Err, context.Canceled):
			s.tell(p.Topic, p.Partition, p.Err)
		}
	})
}

// tell gives an error to all whom it concerns: a whole topic, or, without one,
// the whole client.
func (s *slot) tell(topic string, part int32, err error) {
	for p, f := range s.feeds {
		if topic == "" || topic == p.topic && part < 0 {
			f.fail(err)
		}
	}
}

// feed is the bounded hand-over from a slot to one reader.
type feed struct {
	slot  *slot
	place place
	limit int           // bytes from which the partition is paused
	ready chan struct{} // holds one when there is something to take

	mu     sync.Mutex
	queue  []fetched
	bytes  int
	paused bool
	ended  bool
	err    error // after the queue
}

// fetched is what one fetch brought.
type fetched struct {
	records []*kgo.Record
	bytes   int   // their weight
	start   int64 // first offset that the partition still had
}

// put adds a fetch. It never waits.
func (f *feed) put(p *kgo.FetchPartition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return
	}
	if len(p.Records) > 0 && f.err == nil {
		got := fetched{records: p.Records, start: p.LogStartOffset}
		for _, r := range p.Records {
			got.bytes += weight(r)
		}
		f.queue = append(f.queue, got)
		f.bytes += got.bytes
	}
	if p.Err != nil && f.err == nil {
		f.err = p.Err
	}
	if !f.paused && (f.bytes >= f.limit || f.err != nil) {
		f.paused = true
		f.slot.client.PauseFetchPartitions(map[string][]int32{f.place.topic: {f.place.part}})
	}
	f.signal()
}

func (f *feed) fail(err error) { f.put(&kgo.FetchPartition{Err: err}) }

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

// take returns the next run, or the error that follows the last one, or nothing.
// start is the first offset that the partition had when the run was fetched.
func (f *feed) take() (run []*kgo.Record, start int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return nil, 0, f.err
	}
	head := &f.queue[0]
	n, size := head.bounded()
	run, start = head.records[:n], head.start
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
	return run, start, nil
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

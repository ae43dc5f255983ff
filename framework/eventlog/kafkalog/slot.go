package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// A franz-go client holds one position in each partition. So the clients that
// read form a list of slots: the first reader of a partition lives in the first
// slot, a second one that is elsewhere in the same partition, at the same time, in
// the second. Once a reader has come as far as one in a slot before its own, it
// joins that one's line: readers that follow the end of a partition, however many,
// are one position in the first slot. So a process needs one client for all that it
// follows, and some more while it catches up. A client also has one isolation level,
// so each level has a list of its own.
//
// Each slot has one goroutine that polls its client and puts what it gets into
// the feeds of its readers. It never waits for a reader: a feed that holds
// enough has its partition paused until the reader has taken half of it, or, where
// others share its line, leaves that, to ask for what follows by itself.
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

// attach lets a reader begin at from: in a line that has come as far, or in the first
// slot where its partition is free.
func (s *slots) attach(p place, from int64) (*feed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, eventlog.ErrClosed
	}
	readers := 0
	for _, slot := range s.list {
		readers += slot.readers(p)
	}
	if readers >= s.cfg.MaxReaders {
		return nil, fmt.Errorf("%d readers of this partition are open already; close one or raise Config.MaxReaders", readers)
	}
	if f := s.joined(p, from, nil); f != nil {
		return f, nil
	}
	for _, slot := range s.list {
		if f := slot.attach(p, from, s.cfg.ReadAhead); f != nil {
			return f, nil
		}
	}
	slot, err := newSlot(s.cfg, s.auth, s.level, len(s.list) == 0)
	if err != nil {
		return nil, err
	}
	s.list = append(s.list, slot)
	return slot.attach(p, from, s.cfg.ReadAhead), nil
}

// join lets a reader of a slot go on at next in the line of one before it, if there is
// one that has come as far; else it returns nil.
func (s *slots) join(p place, next int64, from *slot) *feed {
	if from.first {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.joined(p, next, from)
}

// joined is join for who holds mu; without from, any slot's line will do.
func (s *slots) joined(p place, next int64, from *slot) *feed {
	for _, slot := range s.list {
		if slot == from {
			break
		}
		if f := slot.join(p, next, s.cfg.ReadAhead); f != nil {
			return f
		}
	}
	return nil
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

// slot is one client and the lines of the partitions that it reads.
type slot struct {
	client *kgo.Client
	first  bool          // of the list: its readers are where they shall be
	done   chan struct{} // closed when its goroutine has ended

	life   sync.RWMutex // held for reading around changes of what the client reads
	closed bool

	mu    sync.Mutex
	lines map[place]*line    // those that end are in it until no poll can hold their records
	round chan struct{}      // closed when what the poll under way returned is handed out
	wake  context.CancelFunc // ends the poll under way
}

// Limits of what a broker sends at once.
const (
	fetchBytes = 16 << 20
	maxFetch   = 1 << 20 // of one partition, as it is sent: less costs a replay more than it saves memory
)

func newSlot(cfg Config, auth sasl.Mechanism, level kgo.IsolationLevel, first bool) (*slot, error) {
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
	s := &slot{client: client, first: first, done: make(chan struct{}), lines: make(map[place]*line)}
	go s.run(s.begin())
	return s, nil
}

// attach returns nil if the partition is taken or the slot closed.
func (s *slot) attach(p place, from int64, limit int) *feed {
	s.life.RLock()
	defer s.life.RUnlock()
	s.mu.Lock()
	_, taken := s.lines[p]
	if taken || s.closed {
		s.mu.Unlock()
		return nil
	}
	f := newFeed(s, p, limit)
	s.lines[p] = &line{next: from, feeds: []*feed{f}}
	s.mu.Unlock()
	s.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{p.topic: {p.part: kgo.NewOffset().At(from)}})
	return f
}

// join returns nil unless a line of this partition has come as far as next, or nearly.
func (s *slot) join(p place, next int64, limit int) *feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[p]
	if l == nil || !l.open(next) {
		return nil
	}
	f := newFeed(s, p, limit)
	l.feeds = append(l.feeds, f)
	return f
}

// readers returns how many a partition has here; one that leaves counts until its place
// is free.
func (s *slot) readers(p place) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lines[p]; l != nil {
		return max(1, len(l.feeds))
	}
	return 0
}

// detach ends a feed. The place of the last one in its line is free once a poll that may
// hold its records has been handed out, for the next reader of the partition must not get
// them.
func (s *slot) detach(f *feed) {
	f.end()
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed {
		return
	}
	s.mu.Lock()
	last := s.leave(f)
	s.mu.Unlock()
	if !last {
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
	delete(s.lines, f.place)
	s.mu.Unlock()
}

// leave takes a feed out of its line, if it is still there, and reports whether it was the
// last. The caller holds mu.
func (s *slot) leave(f *feed) (last bool) {
	l := s.lines[f.place]
	if l == nil {
		return false
	}
	at := slices.Index(l.feeds, f)
	if at < 0 {
		return false
	}
	l.feeds = slices.Delete(l.feeds, at, at+1)
	return len(l.feeds) == 0
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

// hand gives each line its part of what a poll returned.
func (s *slot) hand(fetches kgo.Fetches) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		switch l, ok := s.lines[place{p.Topic, p.Partition}]; {
		case ok:
			l.put(&p.FetchPartition)
		case p.Err != nil && !errors.Is(p.Err, context.Canceled):
			s.tell(p.Topic, p.Partition, p.Err)
		}
	})
}

// tell gives an error to all whom it concerns: a whole topic, or, without one,
// the whole client.
func (s *slot) tell(topic string, part int32, err error) {
	for p, l := range s.lines {
		if topic == "" || topic == p.topic && part < 0 {
			l.put(&kgo.FetchPartition{Err: err})
		}
	}
}

package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/kafka-go"

	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// Subscriber returns a Watermill subscriber over Kafka. All subscriptions with
// the same group share a topic's partitions, from its start if the group is new.
// An offset is committed once its message and all before it were acknowledged.
// A message may come again, to another member too, after a failure, a restart or
// a change in the group.
func Subscriber(cfg Config, group string) (message.Subscriber, error) {
	cfg, err := cfg.withDefaults()
	if err == nil && group == "" {
		err = errors.New("no group: name one, under which the offsets are kept")
	}
	if err != nil {
		return nil, fmt.Errorf("bus subscriber: %w", err)
	}
	s := &subscriber{cfg: cfg, group: group, open: make(map[*subscription]struct{})}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

type subscriber struct {
	cfg   Config
	group string
	ctx   context.Context // ends with Close
	stop  context.CancelFunc

	mu   sync.Mutex
	open map[*subscription]struct{}
}

var (
	_ message.Subscriber           = (*subscriber)(nil)
	_ message.SubscribeInitializer = (*subscriber)(nil)
)

// SubscribeInitialize implements Watermill's: it creates the topic if it is
// missing.
func (s *subscriber) SubscribeInitialize(topic string) error {
	return s.ensure(s.ctx, topic)
}

func (s *subscriber) ensure(ctx context.Context, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	t := s.cfg.transport()
	defer t.CloseIdleConnections()
	return s.cfg.ensure(ctx, t, topic)
}

// Subscribe implements Watermill's Subscriber. The channel is closed when ctx or
// the subscriber ends.
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	sub, err := s.subscribe(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s as %s: %w", topic, s.group, err)
	}
	return sub.out, nil
}

func (s *subscriber) subscribe(ctx context.Context, topic string) (*subscription, error) {
	if s.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if err := s.ensure(ctx, topic); err != nil {
		return nil, err
	}
	group, err := kafka.NewConsumerGroup(s.cfg.group(s.group, topic))
	if err != nil {
		return nil, err
	}
	sub := &subscription{
		cfg: s.cfg, topic: topic, group: group,
		out: make(chan *message.Message), turns: make(chan struct{}, s.cfg.InFlight), done: make(chan struct{}),
	}
	sub.ctx, sub.kill = context.WithCancel(ctx)
	sub.offer, sub.stop = either(sub.ctx, s.ctx)
	s.mu.Lock()
	s.open[sub] = struct{}{} // if Close was quicker, run ends at once
	s.mu.Unlock()
	go func() {
		sub.run()
		s.mu.Lock()
		delete(s.open, sub)
		s.mu.Unlock()
	}()
	if s.ctx.Err() != nil {
		<-sub.done
		return nil, ErrClosed
	}
	return sub, nil
}

// group are the settings of a consumer group.
func (c Config) group(id, topic string) kafka.ConsumerGroupConfig {
	return kafka.ConsumerGroupConfig{
		ID:                id,
		Topics:            []string{topic},
		Brokers:           c.Brokers,
		Dialer:            c.dialer(),
		HeartbeatInterval: time.Second,
		SessionTimeout:    10 * time.Second,
		RebalanceTimeout:  10 * time.Second,
		JoinGroupBackoff:  500 * time.Millisecond,
		StartOffset:       kafka.FirstOffset,

		WatchPartitionChanges:  true,
		PartitionWatchInterval: 5 * time.Second,
	}
}

// Close implements Watermill's Subscriber: nothing more is handed out; what is
// has CloseTimeout to be acknowledged. Then offsets are committed and the groups
// left.
func (s *subscriber) Close() error {
	s.stop()
	s.mu.Lock()
	open := maps.Clone(s.open)
	s.mu.Unlock()
	timer := time.AfterFunc(s.cfg.CloseTimeout, func() {
		for sub := range open {
			sub.kill()
		}
	})
	defer timer.Stop()
	for sub := range open {
		<-sub.done
	}
	return nil
}

// subscription is a member of a group with a channel of messages.
type subscription struct {
	cfg   Config
	topic string
	group *kafka.ConsumerGroup
	out   chan *message.Message
	turns chan struct{} // one for each message that is handed out
	done  chan struct{}

	ctx   context.Context // the messages'
	kill  context.CancelFunc
	offer context.Context // ends when nothing more shall be handed out
	stop  context.CancelFunc
	busy  sync.WaitGroup // partitions that are followed
}

func (s *subscription) run() {
	defer close(s.done)
	defer s.kill()
	defer s.stop()
	defer close(s.out)
	for s.offer.Err() == nil {
		gen, err := s.group.Next(s.offer)
		switch {
		case s.offer.Err() != nil && gen == nil:
		case err != nil:
			s.cfg.Logger.Warn("a consumer group could not be joined; it tries again", "topic", s.topic, "error", err)
		default:
			s.serve(gen)
		}
	}
	s.busy.Wait()
	if err := s.group.Close(); err != nil {
		s.cfg.Logger.Warn("a consumer group was not left", "topic", s.topic, "error", err)
	}
}

// serve starts what follows the partitions of a generation. All of it lasts as
// long as the generation, which would end with the first.
func (s *subscription) serve(gen *kafka.Generation) {
	c := &committer{sub: s, gen: gen, dirty: make(chan struct{}, 1), acked: make(map[int]int64)}
	for _, p := range gen.Assignments[s.topic] {
		s.busy.Add(1)
		c.following.Add(1)
		gen.Start(func(ctx context.Context) {
			s.follow(ctx, p, c)
			s.busy.Done()
			c.following.Done()
			<-ctx.Done()
		})
	}
	gen.Start(c.run)
}

// follow hands out a partition's messages until the generation or the
// subscription ends.
func (s *subscription) follow(gen context.Context, p kafka.PartitionAssignment, c *committer) {
	hold, cancel := either(s.ctx, gen)
	defer cancel()
	offer, cancel := either(hold, s.offer)
	defer cancel()
	r := kafka.NewReader(kafka.ReaderConfig{
		Brokers: s.cfg.Brokers, Dialer: s.cfg.dialer(), Topic: s.topic, Partition: p.ID,
		MinBytes: 1, MaxBytes: 4 << 20, MaxWait: 250 * time.Millisecond, QueueCapacity: 64,
		ReadLagInterval: -1, ReadBackoffMax: 500 * time.Millisecond,
	})
	defer r.Close()
	if err := r.SetOffset(p.Offset); err != nil {
		s.cfg.Logger.Error("a partition cannot be followed", "topic", s.topic, "partition", p.ID, "offset", p.Offset, "error", err)
		return
	}
	pause := clock.Backoff{Least: s.cfg.MinBackoff, Most: s.cfg.MaxBackoff}
	for offer.Err() == nil {
		m, err := r.ReadMessage(offer)
		switch {
		case offer.Err() != nil:
			return
		case err != nil:
			s.cfg.Logger.Warn("reading a partition failed; it tries again", "topic", s.topic, "partition", p.ID, "error", err)
			_ = clock.Sleep(offer, clock.System, pause.Next(clock.System)) // the loop looks at offer
			continue
		}
		pause.Reset()
		if s.hand(offer, hold, m, &pause) != nil {
			return
		}
		c.done(p.ID, m.Offset+1)
		pause.Reset()
	}
}

// hand waits for a turn and hands one message out until it is acknowledged.
func (s *subscription) hand(offer, hold context.Context, m kafka.Message, pause *clock.Backoff) error {
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-offer.Done():
		return offer.Err()
	}
	return deliver(offer, hold, s.out, received(m), pause)
}

func received(m kafka.Message) *message.Message {
	uuid, metadata := "", make(message.Metadata, len(m.Headers))
	for _, h := range m.Headers {
		if h.Key == UUIDHeader {
			uuid = string(h.Value)
			continue
		}
		metadata[h.Key] = string(h.Value)
	}
	got := message.NewMessage(uuid, m.Value)
	got.Metadata = metadata
	return got
}

// committer commits the offsets of a generation, one request at a time, for
// whatever was acknowledged meanwhile.
type committer struct {
	sub       *subscription
	gen       *kafka.Generation
	following sync.WaitGroup
	dirty     chan struct{}

	mu    sync.Mutex
	acked map[int]int64 // next offset by partition, not committed yet
}

func (c *committer) done(part int, next int64) {
	c.mu.Lock()
	c.acked[part] = next
	c.mu.Unlock()
	select {
	case c.dirty <- struct{}{}:
	default:
	}
}

// run ends with the generation, after the last offsets.
func (c *committer) run(ctx context.Context) {
	for {
		select {
		case <-c.dirty:
			c.commit()
		case <-ctx.Done():
			c.following.Wait()
			c.commit()
			return
		}
	}
}

func (c *committer) commit() {
	c.mu.Lock()
	acked := c.acked
	c.acked = make(map[int]int64)
	c.mu.Unlock()
	if len(acked) == 0 {
		return
	}
	if err := c.gen.CommitOffsets(map[string]map[int]int64{c.sub.topic: acked}); err != nil {
		c.sub.cfg.Logger.Warn("offsets were not committed; their messages may come again", "topic", c.sub.topic, "error", err)
	}
}

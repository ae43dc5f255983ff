package kafkalog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// headerKey names the one header that carries a record's envelope.
const headerKey = "e"

// Append implements [eventlog.Log]. The batch is one Kafka record batch, which
// brokers write as a whole. Callers to one partition take turns in the order of
// their calls.
func (l *Log) Append(ctx context.Context, topic string, part int32, batch []eventlog.Record) (int64, error) {
	base, err := l.append(ctx, topic, part, batch, ours)
	if err != nil {
		return 0, fmt.Errorf("append %d records to %s/%d: %w", len(batch), topic, part, err)
	}
	return base, nil
}

func (l *Log) append(ctx context.Context, topic string, part int32, batch []eventlog.Record, as form) (int64, error) {
	if err := eventlog.Check(batch); err != nil {
		return 0, err
	}
	if err := l.find(ctx, topic, part); err != nil {
		return 0, err
	}
	lane := l.sender.lane(place{topic, part})
	if err := lane.enter(ctx, l.ctx.Done()); err != nil {
		return 0, err
	}
	defer lane.leave()
	ctx, cancel := l.bound(ctx)
	defer cancel()
	size := batchSize(len(batch), eventlog.Size(batch))
	set := l.sender.buffer(recordSetStart + size)
	set = recordSet(appendBatch(set, batch, as, l.cfg.Now().UnixMilli(), nobody))
	base, err := l.send(ctx, topic, part, set)
	if answered(err) {
		l.sender.buffers.Put(&set)
	}
	return base, err
}

// Pauses between attempts to find a partition's leader.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 200 * time.Millisecond
)

// send sends a record set, again only while it surely was not sent.
func (l *Log) send(ctx context.Context, topic string, part int32, set []byte) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.AppendTimeout)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		r := l.sender.route(topic)
		base, err := r.produce(ctx, topic, part, set)
		if err == nil {
			return base, nil
		}
		if !harmless(err) {
			l.sender.drop(r)
		}
		if again := (*unsentError)(nil); !errors.As(err, &again) {
			return 0, err
		}
		if err := l.refind(ctx, topic, part); err != nil {
			return 0, err
		}
		if wait(ctx, pause) != nil {
			return 0, fmt.Errorf("no leader within %v: %w", l.cfg.AppendTimeout, err)
		}
	}
}

// wait pauses, or returns ctx's error when that ends first.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// place is one partition.
type place struct {
	topic string
	part  int32
}

// sender holds the route to the leaders and a lane for each partition.
type sender struct {
	ctx   context.Context // ends with the log
	cfg   Config
	auth  sasl.Mechanism
	conns *connections
	lanes sync.Map // place → *lane

	buffers sync.Pool // of *[]byte, that nobody writes from any more

	mu     sync.Mutex
	now    *route
	topics map[string]struct{}
}

func newSender(ctx context.Context, cfg Config, auth sasl.Mechanism, conns *connections) *sender {
	return &sender{ctx: ctx, cfg: cfg, auth: auth, conns: conns, topics: make(map[string]struct{})}
}

func (s *sender) lane(p place) *lane {
	if l, ok := s.lanes.Load(p); ok {
		return l.(*lane)
	}
	l, _ := s.lanes.LoadOrStore(p, &lane{turn: make(chan struct{}, 1), limit: int32(s.cfg.MaxWaiting)})
	return l.(*lane)
}

// route returns the current route, made anew if it does not know topic.
func (s *sender) route(topic string) *route {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.topics[topic]; known && s.now != nil {
		return s.now
	}
	s.topics[topic] = struct{}{}
	s.shut()
	s.now = newRoute(s.ctx, s.cfg, s.auth, s.conns, slices.Sorted(maps.Keys(s.topics)))
	return s.now
}

// drop forgets a route that failed, unless another caller has done so already:
// kafka-go would go on with what it remembers of leaders and topics.
func (s *sender) drop(r *route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == r {
		s.shut()
	}
}

// forget takes a topic out of those that the next route asks for.
func (s *sender) forget(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.topics, topic)
}

func (s *sender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut()
}

func (s *sender) shut() {
	if s.now != nil {
		s.now.transport.CloseIdleConnections() // those in use close behind their request
		s.now = nil
	}
}

// route is a kafka-go client with the leaders that it remembers.
type route struct {
	client    kafka.Client
	transport *kafka.Transport
}

// metadataTTL is how long kafka-go believes what it remembers of leaders.
const metadataTTL = time.Second

func newRoute(ctx context.Context, cfg Config, auth sasl.Mechanism, conns *connections, topics []string) *route {
	t := &kafka.Transport{
		Context:        ctx,
		Dial:           conns.dial,
		DialTimeout:    dialTimeout,
		ClientID:       cfg.ClientID,
		TLS:            cfg.TLS,
		MetadataTTL:    metadataTTL,
		MetadataTopics: topics,
	}
	if auth != nil {
		t.SASL = shared{auth}
	}
	return &route{
		client:    kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Timeout: cfg.AppendTimeout, Transport: t},
		transport: t,
	}
}

// produce sends one record set once.
func (r *route) produce(ctx context.Context, topic string, part int32, set []byte) (int64, error) {
	resp, err := r.client.RawProduce(ctx, &kafka.RawProduceRequest{
		Topic:        topic,
		Partition:    int(part),
		RequiredAcks: kafka.RequireAll,
		RawRecords:   protocol.RawRecordSet{Reader: bytes.NewReader(set)},
	})
	switch {
	case err != nil && unsent(err):
		return 0, &unsentError{r.cause(ctx, err)}
	case err != nil:
		return 0, unknown(err)
	case resp.Error != nil: // then BaseOffset means nothing
		return 0, refused(resp.Error)
	}
	return resp.BaseOffset, nil
}

// cause returns why kafka-go knows no leader: it keeps to itself what went wrong
// when it asked for them.
func (r *route) cause(ctx context.Context, err error) error {
	if _, asked := r.client.Metadata(ctx, &kafka.MetadataRequest{}); asked != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", err, asked)
	}
	return err
}

// lane lets one append at a time into a partition, in the order of arrival.
type lane struct {
	turn    chan struct{}
	waiting atomic.Int32
	limit   int32
}

func (l *lane) enter(ctx context.Context, closed <-chan struct{}) error {
	if l.waiting.Add(1) > l.limit {
		l.waiting.Add(-1)
		return fmt.Errorf("%d appends wait for their turn already, nothing was sent; slow down or raise Config.MaxWaiting", l.limit)
	}
	defer l.waiting.Add(-1)
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("waiting for its turn, nothing was sent: %w", ctx.Err())
	case <-closed:
		return eventlog.ErrClosed
	}
	var err error
	if ctx.Err() != nil {
		err = fmt.Errorf("nothing was sent: %w", ctx.Err())
	}
	select {
	case <-closed:
		err = eventlog.ErrClosed
	default:
	}
	if err != nil {
		l.leave()
	}
	return err
}

func (l *lane) leave() { <-l.turn }

// recordSetStart is what kafka-go wants in front of a batch: its size, as it
// stands in a request.
const recordSetStart = 4

// recordSet fills in the size of the batch behind it.
func recordSet(set []byte) []byte {
	binary.BigEndian.PutUint32(set, uint32(len(set)-recordSetStart))
	return set
}

// buffer returns one with room for size bytes, in which the size of a record set
// stands already.
func (s *sender) buffer(size int) []byte {
	if b, _ := s.buffers.Get().(*[]byte); b != nil && cap(*b) >= size {
		return (*b)[:recordSetStart]
	}
	return make([]byte, recordSetStart, size)
}

package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/drivetrain-go/drivetrain/tests/crash/shop"
)

// broker is a cluster as the test itself sees it.
type broker struct {
	addrs []string
	admin *kadm.Client
	nodes int
}

func newBroker(t *testing.T) *broker {
	b := &broker{addrs: strings.Split(os.Getenv("KAFKA_BROKERS"), ",")}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addrs...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	b.admin = kadm.NewClient(client)
	meta, err := b.admin.BrokerMetadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.nodes = len(meta.Brokers)
	return b
}

// create makes the topics of a prefix, and deletes at the end all that have it.
func (b *broker) create(t *testing.T, prefix string) {
	t.Helper()
	copies := int16(min(3, b.nodes))
	for topic, n := range shop.Topics(prefix) {
		if _, err := b.admin.CreateTopic(t.Context(), int32(n), copies, map[string]*string{"retention.ms": kadm.StringPtr("-1")}, topic); err != nil {
			t.Fatalf("create %s: %v", topic, err)
		}
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		topics, err := b.admin.ListTopics(ctx)
		for _, topic := range topics.Names() {
			if strings.HasPrefix(topic, prefix+".") {
				_, gone := b.admin.DeleteTopic(ctx, topic)
				err = errors.Join(err, gone)
			}
		}
		if err != nil {
			t.Logf("%s is not removed whole: %v", prefix, err)
		}
	})
}

// records returns how many records the topics of a prefix hold, but for some, and how
// many were written to them.
func (b *broker) records(ctx context.Context, prefix string, but map[string]int) (there, written int64, err error) {
	topics, err := b.admin.ListTopics(ctx)
	if err != nil {
		return 0, 0, err
	}
	var names []string
	for _, topic := range topics.Names() {
		if _, known := but[topic]; !known && strings.HasPrefix(topic, prefix+".") {
			names = append(names, topic)
		}
	}
	starts, err := b.admin.ListStartOffsets(ctx, names...)
	if err != nil {
		return 0, 0, err
	}
	ends, err := b.admin.ListEndOffsets(ctx, names...)
	if err != nil {
		return 0, 0, err
	}
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		there, written = there+end.Offset-start.Offset, written+end.Offset
		err = errors.Join(err, end.Err, start.Err)
	})
	return there, written, err
}

// writer writes the inputs of a world, those of each topic in their order.
type writer struct {
	t              *testing.T
	client         *kgo.Client
	prefix         string
	w              *world
	orders, prices int // written so far
}

func (b *broker) writer(t *testing.T, prefix string, w *world) *writer {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addrs...), kgo.MaxBufferedRecords(50_000))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &writer{t: t, client: client, prefix: prefix, w: w}
}

// write writes on until a share of all inputs, 1 at most, is acknowledged.
func (f *writer) write(ctx context.Context, share float64) error {
	var failed error // set by the client's goroutine, which Flush waits for
	put := func(topic, key string, v any) {
		data, err := json.Marshal(v)
		if err != nil {
			failed = err
			return
		}
		f.client.Produce(ctx, &kgo.Record{Topic: f.prefix + topic, Key: []byte(key), Value: data}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	for ; f.orders < int(share*float64(len(f.w.orders))); f.orders++ {
		o := f.w.orders[f.orders]
		put(".orders", o.Account, o)
	}
	for ; f.prices < int(share*float64(len(f.w.prices))); f.prices++ {
		p := f.w.prices[f.prices]
		put(".prices", p.Item, p)
	}
	return errors.Join(f.client.Flush(ctx), failed)
}

// end writes a last input to each partition, late enough to close every window.
func (b *broker) end(t *testing.T, prefix string, w *world) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topics := shop.Topics(prefix)
	var last []*kgo.Record
	for p := range topics[prefix+".orders"] {
		data, _ := json.Marshal(shop.Order{ID: -1, Account: closing, Item: closing, At: w.ends})
		last = append(last, &kgo.Record{Topic: prefix + ".orders", Partition: int32(p), Key: []byte(closing), Value: data})
	}
	for p := range topics[prefix+".prices"] {
		data, _ := json.Marshal(shop.Price{ID: -1, Item: closing, At: w.ends + shop.Near.Milliseconds() + 1})
		last = append(last, &kgo.Record{Topic: prefix + ".prices", Partition: int32(p), Key: []byte(closing), Value: data})
	}
	if err := client.ProduceSync(t.Context(), last...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// closing is the key of what only moves the time on.
const closing = "closing"

// published is a record as a reader of a topic sees it.
type published struct {
	key, id, value string
	partition      int32
}

// read returns what a topic holds up to its present end, by partition in order; of
// transactions only what was committed, if that is asked for.
func (b *broker) read(ctx context.Context, topic string, committed bool) ([]published, error) {
	ends, err := b.admin.ListEndOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return nil, err
	}
	left := make(map[int32]int64)
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	opts := []kgo.Opt{kgo.SeedBrokers(b.addrs...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords()}
	if committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var all []published
	for len(left) > 0 {
		fetched := client.PollFetches(ctx)
		if err := fetched.Err(); err != nil && !kerr.IsRetriable(err) {
			return nil, fmt.Errorf("read %s: %w", topic, err)
		}
		fetched.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if r.Attrs.IsControl() {
				return
			}
			p := published{key: string(r.Key), value: string(r.Value), partition: r.Partition}
			for _, h := range r.Headers {
				p.id += h.Key + "=" + string(h.Value) + ";"
			}
			all = append(all, p)
		})
	}
	return all, nil
}

// size returns how many records lie in a topic, markers included.
func (b *broker) size(ctx context.Context, topic string) (n int64, err error) {
	ends, err := b.admin.ListEndOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return 0, err
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, nil
}

// leads counts the partitions of a prefix's topics that a node leads, and those that
// nobody does.
func (b *broker) leads(ctx context.Context, prefix string, node int32) (its, none int, err error) {
	topics, err := b.admin.ListTopics(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, t := range topics {
		for _, p := range t.Partitions {
			switch {
			case !strings.HasPrefix(t.Topic, prefix+"."):
			case p.Leader == node:
				its++
			case p.Leader < 0 || p.Err != nil:
				none++
			}
		}
	}
	return its, none, nil
}

// inSync reports whether every partition of a prefix's topics has all its replicas
// in sync.
func (b *broker) inSync(ctx context.Context, prefix string) (bool, error) {
	topics, err := b.admin.ListTopics(ctx)
	if err != nil {
		return false, err
	}
	for _, t := range topics {
		for _, p := range t.Partitions {
			if strings.HasPrefix(t.Topic, prefix+".") && (len(p.ISR) < len(p.Replicas) || p.Err != nil) {
				return false, p.Err
			}
		}
	}
	return true, nil
}

//go:build unix

package kafkalog_test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

// What the benchmarks below send: records of about 100 bytes.
const (
	parts   = 4
	perPart = 5000
)

func sample() []eventlog.Record {
	batch := make([]eventlog.Record, perPart)
	for i := range batch {
		batch[i] = eventlog.Record{Key: []byte("post/123456"), Header: eventlog.AppendHeader(nil, "e", make([]byte, 20)), Value: make([]byte, 70)}
	}
	return batch
}

// bare makes franz-go's records of a batch, as a program without this package
// would for each.
func bare(topic string, part int32, batch []eventlog.Record) []*kgo.Record {
	rs := make([]*kgo.Record, len(batch))
	for i := range batch {
		value := eventlog.Header(batch[i].Header, "e")
		rs[i] = &kgo.Record{Topic: topic, Partition: part, Key: batch[i].Key, Value: batch[i].Value, Headers: []kgo.RecordHeader{{Key: "e", Value: value}}}
	}
	return rs
}

func producer(b *testing.B, brokers []string, opts ...kgo.Opt) *kgo.Client {
	b.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(2*parts*perPart), kgo.DisableClientMetrics())...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(cl.Close)
	return cl
}

// measured reports records a second, and the processor time for each.
func measured(b *testing.B, records int, run func()) {
	b.ReportAllocs()
	began := processor(b)
	b.ResetTimer()
	run()
	n := float64(records)
	b.ReportMetric(n/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric((processor(b)-began)*1e6/n, "cpu-us/record")
}

// processor returns the seconds that this process has used.
func processor(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkTransact commits 20,000 records to four partitions at once, with a
// group's offset, and beside it a bare franz-go producer, without one.
func BenchmarkTransact(b *testing.B) {
	brokers := kafkatest.Brokers(b)
	log := open(b, kafkalog.Config{Brokers: brokers})
	topic := ensure(b, log, parts)
	batch := sample()
	tx, err := log.Transact(b.Context(), topic)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("drivetrain", func(b *testing.B) {
		measured(b, b.N*parts*perPart, func() {
			for i := range b.N {
				var outputs []eventlog.Output
				for part := range int32(parts) {
					outputs = append(outputs, eventlog.Output{Topic: topic, Partition: part, Records: batch})
				}
				if err := tx.Commit(b.Context(), outputs, topic, topic, 0, int64(i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	cl := producer(b, brokers, kgo.TransactionalID("bare"+topic))
	b.Run("franz-go", func(b *testing.B) {
		measured(b, b.N*parts*perPart, func() {
			for range b.N {
				if err := bareTransaction(b, cl, topic, batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

func bareTransaction(b *testing.B, cl *kgo.Client, topic string, batch []eventlog.Record) error {
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	var rs []*kgo.Record
	for part := range int32(parts) {
		rs = append(rs, bare(topic, part, batch)...)
	}
	if err := cl.ProduceSync(b.Context(), rs...).FirstErr(); err != nil {
		return err
	}
	return cl.EndTransaction(b.Context(), kgo.TryCommit)
}

// BenchmarkPublish sends batches of 5,000 records to four partitions, one in
// flight in each, in each of the ways that there are.
func BenchmarkPublish(b *testing.B) {
	brokers := kafkatest.Brokers(b)
	log := open(b, kafkalog.Config{Brokers: brokers})
	topic := ensure(b, log, parts)
	batch := sample()
	through := func(cl *kgo.Client) func(int32) error {
		return func(part int32) error { return cl.ProduceSync(b.Context(), bare(topic, part, batch)...).FirstErr() }
	}
	for _, way := range []struct {
		name string
		send func(part int32) error
	}{
		{"append", func(part int32) error { _, err := log.Append(b.Context(), topic, part, batch); return err }},
		{"publish", func(part int32) error { _, err := log.Publish(b.Context(), topic, part, batch); return err }},
		{"franz-go", through(producer(b, brokers, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1)))},
		{"franz-go-idempotent", through(producer(b, brokers))},
	} {
		b.Run(way.name, func(b *testing.B) {
			measured(b, b.N*perPart, func() { shared(b, way.send) })
		})
	}
}

// shared sends b.N batches, one after the other in each partition.
func shared(b *testing.B, send func(part int32) error) {
	var all sync.WaitGroup
	for part := range parts {
		all.Go(func() {
			for i := part; i < b.N; i += parts {
				if err := send(int32(part)); err != nil {
					b.Error(fmt.Errorf("partition %d: %w", part, err))
					return
				}
			}
		})
	}
	all.Wait()
}

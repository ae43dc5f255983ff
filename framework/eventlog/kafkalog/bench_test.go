package kafkalog_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

// BenchmarkAppend appends batches of one record of 120 bytes, by callers that
// each have a partition of their own.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			log := open(b, kafkalog.Config{Brokers: kafkatest.Brokers(b)})
			topic := ensure(b, log, callers)
			record := []eventlog.Record{{Key: []byte("post/123456"), Header: make([]byte, 110), Value: make([]byte, 120)}}
			b.ReportAllocs()
			b.ResetTimer()
			var all sync.WaitGroup
			for part := range callers {
				all.Go(func() {
					for i := part; i < b.N; i += callers {
						if _, err := log.Append(b.Context(), topic, int32(part), record); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

// BenchmarkNext reads records of 120 bytes with an envelope of 110, by one
// reader and by one for each of four partitions that share a client.
func BenchmarkNext(b *testing.B) {
	for _, partitions := range []int{1, 4} {
		b.Run(fmt.Sprintf("partitions=%d", partitions), func(b *testing.B) {
			const n = 100_000
			log := open(b, kafkalog.Config{Brokers: kafkatest.Brokers(b)})
			topic := ensure(b, log, partitions)
			for part := range partitions {
				fill(b, log, topic, int32(part), n, 120)
			}
			b.ReportAllocs()
			b.ResetTimer()
			done := make(chan error, partitions)
			for part := range partitions {
				go func() { done <- drain(b, log, topic, int32(part), b.N/partitions, n) }()
			}
			for range partitions {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// drain reads want records, from the start again whenever it comes to the end.
func drain(b *testing.B, log eventlog.Log, topic string, part int32, want, n int) error {
	for want > 0 {
		r, err := log.Read(topic, part, 0)
		if err != nil {
			return err
		}
		for at := 0; at < n && want > 0; {
			run, err := r.Next(b.Context())
			if err != nil {
				return err
			}
			at += len(run)
			want -= len(run)
		}
		if err := r.Close(); err != nil {
			return err
		}
	}
	return nil
}

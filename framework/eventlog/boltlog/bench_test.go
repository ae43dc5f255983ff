package boltlog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
)

const benchPartitions = 16

func benchLog(b *testing.B, o boltlog.Options) *boltlog.Log {
	b.Helper()
	l, err := boltlog.Open(filepath.Join(b.TempDir(), "log.db"), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	if err := l.Ensure(b.Context(), eventlog.Topic{Name: "bench", Partitions: benchPartitions}); err != nil {
		b.Fatal(err)
	}
	return l
}

// benchBatch makes n records of 120 bytes.
func benchBatch(n int) []eventlog.Record {
	batch := make([]eventlog.Record, n)
	for i := range batch {
		batch[i] = eventlog.Record{Key: []byte("post/01234567"), Header: []byte(strings.Repeat("h", 40)),
			Value: []byte(strings.Repeat("v", 67))}
	}
	return batch
}

// BenchmarkAppend appends batches of one record of 120 bytes from many callers.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			l := benchLog(b, boltlog.Options{})
			batch := benchBatch(1)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for who := range callers {
				wg.Go(func() {
					for i := who; i < b.N; i += callers {
						if _, err := l.Append(b.Context(), "bench", int32(who%benchPartitions), batch); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

// BenchmarkSync is the floor of BenchmarkAppend/callers=1: a transaction writes
// and syncs twice.
func BenchmarkSync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	if _, err := f.Write(make([]byte, 64*len(page))); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for i := range b.N {
		if _, err := f.WriteAt(page, int64(i%64*len(page))); err != nil {
			b.Fatal(err)
		}
		if err := datasync(f); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "syncs/s")
}

// BenchmarkRead reads records of 120 bytes that were appended in batches of 64,
// out of the file. An operation is a record.
func BenchmarkRead(b *testing.B) {
	const batches = 3000
	l := benchLog(b, boltlog.Options{TailBytes: -1})
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range batches / 64 {
				if _, err := l.Append(b.Context(), "bench", 0, benchBatch(64)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	end, err := l.End(b.Context(), "bench", 0)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := int64(0); n < int64(b.N); n += end {
		readThrough(b, l, min(end, int64(b.N)-n))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func readThrough(b *testing.B, l *boltlog.Log, n int64) {
	r, err := l.Read("bench", 0, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	for n > 0 {
		run, err := r.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		n -= int64(len(run))
	}
}

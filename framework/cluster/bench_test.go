package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// counts is an aggregate whose own code costs next to nothing.
type counts struct{}

func (counts) TypeName() string                     { return "count" }
func (counts) Zero() any                            { return new(int) }
func (counts) StateJSON(s any) ([]byte, error)      { return fmt.Append(nil, *s.(*int)), nil }
func (counts) Fold(s any, _ string, _ []byte) error { *s.(*int)++; return nil }

// shallow is a log that keeps no record, so that a benchmark measures the owner.
type shallow struct {
	eventlog.Log
	end atomic.Int64
}

func (l *shallow) Append(_ context.Context, _ string, _ int32, batch []eventlog.Record) (int64, error) {
	n := int64(len(batch))
	return l.end.Add(n) - n, nil
}

func (l *shallow) End(context.Context, string, int32) (int64, error) { return l.end.Load(), nil }

func BenchmarkOwner(b *testing.B) {
	for _, name := range []string{"memlog", "shallow"} {
		for _, callers := range []int{1, 64, 1024} {
			b.Run(fmt.Sprintf("log=%s/callers=%d", name, callers), func(b *testing.B) {
				log := memlog.New()
				if err := log.Ensure(b.Context(), eventlog.Topic{Name: topic, Partitions: 1}); err != nil {
					b.Fatal(err)
				}
				if name == "shallow" {
					benchmark(b, &shallow{Log: log}, callers)
				} else {
					benchmark(b, log, callers)
				}
			})
		}
	}
}

func benchmark(b *testing.B, log eventlog.Log, callers int) {
	o := NewOwner(OwnerConfig{Log: log, Topic: topic, Process: clock.NewID(clock.System),
		Aggregates: map[string]Aggregate{"count": counts{}}, AppendTimeout: 5 * time.Second,
		Memory: partition.Memory{Age: 24 * time.Hour, Number: 100_000}, MaxQueue: 4096, Clock: clock.System,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: NewMetrics(nil)})
	ctx, cancel := context.WithCancel(b.Context())
	var running, asking sync.WaitGroup
	running.Go(func() { o.Run(ctx) })
	defer running.Wait()
	defer cancel()
	for !o.Status().Serving {
		time.Sleep(time.Millisecond)
	}
	facts := []Fact{{"count.counted", []byte(`{"by":1}`)}}
	decide := func(any, Given) ([]Fact, error) { return facts, nil }
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprint("aggregate-", i)
	}
	var next atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	for range callers {
		asking.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				var entropy [10]byte
				binary.BigEndian.PutUint64(entropy[1:], uint64(n))
				r := Request{Aggregate: counts{}, ID: ids[n%1000], Command: event.NewID(time.Now(), entropy), Actor: "maya", Decide: decide}
				if _, err := o.Execute(ctx, r); err != nil {
					b.Error(err)
					next.Add(int64(b.N))
					return
				}
			}
		})
	}
	asking.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
}

package partition_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// BenchmarkStep folds valid commits of one event over 10,000 aggregates, as a
// view does (memory off) and as an owner does that remembers 100,000 commands.
func BenchmarkStep(b *testing.B) {
	for name, m := range map[string]partition.Memory{
		"memory=off": {},
		"memory=on":  {Age: 24 * time.Hour, Number: 100_000},
	} {
		b.Run(name, func(b *testing.B) { benchmarkStep(b, m) })
	}
}

func benchmarkStep(b *testing.B, m partition.Memory) {
	const aggregates, chunk = 10_000, 10_000
	keys := make([][]byte, aggregates)
	for i := range keys {
		keys[i] = partition.Key("tribe", fmt.Sprintf("tribe-%08d", i))
	}
	f := partition.New(m)
	if _, err := f.Step(0, nil, partition.ClaimHeader(partition.Claim{Epoch: 1}), nil); err != nil {
		b.Fatal(err)
	}
	e := event.Envelope{Type: "tribe.joined", Epoch: 1, Count: 1, Digest: 1}
	headers := make([][]byte, chunk)
	value := []byte(`{"member":"alice"}`)
	b.ReportAllocs()
	for n := range b.N {
		i := n % chunk
		if i == 0 {
			b.StopTimer()
			for j := range headers {
				at := n + j
				e.Version = uint64(at/aggregates) + 1
				e.Time = base.Add(time.Duration(at) * time.Millisecond)
				e.Command = event.NewID(e.Time, [10]byte{byte(at), byte(at >> 8)})
				headers[j] = e.Append(headers[j][:0])
			}
			b.StartTimer()
		}
		r, err := f.Step(int64(n)+1, keys[i], headers[i], value)
		if err != nil || r.Verdict != partition.Valid {
			b.Fatal(r.Verdict, r.Reason, err)
		}
	}
}

// BenchmarkSnapshot writes the fold of 10,000 aggregates and restores it.
func BenchmarkSnapshot(b *testing.B) {
	f := partition.New(partition.Memory{})
	log := []fact{{kind: 'c', epoch: 1}}
	for i := range 10_000 {
		log = append(log, fact{kind: 'e', epoch: 1, key: fmt.Sprintf("tribe/tribe-%08d", i), version: 1, count: 1, at: base})
	}
	for i, l := range log {
		step(b, f, l.record(int64(i)))
	}
	var snapshot []byte
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			snapshot = f.AppendSnapshot(snapshot[:0])
		}
	})
	b.Run("restore", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := partition.Restore(snapshot, partition.Memory{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A valid commit of a known aggregate allocates nothing for a view; the index
// of remembered commands grows now and then.
func TestStepAllocatesNextToNothing(t *testing.T) {
	for name, m := range map[string]partition.Memory{"memory off": {}, "memory on": {Age: time.Hour, Number: 1000}} {
		f := folded(t, m, []fact{{kind: 'c', epoch: 1}})
		const warm, runs = 5000, 5000
		records := make([]record, warm+runs+1)
		for i := range records {
			l := fact{kind: 'e', epoch: 1, key: "tribe/a", version: uint64(i) + 1, count: 1, at: base, command: event.NewID(base, [10]byte{byte(i), byte(i >> 8)})}
			records[i] = l.record(int64(i) + 1)
			e := event.Envelope{Type: "thing.done", Command: l.command, Version: l.version, Epoch: 1, Count: 1, Time: base}
			records[i].header = e.Append(nil) // without an actor, whose name is a string of its own
		}
		next := 0
		one := func() {
			if got := step(t, f, records[next]); got.Verdict != partition.Valid {
				t.Fatalf("%s: record %d: %s", name, next, told(got))
			}
			next++
		}
		for range warm {
			one()
		}
		if n := testing.AllocsPerRun(runs, one); n > 0 {
			t.Errorf("%s: %v allocations a record", name, n)
		}
	}
}

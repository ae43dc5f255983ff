package stream

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// benchElement has a codec by hand that allocates nothing.
type benchElement struct{ n, at int64 }

var benchCodec = Codec[benchElement]{
	Append: func(b []byte, v *benchElement) ([]byte, error) {
		b = binary.BigEndian.AppendUint64(b, uint64(v.n))
		return binary.BigEndian.AppendUint64(b, uint64(v.at)), nil
	},
	Decode: func(data []byte, v *benchElement) error {
		v.n, v.at = int64(binary.BigEndian.Uint64(data)), int64(binary.BigEndian.Uint64(data[8:]))
		return nil
	},
}

// BenchmarkProcess folds records of an outside topic by key and publishes what
// comes of each, without I/O.
func BenchmarkProcess(b *testing.B) {
	b.Run("states", func(b *testing.B) { benchProcess(b, 0) })
	b.Run("states with a time to live", func(b *testing.B) { benchProcess(b, time.Hour) })
}

func benchProcess(b *testing.B, ttl time.Duration) {
	t := &Topology{Name: "bench"}
	in := From(t, &Source[benchElement]{Name: "in", Topic: "in", Decode: func(r *Record, v *benchElement) error { return benchCodec.Decode(r.Value, v) },
		Time: func(_ *Record, v *benchElement) time.Time { return time.Unix(0, v.at) }})
	out, _ := Via(in, &Process[benchElement, benchElement, benchElement]{Name: "sum", State: benchCodec, TTL: ttl,
		OnEvent: func(c *Context[benchElement, benchElement], v benchElement) error {
			s := c.State()
			s.n += v.n
			c.Emit(benchElement{s.n, v.at})
			return nil
		}})
	To(out, &Publish[benchElement]{Name: "out", Topic: "out", Codec: benchCodec})
	const keys, batch = 10_000, 500
	records := make([]eventlog.Record, batch)
	c := newCore(t.stages[0], 0, shape{inputs: 1, outs: []int{1}})
	names := make([][]byte, keys)
	for i := range names {
		names[i] = []byte("key-" + strconv.Itoa(i))
	}
	values := make([]byte, 16*batch)
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += batch {
		n := min(batch, b.N-done)
		for i := range n {
			v := values[16*i : 16*i+16]
			binary.BigEndian.PutUint64(v, 1)
			binary.BigEndian.PutUint64(v[8:], uint64(done+i)*1000)
			records[i] = eventlog.Record{Offset: int64(done + i), Key: names[(done+i)*7919%keys], Value: v}
		}
		if err := c.feed(records[:n]); err != nil {
			b.Fatal(err)
		}
		for _, box := range c.outs[0].boxes {
			for box.take() != nil {
				box.done()
			}
		}
	}
}

// BenchmarkEvents folds valid events of 10,000 aggregates by key, without I/O, and
// emits nothing: what reading an events topic again costs beside its decoding.
func BenchmarkEvents(b *testing.B) {
	t := &Topology{Name: "bench"}
	in := FromEvents(t, &Events[benchElement]{Name: "in", Topic: "in",
		Decode: func(e *partition.Event, v *benchElement) (bool, error) { return true, benchCodec.Decode(e.Data, v) }})
	Via(in, &Process[benchElement, benchElement, benchElement]{Name: "sum", State: benchCodec,
		OnEvent: func(c *Context[benchElement, benchElement], v benchElement) error {
			c.State().n += v.n
			return nil
		}})
	const keys, batch = 10_000, 500
	c := newCore(t.stages[0], 0, shape{inputs: 1})
	if err := c.feed([]eventlog.Record{{Header: partition.ClaimHeader(partition.Claim{Epoch: 1})}}); err != nil {
		b.Fatal(err)
	}
	names := make([][]byte, keys)
	for i := range names {
		names[i] = partition.Key("tribe", fmt.Sprintf("tribe-%08d", i))
	}
	e := event.Envelope{Type: "tribe.joined", Epoch: 1, Count: 1, Time: time.Unix(1_700_000_000, 0)}
	records, value := make([]eventlog.Record, batch), make([]byte, 16)
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += batch {
		n := min(batch, b.N-done)
		b.StopTimer()
		for i := range n {
			e.Version = uint64((done+i)/keys) + 1
			records[i] = eventlog.Record{Offset: int64(done+i) + 1, Key: names[(done+i)*7919%keys], Header: e.Append(records[i].Header[:0]), Value: value}
		}
		b.StartTimer()
		if err := c.feed(records[:n]); err != nil {
			b.Fatal(err)
		}
	}
	if c.judge.(*commits).fold.Aggregates() != min(keys, b.N) {
		b.Fatal("not all events were valid")
	}
}

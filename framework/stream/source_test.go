package stream

import (
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// marked counts records by key and second. A record with the key "tick" only tells
// the time.
func marked() *Topology {
	t := &Topology{Name: "marked", Partitions: 1, MarkEvery: 1}
	in := From(t, &Source[int64]{Name: "in", Topic: "in", Late: time.Second,
		Decode: func(r *Record, v *int64) error { return simInts.Decode(r.Value, v) },
		Mark:   func(r *Record) (time.Time, bool) { return r.Time, string(r.Key) == "tick" }})
	sums, _ := Windowed(KeyBy(in, "all", func(int64) string { return "all" }, simInts), &Window[int64, int64, int64]{Name: "sum", Size: time.Second, Acc: simInts,
		Fold: func(a, b int64) int64 { return a + b }, Result: func(_ Span, n int64) int64 { return n }})
	To(sums, &Publish[int64]{Name: "sums", Topic: "sums", Codec: simInts})
	return t
}

func TestAProducersMarksCloseTheWindowsOfASilentPartition(t *testing.T) {
	s := Simulate(marked(), SimulationConfig{Topics: map[string]int{"in": 2, "sums": 1}})
	send := func(part int32, key, value string, second int64) {
		s.SendTo("in", part, eventlog.Record{Key: []byte(key), Value: []byte(value), At: second * 1000})
	}
	sums := func(want string) {
		t.Helper()
		if err := s.Settle(); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, r := range s.Records("sums")[0] {
			got += string(r.Value) + " "
		}
		if got != want {
			t.Errorf("the sums are %s, want %s", got, want)
		}
	}
	send(0, "a", "5", 100)
	send(1, "b", "6", 100)
	send(0, "a", "7", 110)
	sums("") // partition 1 is silent, and holds all open
	send(1, "tick", "not to be decoded", 102)
	sums("11 ")
	send(1, "tick", "", 101) // no way back
	send(1, "tick", "", 112)
	sums("11 ")
	send(0, "tick", "", 112)
	sums("11 7 ")
}

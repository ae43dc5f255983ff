package stream

import (
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// An output that waits holds nothing of what was read, which lies in blocks of a
// MiB and more: its key is its own.
func TestAnOutputThatWaitsHoldsNothingOfWhatWasRead(t *testing.T) {
	top := &Topology{Name: "echo"}
	in := From(top, &Source[string]{Name: "in", Topic: "in", Decode: func(r *Record, v *string) error { *v = string(r.Value); return nil }})
	To(in, &Publish[string]{Name: "out", Topic: "out"})
	c := newCore(top.stages[0], 0, shape{inputs: 1, outs: []int{1}})
	key := []byte("alice")
	if err := c.feed([]eventlog.Record{{Key: key, Value: []byte("hello")}}); err != nil {
		t.Fatal(err)
	}
	copy(key, "~~~~~")
	if got := string(c.outs[0].boxes[0].take()[0].Key); got != "alice" {
		t.Errorf("the output's key is %q, want alice: it lies in the input's", got)
	}
}

// Small outputs count for what they take, too: a record without any bytes fills
// MaxWaiting in the end.
func TestWhatWaitsIsCountedWithItsRecords(t *testing.T) {
	var b box
	for range 10 {
		b.put(eventlog.Record{})
	}
	if b.bytes < 10*80 { // what ten records take without any bytes of their own
		t.Errorf("ten empty records count as %d bytes", b.bytes)
	}
	b.take()
	if b.done(); b.bytes != 0 {
		t.Errorf("%d bytes are left when all is acknowledged", b.bytes)
	}
}

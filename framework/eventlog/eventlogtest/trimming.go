package eventlogtest

import (
	"context"
	"errors"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Trim tests logs that are an [eventlog.Trimmer] against the contract. The suite
// closes them.
func Trim(t *testing.T, open func(t *testing.T) eventlog.Log) {
	f := newFixture(t, open(t))
	log, ok := f.log.(eventlog.Trimmer)
	if !ok {
		t.Fatalf("a %T is no eventlog.Trimmer", f.log)
	}
	topic := f.topic(2)
	f.append(topic, 0, records("a", 5, 20))
	f.append(topic, 1, records("b", 5, 20))
	start := func(part int32, want int64) {
		t.Helper()
		if got, err := log.Start(f.within(patience), topic, part); err != nil || got != want {
			t.Fatalf("partition %d starts at %d, %v, want %d", part, got, err, want)
		}
	}
	for _, step := range []struct{ below, start int64 }{{0, 0}, {3, 3}, {3, 3}, {1, 3}, {-1, 3}, {5, 5}} {
		if err := log.Trim(f.within(patience), topic, 1, step.below); err != nil {
			t.Fatalf("trim below %d: %v", step.below, err)
		}
		start(1, step.start)
	}
	start(0, 0)
	if err := log.Trim(f.within(patience), topic, 1, 6); !errors.Is(err, eventlog.ErrOffset) {
		t.Errorf("trim beyond the end: %v, want ErrOffset", err)
	}
	f.wantEnd(topic, 1, 5)
	r, err := f.log.Read(topic, 1, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if run, err := r.Next(f.within(patience)); !errors.Is(err, eventlog.ErrOffset) {
		t.Errorf("read below the start: %d records, %v, want ErrOffset", len(run), err)
	}
	if base := f.append(topic, 1, records("c", 2, 20)); base != 5 {
		t.Errorf("what is appended behind it lies at %d, want 5", base)
	}
	if got := f.read(topic, 1, 5, 2); string(got[0].Key) == "" || got[0].Offset != 5 {
		t.Errorf("read from the start: offset %d", got[0].Offset)
	}
	if got := f.read(topic, 0, 0, 5); len(got) != 5 {
		t.Errorf("another partition holds %d records, want 5", len(got))
	}
	trimmingFails(f, log, topic)
}

func trimmingFails(f *fixture, log eventlog.Trimmer, topic string) {
	over, cancel := context.WithCancel(f.Context())
	cancel()
	if err := log.Trim(over, topic, 0, 1); !errors.Is(err, context.Canceled) {
		f.Errorf("trim with an ended context: %v", err)
	}
	for name, part := range map[string]int32{topic: 2, f.name(): 0} {
		if err := log.Trim(f.within(patience), name, part, 1); !errors.Is(err, eventlog.ErrUnknownTopic) {
			f.Errorf("trim of %s/%d: %v, want ErrUnknownTopic", name, part, err)
		}
	}
	f.log.Close()
	if err := log.Trim(f.within(patience), topic, 0, 1); !errors.Is(err, eventlog.ErrClosed) {
		f.Errorf("trim in a closed log: %v", err)
	}
}

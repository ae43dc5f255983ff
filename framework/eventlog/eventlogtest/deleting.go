package eventlogtest

import (
	"errors"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Delete tests logs that are an [eventlog.Deleter] against the contract. The suite
// closes them.
func Delete(t *testing.T, open func(t *testing.T) eventlog.Log) {
	f := newFixture(t, open(t))
	log, ok := f.log.(eventlog.Deleter)
	if !ok {
		t.Fatalf("a %T is no eventlog.Deleter", f.log)
	}
	topic, other := f.topic(2), f.topic(1)
	f.append(topic, 1, records("a", 5, 20))
	f.append(other, 0, records("b", 3, 20))
	for range 2 {
		if err := log.Delete(f.within(patience), topic); err != nil {
			f.Fatal(err)
		}
		if _, err := f.log.End(f.within(patience), topic, 1); !errors.Is(err, eventlog.ErrUnknownTopic) {
			f.Errorf("the end of a topic that was deleted: %v, want ErrUnknownTopic", err)
		}
	}
	if end, err := f.log.End(f.within(patience), other, 0); err != nil || end != 3 {
		f.Errorf("another topic ends at %d, %v", end, err)
	}
	if err := f.log.Ensure(f.within(patience), eventlog.Topic{Name: topic, Partitions: 2}); err != nil {
		f.Fatal(err)
	}
	if end, err := f.log.End(f.within(patience), topic, 1); err != nil || end != 0 {
		f.Errorf("made anew it ends at %d, %v", end, err)
	}
}

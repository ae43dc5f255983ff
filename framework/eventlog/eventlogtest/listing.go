package eventlogtest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// List tests logs that are an [eventlog.Lister] against the contract. The suite
// closes them.
func List(t *testing.T, open func(t *testing.T) eventlog.Log) {
	for _, c := range []struct {
		name string
		test func(*fixture, eventlog.Lister)
	}{
		{"every topic is listed with its partitions", topicsAreListed},
		{"a log that has kept all starts at 0", startsAtZero},
		{"what cannot be listed is named", listingFails},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, open(t))
			lister, ok := f.log.(eventlog.Lister)
			if !ok {
				t.Fatalf("a %T is no eventlog.Lister", f.log)
			}
			c.test(f, lister)
		})
	}
}

func topicsAreListed(f *fixture, l eventlog.Lister) {
	absent := f.name()
	var want []eventlog.Topic
	for n := 1; n <= 3; n++ {
		want = append(want, eventlog.Topic{Name: f.topic(n), Partitions: n})
	}
	got, err := l.Topics(f.within(patience))
	if err != nil {
		f.Fatal(err)
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			f.Errorf("%+v is missing in %+v", w, got)
		}
	}
	for _, g := range got {
		if g.Name == absent {
			f.Errorf("%+v was never made", g)
		}
	}
}

func startsAtZero(f *fixture, l eventlog.Lister) {
	topic := f.topic(2)
	f.append(topic, 1, records("a", 5, 20))
	for part := range int32(2) {
		if at, err := l.Start(f.within(patience), topic, part); err != nil || at != 0 {
			f.Errorf("partition %d starts at %d, %v, want 0", part, at, err)
		}
	}
}

func listingFails(f *fixture, l eventlog.Lister) {
	topic := f.topic(1)
	over, cancel := context.WithCancel(f.Context())
	cancel()
	if _, err := l.Topics(over); !errors.Is(err, context.Canceled) {
		f.Errorf("topics with an ended context: %v", err)
	}
	if _, err := l.Start(over, topic, 0); !errors.Is(err, context.Canceled) {
		f.Errorf("start with an ended context: %v", err)
	}
	for name, part := range map[string]int32{topic: 1, f.name(): 0} {
		if _, err := l.Start(f.within(patience), name, part); !errors.Is(err, eventlog.ErrUnknownTopic) {
			f.Errorf("start of %s/%d: %v, want ErrUnknownTopic", name, part, err)
		}
	}
	f.log.Close()
	if _, err := l.Topics(f.within(patience)); !errors.Is(err, eventlog.ErrClosed) {
		f.Errorf("topics of a closed log: %v", err)
	}
	if _, err := l.Start(f.within(patience), topic, 0); !errors.Is(err, eventlog.ErrClosed) {
		f.Errorf("start in a closed log: %v", err)
	}
}

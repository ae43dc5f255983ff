package eventlogtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

func closedReader(f *fixture) {
	topic := f.topic(1)
	r, other := f.reader(topic, 0, 0), f.reader(topic, 0, 0)
	waiting := next(f.within(patience), r)
	otherWaits := next(f.within(patience), other)
	<-time.After(20 * time.Millisecond)
	if err := r.Close(); err != nil {
		f.Fatalf("close: %v", err)
	}
	if got := inTime(f, "next of a closed reader", patience, waiting); !errors.Is(got.err, eventlog.ErrClosed) {
		f.Fatalf("next under way: %d records, %v, want ErrClosed", len(got.run), got.err)
	}
	want := records("a", 1, 20)
	f.append(topic, 0, want)
	if got := inTime(f, "next after close", patience, next(f.within(patience), r)); !errors.Is(got.err, eventlog.ErrClosed) {
		f.Fatalf("next after close: %d records, %v, want ErrClosed", len(got.run), got.err)
	}
	got := inTime(f, "the other reader", patience, otherWaits)
	if got.err == nil {
		got.err = check(got.run, want, 0)
	}
	if got.err != nil {
		f.Fatalf("the other reader: %v", got.err)
	}
	r.Close()
}

func closeEndsWaiting(f *fixture) {
	topic := f.topic(2)
	var waiting []<-chan outcome
	for i := range 4 {
		waiting = append(waiting, next(f.within(patience), f.reader(topic, int32(i%2), 0)))
	}
	late := f.reader(topic, 0, 0)
	<-time.After(20 * time.Millisecond)
	if err := f.log.Close(); err != nil {
		f.Fatalf("close: %v", err)
	}
	for _, w := range append(waiting, next(f.within(patience), late)) {
		if got := inTime(f, "next of a closed log", patience, w); !errors.Is(got.err, eventlog.ErrClosed) {
			f.Errorf("next: %d records, %v, want ErrClosed", len(got.run), got.err)
		}
	}
	ctx := f.within(patience)
	_, appended := f.log.Append(ctx, topic, 0, records("a", 1, 20))
	_, end := f.log.End(ctx, topic, 0)
	ensure := f.log.Ensure(ctx, eventlog.Topic{Name: topic, Partitions: 2})
	for call, err := range map[string]error{"append": appended, "end": end, "ensure": ensure, "read": f.firstError(topic, 0)} {
		if !errors.Is(err, eventlog.ErrClosed) {
			f.Errorf("%s after close: %v, want ErrClosed", call, err)
		}
	}
	f.log.Close()
}

// closeDuringAppends closes while appends are under way: all of them end. What
// was acknowledged must lie apart from everything else acknowledged.
func closeDuringAppends(f *fixture) {
	topic := f.topic(2)
	var mu sync.Mutex
	taken := map[string]bool{}
	var wg sync.WaitGroup
	for who := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				part := int32(who % 2)
				base, err := f.log.Append(f.within(patience), topic, part, records(fmt.Sprint(who), 1, 20))
				if err != nil {
					return
				}
				at := fmt.Sprint(part, "@", base)
				mu.Lock()
				if taken[at] {
					f.Errorf("%s was given twice", at)
				}
				taken[at] = true
				mu.Unlock()
			}
		})
	}
	<-time.After(30 * time.Millisecond)
	if err := f.log.Close(); err != nil {
		f.Errorf("close: %v", err)
	}
	done := make(chan bool)
	go func() {
		wg.Wait()
		close(done)
	}()
	inTime(f, "ending the appends", patience, done)
}

func ensureChecks(f *fixture) {
	topic := f.topic(3)
	f.append(topic, 2, records("a", 2, 20))
	if err := f.log.Ensure(f.within(patience), eventlog.Topic{Name: topic, Partitions: 3}); err != nil {
		f.Fatalf("ensure again: %v", err)
	}
	f.wantEnd(topic, 2, 2)
	for _, n := range []int{1, 2, 4} {
		f.wantTopicError(eventlog.Topic{Name: topic, Partitions: n})
	}
	f.append(topic, 2, records("a", 1, 20))
	f.wantEnd(topic, 2, 3)
}

func (f *fixture) wantTopicError(t eventlog.Topic) {
	f.Helper()
	err := f.log.Ensure(f.within(patience), t)
	var te *eventlog.TopicError
	if !errors.As(err, &te) {
		f.Errorf("ensure %.40q with %d partitions: %v, want a *TopicError", t.Name, t.Partitions, err)
		return
	}
	if te.Problem == "" || te.Remedy == "" {
		f.Errorf("ensure %.40q with %d partitions: %q without a problem or a remedy", t.Name, t.Partitions, err)
	}
}

func ensureByMany(f *fixture) {
	name := f.name()
	f.each(8, func(i int) error {
		ctx, cancel := context.WithTimeout(f.Context(), patience)
		defer cancel()
		if err := f.log.Ensure(ctx, eventlog.Topic{Name: name, Partitions: 2}); err != nil {
			return fmt.Errorf("ensure: %w", err)
		}
		if _, err := f.log.Append(ctx, name, int32(i%2), records(fmt.Sprint(i), 1, 20)); err != nil {
			return fmt.Errorf("append after ensure: %w", err)
		}
		return nil
	})
	f.wantEnd(name, 0, 4)
	f.wantEnd(name, 1, 4)
}

func ensureRefuses(f *fixture) {
	for _, name := range []string{"", "a b", "a/b", "a\x00b", "Größe", "a:b", strings.Repeat("a", 201)} {
		f.wantTopicError(eventlog.Topic{Name: name, Partitions: 1})
	}
	name := f.name()
	for _, n := range []int{0, -1} {
		f.wantTopicError(eventlog.Topic{Name: name, Partitions: n})
	}
	if _, err := f.log.End(f.within(patience), name, 0); !errors.Is(err, eventlog.ErrUnknownTopic) {
		f.Errorf("end of a topic that was refused: %v", err)
	}
	long := name + "._-" + strings.Repeat("A", 200-len(name)-3)
	if err := f.log.Ensure(f.within(patience), eventlog.Topic{Name: long, Partitions: 1}); err != nil {
		f.Errorf("a name of 200 characters: %v", err)
	}
}

// nothingRunsOn looks for goroutines once a log in full use was closed and
// whatever its test started was cleaned up.
func nothingRunsOn(t *testing.T, open func(*testing.T) eventlog.Log) {
	before := goleak.IgnoreCurrent()
	ok := t.Run("use", func(t *testing.T) {
		f := newFixture(t, open(t))
		topic := f.topic(4)
		var waiting []<-chan outcome
		for part := range int32(4) {
			f.append(topic, part, records("a", 3, 20))
			f.read(topic, part, 0, 3)
			waiting = append(waiting, next(f.within(patience), f.reader(topic, part, 3)))
		}
		f.reader(topic, 0, 0)
		if err := f.log.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		for _, w := range waiting {
			inTime(f, "next of a closed log", patience, w)
		}
	})
	if ok {
		goleak.VerifyNone(t, before)
	}
}

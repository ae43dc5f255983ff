package eventlogtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Offsets tests logs that are an [eventlog.Offsets] against the contract. Open is
// called once for each test; the suite closes the log.
func Offsets(t *testing.T, open func(t *testing.T) eventlog.Log) {
	for _, c := range []struct {
		name string
		test func(*fixture)
	}{
		{"nothing is known before the first commit", nothingCommitted},
		{"what was committed last is found", lastCommitCounts},
		{"groups, topics and partitions are apart", committedApart},
		{"many may commit at once", commitByMany},
		{"commits change nothing in the log", commitsAreNoRecords},
		{"commits that cannot be are refused", commitRefuses},
		{"a closed log commits nothing", closedCommits},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(newFixture(t, open(t))) })
	}
}

func (f *fixture) offsets() eventlog.Offsets {
	f.Helper()
	o, ok := f.log.(eventlog.Offsets)
	if !ok {
		f.Fatalf("%T is no eventlog.Offsets", f.log)
	}
	return o
}

func (f *fixture) commit(group, topic string, part int32, next int64) {
	f.Helper()
	if err := f.offsets().Commit(f.within(patience), group, topic, part, next); err != nil {
		f.Fatalf("commit: %v", err)
	}
}

// wantCommitted expects an offset, -1 for none.
func (f *fixture) wantCommitted(group, topic string, part int32, want int64) {
	f.Helper()
	next, known, err := f.offsets().Committed(f.within(patience), group, topic, part)
	if err != nil || known != (want >= 0) || known && next != want {
		f.Errorf("group %s in partition %d: %d, %v, %v, want %d", group, part, next, known, err, want)
	}
}

func nothingCommitted(f *fixture) {
	topic, group := f.topic(2), f.name()
	f.wantCommitted(group, topic, 1, -1)
	f.append(topic, 1, records("a", 5, 20))
	f.wantCommitted(group, topic, 1, -1)
	f.commit(group, topic, 1, 0)
	f.wantCommitted(group, topic, 1, 0)
	f.wantCommitted(group, topic, 0, -1)
}

func lastCommitCounts(f *fixture) {
	topic, group := f.topic(1), f.name()
	f.append(topic, 0, records("a", 5, 20))
	for _, next := range []int64{1, 5, 5, 2, 1 << 40, 3} {
		f.commit(group, topic, 0, next)
		f.wantCommitted(group, topic, 0, next)
	}
}

func committedApart(f *fixture) {
	topics, group := [2]string{f.topic(3), f.topic(3)}, f.name()
	places := func(do func(group, topic string, part int32, n int64)) {
		n := int64(0)
		for _, g := range []string{group, group + ".a", group + ".a-b"} {
			for _, topic := range topics {
				for part := range int32(3) {
					n++
					do(g, topic, part, n)
				}
			}
		}
	}
	places(f.commit)
	places(f.wantCommitted)
}

func commitByMany(f *fixture) {
	topic, group := f.topic(8), f.name()
	f.each(8, func(i int) error {
		ctx, cancel := context.WithTimeout(f.Context(), patience)
		defer cancel()
		for n := range int64(20) {
			if err := f.offsets().Commit(ctx, group, topic, int32(i), n); err != nil {
				return fmt.Errorf("commit: %w", err)
			}
			if _, err := f.log.Append(ctx, topic, int32(i), records("a", 1, 20)); err != nil {
				return fmt.Errorf("append meanwhile: %w", err)
			}
		}
		return nil
	})
	for i := range int32(8) {
		f.wantCommitted(group, topic, i, 19)
		f.wantEnd(topic, i, 20)
	}
}

func commitsAreNoRecords(f *fixture) {
	topic, group := f.topic(1), f.name()
	want := records("a", 3, 20)
	f.append(topic, 0, want)
	r := f.reader(topic, 0, 3)
	waits := next(f.within(patience), r)
	f.commit(group, topic, 0, 3)
	f.wantEnd(topic, 0, 3)
	f.append(topic, 0, records("b", 1, 20))
	if got := inTime(f, "the record behind the commit", patience, waits); got.err != nil || got.run[0].Offset != 3 {
		f.Errorf("behind a commit came %v, %v, want the record at 3", got.run, got.err)
	}
	if err := check(f.read(topic, 0, 0, 3), want, 0); err != nil {
		f.Error(err)
	}
}

func commitRefuses(f *fixture) {
	topic, group, o := f.topic(2), f.name(), f.offsets()
	for _, name := range []string{"", "a b", "a/b", ".", "..", "Größe", strings.Repeat("a", 201)} {
		if err := o.Commit(f.within(patience), name, topic, 0, 1); err == nil {
			f.Errorf("group %.40q was taken", name)
		}
		if _, _, err := o.Committed(f.within(patience), name, topic, 0); err == nil {
			f.Errorf("group %.40q was asked for", name)
		}
	}
	if err := o.Commit(f.within(patience), group, topic, 0, -1); err == nil {
		f.Error("a negative offset was taken")
	}
	for _, at := range []struct {
		topic string
		part  int32
	}{{f.name(), 0}, {topic, 2}, {topic, -1}} {
		if err := o.Commit(f.within(patience), group, at.topic, at.part, 1); !errors.Is(err, eventlog.ErrUnknownTopic) {
			f.Errorf("commit in %s/%d: %v, want ErrUnknownTopic", at.topic, at.part, err)
		}
		if _, _, err := o.Committed(f.within(patience), group, at.topic, at.part); !errors.Is(err, eventlog.ErrUnknownTopic) {
			f.Errorf("committed in %s/%d: %v, want ErrUnknownTopic", at.topic, at.part, err)
		}
	}
	over, cancel := context.WithCancel(f.Context())
	cancel()
	if err := o.Commit(over, group, topic, 0, 1); !errors.Is(err, context.Canceled) {
		f.Errorf("commit with an ended context: %v", err)
	}
	if _, _, err := o.Committed(over, group, topic, 0); !errors.Is(err, context.Canceled) {
		f.Errorf("committed with an ended context: %v", err)
	}
	f.wantCommitted(group, topic, 0, -1)
}

func closedCommits(f *fixture) {
	topic, group := f.topic(1), f.name()
	f.commit(group, topic, 0, 1)
	f.close()
	if err := f.offsets().Commit(f.within(patience), group, topic, 0, 2); !errors.Is(err, eventlog.ErrClosed) {
		f.Errorf("commit: %v, want ErrClosed", err)
	}
	if _, _, err := f.offsets().Committed(f.within(patience), group, topic, 0); !errors.Is(err, eventlog.ErrClosed) {
		f.Errorf("committed: %v, want ErrClosed", err)
	}
}

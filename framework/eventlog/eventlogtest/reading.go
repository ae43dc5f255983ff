package eventlogtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

func nextWaitsAndWakes(f *fixture) {
	topic := f.topic(1)
	r := f.reader(topic, 0, 0)
	at := int64(0)
	for i := range 5 {
		waiting := next(f.within(patience), r)
		select {
		case got := <-waiting:
			f.Fatalf("next at the end returned %d records, %v", len(got.run), got.err)
		case <-time.After(20 * time.Millisecond):
		}
		batch := records(fmt.Sprint(i), 1, 20)
		f.append(topic, 0, batch)
		got := inTime(f, "waking a reader", patience, waiting)
		if got.err != nil {
			f.Fatalf("next: %v", got.err)
		}
		if err := check(got.run, batch, at); err != nil {
			f.Fatal(err)
		}
		at++
	}
}

func nextEndsWithContext(f *fixture) {
	topic := f.topic(1)
	f.append(topic, 0, records("a", 2, 20))
	r := f.reader(topic, 0, 2)
	for range 3 {
		ctx, cancel := context.WithTimeout(f.Context(), 30*time.Millisecond)
		waiting := next(ctx, r)
		<-ctx.Done()
		got := inTime(f, "next after its context", soon, waiting)
		cancel()
		if !errors.Is(got.err, context.DeadlineExceeded) || got.run != nil {
			f.Fatalf("next: %d records, %v, want the context's error", len(got.run), got.err)
		}
	}
	want := records("b", 3, 20)
	f.append(topic, 0, want)
	got, err := take(f.within(patience), r, 2, 3)
	if err == nil {
		err = check(got, want, 2)
	}
	if err != nil {
		f.Fatalf("after the contexts that ended: %v", err)
	}
}

func endedContext(f *fixture) {
	topic := f.topic(1)
	f.append(topic, 0, records("a", 2, 20))
	r := f.reader(topic, 0, 0)
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	for name, call := range map[string]func() error{
		"append": func() error { _, err := f.log.Append(ctx, topic, 0, records("b", 1, 20)); return err },
		"end":    func() error { _, err := f.log.End(ctx, topic, 0); return err },
		"ensure": func() error { return f.log.Ensure(ctx, eventlog.Topic{Name: topic, Partitions: 1}) },
	} {
		done := make(chan error, 1)
		go func() { done <- call() }()
		if err := inTime(f, name, soon, done); err != nil && !errors.Is(err, context.Canceled) {
			f.Errorf("%s: %v, want the context's error or none", name, err)
		}
	}
	f.goesOn(ctx, r)
}

// goesOn checks that a Next with an ended context skips nothing, whether it
// returns records or the error.
func (f *fixture) goesOn(ended context.Context, r eventlog.Reader) {
	f.Helper()
	at := int64(0)
	got := inTime(f, "next", soon, next(ended, r))
	if got.err != nil && !errors.Is(got.err, context.Canceled) {
		f.Errorf("next: %v, want the context's error or none", got.err)
	}
	if at += int64(len(got.run)); at < 2 {
		if _, err := take(f.within(patience), r, at, int(2-at)); err != nil {
			f.Errorf("a reader after an ended context: %v", err)
		}
	}
}

func startsAnywhere(f *fixture) {
	topic := f.topic(1)
	var want []eventlog.Record
	for i, n := range []int{1, 4, 2, 9, 1} {
		batch := records(fmt.Sprint(i), n, 20)
		f.append(topic, 0, batch)
		want = append(want, batch...)
	}
	for from := range want {
		got := f.read(topic, 0, int64(from), len(want)-from)
		if err := check(got, want[from:], int64(from)); err != nil {
			f.Fatalf("from %d: %v", from, err)
		}
	}
	atEnd := f.reader(topic, 0, int64(len(want)))
	last := records("last", 1, 20)
	f.append(topic, 0, last)
	got, err := take(f.within(patience), atEnd, int64(len(want)), 1)
	if err == nil {
		err = check(got, last, int64(len(want)))
	}
	if err != nil {
		f.Fatalf("from the end: %v", err)
	}
}

func outsideOffsets(f *fixture) {
	topic := f.topic(2)
	f.append(topic, 0, records("a", 3, 20))
	for _, c := range []struct {
		part int32
		from int64
	}{{0, -1}, {0, 4}, {0, 1 << 40}, {1, 1}, {1, -1 << 40}} {
		r := f.reader(topic, c.part, c.from)
		for range 2 {
			got := inTime(f, "next", patience, next(f.within(patience), r))
			if !errors.Is(got.err, eventlog.ErrOffset) {
				f.Errorf("partition %d from %d: %d records, %v, want ErrOffset", c.part, c.from, len(got.run), got.err)
			}
		}
	}
}

func manyReaders(f *fixture) {
	const readers, batches, per = 16, 60, 5
	topic := f.topic(1)
	var want []eventlog.Record
	for i := range batches {
		want = append(want, records(fmt.Sprint(i), per, 40)...)
	}
	half := batches / 2 * per
	f.append(topic, 0, want[:half])
	rs := make([]eventlog.Reader, readers)
	for i := range rs {
		rs[i] = f.reader(topic, 0, int64(i*half/readers))
	}
	f.each(readers+1, func(i int) error {
		if i == readers {
			return f.feed(topic, want[half:], per)
		}
		from := i * half / readers
		got, err := take(f.within(patience), rs[i], int64(from), len(want)-from)
		if err != nil {
			return fmt.Errorf("reader from %d: %w", from, err)
		}
		return check(got, want[from:], int64(from))
	})
}

// feed appends records in batches of n.
func (f *fixture) feed(topic string, all []eventlog.Record, n int) error {
	for ; len(all) > 0; all = all[min(n, len(all)):] {
		if _, err := f.log.Append(f.within(patience), topic, 0, all[:min(n, len(all))]); err != nil {
			return fmt.Errorf("append: %w", err)
		}
	}
	return nil
}

func boundedRuns(f *fixture) {
	const n = 20_500
	topic := f.topic(1)
	want := records("r", n, 100)
	if err := f.feed(topic, want, 2500); err != nil {
		f.Fatal(err)
	}
	for _, from := range []int{0, 1, 2499, 9_999, n - 1} {
		got := f.read(topic, 0, int64(from), n-from)
		if err := check(got, want[from:], int64(from)); err != nil {
			f.Fatalf("from %d: %v", from, err)
		}
	}
	tiny := make([]eventlog.Record, n)
	second := f.topic(1)
	if err := f.feed(second, tiny, 4096); err != nil {
		f.Fatal(err)
	}
	if err := check(f.read(second, 0, 0, n), tiny, 0); err != nil {
		f.Fatalf("empty records: %v", err)
	}
}

func boundedBytes(f *fixture) {
	topic := f.topic(1)
	var want []eventlog.Record
	for i := range 8 {
		want = append(want, records(fmt.Sprint(i), 3, eventlog.MaxBatch/3)...)
	}
	if err := f.feed(topic, want, 3); err != nil {
		f.Fatal(err)
	}
	for _, from := range []int{0, 1, 5} {
		if err := check(f.read(topic, 0, int64(from), len(want)-from), want[from:], int64(from)); err != nil {
			f.Fatalf("from %d: %v", from, err)
		}
	}
}

// recordsStay reads on and closes the log, and only then looks at what was
// handed over: a driver must not reuse its buffers nor unmap them.
func recordsStay(f *fixture) {
	topic := f.topic(1)
	want := records("r", 3000, 300)
	if err := f.feed(topic, want, 50); err != nil {
		f.Fatal(err)
	}
	got := f.read(topic, 0, 0, len(want))
	again := f.read(topic, 0, 0, len(want))
	if err := f.feed(topic, records("later", 3000, 300), 50); err != nil {
		f.Fatal(err)
	}
	f.read(topic, 0, 3000, 3000)
	if err := f.log.Close(); err != nil {
		f.Fatalf("close: %v", err)
	}
	if err := errors.Join(check(got, want, 0), check(again, want, 0)); err != nil {
		f.Fatalf("records handed over have changed: %v", err)
	}
}

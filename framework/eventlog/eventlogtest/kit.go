package eventlogtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// fixture is a log under test with what most tests do to it. Its methods that
// return no error fail the test, so they are for the test's own goroutine.
type fixture struct {
	*testing.T
	log eventlog.Log
}

func newFixture(t *testing.T, log eventlog.Log) *fixture {
	t.Helper()
	t.Cleanup(func() { log.Close() })
	return &fixture{t, log}
}

// within returns a context for one step.
func (f *fixture) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(f.Context(), d)
	f.Cleanup(cancel)
	return ctx
}

// name returns a topic name that nobody else uses.
func (f *fixture) name() string {
	return fmt.Sprintf("eventlogtest-%016x", maphash.String(maphash.MakeSeed(), f.Name()))
}

// topic creates a topic and returns its name.
func (f *fixture) topic(partitions int) string {
	f.Helper()
	name := f.name()
	if err := f.log.Ensure(f.within(patience), eventlog.Topic{Name: name, Partitions: partitions}); err != nil {
		f.Fatalf("ensure: %v", err)
	}
	return name
}

func (f *fixture) append(topic string, part int32, batch []eventlog.Record) int64 {
	f.Helper()
	return f.lent(batch, func(batch []eventlog.Record) (int64, error) {
		return f.log.Append(f.within(patience), topic, part, batch)
	})
}

// lent appends a batch, and takes back what the log must not keep of it.
func (f *fixture) lent(batch []eventlog.Record, append func([]eventlog.Record) (int64, error)) int64 {
	f.Helper()
	batch = slices.Clone(batch)
	base, err := append(batch)
	if err != nil {
		f.Fatalf("append: %v", err)
	}
	clear(batch)
	return base
}

func (f *fixture) wantEnd(topic string, part int32, want int64) {
	f.Helper()
	if got, err := f.log.End(f.within(patience), topic, part); err != nil || got != want {
		f.Fatalf("end of partition %d is %d, %v, want %d", part, got, err, want)
	}
}

func (f *fixture) reader(topic string, part int32, from int64) eventlog.Reader {
	f.Helper()
	r, err := f.log.Read(topic, part, from)
	if err != nil {
		f.Fatalf("read from %d: %v", from, err)
	}
	f.Cleanup(func() { r.Close() })
	return r
}

// read returns n records from an offset on.
func (f *fixture) read(topic string, part int32, from int64, n int) []eventlog.Record {
	f.Helper()
	got, err := take(f.within(patience), f.reader(topic, part, from), from, n)
	if err != nil {
		f.Fatal(err)
	}
	return got
}

// take reads at least n records and returns n; it checks what holds for every
// run.
func take(ctx context.Context, r eventlog.Reader, from int64, n int) ([]eventlog.Record, error) {
	got := make([]eventlog.Record, 0, n)
	for len(got) < n {
		run, err := r.Next(ctx)
		if err != nil {
			return nil, fmt.Errorf("next at %d: %w", from+int64(len(got)), err)
		}
		if err := checkRun(run, from+int64(len(got))); err != nil {
			return nil, err
		}
		got = append(got, run...)
	}
	return got[:n], nil
}

func checkRun(run []eventlog.Record, from int64) error {
	switch size := eventlog.Size(run); {
	case len(run) == 0:
		return fmt.Errorf("next at %d returned no record and no error", from)
	case len(run) > maxRun:
		return fmt.Errorf("next at %d returned %d records, want at most %d", from, len(run), maxRun)
	case len(run) > 1 && size > maxRunBytes:
		return fmt.Errorf("next at %d returned %d bytes, want at most %d", from, size, maxRunBytes)
	}
	for i, r := range run {
		if r.Offset != from+int64(i) {
			return fmt.Errorf("next returned offset %d where %d follows", r.Offset, from+int64(i))
		}
	}
	return nil
}

// check holds records against what was appended at a base.
func check(got, want []eventlog.Record, base int64) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d records at %d, want %d", len(got), base, len(want))
	}
	for i := range want {
		g, w := got[i], want[i]
		if g.Offset != base+int64(i) {
			return fmt.Errorf("record %d has offset %d", base+int64(i), g.Offset)
		}
		if !bytes.Equal(g.Key, w.Key) || !bytes.Equal(g.Header, w.Header) || !bytes.Equal(g.Value, w.Value) {
			return fmt.Errorf("record %d is %s, want %s", g.Offset, show(g), show(w))
		}
	}
	return nil
}

func show(r eventlog.Record) string {
	return fmt.Sprintf("%.40q %.40q %.40q of %d bytes", r.Key, r.Header, r.Value, eventlog.Size([]eventlog.Record{r}))
}

// records makes n records of about size bytes each, told apart by tag and
// place.
func records(tag string, n, size int) []eventlog.Record {
	batch := make([]eventlog.Record, n)
	for i := range batch {
		value := fmt.Sprintf("%s:%d:", tag, i)
		value += strings.Repeat("x", max(0, size-len(tag)-1-len(value)))
		batch[i] = eventlog.Record{Key: []byte(tag), Header: []byte{1}, Value: []byte(value)}
	}
	return batch
}

// each runs f once for each of n goroutines and reports their errors.
func (f *fixture) each(n int, do func(i int) error) {
	f.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		f.Fatal(err)
	}
}

// inTime waits for a result and fails the test if it takes longer than d.
func inTime[T any](f *fixture, what string, d time.Duration, result <-chan T) T {
	f.Helper()
	select {
	case v := <-result:
		return v
	case <-time.After(d):
		f.Fatalf("%s took longer than %v", what, d)
		panic("unreachable")
	}
}

// outcome is what a call on another goroutine returned.
type outcome struct {
	run []eventlog.Record
	err error
}

// next calls r.Next on another goroutine.
func next(ctx context.Context, r eventlog.Reader) <-chan outcome {
	c := make(chan outcome, 1)
	go func() {
		run, err := r.Next(ctx)
		c <- outcome{run, err}
	}()
	return c
}

package boltlog

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

var errDisk = errors.New("input/output error")

// faulty opens a log with one partition whose commits fail as next says, then
// no more.
func faulty(t *testing.T, next func(before bool) error) *Log {
	t.Helper()
	l, err := Open(filepath.Join(t.TempDir(), "log.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := l.Ensure(t.Context(), eventlog.Topic{Name: "t", Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "first", 0)
	l.writer.fault = next // seen by the writer with its next request
	return l
}

func one(v string) []eventlog.Record { return []eventlog.Record{{Value: []byte(v)}} }

func mustAppend(t *testing.T, l *Log, v string, want int64) {
	t.Helper()
	if base, err := l.Append(t.Context(), "t", 0, one(v)); base != want || err != nil {
		t.Fatalf("append %s: %d, %v, want %d", v, base, err, want)
	}
}

// failing returns a fault for the n-th call of its kind, then on.
func failing(n int, before bool) func(bool) error {
	return func(b bool) error {
		if b == before {
			if n--; n >= 0 {
				return errDisk
			}
		}
		return nil
	}
}

func contents(t *testing.T, l *Log) string {
	t.Helper()
	end, err := l.End(t.Context(), "t", 0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Read("t", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []string
	for int64(len(all)) < end {
		run, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range run {
			if rec.Offset != int64(len(all)) {
				t.Fatalf("offset %d at place %d", rec.Offset, len(all))
			}
			all = append(all, string(rec.Value))
		}
	}
	return strings.Join(all, " ")
}

func TestACommitThatFailsBeforeItTakesPlaceIsNotThere(t *testing.T) {
	l := faulty(t, failing(3, true))
	for range 3 { // the second and the third fail on opening anew
		if _, err := l.Append(t.Context(), "t", 0, one("lost")); !errors.Is(err, errDisk) {
			t.Fatalf("append: %v", err)
		}
		if got := contents(t, l); got != "first" {
			t.Fatalf("meanwhile %q", got)
		}
	}
	mustAppend(t, l, "second", 1)
	if got := contents(t, l); got != "first second" {
		t.Fatalf("log %q", got)
	}
}

func TestACommitWhoseSyncFailedIsShownOnlyOnceItIsDurable(t *testing.T) {
	l := faulty(t, failing(1, false))
	r, err := l.Read("t", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := l.Append(t.Context(), "t", 0, one("unknown")); !errors.Is(err, errDisk) || !strings.Contains(err.Error(), "unknown") {
		t.Fatalf("append: %v", err)
	}
	if got := contents(t, l); got != "first" {
		t.Fatalf("before it is known to be durable: %q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if run, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a reader got %d records, %v", len(run), err)
	}
	mustAppend(t, l, "after", 2)
	if got := contents(t, l); got != "first unknown after" {
		t.Fatalf("log %q", got)
	}
	if run, err := r.Next(t.Context()); err != nil || string(run[0].Value) != "unknown" {
		t.Fatalf("the reader got %d records, %v", len(run), err)
	}
}

func TestATopicWhoseCommitFailedIsFoundAgain(t *testing.T) {
	l := faulty(t, failing(1, false))
	topic := eventlog.Topic{Name: "second", Partitions: 3}
	if err := l.Ensure(t.Context(), topic); !errors.Is(err, errDisk) {
		t.Fatalf("ensure: %v", err)
	}
	if err := l.Ensure(t.Context(), topic); err != nil {
		t.Fatalf("ensure again: %v", err)
	}
	if _, err := l.Append(t.Context(), "second", 2, one("a")); err != nil {
		t.Fatal(err)
	}
}

func TestALogThatLostRecordsWhileOpenStops(t *testing.T) {
	l := faulty(t, failing(1, true))
	l.topics["t"][0].end = 5 // as if 4 more had been acknowledged
	if _, err := l.Append(t.Context(), "t", 0, one("x")); !errors.Is(err, errDisk) {
		t.Fatalf("append: %v", err)
	}
	for range 2 {
		_, err := l.Append(t.Context(), "t", 0, one("x"))
		if d, ok := errors.AsType[*eventlog.DamagedError](err); !ok || d.Offset != 1 {
			t.Fatalf("append: %v, want damage from offset 1", err)
		}
	}
}

// blocked opens a log whose writer waits, before its next commit, until the
// test lets it go on.
func blocked(t *testing.T) (l *Log, reached, goOn chan bool) {
	reached, goOn = make(chan bool, 100), make(chan bool)
	l = faulty(t, func(before bool) error {
		if before {
			reached <- true
			<-goOn
		}
		return nil
	})
	return l, reached, goOn
}

func TestAnAppendWhoseContextEndsMayStillLand(t *testing.T) {
	l, reached, goOn := blocked(t)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := l.Append(ctx, "t", 0, one("late"))
		failed <- err
	}()
	<-reached
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "unknown") {
		t.Fatalf("append: %v, want the context's error and an unknown outcome", err)
	}
	close(goOn)
	mustAppend(t, l, "after", 2)
	if got := contents(t, l); got != "first late after" {
		t.Fatalf("log %q", got)
	}
}

func TestAppendsThatWaitShareATransaction(t *testing.T) {
	l, reached, goOn := blocked(t)
	const n = 50
	failed := make(chan error, n)
	send := func(i int) {
		_, err := l.Append(t.Context(), "t", int32(i%2), one(fmt.Sprint(i)))
		failed <- err
	}
	go send(0)
	<-reached // the writer is busy with that one alone
	for i := range n - 1 {
		go send(1 + i)
	}
	for len(l.queue) < n-1 {
		time.Sleep(time.Millisecond)
	}
	close(goOn)
	for range n {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	if commits := 1 + len(reached); commits != 2 {
		t.Fatalf("%d appends took %d commits, want 2: the first, and all that waited", n, commits)
	}
}

func TestCloseFinishesWhatIsBeingWrittenAndRefusesTheRest(t *testing.T) {
	l, reached, goOn := blocked(t)
	writing, waiting := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := l.Append(t.Context(), "t", 0, one("written"))
		writing <- err
	}()
	<-reached
	go func() {
		_, err := l.Append(t.Context(), "t", 0, one("waits"))
		waiting <- err
	}()
	for len(l.queue) == 0 {
		time.Sleep(time.Millisecond)
	}
	closed := make(chan error)
	go func() { closed <- l.Close() }()
	<-l.done
	close(goOn)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if err := <-writing; err != nil {
		t.Errorf("the append being written: %v", err)
	}
	err := <-waiting
	if err != nil && !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("the append that waited: %v", err)
	}
	want := "first written"
	if err == nil { // the writer may take it once more before it sees the close
		want += " waits"
	}
	again, err := Open(l.path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := contents(t, again); got != want {
		t.Fatalf("log %q, want %q", got, want)
	}
}

func TestTailsKeepTheirLimitAndHaveNoGaps(t *testing.T) {
	l, err := Open(filepath.Join(t.TempDir(), "log.db"), Options{TailBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Ensure(t.Context(), eventlog.Topic{Name: "t", Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		size := []int{100, 300, 50, 2000}[i%4] // the last never fits
		if _, err := l.Append(t.Context(), "t", int32(i%2), one(strings.Repeat("x", size))); err != nil {
			t.Fatal(err)
		}
		held := 0
		for _, p := range l.topics["t"] {
			at := p.end
			for j := len(p.tail) - 1; j >= 0; j-- {
				b := p.tail[j]
				if b.base+int64(b.count) != at {
					t.Fatalf("append %d: a gap in the tail before %d", i, at)
				}
				at, held = b.base, held+len(b.value)
			}
		}
		if held > 1000 {
			t.Fatalf("append %d: tails hold %d bytes", i, held)
		}
	}
}

func TestAnOffsetWhoseCommitFailedIsTheOldOneOrTheNew(t *testing.T) {
	for before, want := range map[bool]int64{true: 1, false: 2} {
		l := faulty(t, nil)
		if err := l.Commit(t.Context(), "g", "t", 0, 1); err != nil {
			t.Fatal(err)
		}
		l.writer.fault = failing(1, before) // seen by the writer with its next request
		if err := l.Commit(t.Context(), "g", "t", 0, 2); !errors.Is(err, errDisk) || !strings.Contains(err.Error(), "unknown") {
			t.Fatalf("commit: %v", err)
		}
		mustAppend(t, l, "second", 1)
		if next, known, err := l.Committed(t.Context(), "g", "t", 0); next != want || !known || err != nil {
			t.Errorf("failed before it took place %v: %d, %v, %v, want %d", before, next, known, err, want)
		}
		if err := l.Commit(t.Context(), "g", "t", 0, 3); err != nil {
			t.Fatal(err)
		}
	}
}

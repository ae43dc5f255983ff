package memlog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "t"

func newLog(t *testing.T, partitions int) *memlog.Log {
	t.Helper()
	l := memlog.New()
	if err := l.Ensure(t.Context(), eventlog.Topic{Name: topic, Partitions: partitions}); err != nil {
		t.Fatal(err)
	}
	return l
}

func batch(values ...string) []eventlog.Record {
	var b []eventlog.Record
	for _, v := range values {
		b = append(b, eventlog.Record{Key: []byte("k"), Value: []byte(v)})
	}
	return b
}

// contents joins what readers can see of a partition.
func contents(t *testing.T, l *memlog.Log, part int32) string {
	t.Helper()
	var all []string
	for _, rec := range l.Records(topic, part) {
		if rec.Offset != int64(len(all)) {
			t.Fatalf("offset %d at place %d", rec.Offset, len(all))
		}
		all = append(all, string(rec.Value))
	}
	return strings.Join(all, " ")
}

// once returns a hook by which the first append suffers f.
func once(f memlog.Fault) memlog.Hook {
	return func(string, int32, []eventlog.Record) memlog.Fault {
		was := f
		f = memlog.None
		return was
	}
}

func TestAFaultDoesWhatItsNameSays(t *testing.T) {
	for _, c := range []struct {
		fault        memlog.Fault
		answered     bool
		base         int64
		before, then string // seen after a second append, and after DeliverAll
		underWay     int
	}{
		{memlog.None, true, 0, "a b next", "a b next", 0},
		{memlog.Lost, false, 0, "next", "next", 0},
		{memlog.Unacked, false, 0, "a b next", "a b next", 0},
		{memlog.Late, false, 0, "next", "next a b", 1},
		{memlog.Twice, true, 0, "a b next", "a b next a b", 1},
		{memlog.UnackedTwice, false, 0, "a b next", "a b next a b", 1},
		{memlog.Held, true, 0, "", "a b next", 0},
		{memlog.EndFailed, true, 0, "a b next", "a b next", 0},
	} {
		t.Run(c.fault.String(), func(t *testing.T) {
			l := newLog(t, 1)
			l.OnAppend(once(c.fault))
			base, err := l.Append(t.Context(), topic, 0, batch("a", "b"))
			if (err == nil) != c.answered || err != nil && !errors.Is(err, memlog.ErrNoAnswer) || base != c.base {
				t.Fatalf("append: %d, %v", base, err)
			}
			if _, err := l.Append(t.Context(), topic, 0, batch("next")); err != nil {
				t.Fatal(err)
			}
			if got := contents(t, l, 0); got != c.before {
				t.Errorf("log %q, want %q", got, c.before)
			}
			if got := len(l.UnderWay()); got != c.underWay {
				t.Errorf("%d batches under way, want %d", got, c.underWay)
			}
			if n := l.DeliverAll(); n != c.underWay {
				t.Errorf("delivered %d, want %d", n, c.underWay)
			}
			if got := contents(t, l, 0); got != c.then {
				t.Errorf("log then %q, want %q", got, c.then)
			}
			if c.fault <= memlog.Held && l.Count(c.fault) == 0 {
				t.Error("the fault was not counted")
			}
		})
	}
}

func TestADelayedAppendIsAnsweredWhenItLands(t *testing.T) {
	l := newLog(t, 1)
	l.OnAppend(once(memlog.Delayed))
	type answer struct {
		base int64
		err  error
	}
	got := make(chan answer)
	go func() {
		base, err := l.Append(t.Context(), topic, 0, batch("slow"))
		got <- answer{base, err}
	}()
	for len(l.UnderWay()) == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := l.Append(t.Context(), topic, 0, batch("quick")); err != nil {
		t.Fatal(err)
	}
	if base := l.Deliver(0); base != 1 {
		t.Fatalf("landed at %d, want 1", base)
	}
	if a := <-got; a.base != 1 || a.err != nil {
		t.Fatalf("answer %v, want base 1", a)
	}
}

func TestADelayedAppendEndsWithItsContextAndLandsLater(t *testing.T) {
	l := newLog(t, 1)
	l.OnAppend(once(memlog.Delayed))
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := l.Append(ctx, topic, 0, batch("slow")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("append: %v", err)
	}
	l.DeliverAll()
	if got := contents(t, l, 0); got != "slow" {
		t.Fatalf("log %q", got)
	}
}

func TestClosingDuringADelayedAppendDoesNotSayThatNothingWasAppended(t *testing.T) {
	l := newLog(t, 1)
	l.OnAppend(once(memlog.Delayed))
	failed := make(chan error)
	go func() {
		_, err := l.Append(t.Context(), topic, 0, batch("slow"))
		failed <- err
	}()
	for len(l.UnderWay()) == 0 {
		time.Sleep(time.Millisecond)
	}
	l.Close()
	if err := <-failed; errors.Is(err, eventlog.ErrClosed) || !errors.Is(err, memlog.ErrNoAnswer) {
		t.Fatalf("append: %v, want an unknown outcome", err)
	}
	again := l.Connect()
	again.DeliverAll()
	if got := contents(t, again, 0); got != "slow" {
		t.Fatalf("log %q", got)
	}
}

func TestBatchesUnderWayLandInTheOrderTheTestChooses(t *testing.T) {
	l := newLog(t, 1)
	l.OnAppend(func(string, int32, []eventlog.Record) memlog.Fault { return memlog.Late })
	for _, v := range []string{"a", "b", "c", "d"} {
		l.Append(t.Context(), topic, 0, batch(v, v))
	}
	l.Deliver(2)
	l.Drop(1)
	l.Deliver(1)
	l.Deliver(0)
	if l.Deliver(0) != -1 || l.Drop(0) {
		t.Error("something was still under way")
	}
	if got := contents(t, l, 0); got != "c c d d a a" {
		t.Fatalf("log %q", got)
	}
}

func TestAHookMayAppendAsAnotherProcess(t *testing.T) {
	l := newLog(t, 1)
	other := l.Connect()
	l.OnAppend(func(string, int32, []eventlog.Record) memlog.Fault {
		other.Append(t.Context(), topic, 0, batch("theirs"))
		return memlog.None
	})
	base, err := l.Append(t.Context(), topic, 0, batch("ours"))
	if err != nil || base != 1 {
		t.Fatalf("append: %d, %v, want 1 behind the other's", base, err)
	}
	other.Close()
	if _, err := other.Append(t.Context(), topic, 0, batch("x")); !errors.Is(err, eventlog.ErrClosed) {
		t.Fatalf("append on a closed connection: %v", err)
	}
	if got := contents(t, l.Connect(), 0); got != "theirs ours" {
		t.Fatalf("log %q", got)
	}
}

// run appends under faults of a seed and returns all that could be observed.
func run(t *testing.T, seed uint64) string {
	l := newLog(t, 3)
	l.SetFaults(seed, memlog.Faults{Lost: .1, Unacked: .1, Late: .1, Twice: .1, UnackedTwice: .1, Held: .1,
		End: .2, Next: .2, Deliver: .3})
	var seen strings.Builder
	for i := range 200 {
		part := int32(i % 3)
		base, err := l.Append(t.Context(), topic, part, batch(fmt.Sprint(i), "+"))
		end, endErr := l.End(t.Context(), topic, part)
		fmt.Fprintln(&seen, base, err, end, endErr)
	}
	l.SetFaults(0, memlog.Faults{})
	l.DeliverAll()
	for f := memlog.None; f <= memlog.NextFailed; f++ {
		fmt.Fprintln(&seen, f, l.Count(f))
	}
	for part := range int32(3) {
		fmt.Fprintln(&seen, contents(t, l, part))
	}
	return seen.String()
}

func TestASeedReproducesARun(t *testing.T) {
	if a, b := run(t, 7), run(t, 7); a != b {
		t.Fatalf("two runs of one seed differ:\n%s\n%s", a, b)
	}
	if run(t, 7) == run(t, 8) {
		t.Fatal("two seeds gave the same run")
	}
}

func TestEveryFaultHappensAndBatchesStayWhole(t *testing.T) {
	l := newLog(t, 1)
	l.SetFaults(3, memlog.Faults{Lost: .1, Unacked: .1, Late: .1, Twice: .1, UnackedTwice: .1, Held: .1, Deliver: .3, End: .5})
	for i := range 500 {
		v := fmt.Sprint(i)
		l.Append(t.Context(), topic, 0, batch(v, v, v))
		l.End(t.Context(), topic, 0)
	}
	for _, f := range []memlog.Fault{memlog.None, memlog.Lost, memlog.Unacked, memlog.Late, memlog.Twice,
		memlog.UnackedTwice, memlog.Held, memlog.EndFailed} {
		if l.Count(f) == 0 {
			t.Errorf("%v never happened", f)
		}
	}
	l.SetFaults(0, memlog.Faults{})
	l.DeliverAll()
	all := strings.Fields(contents(t, l, 0))
	for i := 0; i < len(all); i += 3 {
		if all[i] != all[i+1] || all[i] != all[i+2] {
			t.Fatalf("a batch was torn at %d: %v", i, all[i:i+3])
		}
	}
}

func TestAFailedNextLosesNothing(t *testing.T) {
	l := newLog(t, 1)
	l.Append(t.Context(), topic, 0, batch("a"))
	r, err := l.Read(topic, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l.SetFaults(1, memlog.Faults{Next: 1})
	if _, err := r.Next(t.Context()); !errors.Is(err, memlog.ErrNoAnswer) {
		t.Fatalf("next: %v", err)
	}
	l.SetFaults(1, memlog.Faults{})
	if got, err := r.Next(t.Context()); err != nil || len(got) != 1 || got[0].Offset != 0 {
		t.Fatalf("next again: %v, %v", got, err)
	}
	if l.Count(memlog.NextFailed) != 1 {
		t.Error("the fault was not counted")
	}
}

func TestHoldKeepsReadersBackUntilRelease(t *testing.T) {
	l := newLog(t, 1)
	l.Append(t.Context(), topic, 0, batch("a"))
	l.Hold(topic, 0)
	l.Append(t.Context(), topic, 0, batch("b"))
	r, err := l.Read(topic, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if run, err := r.Next(t.Context()); err != nil || len(run) != 1 {
		t.Fatalf("a reader got %d records, %v, want 1", len(run), err)
	}
	if end, err := l.End(t.Context(), topic, 0); end != 2 || err != nil {
		t.Fatalf("end %d, %v", end, err)
	}
	if got := contents(t, l, 0); got != "a" {
		t.Fatalf("readers see %q", got)
	}
	l.Release(topic, 0)
	if got := contents(t, l, 0); got != "a b" {
		t.Fatalf("then readers see %q", got)
	}
}

func TestTooManyUnderWayLetTheOldestLand(t *testing.T) {
	l := newLog(t, 1)
	l.OnAppend(func(string, int32, []eventlog.Record) memlog.Fault { return memlog.Late })
	for i := range memlog.MaxUnderWay + 2 {
		l.Append(t.Context(), topic, 0, batch(fmt.Sprint(i)))
	}
	if got := contents(t, l, 0); got != "0 1" || len(l.UnderWay()) != memlog.MaxUnderWay {
		t.Fatalf("log %q, %d under way", got, len(l.UnderWay()))
	}
}

func TestABatchUnderWayIsNotTheCallers(t *testing.T) {
	log := memlog.New()
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: "t", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	log.OnAppend(func(string, int32, []eventlog.Record) memlog.Fault { return memlog.Twice })
	batch := []eventlog.Record{{Key: []byte("a"), Value: []byte("one")}}
	if _, err := log.Append(t.Context(), "t", 0, batch); err != nil {
		t.Fatal(err)
	}
	clear(batch)
	log.DeliverAll()
	for _, r := range log.Records("t", 0) {
		if string(r.Key) != "a" || string(r.Value) != "one" {
			t.Errorf("offset %d holds %q: %q", r.Offset, r.Key, r.Value)
		}
	}
}

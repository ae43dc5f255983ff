package partition_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"pgregory.net/rapid"
)

// fatal is what rapid.T and testing.T have in common here.
type fatal interface {
	Helper()
	Fatalf(string, ...any)
}

func step(t fatal, f *partition.Fold, r record) partition.Result {
	t.Helper()
	got, err := f.Step(r.offset, r.key, r.header, r.value)
	if err != nil {
		t.Fatalf("step %d: %v", r.offset, err)
	}
	return got
}

func restore(t fatal, f *partition.Fold, m partition.Memory) *partition.Fold {
	t.Helper()
	got, err := partition.Restore(f.AppendSnapshot(nil), m)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return got
}

// offsets returns where events lie.
func offsets(events []partition.Event) (out []int) {
	for _, e := range events {
		out = append(out, int(e.Offset))
	}
	return out
}

// told is a result in one line, events by their offsets.
func told(r partition.Result) string {
	return fmt.Sprint(r.Verdict, " ", r.Reason, " commit ", offsets(r.Events), " voided ", offsets(r.Voided), " at ", r.Time)
}

func TestFoldAgreesWithAnIndependentReadingOfTheRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := histories.Draw(t, "log")
		judged := judge(log)
		f := partition.New(memory)
		for i, want := range judged {
			got := step(t, f, log[i].record(int64(i)))
			if told(got) != fmt.Sprint(want.verdict, " ", want.reason, " commit ", want.commit, " voided ", want.voided, " at ", want.time) {
				t.Fatalf("record %d: got %s, want %+v", i, told(got), want)
			}
			checkEvents(t, log, got.Events)
			checkState(t, f, log[:i+1], judged[:i+1])
		}
	})
}

// checkEvents compares what a valid commit hands out with what was written.
func checkEvents(t fatal, log []fact, events []partition.Event) {
	for _, e := range events {
		r := log[e.Offset].record(e.Offset)
		if header := e.Append(nil); !bytes.Equal(e.Key, r.key) || !bytes.Equal(header, r.header) || !bytes.Equal(e.Data, r.value) {
			t.Fatalf("event at %d: %s %x %s, written %s %x %s", e.Offset, e.Key, header, e.Data, r.key, r.header, r.value)
		}
	}
}

// checkState compares the whole state with what the log so far says of it.
func checkState(t fatal, f *partition.Fold, log []fact, judged []judgement) {
	if got, want := f.Epoch(), epochBefore(log, len(log)); got != want || f.Next() != int64(len(log)) {
		t.Fatalf("after %d records: epoch %d, want %d; next %d", len(log), got, want, f.Next())
	}
	aggregates := 0
	for _, key := range []string{"tribe/a", "tribe/b", "post/a"} {
		want := versionOf(log, judged, key)
		if got := f.Version([]byte(key)); got != want {
			t.Fatalf("after %d records: %s has version %d, want %d", len(log), key, got, want)
		}
		if want > 0 {
			aggregates++
		}
	}
	if f.Aggregates() != aggregates {
		t.Fatalf("after %d records: %d aggregates, want %d", len(log), f.Aggregates(), aggregates)
	}
	for i, j := range slices.Backward(judged) {
		if j.verdict == partition.Claimed {
			if f.Owner() != log[i].owner {
				t.Fatalf("after %d records: owner %v, want %v", len(log), f.Owner(), log[i].owner)
			}
			break
		}
	}
	checkMemory(t, f, log, judged)
}

func checkMemory(t fatal, f *partition.Fold, log []fact, judged []judgement) {
	kept, horizon := recall(log, judged, memory)
	for _, l := range log {
		if l.kind != 'e' {
			continue
		}
		i := slices.IndexFunc(kept, func(a accepted) bool { return a.id == l.command })
		got, ok := f.Outcome(l.command)
		if ok != (i >= 0) || ok && got != kept[i].outcome {
			t.Fatalf("after %d records: command %v: got %+v %v, want %d of %+v", len(log), l.command, got, ok, i, kept)
		}
		at, timed := l.command.Time()
		if want := timed && !at.After(horizon); f.TooLate(l.command) != want {
			t.Fatalf("after %d records: command %v of %v too late: %v, horizon %v", len(log), l.command, at, !want, horizon)
		}
	}
}

func TestSnapshotsAtAnyPointChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := histories.Draw(t, "log")
		straight, broken := partition.New(memory), partition.New(memory)
		for i, l := range log {
			if rapid.Bool().Draw(t, "restart") {
				broken = restore(t, broken, memory)
			}
			r := l.record(int64(i))
			if got, want := told(step(t, broken, r)), told(step(t, straight, r)); got != want {
				t.Fatalf("record %d: %s after a restore, %s without", i, got, want)
			}
			if got, want := broken.AppendSnapshot(nil), straight.AppendSnapshot(nil); !bytes.Equal(got, want) {
				t.Fatalf("after record %d: snapshots differ:\n%x\n%x", i, got, want)
			}
		}
	})
}

// TestBatchingChangesNothing reads in chunks of any size, each with a fold
// restored from a snapshot whose memory is used again at once.
func TestBatchingChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := histories.Draw(t, "log")
		f, want := partition.New(memory), partition.New(memory)
		snapshot := make([]byte, 0, 1<<10)
		for i := 0; i < len(log); {
			chunk := log[i:min(len(log), i+1+rapid.IntRange(0, 7).Draw(t, "more"))]
			for n, l := range chunk {
				r := l.record(int64(i + n))
				if got, want := told(step(t, f, r)), told(step(t, want, r)); got != want {
					t.Fatalf("record %d: %s in chunks, %s in one go", i+n, got, want)
				}
				if string(r.key) != l.key || !bytes.Equal(r.header, l.record(0).header) {
					t.Fatalf("record %d was changed by being read", i+n)
				}
			}
			i += len(chunk)
			snapshot = f.AppendSnapshot(snapshot[:0])
			var err error
			if f, err = partition.Restore(snapshot, memory); err != nil {
				t.Fatalf("%v", err)
			}
			clear(snapshot) // its memory is the caller's again
		}
		if got, want := f.AppendSnapshot(nil), want.AppendSnapshot(nil); !bytes.Equal(got, want) {
			t.Fatalf("snapshots differ:\n%x\n%x", got, want)
		}
	})
}

func TestAViewComesToAnOwnersVerdicts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := histories.Draw(t, "log")
		owner, view := partition.New(memory), partition.New(partition.Memory{})
		for i, l := range log {
			r := l.record(int64(i))
			if got, want := told(step(t, view, r)), told(step(t, owner, r)); got != want {
				t.Fatalf("record %d: a view says %s, an owner %s", i, got, want)
			}
		}
		got, want := view.AppendSnapshot(nil), restore(t, owner, partition.Memory{}).AppendSnapshot(nil)
		if !bytes.Equal(got, want) {
			t.Fatalf("a view's snapshot is not an owner's without its commands:\n%x\n%x", got, want)
		}
	})
}

func TestVersionsOfValidCommitsCountWithoutAGap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := partition.New(memory)
		last := make(map[string]uint64)
		for i, l := range histories.Draw(t, "log") {
			events := step(t, f, l.record(int64(i))).Events
			for n, e := range events {
				if e.Version != last[string(e.Key)]+1 || e.Epoch != f.Epoch() || e.Command != events[0].Command || e.Index != n || e.Count != len(events) {
					t.Fatalf("record %d: event %d of a valid commit is %+v after version %d", i, n, e.Envelope, last[string(e.Key)])
				}
				last[string(e.Key)]++
			}
		}
	})
}

// A command that was accepted is remembered, or too late, or has an id without
// a time: it never looks new.
func TestAnAcceptedUUIDv7NeverLooksNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := partition.New(memory)
		done := make(map[event.ID]bool)
		for i, l := range histories.Draw(t, "log") {
			if got := step(t, f, l.record(int64(i))); got.Verdict == partition.Valid {
				done[l.command] = true
			}
			for id := range done {
				_, known := f.Outcome(id)
				if _, timed := id.Time(); timed && !known && !f.TooLate(id) {
					t.Fatalf("after record %d: command %v was accepted and looks new", i, id)
				}
			}
		}
	})
}

// The histories are worth something only if they reach all that can happen.
func TestHistoriesReachEveryVerdict(t *testing.T) {
	reached := make(map[string]int)
	for seed := range 300 {
		f := partition.New(memory)
		for i, l := range histories.Example(seed) {
			r := step(t, f, l.record(int64(i)))
			what := fmt.Sprint(r.Verdict, " ", r.Reason)
			if len(r.Events) > 1 {
				what += ", several events"
			}
			if len(r.Voided) > 0 && r.Reason != partition.BadVersion {
				what += ", cuts off"
			}
			reached[what]++
			if _, known := f.Outcome(l.command); l.kind == 'e' && !known && f.TooLate(l.command) {
				reached["too late"]++
			}
		}
	}
	for _, want := range []string{
		"valid ", "valid , several events", "valid , cuts off", "open ", "open , cuts off", "claimed ", "claimed , cuts off", "probe ", "heartbeat ",
		"void foreign record", "void old epoch", "void unclaimed epoch", "void incomplete commit", "void incomplete commit, cuts off",
		"void version does not follow", "too late",
	} {
		if reached[want] < 5 {
			t.Errorf("%q was reached %d times in 300 histories, want at least 5", want, reached[want])
		}
	}
	t.Logf("reached: %v", reached)
}

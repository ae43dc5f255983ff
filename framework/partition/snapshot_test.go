package partition_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// sample is a log with everything that a snapshot holds: two aggregates, an
// unfinished commit, a command forgotten and two remembered.
func sample() []fact {
	id := func(n byte) event.ID { return event.NewID(base.Add(time.Duration(n)*time.Minute), [10]byte{n}) }
	e := func(key string, n byte, version uint64, index, count int) fact {
		return fact{kind: 'e', epoch: 3, key: key, command: id(n), version: version, index: index, count: count,
			at: base.Add(time.Duration(n) * time.Hour), digest: uint64(n) * 1000}
	}
	return []fact{
		{kind: 'c', epoch: 3, owner: ownerID("alice")},
		e("tribe/b", 1, 1, 0, 1),
		e("tribe/a", 2, 1, 0, 2), e("tribe/a", 2, 2, 1, 2),
		e("tribe/b", 3, 2, 0, 1),
		e("tribe/a", 4, 3, 0, 3), e("tribe/a", 4, 4, 1, 3),
	}
}

var two = partition.Memory{Age: 24 * time.Hour, Number: 2}

func folded(t fatal, m partition.Memory, log []fact) *partition.Fold {
	t.Helper()
	f := partition.New(m)
	for i, l := range log {
		step(t, f, l.record(int64(i)))
	}
	return f
}

func TestEqualFoldsGiveEqualBytes(t *testing.T) {
	log := sample()
	b := folded(t, two, log).AppendSnapshot(nil)
	// The aggregates come to be in another order, a void record lies elsewhere.
	other := append([]fact{log[0], log[2], log[3]}, log[0], log[1])
	a, c := folded(t, partition.Memory{}, other).AppendSnapshot(nil), folded(t, partition.Memory{}, append([]fact{log[0], log[0]}, log[1:4]...)).AppendSnapshot(nil)
	if !bytes.Equal(a, c) {
		t.Errorf("two ways to one state:\n%x\n%x", a, c)
	}
	for range 20 {
		if again := folded(t, two, log).AppendSnapshot(nil); !bytes.Equal(again, b) {
			t.Fatalf("one state:\n%x\n%x", again, b)
		}
	}
}

func TestAppendSnapshotKeepsWhatLiesBefore(t *testing.T) {
	f := folded(t, two, sample())
	if got, want := f.AppendSnapshot([]byte("before")), append([]byte("before"), f.AppendSnapshot(nil)...); !bytes.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestRestoreKeepsNothingOfTheBytesGiven(t *testing.T) {
	b := folded(t, two, sample()).AppendSnapshot(nil)
	f, err := partition.Restore(b, two)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = 0xff
	}
	got := step(t, f, fact{kind: 'e', epoch: 3, key: "tribe/a", command: sample()[5].command, version: 5, index: 2, count: 3, at: base}.record(7))
	if got.Verdict != partition.Valid || string(got.Events[0].Key) != "tribe/a" || string(got.Events[1].Data) != `{"n":1}` {
		t.Fatalf("%s, %+v", told(got), got.Events)
	}
}

func TestRestoreLeavesTheBytesGivenAlone(t *testing.T) {
	b := append(folded(t, two, sample()).AppendSnapshot(nil), "the next one's"...)
	b[0] = 77
	before := bytes.Clone(b)
	for n := range b {
		partition.Restore(b[:n], two)
	}
	if !bytes.Equal(b, before) {
		t.Fatalf("changed: %q, was %q", b, before)
	}
}

// A client may choose an id of any time; the horizon must bear it.
func TestTheHorizonSurvivesASnapshotWhateverTheIDsTime(t *testing.T) {
	for _, at := range []time.Time{time.UnixMilli(0), time.UnixMilli(1), time.Date(2262, 4, 12, 0, 0, 0, 0, time.UTC),
		time.Date(5000, 1, 1, 0, 0, 0, 0, time.UTC), time.UnixMilli(1<<48 - 1)} {
		id := event.NewID(at, [10]byte{1})
		f := folded(t, partition.Memory{}, []fact{{kind: 'c', epoch: 1},
			{kind: 'e', epoch: 1, key: "tribe/a", command: id, version: 1, count: 1, at: base}})
		after := event.NewID(at.Add(time.Millisecond), [10]byte{})
		if !f.TooLate(id) || f.TooLate(after) && at.UnixMilli() < 1<<48-1 {
			t.Errorf("%v: too late %v, a millisecond later %v; want true, false", at, f.TooLate(id), f.TooLate(after))
		}
		if g := restore(t, f, two); !g.TooLate(id) || g.TooLate(after) != f.TooLate(after) {
			t.Errorf("%v: after a restore too late %v, a millisecond later %v", at, g.TooLate(id), g.TooLate(after))
		}
	}
}

// Event times at the ends of what an envelope holds.
func TestAgesDoNotOverflow(t *testing.T) {
	for _, at := range []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, math.MaxInt64} {
		f := folded(t, two, []fact{{kind: 'c', epoch: 1},
			{kind: 'e', epoch: 1, key: "tribe/a", command: ownerID("one"), version: 1, count: 1, at: time.Unix(0, at)}})
		for _, g := range []*partition.Fold{f, restore(t, f, two)} {
			if _, ok := g.Outcome(ownerID("one")); !ok {
				t.Errorf("event time %d: the latest command is forgotten for its age", at)
			}
			if !bytes.Equal(g.AppendSnapshot(nil), f.AppendSnapshot(nil)) {
				t.Errorf("event time %d: a restore changes the fold", at)
			}
		}
	}
}

func TestRestoreRefusesWhatIsNoSnapshot(t *testing.T) {
	whole := folded(t, two, sample()).AppendSnapshot(nil)
	for n := range whole {
		if _, err := partition.Restore(whole[:n], two); err == nil {
			t.Errorf("%d of %d bytes were taken", n, len(whole))
		}
	}
	for want, b := range map[string][]byte{
		"empty":               nil,
		"format 0":            {0, 1, 2},
		"format 2":            append([]byte{2}, whole[1:]...),
		"mangled snapshot, 1": append(bytes.Clone(whole), 0),
	} {
		if _, err := partition.Restore(b, two); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%x: %v, want %q", b, err, want)
		}
	}
}

// An unfinished commit must be one: of the current epoch, its events in order
// from the first, its last not among them.
func TestRestoreRefusesAnUnfinishedCommitThatDoesNotHangTogether(t *testing.T) {
	log := sample()
	whole := folded(t, two, log).AppendSnapshot(nil)
	header := log[6].record(6).header
	for name, change := range map[string]func(*fact){
		"another epoch":   func(f *fact) { f.epoch = 2 },
		"another place":   func(f *fact) { f.index = 2 },
		"another command": func(f *fact) { f.command[15]++ },
		"another count":   func(f *fact) { f.count = 4 },
		"the last":        func(f *fact) { f.count = 2 },
	} {
		l := log[6]
		change(&l)
		e := l.record(6).header
		copy(e[2:18], header[2:18]) // the event's own id is no matter here
		if _, err := partition.Restore(bytes.Replace(whole, header, e, 1), two); err == nil || !strings.Contains(err.Error(), "unfinished commit") {
			t.Errorf("%s: %v", name, err)
		}
	}
	log = log[:6] // one event of it
	alone, header1 := folded(t, two, log).AppendSnapshot(nil), log[5].record(5).header
	for name, change := range map[string]func(*fact){
		"not the first":   func(f *fact) { f.index = 1 },
		"a commit of one": func(f *fact) { f.count = 1 },
	} {
		l := log[5]
		change(&l)
		e := l.record(5).header
		if _, err := partition.Restore(bytes.Replace(alone, header1, e, 1), two); err == nil || !strings.Contains(err.Error(), "unfinished commit") {
			t.Errorf("%s: %v", name, err)
		}
	}
	mangled := bytes.Replace(whole, header, append([]byte{0}, header[1:]...), 1)
	if _, err := partition.Restore(mangled, two); !errors.Is(err, event.ErrForeign) {
		t.Errorf("a mangled header: %v", err)
	}
	newer := bytes.Replace(whole, header, append([]byte{9}, header[1:]...), 1)
	if _, err := partition.Restore(newer, two); !errors.Is(err, event.ErrNewer) {
		t.Errorf("a newer header: %v", err)
	}
}

func TestRestoreRefusesACommandTwice(t *testing.T) {
	whole := folded(t, two, sample()).AppendSnapshot(nil)
	first, second := sample()[2].command, sample()[4].command
	if bytes.Count(whole, first[:]) != 1 {
		t.Fatal("the sample does not hold the command once")
	}
	if _, err := partition.Restore(bytes.ReplaceAll(whole, first[:], second[:]), two); err == nil {
		t.Error("taken")
	}
}

// Lengths that no snapshot can hold must not be believed.
func TestRestoreAllocatesNoMoreThanItsInputIsWorth(t *testing.T) {
	empty := partition.New(two).AppendSnapshot(nil)
	huge := binary.AppendUvarint(nil, 1<<60)
	for name, at := range map[string]int{"aggregates": 3 + 16, "key": 3 + 16 + 1, "unfinished": 3 + 17, "commands": len(empty) - 1} {
		b := append(append(bytes.Clone(empty[:at]), huge...), make([]byte, 64)...)
		if name == "key" {
			b[at-1] = 1
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := partition.Restore(b, two)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 64<<10 {
			t.Errorf("%s: error %v after %d bytes for %d", name, err, got, len(b))
		}
	}
}

package snapshot_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

func TestAChainComesBackInItsOrder(t *testing.T) {
	store := dir(t, t.TempDir())
	clock := newClock(1)
	k := newTask(t, store, identity, clock)
	if r := restore(t, k.Series, ""); r.found || r.problems != nil {
		t.Fatalf("of nothing: %+v", r)
	}
	for _, s := range []string{"a base that is long enough", "-one", "-two", "", strings.Repeat("three", 400_000)} {
		k.grow(s, false)
		r := restore(t, newTask(t, store, identity, clock).Series, k.text)
		if !r.found || r.text != k.text || r.problems != nil {
			t.Fatalf("restored %.60q (%d), found %v, %v, want %.60q", r.text, len(r.text), r.found, r.problems, k.text)
		}
	}
	if all := names(t, store, ""); len(ending(all, ".full")) != 1 || len(ending(all, ".delta")) != 4 || len(ending(all, ".manifest")) != 2 {
		t.Fatalf("kept are %q", all)
	}
}

func TestAnEmptyStateIsASnapshot(t *testing.T) {
	store := snapshot.Memory()
	k := newTask(t, store, identity, newClock(1))
	k.grow("", true)
	if r := restore(t, k.Series, ""); !r.found || r.problems != nil {
		t.Fatalf("%+v", r)
	}
}

func TestASuccessorBuildsOnWhatItRestored(t *testing.T) {
	store, clock := snapshot.Memory(), newClock(1)
	first := newTask(t, store, identity, clock)
	first.grow("a base that is long enough", false)
	first.grow("-one", false)
	second := newTask(t, store, identity, clock)
	second.resume(first.text)
	second.grow("-two", false)
	if n := len(ending(names(t, store, ""), ".full")); n != 1 {
		t.Errorf("%d full snapshots, want the first one's", n)
	}
	if r := restore(t, newTask(t, store, identity, clock).Series, second.text); r.text != second.text || r.problems != nil {
		t.Errorf("restored %q, %v", r.text, r.problems)
	}
	third := newTask(t, store, identity, clock)
	if w := third.Begin(t.Context(), false); !w.Full() {
		t.Error("a delta on nothing")
	} else {
		w.Abort()
	}
}

func TestAFullOneIsDueWhenDeltasAreLargerOrMany(t *testing.T) {
	k := newTask(t, snapshot.Memory(), identity, newClock(1))
	if !k.NextFull() {
		t.Error("of nothing, the first is not full")
	}
	k.grow(strings.Repeat("x", 10_000), true)
	deltas := 0
	for ; !k.NextFull(); deltas++ {
		k.grow("y", false)
	}
	if deltas != 33 {
		t.Errorf("a full one is due after %d small deltas, want 33", deltas)
	}
	k.grow("", true)
	k.grow(strings.Repeat("y", 9_000), false)
	if k.NextFull() {
		t.Error("due while deltas are smaller than what they build on")
	}
	k.grow(strings.Repeat("y", 15_000), false)
	if !k.NextFull() {
		t.Error("not due though deltas are larger")
	}
}

func TestRetentionKeepsTheNewestAndWhatTheyName(t *testing.T) {
	store, clock := snapshot.Memory(), newClock(1)
	k := newTask(t, store, identity, clock)
	for i := range 40 {
		full := i%5 == 0
		k.grow("some text", full)
		all := names(t, store, "")
		manifests, blobs := min(i+1, 2), i%5+1 // of one chain
		if i >= 5 {
			blobs += 5 // and the one before, whole
		}
		if i >= 5 && !full {
			manifests++
		}
		if got := len(ending(all, ".manifest")); got != manifests {
			t.Fatalf("snapshot %d: %d manifests, want %d", i, got, manifests)
		}
		if got := len(all) - len(ending(all, ".manifest")); got != blobs {
			t.Fatalf("snapshot %d: %d blobs, want %d: %q", i, got, blobs, all)
		}
		clock.move(20 * time.Minute)
	}
}

func TestNoSingleBlobIsNeededByAll(t *testing.T) {
	store, clock := snapshot.Memory(), newClock(1)
	k := newTask(t, store, identity, clock)
	for i := range 30 {
		k.grow("some text", i%7 == 0)
		if i < 7 {
			if k.Kept() != nil {
				t.Fatalf("snapshot %d: all build on one, and %v are said to be enough", i, k.Kept())
			}
			continue
		}
		for _, name := range names(t, store, "") {
			whole := read(t, store, name)
			write(t, store, name, whole[:len(whole)-1])
			r := restore(t, newTask(t, store, identity, clock).Series, k.text)
			if oldest := k.Kept()[0]; !r.found || int64(len(r.text)) < oldest {
				t.Errorf("snapshot %d: without %s, restored %d, found %v; kept are those from %d on", i, name, len(r.text), r.found, oldest)
			}
			write(t, store, name, whole)
		}
		clock.move(20 * time.Minute)
	}
}

// TestWhatWasFoundDamagedKeepsNobodysPlace goes on from the one that was left, when a
// full blob has turned out to be damaged.
func TestWhatWasFoundDamagedKeepsNobodysPlace(t *testing.T) {
	store, clock := snapshot.Memory(), newClock(1)
	k := newTask(t, store, identity, clock)
	for _, full := range []bool{true, false, true, false} {
		k.grow("some text", full)
		clock.move(2 * time.Hour)
	}
	fulls := ending(names(t, store, ""), ".full")
	good, bad := fulls[0], fulls[1]
	whole := read(t, store, bad)
	write(t, store, bad, append([]byte("not so"), whole[6:]...))
	k = newTask(t, store, identity, clock)
	if r := k.resume("some textsome text"); len(r.text) != 18 || len(r.problems) != 2 {
		t.Fatalf("restored %q, %v", r.text, r.problems)
	}
	if !k.NextFull() {
		t.Error("all hangs on one blob, and the next is not full")
	}
	k.grow("and more", false)
	if k.Kept() != nil {
		t.Errorf("kept are %v, and all build on one", k.Kept())
	}
	k.grow("and more", k.NextFull())
	if k.NextFull() {
		t.Error("one is full, and the next is again")
	}
	if want := []int64{26, 34}; !slices.Equal(k.Kept(), want) {
		t.Errorf("kept are %v, want %v", k.Kept(), want)
	}
	if all := names(t, store, ""); !slices.Contains(all, good) || slices.Contains(all, bad) {
		t.Errorf("left are %q, want %s and not %s", all, good, bad)
	}
}

func TestItSaysWhereTheKeptSnapshotsLeadTo(t *testing.T) {
	store, clock := snapshot.Memory(), newClock(1)
	changed := identity
	changed.State = "order{lines,total}"
	former, other, k := newTask(t, store, changed, clock), newTask(t, store, identity, clock), newTask(t, store, identity, clock)
	wantKept := func(k *task, want ...int64) {
		t.Helper()
		if got := k.Kept(); !slices.Equal(got, want) {
			t.Errorf("kept are %v, want %v", got, want)
		}
	}
	former.grow("a", true)
	other.grow("bb", true)
	wantKept(other) // one of its own is too few
	k.resume("bb")
	wantKept(k)
	k.grow("b", false)
	wantKept(k) // both build on one
	k.grow("b", true)
	wantKept(k, 1, 2, 3, 4)
	k.grow("b", true)
	wantKept(k, 1, 2, 4, 5) // the other process may still be writing
	clock.move(61 * time.Minute)
	k.grow("b", true)
	wantKept(k, 1, 5, 6) // one of another program stays for a day
	clock.move(24 * time.Hour)
	k.grow("b", true)
	wantKept(k, 6, 7)
	late := other
	late.grow("", true)
	wantKept(late, 2, 6, 7)
}

func TestBlobsWithoutAManifestAreDeletedOnceTheyAreOld(t *testing.T) {
	store, clock := snapshot.Memory(), newClock(1)
	other := newTask(t, store, identity, clock)
	w := other.Begin(t.Context(), true)
	if err := w.Finish(t.Context()); err != nil { // and its process ends
		t.Fatal(err)
	}
	write(t, store, identity.Prefix()+"readme", []byte("not ours"))
	k := newTask(t, store, identity, clock)
	for _, c := range []struct {
		after time.Duration
		left  int
	}{{59 * time.Minute, 2}, {2 * time.Minute, 1}} {
		clock.move(c.after)
		k.grow("x", true)
		k.grow("x", true)
		if all := ending(names(t, store, ""), ".full"); len(all) != c.left+1 {
			t.Errorf("after %v: %q, want %d", c.after, all, c.left+1)
		}
	}
	if !slices.Contains(names(t, store, ""), identity.Prefix()+"readme") {
		t.Error("a file of somebody else's is gone")
	}
	if err := w.Commit(t.Context(), 100, []byte(head("x"))); !errors.Is(err, snapshot.ErrChain) {
		t.Errorf("committed what is deleted: %v", err)
	}
	if r := restore(t, k.Series, k.text); r.text != k.text || len(r.problems) != 0 {
		t.Errorf("restored %q, %v", r.text, r.problems)
	}
	w.Abort()
}

func TestAnAbortedSnapshotLeavesNothingBehindTheNext(t *testing.T) {
	store := snapshot.Memory()
	k := newTask(t, store, identity, newClock(1))
	k.grow("base base base", false)
	for _, finish := range []bool{false, true} {
		w := k.Begin(t.Context(), false)
		if w.Full() {
			t.Fatal("the next after a commit is full")
		}
		if _, err := w.Write([]byte("lost")); err != nil {
			t.Fatal(err)
		}
		if finish {
			if err := w.Finish(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		w.Abort()
		w.Abort()
		for what, err := range map[string]error{"finish": w.Finish(t.Context()), "commit": w.Commit(t.Context(), 1, nil)} {
			if !errors.Is(err, snapshot.ErrEnded) {
				t.Errorf("%s after it was aborted: %v", what, err)
			}
		}
		if !k.NextFull() {
			t.Error("a delta may follow one that was lost")
		}
		k.grow("-more", false)
		if all := names(t, store, ""); len(ending(all, ".full")) > 2 || len(ending(all, ".delta")) != 0 {
			t.Errorf("left are %q", all)
		}
		if r := restore(t, k.Series, k.text); r.text != k.text {
			t.Errorf("restored %q, want %q", r.text, k.text)
		}
	}
}

func TestOneSnapshotIsWrittenAtATime(t *testing.T) {
	k := newTask(t, snapshot.Memory(), identity, newClock(1))
	w := k.Begin(t.Context(), true)
	second := k.Begin(t.Context(), true)
	_, writeErr := second.Write([]byte("x"))
	_, _, _, restoreErr := k.Restore(t.Context(), nil, nil)
	for what, err := range map[string]error{"write": writeErr, "finish": second.Finish(t.Context()), "commit": second.Commit(t.Context(), 1, nil), "restore": restoreErr} {
		if !errors.Is(err, snapshot.ErrBusy) {
			t.Errorf("%s: %v, want ErrBusy", what, err)
		}
	}
	second.Abort()
	if err := w.Commit(t.Context(), 0, nil); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeCommittedIsRefused(t *testing.T) {
	store := snapshot.Memory()
	k := newTask(t, store, identity, newClock(1))
	k.grow("base base base", false)
	for _, c := range []struct {
		says     string
		position int64
		head     []byte
	}{
		{"at least 0", -1, nil},
		{"builds on one at 14", 13, nil},
		{"at most 67108864 fit", 20, make([]byte, snapshot.MaxHead+1)},
	} {
		w := k.Begin(t.Context(), false)
		if err := w.Commit(t.Context(), c.position, c.head); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("commit at %d: %v, want %q", c.position, err, c.says)
		}
		k.grow("", true)
	}
	huge := newTask(t, snapshot.Memory(), identity, newClock(1))
	w := huge.Begin(t.Context(), true)
	if err := w.Commit(t.Context(), 1, make([]byte, snapshot.MaxHead)); err != nil {
		t.Errorf("the greatest head: %v", err)
	}
	if _, found, problems, err := huge.Restore(t.Context(), nil, func(h []byte, _ []io.Reader) error {
		if len(h) != snapshot.MaxHead {
			t.Errorf("a head of %d bytes", len(h))
		}
		return nil
	}); !found || err != nil {
		t.Errorf("restore with the greatest head: %v %v %v", found, problems, err)
	}
}

func TestSnapshotsOfOthersAreRefusedByField(t *testing.T) {
	for field, change := range map[string]func(*snapshot.Identity){
		"app is \"other\", not \"shop\"":             func(id *snapshot.Identity) { id.App = "other" },
		"operator is \"other\", not \"orders\"":      func(id *snapshot.Identity) { id.Operator = "other" },
		"topic is \"other\", not \"shop.events\"":    func(id *snapshot.Identity) { id.Topic = "other" },
		"partition is \"4\", not \"3\"":              func(id *snapshot.Identity) { id.Partition = 4 },
		"version is \"2\", not \"1\"":                func(id *snapshot.Identity) { id.Version = 2 },
		"state is \"order{}\", not \"order{lines}\"": func(id *snapshot.Identity) { id.State = "order{}" },
	} {
		store, clock := snapshot.Memory(), newClock(1)
		mine := newTask(t, store, identity, clock)
		mine.grow("mine", true)
		other := identity
		change(&other)
		o := newTask(t, store, other, clock)
		o.grow("of another, and longer", true)
		for _, name := range names(t, store, other.Prefix()) { // as if somebody had copied it
			write(t, store, identity.Prefix()+strings.TrimPrefix(name, other.Prefix()), read(t, store, name))
		}
		r := restore(t, newTask(t, store, identity, clock).Series, mine.text)
		if r.text != "mine" || len(r.problems) != 1 || !errors.Is(r.problems[0], snapshot.ErrForeign) || !strings.Contains(r.problems[0].Error(), field) {
			t.Errorf("%s: restored %q with %v", field, r.text, r.problems)
		}
	}
}

func TestNoPrefixIsShared(t *testing.T) {
	long := strings.Repeat("long", 60)
	parts := []string{"", "a", "A", "a/b", "a_2fb", "_", "_5f", ".", "..", "...", "a.b", "a..b", "é", "a\x00", "a ", long, long + "x", strings.ToUpper(long), "a-1", "v1"}
	seen := map[string]snapshot.Identity{}
	for _, app := range parts {
		for _, operator := range parts {
			for _, topic := range parts {
				id := snapshot.Identity{App: app, Operator: operator, Topic: topic, Partition: 2147483647, Version: -9223372036854775808}
				prefix := id.Prefix()
				if other, twice := seen[prefix]; twice {
					t.Fatalf("%+v and %+v share %s", id, other, prefix)
				}
				seen[prefix] = id
				full := prefix + strings.Repeat("0", 19) + "-018f3c2e-7b1a-7c3d-9e4f-0123456789ab.manifest"
				if err := snapshot.CheckName(full); err != nil {
					t.Fatalf("%+v: %v", id, err)
				}
			}
		}
	}
	if got := identity.Prefix(); got != "shop/orders/v1/shop.events/3/" {
		t.Error(got)
	}
}

func TestTheCallerChoosesByPosition(t *testing.T) {
	k := newTask(t, snapshot.Memory(), identity, newClock(1))
	k.grow("0123456789", true)
	k.grow("0123456789", true)
	var asked []int64
	position, found, problems, err := k.Restore(t.Context(), func(p int64) bool { asked = append(asked, p); return p <= 15 },
		func([]byte, []io.Reader) error { return nil })
	if position != 10 || !found || problems != nil || err != nil || !slices.Equal(asked, []int64{20, 10}) {
		t.Errorf("restored %d, %v, %v, %v, asked of %d", position, found, problems, err, asked)
	}
}

func TestWhatLoadRefusesIsPassedOver(t *testing.T) {
	k := newTask(t, snapshot.Memory(), identity, newClock(1))
	k.grow("one", true)
	k.grow("two", true)
	old := errors.New("an old state type")
	position, found, problems, err := k.Restore(t.Context(), nil, func(h []byte, _ []io.Reader) error {
		if string(h) == head("onetwo") {
			return old
		}
		return nil
	})
	if position != 3 || !found || err != nil || len(problems) != 1 || !errors.Is(problems[0], snapshot.ErrRefused) || !errors.Is(problems[0], old) {
		t.Errorf("restored %d, %v, %v, %v", position, found, problems, err)
	}
	_, found, problems, err = k.Restore(t.Context(), nil, func([]byte, []io.Reader) error { return old })
	if found || err != nil || len(problems) != 2 {
		t.Errorf("when all are refused: %v, %v, %v", found, problems, err)
	}
	if !k.NextFull() {
		t.Error("a delta may follow, though nothing was restored")
	}
}

func TestRestoreEndsWithItsContext(t *testing.T) {
	k := newTask(t, snapshot.Memory(), identity, newClock(1))
	k.grow("one", true)
	k.grow("two", true)
	ctx, cancel := context.WithCancel(t.Context())
	_, found, _, err := k.Restore(ctx, nil, func(_ []byte, blobs []io.Reader) error {
		cancel()
		_, err := io.ReadAll(blobs[0])
		return err
	})
	if found || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", found, err)
	}
}

package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

// TestTwoSeriesOfOneTaskDoNotBreakEachOther lets a zombie and its successor fold
// the same log and take snapshots in turn, at random.
func TestTwoSeriesOfOneTaskDoNotBreakEachOther(t *testing.T) {
	log := strings.Repeat("the one log that both of them fold. ", 300)
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 0))
		store, clock := snapshot.Memory(), newClock(seed)
		tasks := []*task{newTask(t, store, identity, clock), newTask(t, store, identity, clock)}
		for step := range 80 {
			k := tasks[r.IntN(2)]
			if r.IntN(20) == 0 {
				*k = *newTask(t, store, identity, clock) // starts anew
				k.resume(log)
			}
			k.text = log[:min(len(log), len(k.text)+r.IntN(100))]
			clock.move(time.Duration(r.IntN(20)) * time.Minute)
			if err := k.snap(k.NextFull()); err != nil && !errors.Is(err, snapshot.ErrChain) {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
			got := restore(t, newTask(t, store, identity, clock).Series, log)
			if !got.found || len(got.problems) > 0 {
				t.Fatalf("seed %d, step %d: restored %d bytes, found %v, %v", seed, step, len(got.text), got.found, got.problems)
			}
			if all := names(t, store, ""); len(ending(all, ".manifest")) > 5 {
				t.Fatalf("seed %d, step %d: %d manifests", seed, step, len(ending(all, ".manifest")))
			}
		}
	}
}

func TestSeriesThatWriteAtTheSameTimeLeaveWhatCanBeUsed(t *testing.T) {
	store := dir(t, t.TempDir())
	var wg sync.WaitGroup
	log := strings.Repeat("0123456789", 100)
	for who := range 3 {
		wg.Go(func() {
			k := newTask(t, store, identity, newClock(uint64(who)))
			for i := range 40 {
				k.text = log[:20*(i+1)]
				if err := k.snap(i%7 == who); err != nil && !errors.Is(err, snapshot.ErrChain) {
					t.Errorf("series %d: %v", who, err)
				}
			}
		})
	}
	wg.Wait()
	if r := restore(t, newTask(t, store, identity, newClock(9)).Series, log); !r.found || len(r.text) < 800 {
		t.Errorf("restored %d bytes, %v", len(r.text), r.problems)
	}
}

// TestWhoIsBehindMayGoOn has a zombie take snapshots behind its successor's: the
// positions of these are the greater ones.
func TestWhoIsBehindMayGoOn(t *testing.T) {
	store, clock := snapshot.Memory(), newClock(1)
	slow, fast := newTask(t, store, identity, clock), newTask(t, store, identity, clock)
	slow.grow("0123456789", true)
	fast.text = "0123456789, and much more than that"
	for round := range 3 {
		for range 3 {
			fast.grow("ab", true)
			clock.move(15 * time.Minute)
		}
		w := slow.Begin(t.Context(), false)
		if w.Full() {
			t.Fatalf("round %d: a series was made to begin anew", round)
		}
		if err := w.Commit(t.Context(), int64(11+round), nil); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if all := names(t, store, ""); !strings.Contains(strings.Join(all, " "), fmt.Sprintf("/%019d-", 11+round)) {
			t.Fatalf("round %d: what was just committed is gone: %q", round, all)
		}
	}
	if r := restore(t, newTask(t, store, identity, clock).Series, fast.text); r.text != fast.text || r.problems != nil {
		t.Errorf("restored %q, %v", r.text, r.problems)
	}
}

// TestADeltaOnWhatAnotherDeletesIsNotCommitted has its base deleted at the latest
// moments that there are.
func TestADeltaOnWhatAnotherDeletesIsNotCommitted(t *testing.T) {
	for _, when := range []string{"before it is committed", "while its manifest is stored"} {
		store, clock := snapshot.Memory(), newClock(1)
		slow, fast := newTask(t, store, identity, clock), newTask(t, store, identity, clock)
		slow.grow("0123456789", true)
		fast.text = "0123456789"
		overtake := func() {
			clock.move(2 * time.Hour)
			for range 3 {
				fast.grow("ab", true)
			}
		}
		w := slow.Begin(t.Context(), false)
		if when == "before it is committed" {
			overtake()
		} else {
			store.Inject(func(_ context.Context, op snapshot.Op, name string) snapshot.Fault {
				if op == snapshot.OpPut && strings.HasSuffix(name, ".manifest") {
					store.Inject(nil)
					overtake()
				}
				return snapshot.Fault{}
			})
		}
		if err := w.Commit(t.Context(), 12, nil); w.Full() || !errors.Is(err, snapshot.ErrChain) {
			t.Errorf("%s: a delta on nothing: %v", when, err)
		}
		if !slow.NextFull() {
			t.Errorf("%s: the next is not full", when)
		}
		if r := restore(t, slow.Series, fast.text); r.text != fast.text || r.problems != nil {
			t.Errorf("%s: restored %q, %v", when, r.text, r.problems)
		}
	}
}

// TestWhatLacksABlobTakesNobodysPlace has snapshots ahead of all others that cannot
// be restored.
func TestWhatLacksABlobTakesNobodysPlace(t *testing.T) {
	store, clock := snapshot.Memory(), newClock(1)
	ahead, k := newTask(t, store, identity, clock), newTask(t, store, identity, clock)
	ahead.grow("0123456789", true)
	ahead.grow("0123456789", false)
	ahead.grow("0123456789", false)
	for _, name := range ending(names(t, store, ""), ".full") {
		if err := store.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		if r := restore(t, newTask(t, store, identity, clock).Series, "01234"); i > 0 && !r.found {
			t.Errorf("after %d, nothing can be used: %v", i, r.problems)
		}
		k.grow(fmt.Sprint(i), true)
	}
	if got := k.Kept(); !slices.Equal(got, []int64{2, 3}) {
		t.Errorf("kept are %v, want 2 and 3", got)
	}
	clock.move(2 * time.Hour)
	k.grow("3", true)
	if all := ending(names(t, store, ""), ".manifest"); len(all) != 2 {
		t.Errorf("after two hours there are %q, want the two newest", all)
	}
}

// TestASnapshotThatVanishesWhileItIsReadIsReplacedByANewerOne has another series
// go on, and delete everything, while Restore reads.
func TestASnapshotThatVanishesWhileItIsReadIsReplacedByANewerOne(t *testing.T) {
	for _, end := range []string{".manifest", ".full"} {
		store, clock := snapshot.Memory(), newClock(1)
		k := newTask(t, store, identity, clock)
		k.grow("first", true)
		once := true
		store.Inject(func(_ context.Context, op snapshot.Op, name string) snapshot.Fault {
			if once && op == snapshot.OpGet && strings.HasSuffix(name, end) {
				once = false
				store.Inject(nil)
				for i := range 3 {
					k.grow(fmt.Sprint(i), true)
				}
			}
			return snapshot.Fault{}
		})
		r := restore(t, newTask(t, store, identity, clock).Series, "first012")
		if r.text != "first012" || r.problems != nil {
			t.Errorf("%s: restored %q, %v", end, r.text, r.problems)
		}
	}
}

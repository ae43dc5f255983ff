package stream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

// each commits n events of an aggregate, each by itself.
func (p *play) each(id string, n int, name string) {
	for range n {
		p.commit(id, 1, name)
	}
}

// stops checks that a task is held at an offset.
func (p *play) stops(t *Task, want int64) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), time.Second)
	defer cancel()
	if next, err := t.Stopped(ctx); err != nil || next != want {
		p.Fatalf("it is held at %d, %v; want %d: %+v", next, err, want, t.Status())
	}
}

func TestATaskIsHeldAtAnOffsetAndGoesOn(t *testing.T) {
	script(t, func(p *play) {
		task, _ := p.start(p.log)
		task.Hold(4)
		p.commit("a", 2, "e")
		p.holds("@3 a=2")
		if task.Status().Held {
			p.Fatal("held before it is there")
		}
		p.each("b", 5, "e")
		p.stops(task, 4)
		time.Sleep(10 * time.Second)
		p.holds("@4 a=2 b=1")
		task.Hold(6)
		p.stops(task, 6)
		p.holds("@6 a=2 b=3")
		task.Hold(-1)
		p.holds("@8 a=2 b=5")
		if task.Status().Held {
			p.Error("held though it was let go")
		}
	})
}

func TestATaskThatHasPassedIsHeldWhereItIsWithItsMark(t *testing.T) {
	script(t, func(p *play) {
		p.commit("a", 2, "e")
		p.commit("a", 3, "quiet")
		task, _ := p.start(p.log)
		p.holds("@6 a=2")
		p.commit("a", 4, "quiet") // nothing to write
		p.holds("@6 a=2")
		task.Hold(0)
		p.stops(task, 10)
		p.holds("@10 a=2")
		p.commit("a", 1, "e")
		time.Sleep(10 * time.Second)
		p.holds("@10 a=2")
	})
}

func TestMarksAloneAreHeldAtOnce(t *testing.T) {
	script(t, func(p *play) {
		task, _ := p.start(p.log)
		task.Hold(HoldMarks)
		p.commit("a", 1, "e")
		p.commit("a", 3, "quiet")
		time.Sleep(time.Second)
		p.holds("@5 a=1")
		p.commit("a", 1, "e")
		p.holds("@6 a=2")
		if task.Status().Held {
			p.Error("held at the end of time")
		}
	})
}

// TestAHeldTaskThatStartsAnewGoesOnToWhereItsStoreIs restores a snapshot that lies
// below what is written.
func TestAHeldTaskThatStartsAnewGoesOnToWhereItsStoreIs(t *testing.T) {
	script(t, func(p *play) {
		blobs := snapshot.Memory()
		p.commit("a", 2, "e")
		_, stop := p.kept(p.log, blobs)
		time.Sleep(3 * time.Second)
		p.commit("a", 5, "e")
		p.holds("@8 a=7")
		stop()
		p.commit("a", 3, "e")
		task := p.task(p.count(0), Config{Log: p.log, Snapshots: blobs, SnapshotEvery: time.Second})
		task.Hold(4)
		p.run(task)
		p.stops(task, 8)
		p.holds("@8 a=7")
	})
}

func TestAHeldTaskWhoseStoreFailsIsNotHeldUntilItIsThereAgain(t *testing.T) {
	script(t, func(p *play) {
		task, _ := p.start(p.log)
		p.commit("a", 2, "e")
		task.Hold(3)
		p.stops(task, 3)
		p.commit("a", 2, "e")
		p.store.empty()
		time.Sleep(5 * time.Second) // it looks at its store each second
		p.stops(task, 3)
		p.holds("@3 a=2")
	})
}

// TestAHeldSourceHasSentWhatLiesBelow holds a source in front of a shuffle, whose end
// then is made of what lies below alone.
func TestAHeldSourceHasSentWhatLiesBelow(t *testing.T) {
	script(t, func(p *play) {
		top := &Topology{Name: "sent", Partitions: 1}
		events := FromEvents(top, &Events[string]{Name: "events", Topic: topic, Group: NoGroup,
			Decode: func(e *partition.Event, v *string) (bool, error) { *v = e.Type; return true, nil }})
		Fill(KeyBy(events, "by-type", func(s string) string { return s }, Codec[string]{}),
			&Store[string]{Name: "kept", Part: func(int32) Part[string] { return nil }})
		source := p.task(top, Config{Log: p.log})
		wantEnd := func(want int64) {
			p.Helper()
			synctest.Wait()
			if end, err := p.log.End(p.Context(), top.shuffleTopic("by-type"), 0); err != nil || end != want {
				p.Errorf("the shuffle has %d records, %v; want %d", end, err, want)
			}
		}
		p.run(source)
		source.Hold(8)
		p.each("a", 20, "e")
		p.stops(source, 8)
		time.Sleep(time.Minute)
		wantEnd(7)
		source.Hold(-1)
		wantEnd(20)
	})
}

// TestWhereverATaskIsHeldItsStoreIsTheFoldOfWhatLiesBelow holds and lets go at
// random, while events come and the store loses what it has.
func TestWhereverATaskIsHeldItsStoreIsTheFoldOfWhatLiesBelow(t *testing.T) {
	for seed := range uint64(50) {
		script(t, func(p *play) {
			rng := rand.New(rand.NewPCG(seed, 17))
			task, stop := p.kept(p.log, snapshot.Memory())
			var ids []string // of the events, from offset 1 on
			for range 30 {
				for range rng.IntN(3) {
					id, n := string(rune('a'+rng.IntN(3))), 1+rng.IntN(4)
					p.each(id, n, "e")
					for range n {
						ids = append(ids, id)
					}
				}
				switch rng.IntN(6) {
				case 0:
					task.Hold(-1)
					time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
					continue
				case 1:
					p.store.empty()
					time.Sleep(2 * checkInterval) // or the task does not know of it
				case 2:
					stop()
					stop = p.run(task)
				}
				at := int64(rng.IntN(len(ids) + 2))
				task.Hold(min(at, int64(len(ids)+1)))
				ctx, cancel := context.WithTimeout(p.Context(), time.Minute)
				next, err := task.Stopped(ctx)
				cancel()
				if err != nil || next < at {
					p.Fatalf("seed %d: held at %d, %v; want %d at least", seed, next, err, at)
				}
				want := map[string]int{}
				for _, id := range ids[:max(next-1, 0)] {
					want[id]++
				}
				shown := fmt.Sprintf("@%d", next)
				for _, id := range []string{"a", "b", "c"} {
					if want[id] > 0 {
						shown += fmt.Sprintf(" %s=%d", id, want[id])
					}
				}
				time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
				if task.Status().Held { // else its store was found empty meanwhile
					p.holds(shown)
				}
			}
		})
	}
}

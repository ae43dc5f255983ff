package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

const itsGroup = "t.out"

// world is what a delivery acts on: it writes down what it is told.
type world struct {
	*play
	mu      sync.Mutex
	told    []string
	commits []int64
	do      func(ctx context.Context, e *partition.Event) error // decides; nil: all is well
	keeps   func(next int64) error                              // of a commit, before it takes place
	tried   []error
}

// commitAt lets keeps look at a commit first.
func (w *world) commitAt(ctx context.Context, itsGroup, topic string, part int32, next int64) error {
	w.mu.Lock()
	keeps := w.keeps
	w.commits = append(w.commits, next)
	w.mu.Unlock()
	if keeps != nil {
		if err := keeps(next); err != nil {
			return err
		}
	}
	return w.log.Commit(ctx, itsGroup, topic, part, next)
}

func (w *world) tell(ctx context.Context, e *partition.Event) error {
	w.mu.Lock()
	w.told = append(w.told, fmt.Sprintf("%s%d", strings.TrimPrefix(string(e.Key), "x/"), e.Version))
	do := w.do
	w.mu.Unlock()
	if do == nil {
		return nil
	}
	return do(ctx, e)
}

func effects(t *testing.T, f func(*world)) {
	t.Helper()
	script(t, func(p *play) { f(&world{play: p}) })
}

// watched is p's log, whose commits the world looks at first.
type watched struct {
	*memlog.Log
	w *world
}

func (l watched) Commit(ctx context.Context, group, topic string, part int32, next int64) error {
	return l.w.commitAt(ctx, group, topic, part, next)
}

// deliver runs a delivery until the test, or the returned function, ends it.
func (w *world) deliver() (*Task, func()) {
	t := &Topology{Name: "effects"}
	events := FromEvents(t, &Events[*partition.Event]{Name: "events", Topic: topic, Group: NoGroup,
		Decode: func(e *partition.Event, v **partition.Event) (bool, error) {
			one := *e
			*v = &one
			return e.Type != "other", nil
		}})
	Deliver(events, &Delivery[*partition.Event]{Name: "out", Group: itsGroup, Do: w.tell,
		Attempted: func(err error) { w.mu.Lock(); w.tried = append(w.tried, err); w.mu.Unlock() }})
	task := w.task(t, Config{Log: watched{w.log, w}})
	return task, w.run(task)
}

func (w *world) wasTold(want string) {
	w.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := strings.Join(w.told, " "); got != want {
		w.Fatalf("told %q, want %q", got, want)
	}
	w.told = nil
}

func (w *world) wantCommitted(want int64) {
	w.Helper()
	if next, _, err := w.log.Committed(context.Background(), itsGroup, topic, 0); next != want || err != nil {
		w.Fatalf("committed %d, %v, want %d", next, err, want)
	}
}

func (w *world) deciding(do func(ctx context.Context, e *partition.Event) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.do = do
}

func TestWhatWasCommittedIsNotDeliveredAgainAfterARestart(t *testing.T) {
	effects(t, func(w *world) {
		w.commit("a", 1, "e")
		w.commit("b", 2, "e")
		_, stop := w.deliver()
		w.wasTold("a1 b1 b2")
		stop()
		w.wantCommitted(4)
		w.commit("a", 1, "e")
		d, stop := w.deliver()
		w.wasTold("a2")
		if p := d.Status(); p.Done != 5 || p.Err != nil {
			t.Errorf("status %+v", p)
		}
		stop()
		_, _ = w.deliver()
		w.wasTold("")
	})
}

// A crash leaves the log as it is while nothing more is committed.
func TestWhatWasDoneAndNotCommittedIsDeliveredAgain(t *testing.T) {
	effects(t, func(w *world) {
		w.commit("a", 1, "e")
		_, crash := w.deliver()
		w.wasTold("a1")
		time.Sleep(time.Second)
		w.mu.Lock()
		w.keeps = func(int64) error { return errors.New("dead") }
		w.mu.Unlock()
		w.commit("b", 2, "e")
		w.wasTold("b1 b2")
		crash()
		w.wantCommitted(2)
		w.mu.Lock()
		w.keeps = nil
		w.mu.Unlock()
		_, stop := w.deliver()
		w.wasTold("b1 b2")
		stop()
		w.wantCommitted(4)
	})
}

// Its first record lies below the committed offset, so it must not be taken for
// done.
func TestACommitOnBothSidesOfTheOffsetIsDeliveredWhole(t *testing.T) {
	effects(t, func(w *world) {
		records := w.records("a", 3, "e")
		w.append(records[:2]...)
		_, stop := w.deliver()
		w.wasTold("")
		stop()
		w.wantCommitted(3)
		w.append(records[2])
		_, _ = w.deliver()
		w.wasTold("a1 a2 a3")
	})
}

func TestVoidEventsAreNotDelivered(t *testing.T) {
	effects(t, func(w *world) {
		w.append(eventlog.Record{Value: []byte("foreign")})
		w.commit("a", 1, "e")
		w.append(w.log.Records(topic, 0)[2]) // a copy, whose version does not follow
		unfinished := w.records("b", 2, "e")
		w.append(unfinished[0])
		w.versions["b"] = 0
		w.commit("c", 1, "e")
		w.append(unfinished[1])
		w.commit("d", 1, "other")
		w.commit("b", 1, "e")
		d, _ := w.deliver()
		w.wasTold("a1 c1 b1")
		if p := d.Status(); p.Done != 9 {
			t.Errorf("status %+v, want all to be passed", p)
		}
		if len(w.tried) != 3 {
			t.Errorf("%d attempts, want none for what is not taken", len(w.tried))
		}
	})
}

func TestAnEffectThatFailsIsTriedAgainWithGrowingPauses(t *testing.T) {
	effects(t, func(w *world) {
		var at []time.Time
		w.do = func(_ context.Context, e *partition.Event) error {
			if at = append(at, time.Now()); len(at) == 2 {
				panic("as asked")
			}
			if len(at) < 12 {
				return errors.New("the other side is down")
			}
			return nil
		}
		w.commit("a", 1, "e")
		w.commit("b", 1, "e")
		d, _ := w.deliver()
		time.Sleep(time.Second)
		if p := d.Status(); p.Err == nil || p.Final || !strings.Contains(p.Err.Error(), "x/a at 0@1: ") {
			t.Errorf("status %+v, want to see why the event at 1 waits", p)
		}
		w.wantCommitted(1)
		time.Sleep(10 * time.Minute)
		w.wasTold(strings.Repeat("a1 ", 12) + "b1")
		if p := d.Status(); p.Err != nil || p.Done != 3 {
			t.Errorf("status %+v", p)
		}
		for i := 2; i < len(at)-1; i++ {
			if pause := at[i].Sub(at[i-1]); pause < leastPause/2 || pause > mostPause {
				t.Errorf("pause %d is %v", i, pause)
			}
		}
		if first, last := at[1].Sub(at[0]), at[11].Sub(at[10]); last < 10*first {
			t.Errorf("the first pause was %v, the last %v", first, last)
		}
		w.wantCommitted(3)
	})
}

func TestAnEffectIsCancelledAtTheEndAndNotCommitted(t *testing.T) {
	effects(t, func(w *world) {
		w.do = func(ctx context.Context, e *partition.Event) error {
			if e.Version == 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		w.commit("a", 1, "e")
		w.commit("a", 1, "e")
		_, stop := w.deliver()
		w.wasTold("a1 a2")
		stop()
		w.wantCommitted(2)
		w.deciding(nil)
		_, _ = w.deliver()
		w.wasTold("a2")
	})
}

func TestProgressIsCommittedFiveTimesASecondAtMostAndThenNow(t *testing.T) {
	effects(t, func(w *world) {
		_, stop := w.deliver()
		for range 100 {
			w.commit("a", 1, "e")
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(commitInterval)
		w.wantCommitted(101)
		w.mu.Lock()
		n := len(w.commits)
		w.commits = nil
		w.mu.Unlock()
		if n < 9 || n > 12 {
			t.Errorf("%d commits in 2 s, want about 10", n)
		}
		time.Sleep(2 * refreshAfter)
		w.mu.Lock()
		n = len(w.commits)
		w.mu.Unlock()
		if n < 1 || n > 2 {
			t.Errorf("%d commits while it was idle for %v", n, 2*refreshAfter)
		}
		stop()
	})
}

func TestWhatAnEffectCanNeverReadStopsIt(t *testing.T) {
	effects(t, func(w *world) {
		w.do = func(context.Context, *partition.Event) error { return Final(errors.New("unknown name")) }
		w.commit("a", 1, "e")
		d, _ := w.deliver()
		time.Sleep(time.Hour)
		w.wasTold("a1")
		if p := d.Status(); !p.Final || p.Err == nil {
			t.Errorf("status %+v", p)
		}
		w.wantCommitted(1)
	})
}

func TestProgressBeyondTheLogIsAnotherLogs(t *testing.T) {
	effects(t, func(w *world) {
		if err := w.log.Commit(t.Context(), itsGroup, topic, 0, 7); err != nil {
			t.Fatal(err)
		}
		d, _ := w.deliver()
		if p := d.Status(); !p.Final || !strings.Contains(p.Err.Error(), "beyond the log's end 1") {
			t.Errorf("status %+v", p)
		}
		w.wantCommitted(7)
	})
}

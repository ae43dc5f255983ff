package stream

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// hears reports whether c is sent to within d.
func hears(c <-chan struct{}, d time.Duration) bool {
	select {
	case <-c:
		return true
	case <-time.After(d):
		return false
	}
}

func TestWhoAskedIsToldOnceThatARunningTaskHasMoved(t *testing.T) {
	script(t, func(p *play) {
		task, stop := p.start(p.log)
		defer stop()
		synctest.Wait()
		c := make(chan struct{}, 1)
		task.Notify(c)
		if hears(c, time.Minute) {
			p.Fatal("told though nothing has moved")
		}
		p.commit("a", 1, "moved")
		if !hears(c, time.Second) {
			p.Fatal("not told that it has moved")
		}
		p.commit("a", 1, "again")
		if hears(c, time.Minute) {
			p.Fatal("told again without having asked again")
		}
		task.Notify(c)
		task.Forget(c)
		p.commit("a", 1, "forgotten")
		if hears(c, time.Minute) {
			p.Fatal("told after all was taken back")
		}
	})
}

func TestAWatchedTaskIsLookedAtMoreOftenWhileSomebodyWantsToHear(t *testing.T) {
	script(t, func(p *play) {
		p.commit("a", 2, "counted")
		p.store.set(1)
		w := p.watch()
		time.Sleep(10 * watchIdly)
		for mark := int64(2); mark < 20; mark++ {
			c, began := make(chan struct{}, 1), time.Now()
			w.Notify(c)
			p.store.set(mark)
			if !hears(c, 10*time.Second) || time.Since(began) > watchNotify+10*time.Millisecond {
				p.Fatalf("mark %d was told of after %v", mark, time.Since(began))
			}
		}
	})
}

func TestAWatchedTaskIsNotLookedAtMoreOftenThanNeededHoweverManyWantToHear(t *testing.T) {
	script(t, func(p *play) {
		w := p.watch()
		var looks atomic.Int32
		w.parts[0].(*fake).failing(func(call string) error {
			if call == "mark" {
				looks.Add(1)
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(p.Context(), 10*time.Second)
		defer cancel()
		for ctx.Err() == nil {
			for range 10 {
				w.Notify(make(chan struct{}, 1))
			}
			time.Sleep(time.Millisecond)
		}
		if n := looks.Load(); n < 90 || n > 110 {
			p.Errorf("it was looked at %d times in 10 s, want some 100", n)
		}
	})
}

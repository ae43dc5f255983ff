package stream

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// markInterval is how long a store's mark may stay behind in these tests.
const markInterval = 50 * time.Millisecond

// watch watches what p.start's task writes, with a part of its own on the store.
func (p *play) watch() *Task {
	watching := &play{T: p.T, log: p.log, store: p.store}
	watching.part = &fake{p: watching}
	t := watching.task(watching.count(time.Millisecond), Config{Log: p.log})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); t.Watch(ctx) }()
	p.Cleanup(func() { cancel(); <-ended })
	synctest.Wait()
	return t
}

func (s *cabinet) set(mark int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark = mark
}

func TestWhatAnotherProcessWritesIsWaitedFor(t *testing.T) {
	script(t, func(p *play) {
		p.commit("a", 2, "counted")
		w := p.watch()
		if w.Status().Whole() {
			p.Fatal("whole before anything was written")
		}
		began := time.Now()
		time.AfterFunc(300*time.Millisecond, func() { p.store.set(3) })
		if err := w.Wait(p.Context(), 2); err != nil {
			p.Fatal(err)
		}
		if waited := time.Since(began); waited > 350*time.Millisecond {
			p.Errorf("it was seen after %v", waited)
		}
		if !w.Status().Whole() {
			p.Error("not whole at the end that the log had")
		}
	})
}

func TestAWatchedStoreThatWasEmptiedIsNotWholeUntilItIsFilled(t *testing.T) {
	script(t, func(p *play) {
		p.commit("a", 2, "counted")
		p.store.set(3)
		w := p.watch()
		p.store.set(0)
		time.Sleep(2 * watchIdly)
		if w.Status().Whole() {
			p.Fatal("whole while the store is empty")
		}
		p.store.set(3)
		time.Sleep(2 * watchIdly)
		if !w.Status().Whole() {
			p.Fatal("not whole though the store is filled again")
		}
	})
}

func TestAStoreThatCannotBeWatchedIsNotWhole(t *testing.T) {
	script(t, func(p *play) {
		w := p.watch()
		part := w.parts[0].(*fake)
		part.p.store.set(1)
		part.failing(func(string) error { return errors.New("as asked") })
		time.Sleep(2 * watchIdly)
		if s := w.Status(); s.Whole() || s.Err == nil {
			p.Fatalf("status %+v while the store fails", s)
		}
		part.failing(nil)
		time.Sleep(2 * watchIdly)
		if s := w.Status(); !s.Whole() || s.Err != nil {
			p.Fatalf("status %+v when the store is back", s)
		}
	})
}

func TestASharedTaskMovesTheMarkThoughNothingHasChanged(t *testing.T) {
	script(t, func(p *play) {
		task := p.task(p.count(markInterval), Config{Log: p.log})
		p.run(task)
		p.commit("a", 1, "quiet")
		time.Sleep(2 * markInterval)
		synctest.Wait()
		p.store.mu.Lock()
		defer p.store.mu.Unlock()
		if p.store.mark != 2 {
			p.Errorf("the mark is %d, want 2", p.store.mark)
		}
	})
}

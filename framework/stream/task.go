package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/clock"
	"github.com/drivetrain-go/drivetrain/internal/waiters"
)

// Task is one stage of a topology on one partition of its input. A [Runner] runs
// those that are its process's share; who shares them out otherwise takes them
// from [Runner.Tasks].
type Task struct {
	cfg    *Config
	stage  *stage
	part   int32
	around shape
	parts  []storePart // of its stores

	marked int64           // what its stores held when they were last heard of
	opened bool            // they were
	missed time.Time       // since when its input lacks what it needs; zero: it does not
	floors map[int64]int64 // by a snapshot's position: from where on it needs the shuffle
	caught bool            // its goal was reached once, here or elsewhere: Config.Rate does not hold any more

	parking    atomic.Pointer[parking] // of the attempt under way, or the last one; nil: none
	everParked atomic.Int64            // events

	waiting atomic.Int32  // callers in Wait
	waits   chan struct{} // tells Watch of one; holds one

	moved waiters.List  // of Notify
	heard chan struct{} // tells Watch of a call of it; holds one

	hold  atomic.Int64  // see Hold; -1: it goes on. Changed under mu only
	nudge chan struct{} // tells the loop of it; holds one

	mu      sync.Mutex
	status  TaskStatus
	changed chan struct{} // closed when status changes; nil: nobody waits
}

// TaskStatus is how a task fares.
type TaskStatus struct {
	Operator  string // of the stage: its source or shuffle
	Partition int32
	Next      int64 // all of its input below this offset is folded
	Done      int64 // and all that this made is acknowledged: it lies in the shuffles, topics and stores
	Goal      int64 // the end that its input had when the task began, or that Aim set; -1: not known yet
	Err       error // why it does not go on; nil while it does
	Final     bool  // Err does not pass by itself
	Held      bool  // Hold has stopped it at Next, with all that lies below acknowledged
	Marked    int64 // the mark that its stores are known to have; one that is lower by now has lost something

	Fills int  // how often its stores were found to lack what is below the goal
	Once  bool // it was whole once, as far as this process has seen

	unsure bool // a call of a store has failed: what it holds shows when it is open again
}

// Whole reports whether what the task fills has passed its goal: before that, or
// while a store fails, it may lack what it had.
func (s TaskStatus) Whole() bool { return s.Goal >= 0 && s.Done >= s.Goal && !s.unsure }

func newTask(cfg *Config, s *stage, part int32, around shape) *Task {
	t := &Task{cfg: cfg, stage: s, part: part, around: around,
		waits: make(chan struct{}, 1), heard: make(chan struct{}, 1), nudge: make(chan struct{}, 1),
		status: TaskStatus{Operator: s.name, Partition: part, Goal: -1}}
	t.hold.Store(-1)
	for _, st := range s.stores {
		t.parts = append(t.parts, st.part(opening{cfg, s.input(), part, func(err error) {
			t.update(func(s *TaskStatus) { s.Err = err })
		}}))
	}
	t.around.parts = t.parts
	return t
}

// Status returns how the task fares.
func (t *Task) Status() TaskStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status
}

func (t *Task) update(f func(*TaskStatus)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.status
	f(&t.status)
	t.status.Once = t.status.Once || t.status.Whole()
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
	if now := t.status; now.Done != before.Done || now.Whole() != before.Whole() || now.Final != before.Final {
		t.moved.Wake()
	}
}

// look returns the status, and a channel that is closed when it changes.
func (t *Task) look() (TaskStatus, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.status, t.changed
}

// Aim sets the goal: the end of a shuffle, once all that is to be in it has been
// written. For a source it is known without.
func (t *Task) Aim(goal int64) { t.update(func(s *TaskStatus) { s.Goal = goal }) }

// Wait waits until the task is whole and what the record at offset has made is
// acknowledged, or ctx ends. It returns the task's own error if that is final.
func (t *Task) Wait(ctx context.Context, offset int64) error {
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	select {
	case t.waits <- struct{}{}:
	default:
	}
	for {
		s, changed := t.look()
		switch {
		case s.Whole() && s.Done > offset:
			return nil
		case s.Final:
			return s.Err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Notify sends to c once, if it has room, as soon as who reads the task's stores may
// see something else than now: Done has moved, or Whole or Final is another. A task
// that is watched sees that within some 100 ms.
func (t *Task) Notify(c chan<- struct{}) {
	t.moved.Add(c)
	select {
	case t.heard <- struct{}{}:
	default:
	}
}

// Forget takes back what Notify was told, if c has not been sent to yet.
func (t *Task) Forget(c chan<- struct{}) { t.moved.Remove(c) }

// Run works until ctx ends, again after each failure with a growing pause. A
// failure that cannot pass is logged once and shown in Status.
func (t *Task) Run(ctx context.Context) {
	t.stagger(ctx)
	var pause clock.Backoff
	log := t.cfg.Logger.With("topology", t.stage.of.Name, "operator", t.stage.name, "partition", t.part)
	for ctx.Err() == nil {
		began := t.cfg.Clock.Now()
		err := t.attempt(ctx)
		if ctx.Err() != nil {
			t.update(func(s *TaskStatus) { s.Held = false })
			return
		}
		if t.unsure(err) {
			continue
		}
		final := permanent(err)
		t.update(func(s *TaskStatus) { s.Err, s.Final, s.Held = err, final, false })
		if final {
			log.Error("task stopped", "err", err)
			return
		}
		if t.cfg.Clock.Now().Sub(began) > time.Minute {
			pause.Reset()
		}
		d := pause.Next(t.cfg.Clock)
		log.Warn("task will start anew", "err", err, "pause", d)
		clock.Sleep(ctx, t.cfg.Clock, d)
	}
}

// How often watched stores are looked at: while somebody waits for them, while
// somebody wants to hear when they move, and else.
const (
	watchClosely = 20 * time.Millisecond
	watchNotify  = 100 * time.Millisecond
	watchIdly    = time.Second
)

// Watch follows what another process's Run writes to the task's stores, until ctx
// ends: Status and Wait then tell of their marks. Run and Watch take turns, never
// at once.
func (t *Task) Watch(ctx context.Context) {
	for ctx.Err() == nil {
		pause, waits, heard := watchIdly, t.waits, t.heard
		listened := t.moved.Len() > 0 // see may wake them
		if err := t.see(ctx); err != nil && ctx.Err() == nil {
			t.update(func(s *TaskStatus) { s.Err, s.unsure = err, true })
			waits, heard = nil, nil
		} else if t.waiting.Load() > 0 {
			pause, waits, heard = watchClosely, nil, nil
		} else if listened {
			pause, heard = watchNotify, nil
		}
		select {
		case <-waits:
		case <-heard:
		case <-t.cfg.Clock.After(pause):
		case <-ctx.Done():
		}
	}
}

// see takes over the stores' marks. One that has fallen back means that its store
// has lost what was written: it must get to where it was before it is whole again.
func (t *Task) see(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	if t.Status().Goal < 0 && t.stage.topic != "" {
		end, err := t.cfg.Log.End(within, t.stage.input(), t.part)
		if err != nil {
			return fmt.Errorf("find the end: %w", err)
		}
		t.Aim(end)
	}
	mark := int64(-1)
	for i, p := range t.parts {
		m, err := p.Mark(within)
		if err != nil {
			return fmt.Errorf("look at store %s: %w", t.stage.stores[i].name, err)
		}
		if mark < 0 || m < mark {
			mark = m
		}
	}
	lost, first := mark < t.marked, !t.opened
	t.opened, t.marked = true, mark
	t.update(func(s *TaskStatus) {
		if s.Marked = max(mark, 0); lost {
			s.Goal, s.Done = max(s.Goal, s.Done), mark
		}
		if lost || first && mark < s.Goal {
			s.Fills++
		}
		s.Done, s.Err, s.Final, s.unsure = max(s.Done, mark), nil, false, false
	})
	t.caught = t.caught || t.Status().Once
	return nil
}

// Final marks an error as one that the same log and program will meet again: the
// task stops with it.
func Final(err error) error { return &finalError{err} }

// finalError is a failure that the same log and program will meet again.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

func permanent(err error) bool {
	var final *finalError
	var damaged *eventlog.DamagedError
	return errors.As(err, &final) || errors.As(err, &damaged) || errors.Is(err, event.ErrNewer) ||
		errors.Is(err, eventlog.ErrOffset) || errors.Is(err, eventlog.ErrUnknownTopic)
}

package stream

import (
	"context"
	"math"
)

// HoldMarks is an offset for [Task.Hold] at which a task is never held.
const HoldMarks = math.MaxInt64

// Hold lets the task stop at an offset of its input, or where it is if it has passed
// that: it folds nothing from there on, and all that lies below comes into the
// shuffles, topics and stores, whose marks follow at once. A task that starts anew
// goes on to where it may have been before. With HoldMarks it is not stopped, but the
// marks follow all the same; a negative offset lets it go on as ever.
func (t *Task) Hold(offset int64) {
	t.update(func(s *TaskStatus) {
		t.hold.Store(max(offset, -1))
		s.Held = false
	})
	select {
	case t.nudge <- struct{}{}:
	default:
	}
}

// Stopped waits until the task is held at one place, and returns that: all of its
// input below it is folded and acknowledged, the marks of its stores are there, and
// nothing beyond it has been folded. It returns ctx's error, or the task's if that is
// final. A task that only watches is never held.
func (t *Task) Stopped(ctx context.Context) (next int64, err error) {
	for {
		s, changed := t.look()
		switch {
		case s.Held:
			return s.Next, nil
		case s.Final:
			return 0, s.Err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// holding reports whether the marks are to follow at once.
func (t *Task) holding() bool { return t.hold.Load() >= 0 }

// stop returns the offset from which on nothing is folded. What an earlier life has
// written, or may have sent, lies below it.
func (a *attempt) stop(hold int64) int64 {
	if hold < 0 {
		return HoldMarks
	}
	for _, s := range a.core.shelves {
		if !s.of.bare {
			hold = max(hold, s.mark)
		}
	}
	if len(a.stage.outs) > 0 {
		hold = max(hold, a.end)
	}
	return hold
}

// stopped reports whether the rest of the run under way must wait.
func (a *attempt) stopped() bool {
	return len(a.rest) > 0 && a.rest[0].Offset >= a.stop(a.hold.Load())
}

// below returns how many of the next records may be folded.
func (a *attempt) below(most int) int {
	n, stop := min(len(a.rest), most), a.stop(a.hold.Load())
	for n > 0 && a.rest[n-1].Offset >= stop {
		n--
	}
	return n
}

// idle reports whether all that was read, and may be, is folded.
func (a *attempt) idle() bool { return len(a.rest) == 0 || a.stopped() }

// stand tells when the task is held.
func (a *attempt) stand() {
	hold := a.hold.Load()
	if hold < 0 || a.Status().Held {
		return
	}
	if a.core.next < a.stop(hold) && !a.stopped() || a.done < a.core.next {
		return
	}
	for _, s := range a.core.shelves {
		if s.writing || s.part.Pending() > 0 || !s.of.bare && s.mark != a.core.next {
			return
		}
	}
	a.update(func(s *TaskStatus) { s.Held = a.hold.Load() == hold })
}

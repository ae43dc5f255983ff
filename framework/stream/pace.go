package stream

import (
	"context"
	"hash/fnv"
	"math"
	"time"

	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// pace keeps a source's task to Config.Rate until it has reached its goal once.
type pace struct {
	owed time.Duration    // of rest, for what was folded
	paid time.Time        // when that was last reckoned
	rest <-chan time.Time // tells that the rest is over; nil: there is none
}

// leastRest is how much rest is owed before it is taken.
const leastRest = 10 * time.Millisecond

// startWithin is the time over which those tasks begin that a rate bounds and that have much
// to do: to begin costs the log and the stores as much as many records do, and who reads and
// writes meanwhile should not feel it.
const startWithin = 4 * time.Second

// stagger waits before a task begins whose stores lack more than its rate would bring
// meanwhile. Another time it would be missed, if only for its last records.
func (t *Task) stagger(ctx context.Context) {
	if !t.paced() || len(t.parts) == 0 || t.see(ctx) != nil {
		return
	}
	s := t.Status()
	if float64(s.Goal-s.Done) > t.cfg.Rate*startWithin.Seconds() {
		_ = clock.Sleep(ctx, t.cfg.Clock, time.Duration(phase(t.stage.name, t.part)*float64(startWithin)))
	}
}

// phase is a share of a period, by which those who do something in each of them differ, so
// that they do not all do it at the same moment. It is the same each time.
func phase(name string, part int32) float64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	_, share := math.Modf(float64(h.Sum32())/(1<<32) + float64(part)*math.Phi)
	return share
}

// paced reports whether the task is to keep to a rate.
func (t *Task) paced() bool { return t.cfg.Rate > 0 && t.stage.topic != "" && !t.caught }

// slice is how many records are folded at once: of a slow task those of a second. It
// writes before it rests, and to most stores a write of a few records is as dear as one of
// many.
func (a *attempt) slice() int {
	if !a.paced() {
		return slice
	}
	return min(slice, max(1, int(a.cfg.Rate)))
}

// pay reckons the rest that n records cost, less the time that has passed, and begins
// it. The pace ends where the task has reached its goal: what it lacks then has come since it
// began, and from here on it may be read.
func (a *attempt) pay(n int) {
	if !a.paced() {
		return
	}
	if a.caught = a.core.next >= a.Status().Goal; a.caught {
		return
	}
	p, now, cost := &a.pace, a.cfg.Clock.Now(), float64(n)/a.cfg.Rate*float64(time.Second)
	if !p.paid.IsZero() {
		p.owed = max(0, p.owed-max(0, now.Sub(p.paid)))
	}
	p.paid = now
	if p.owed += time.Duration(cost); p.owed >= leastRest {
		p.rest = a.cfg.Clock.After(p.owed)
	}
}

// rested ends a rest.
func (a *attempt) rested() { a.pace = pace{paid: a.cfg.Clock.Now()} }

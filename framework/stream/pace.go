package stream

import (
	"math"
	"time"
)

// pace keeps a source's task to Config.Rate until it has caught up once.
type pace struct {
	owed time.Duration    // of rest, for what was folded
	paid time.Time        // when that was last reckoned
	rest <-chan time.Time // tells that the rest is over; nil: there is none
}

// leastRest is how much rest is owed before it is taken.
const leastRest = 10 * time.Millisecond

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
// it. The first one is longer by a share of it that depends on the partition, so that those
// who began together do not write together.
func (a *attempt) pay(n int) {
	if !a.paced() {
		return
	}
	p, now, cost := &a.pace, a.cfg.Clock.Now(), float64(n)/a.cfg.Rate*float64(time.Second)
	if p.paid.IsZero() {
		_, share := math.Modf(float64(a.part) * math.Phi)
		p.owed = time.Duration(share * cost)
	} else {
		p.owed = max(0, p.owed-max(0, now.Sub(p.paid)))
	}
	p.paid = now
	if p.owed += time.Duration(cost); p.owed >= leastRest {
		p.rest = a.cfg.Clock.After(p.owed)
	}
}

// rested ends a rest.
func (a *attempt) rested() { a.pace = pace{paid: a.cfg.Clock.Now()} }

// caughtUp notes that there is nothing to read, which ends the pace once the task has
// reached its goal.
func (a *attempt) caughtUp() {
	if a.paced() && len(a.rest) == 0 && len(a.runs) == 0 && a.core.next >= a.Status().Goal {
		a.caught, a.pace = true, pace{}
	}
}

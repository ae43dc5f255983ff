package stream

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// A task lets its shuffle forget what it will not read again, wherever and from
// whichever of its snapshots it starts: what lies below all of those that are kept, and
// is not held back. What it holds back follows from the position, and nothing that a
// later snapshot holds back lies below what an earlier one needs.

// trims reports whether the stage's shuffle may be trimmed. The stage is its only
// reader. What a store has lost can only be had from the shuffle's beginning, and what
// an intake has copied is to stay.
func (s *stage) trims() bool { return s.topic == "" && !s.unread() && len(s.stores) == 0 }

// trimmer returns what trims the task's shuffle; nil: it is not to be trimmed.
func (a *attempt) trimmer() eventlog.Trimmer {
	log, can := a.cfg.Log.(eventlog.Trimmer)
	if !can || a.snap == nil || a.cfg.KeepShuffles || !a.stage.trims() {
		return nil
	}
	return log
}

// trimmable reports whether the task's input may be trimmed: by another process, which
// need not be configured alike, or once.
func (a *attempt) trimmable() bool {
	_, can := a.cfg.Log.(eventlog.Trimmer)
	return can && a.stage.topic == ""
}

// floor returns the offset from which on the task reads its input, or may yet: a parked
// event is read when it is ruled on.
func (c *core) floor() int64 {
	if c.parking == nil {
		return c.next
	}
	return c.parking.floor(c.next)
}

func (p *parking) floor(next int64) int64 {
	for _, u := range p.keys.all() {
		next = min(next, u.state.at)
	}
	return next
}

// mostFloors is of how many snapshots it is known what they need: of those since the
// oldest that is kept, some 35 as a rule.
const mostFloors = 1000

// needs notes what a snapshot of now will need, unless that is its position.
func (a *attempt) needs() {
	if a.core.parking == nil {
		return
	}
	if a.floors == nil || len(a.floors) == mostFloors {
		a.floors = make(map[int64]int64)
	}
	a.floors[a.core.next] = a.core.floor()
}

// reaches returns why a snapshot that was loaded cannot be gone on from: a task that was
// replaced may store one that lies below all that its successor has kept.
func (a *attempt) reaches(start int64) error {
	if floor := a.core.floor(); floor < start {
		return fmt.Errorf("it needs %s from offset %d on, which begins at %d", a.stage.input(), floor, start)
	}
	return nil
}

// trim lets the shuffle forget, beside the loop, what no snapshot needs any more.
func (a *attempt) trim() {
	log, below := a.trimmer(), a.unneeded()
	if log == nil || a.trimming || below <= a.trimmedTo {
		return
	}
	a.trimming = true
	a.beside(func(ctx context.Context) error {
		return log.Trim(ctx, a.stage.input(), a.part, below)
	}, func(err error) error {
		if a.trimming = false; err == nil {
			a.trimmedTo, a.untrimmed = below, false
			return nil
		}
		if !a.untrimmed {
			a.cfg.Logger.Warn("a shuffle was not trimmed; it is tried again with each snapshot", "operator", a.stage.name, "partition", a.part, "err", err)
		}
		a.untrimmed = true
		return nil
	})
}

// unneeded returns the offset below which no snapshot that is kept needs the shuffle:
// 0, where it is not known what one of them needs.
func (a *attempt) unneeded() int64 {
	kept := a.snap.series.Kept()
	if len(kept) == 0 {
		return 0
	}
	below := kept[0]
	if a.core.parking != nil {
		below = a.floors[below]
	}
	maps.DeleteFunc(a.floors, func(position, _ int64) bool { return position < kept[0] })
	return below
}

// lossLasts is for how long a task may need what its shuffle does not have any more before
// it stops for good. It passes where the task was replaced meanwhile, or where a snapshot
// that was just stored does not show everywhere yet. Tests make it shorter.
var lossLasts = time.Minute

// gone is the error of a task that needs what its input does not have any more.
func (a *attempt) gone(err error, restore string) error {
	now := a.cfg.Clock.Now()
	if a.missed.IsZero() {
		a.missed = now
	}
	if !a.trimmable() || now.Sub(a.missed) >= lossLasts {
		return Final(fmt.Errorf("%w; restore the %s, or %s", err, restore, a.remedy()))
	}
	return fmt.Errorf("%v: another process may have trimmed it meanwhile, so the task starts anew from the newest snapshot", err)
}

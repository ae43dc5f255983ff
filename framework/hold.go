package framework

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// How often a process looks whether the tasks have stopped that a cut holds, and how
// often whether the time of a cut has passed.
const (
	holdClosely = 2 * time.Millisecond
	holdBehind  = 20 * time.Millisecond // what lies behind a shuffle
	holdIdly    = 500 * time.Millisecond
)

// holder holds a process' tasks where the cuts in the control log say.
type holder struct {
	a    *App
	p    *process
	held map[*stream.Task]int64 // what each was told
	seen map[heldPlace]control.Held
}

// heldPlace is a partition of a generation, held by a cut.
type heldPlace struct {
	cut        event.ID
	generation int
	partition  int32
}

func placeOf(r *control.Held) heldPlace { return heldPlace{r.ID, r.Generation, r.Partition} }

// holdCuts holds tasks for the cuts that stand until ctx ends, and says where they
// have stopped.
func (a *App) holdCuts(ctx context.Context, p *process) {
	h := &holder{a: a, p: p, held: make(map[*stream.Task]int64), seen: make(map[heldPlace]control.Held)}
	for ctx.Err() == nil {
		changed := p.catalogue.Changed()
		cuts := h.standing()
		h.tell(cuts)
		pause := h.say(ctx, cuts)
		select {
		case <-changed:
		case <-a.cfg.Clock.After(pause):
		case <-ctx.Done():
		}
	}
	h.tell(nil)
}

// standing returns the cuts whose time has not passed.
func (h *holder) standing() (cuts []control.Cut) {
	now := h.a.cfg.Clock.Now()
	h.p.catalogue.See(func(f *control.Fold) {
		for _, c := range f.Cuts() {
			if c.Until.After(now) {
				cuts = append(cuts, c)
			}
		}
	})
	return cuts
}

// working returns the generations of a cut that are at work here.
func (h *holder) working(c control.Cut) (list []*following) {
	k := h.p.views[c.View]
	if k == nil {
		return nil
	}
	for _, number := range c.Generations {
		if f := k.generation(number); f != nil {
			list = append(list, f)
		}
	}
	return list
}

// tell lets each task know where it is to stop: at the least offset of the cuts that
// it is in.
func (h *holder) tell(cuts []control.Cut) {
	want := make(map[*stream.Task]int64)
	for _, c := range cuts {
		for _, f := range h.working(c) {
			for n, offset := range c.At {
				if int(n) >= len(f.sources) {
					continue
				}
				if before, known := want[f.sources[n]]; known {
					offset = min(offset, before)
				}
				want[f.sources[n]] = offset
			}
			for _, t := range f.fills { // they end where their sources do
				want[t] = stream.HoldMarks
			}
		}
	}
	for t := range h.held {
		if _, still := want[t]; !still {
			t.Hold(-1)
		}
	}
	for t, offset := range want {
		if before, known := h.held[t]; !known || before != offset {
			t.Hold(offset)
		}
	}
	h.held = maps.Clone(want)
}

// say puts into the control log where tasks have stopped, if that is not there yet. It
// returns when it is to be called again: soon, if others are yet to stop here. What
// could not be said is tried again after a pause.
func (h *holder) say(ctx context.Context, cuts []control.Cut) (pause time.Duration) {
	records, pause := h.stopped(cuts)
	records = h.news(records)
	switch {
	case h.propose(ctx, records):
		return holdIdly
	case len(records) > 0:
		return holdClosely
	}
	return pause
}

// stopped returns where tasks have stopped here, and when to look again for more.
func (h *holder) stopped(cuts []control.Cut) (records []control.Held, pause time.Duration) {
	pause = holdIdly
	for _, c := range cuts {
		for _, f := range h.working(c) {
			if f.fills != nil {
				pause = min(pause, holdBehind)
			}
			for n, least := range c.At {
				if int(n) >= len(f.sources) || h.p.stations[n].owner.Load() == nil {
					continue
				}
				if s := f.sources[n].Status(); s.Held && s.Next >= least {
					records = append(records, f.held(c.ID, n, s.Next))
				} else {
					pause = holdClosely
				}
			}
		}
	}
	return records, pause
}

// held says that a cut has stopped a generation at a partition. What is held back there
// is counted last, so that it is of all that is said to be folded.
func (f *following) held(cut event.ID, n int32, next int64) control.Held {
	r := control.Held{ID: cut, Generation: f.number, Partition: n, Next: next}
	if f.fills != nil {
		r.Derived = max(0, f.fills[n].Status().Done)
		r.Parked = f.fills[n].ParkedKeys()
	}
	r.Parked += f.sources[n].ParkedKeys()
	return r
}

// news leaves out what was said before, and what goes on behind a shuffle: that is said
// once two looks find the same.
func (h *holder) news(records []control.Held) (list []control.Held) {
	seen := make(map[heldPlace]control.Held, len(records))
	h.p.catalogue.See(func(f *control.Fold) {
		for _, r := range records {
			seen[placeOf(&r)] = r
			before, said := f.Held(r.ID, r.Generation, r.Partition)
			if !said || before.Next != r.Next || before != r && h.seen[placeOf(&r)] == r {
				list = append(list, r)
			}
		}
	})
	h.seen = seen
	return list
}

// propose puts records into the control log, and reports whether one could not be.
func (h *holder) propose(ctx context.Context, records []control.Held) (failed bool) {
	within, cancel := context.WithTimeout(ctx, h.a.cfg.AppendTimeout)
	defer cancel()
	var saying sync.WaitGroup
	var lost atomic.Bool
	for _, r := range records {
		saying.Go(func() {
			if _, err := h.p.catalogue.Propose(within, r.Record()); err != nil && ctx.Err() == nil {
				lost.Store(true)
				h.a.cfg.Logger.Warn("where a generation is held will be said again", "generation", r.Generation, "partition", r.Partition, "err", err)
			}
		})
	}
	saying.Wait()
	return lost.Load()
}

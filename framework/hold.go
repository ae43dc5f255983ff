package framework

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// How often a process looks whether the tasks have stopped that a cut holds, and how
// often whether the time of a cut has passed.
const (
	holdClosely = 2 * time.Millisecond
	holdIdly    = 500 * time.Millisecond
)

// holder holds a process' tasks where the cuts in the control log say.
type holder struct {
	a    *App
	p    *process
	held map[*stream.Task]int64 // what each was told
}

// holdCuts holds tasks for the cuts that stand until ctx ends, and says where they
// have stopped.
func (a *App) holdCuts(ctx context.Context, p *process) {
	h := &holder{a: a, p: p, held: make(map[*stream.Task]int64)}
	for ctx.Err() == nil {
		changed := p.catalogue.Changed()
		cuts := h.standing()
		h.tell(cuts)
		pause := holdIdly
		if h.say(ctx, cuts) {
			pause = holdClosely
		}
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
// reports whether others are yet to stop here. What could not be said is tried again
// after a pause.
func (h *holder) say(ctx context.Context, cuts []control.Cut) (more bool) {
	var records []control.Held
	for _, c := range cuts {
		for _, f := range h.working(c) {
			for n, least := range c.At {
				if int(n) >= len(f.sources) || h.p.stations[n].owner.Load() == nil {
					continue
				}
				s := f.sources[n].Status()
				if !s.Held || s.Next < least {
					more = true
					continue
				}
				records = append(records, control.Held{ID: c.ID, Generation: f.number, Partition: n, Next: s.Next})
			}
		}
	}
	h.p.catalogue.See(func(f *control.Fold) {
		n := 0
		for _, r := range records {
			if next, said := f.Held(r.ID, r.Generation, r.Partition); !said || next != r.Next {
				records[n] = r
				n++
			}
		}
		records = records[:n]
	})
	within, cancel := context.WithTimeout(ctx, h.a.cfg.AppendTimeout)
	defer cancel()
	var saying sync.WaitGroup
	var failed atomic.Bool
	for _, r := range records {
		saying.Go(func() {
			if _, err := h.p.catalogue.Propose(within, r.Record()); err != nil && ctx.Err() == nil {
				failed.Store(true)
				h.a.cfg.Logger.Warn("where a generation is held will be said again", "generation", r.Generation, "partition", r.Partition, "err", err)
			}
		})
	}
	saying.Wait()
	return (more || len(records) > 0) && !failed.Load()
}

package framework

import (
	"context"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// pointAgain is how often the stores are told which generation of a view is read, though
// that is as it was: one may have lost it.
const pointAgain = 5 * time.Second

// pointFails is how many times in a row telling them fails before that is a warning: the
// first times, what is read may not be prepared yet.
const pointFails = 10

// pointed is what a store was told of a view.
type pointed struct {
	turn int // 0: nothing yet
	at   time.Time
	fail int // times in a row
}

// pointOut tells the stores which generation of each view is read, for outside readers,
// until ctx ends. Where processes share the partitions the one that serves partition 0 does;
// two that believe to do no harm, for a store takes no turn back.
func (a *App) pointOut(ctx context.Context, p *process) {
	told := make(map[string]*pointed, len(p.views))
	for ctx.Err() == nil {
		changed := p.catalogue.Changed()
		if p.stations[0].owner.Load() != nil {
			for _, k := range p.views {
				if told[k.name] == nil {
					told[k.name] = &pointed{}
				}
				a.point(ctx, p, k, told[k.name])
			}
		}
		select {
		case <-changed:
		case <-a.cfg.Clock.After(tendEvery):
		case <-ctx.Done():
		}
	}
}

// point tells the store of one view, if it is one that can be told and it is time for
// that.
func (a *App) point(ctx context.Context, p *process, k *kept, told *pointed) {
	var store view.Store = p.Documents
	if k.current.Kind == Search {
		store = p.Search
	}
	to, able := store.(view.Pointer)
	l := p.lineage(k.name)
	now := a.cfg.Clock.Now()
	if !able || l.Read == 0 || l.Turns == told.turn && now.Sub(told.at) < pointAgain {
		return
	}
	within, cancel := context.WithTimeout(ctx, a.cfg.ReadWait)
	defer cancel()
	err := to.Point(within, view.Generation{App: a.cfg.App, View: k.name, Number: l.Read}, l.Turns)
	if err == nil {
		*told = pointed{turn: l.Turns, at: now}
		return
	}
	if told.fail++; told.fail == pointFails && ctx.Err() == nil {
		a.cfg.Logger.Warn("outside readers are not told which generation of a view is read; it is tried again", "view", k.name, "generation", l.Read, "err", err)
	}
}

package framework

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// tendEvery is how often the generations are looked at while the control log says
// nothing new.
const tendEvery = time.Second

// tend looks after the views' generations until ctx ends: it puts those to work that
// come, and ends those that are retired. lasting is to outlast them.
func (a *App) tend(ctx, lasting context.Context, p *process) {
	reading := p.catalogue.Reading()
	tick := a.cfg.Clock.After(tendEvery)
	for ctx.Err() == nil {
		changed := p.catalogue.Changed()
		if now := p.catalogue.Reading(); !now.Same(reading) {
			reading = now
			p.waiters.Wake() // who shows an answer of the former is to ask again
		}
		err := a.arrange(lasting, p)
		p.shadower.arrange() // before what is retired is let go
		err = errors.Join(err, a.discharge(ctx, p))
		if err == nil && a.cfg.ReplaceViews {
			err = a.replace(ctx, p)
		}
		if err != nil && ctx.Err() == nil {
			a.cfg.Logger.Warn("the views' generations will be looked after again", "err", err)
		}
		select {
		case <-changed:
		case now := <-tick:
			tick = a.cfg.Clock.After(tendEvery)
			for _, k := range p.views {
				for _, f := range *k.working.Load() {
					f.pace.sample(f.done(), now)
				}
			}
		case <-ctx.Done():
		}
	}
}

// arrange lets those generations work that are to.
func (a *App) arrange(lasting context.Context, p *process) error {
	var all []error
	for _, k := range p.views {
		for _, g := range p.lineage(k.name).Generations {
			if g.Retired != nil || k.generation(g.Number) != nil {
				continue
			}
			f, err := a.follow(lasting, p, k, g)
			if err != nil {
				all = append(all, fmt.Errorf("view %s, generation %d: %w", k.name, g.Number, err))
				continue
			}
			k.set(g.Number, f)
			p.employ(f)
		}
	}
	return errors.Join(all...)
}

// discharge ends what this process has of retired generations.
func (a *App) discharge(ctx context.Context, p *process) error {
	var all []error
	for _, k := range p.views {
		for _, g := range p.lineage(k.name).Generations {
			if g.Retired == nil {
				continue
			}
			if err := a.release(ctx, p, k, g); err != nil {
				all = append(all, fmt.Errorf("view %s, generation %d: %w", k.name, g.Number, err))
			}
		}
	}
	return errors.Join(all...)
}

// release ends a generation's tasks here, once no query can be waiting for them any
// more, and deletes their snapshots, which may lie where no other process reaches.
func (a *App) release(ctx context.Context, p *process, k *kept, g control.Generation) error {
	if f := k.generation(g.Number); f != nil {
		if f.unread == nil {
			f.unread = a.cfg.Clock.After(a.cfg.ReadWait)
		}
		select {
		case <-f.unread:
			k.set(g.Number, nil)
			p.dismiss(f)
		default:
			return nil
		}
	}
	if k.cleared[g.Number] || p.Snapshots == nil {
		return nil
	}
	v, _ := k.declared(g.Version)
	runner, err := a.runner(p, v, g.Number, a.streamConfig(p))
	if err == nil {
		err = runner.DropSnapshots(ctx)
	}
	k.cleared[g.Number] = err == nil
	return err
}

// replace takes the next step for each view that is read in a generation which nobody
// can follow, and retires those that it has replaced.
func (a *App) replace(ctx context.Context, p *process) error {
	var all []error
	for _, k := range p.views {
		l := p.lineage(k.name)
		read := l.Find(l.Read)
		switch {
		case read == nil:
		case p.carried(k, read.Version):
			all = append(all, a.retireReplaced(ctx, p, k, &l))
		default:
			if target := p.target(k, &l); target == 0 || a.mayBeRead(ctx, p, k, target, false) == nil {
				all = append(all, a.advance(ctx, p, k, &l))
			}
		}
	}
	return errors.Join(all...)
}

func (a *App) retireReplaced(ctx context.Context, p *process, k *kept, l *control.Lineage) error {
	for _, s := range l.Switches {
		g := l.Find(s.From)
		if s.By != replaced || g == nil || g.Retired != nil || g.Number == l.Read || p.carried(k, g.Version) {
			continue
		}
		if _, err := p.catalogue.Propose(ctx, control.Retired{View: k.name, Number: g.Number, By: replaced, At: a.cfg.Clock.Now().UTC()}.Record()); err != nil {
			return err
		}
	}
	return nil
}

// sweep deletes what is left of retired generations until ctx ends, where this process
// serves partition 0: the store's documents and the shuffle. It waits for a while, so
// that other processes have ended their tasks too.
func (a *App) sweep(ctx context.Context, p *process) {
	var pause clock.Backoff
	for ctx.Err() == nil {
		changed := p.catalogue.Changed()
		doomed := p.doomed()
		if len(doomed) == 0 {
			select {
			case <-changed:
			case <-a.cfg.Clock.After(tendEvery):
			case <-ctx.Done():
			}
			continue
		}
		if clock.Sleep(ctx, a.cfg.Clock, a.cfg.ReadWait) != nil {
			return
		}
		var err error
		for _, g := range doomed {
			err = errors.Join(err, a.discard(ctx, p, g))
		}
		switch {
		case err == nil:
			pause.Reset()
		case ctx.Err() == nil:
			a.cfg.Logger.Warn("retired generations will be deleted again", "err", err)
			clock.Sleep(ctx, a.cfg.Clock, pause.Next(a.cfg.Clock))
		}
	}
}

// doomed returns the retired generations of which something may be left, if it is for
// this process to delete that.
func (p *process) doomed() (list []control.Generation) {
	if p.stations[0].owner.Load() == nil {
		return nil
	}
	for _, k := range p.views {
		for _, g := range p.lineage(k.name).Generations {
			if g.Retired != nil && !g.Dropped && k.generation(g.Number) == nil {
				list = append(list, g)
			}
		}
	}
	return list
}

// discard deletes what is left of a retired generation, and says so.
func (a *App) discard(ctx context.Context, p *process, g control.Generation) error {
	v, _ := p.views[g.View].declared(g.Version)
	at := view.Generation{App: a.cfg.App, View: g.View, Number: g.Number}
	if v.Drop != nil {
		if err := v.Drop(ctx, p.Resources, at); err != nil {
			return fmt.Errorf("delete %v from the stores: %w", at, err)
		}
	}
	runner, err := a.runner(p, v, g.Number, a.streamConfig(p))
	if err == nil {
		err = runner.DropShuffles(ctx)
	}
	if err != nil {
		return fmt.Errorf("delete the shuffle of %v: %w", at, err)
	}
	_, err = p.catalogue.Propose(ctx, control.Dropped{View: g.View, Number: g.Number}.Record())
	return err
}

// meter tells how fast a generation goes, from samples.
type meter struct {
	mu      sync.Mutex
	samples []sample
}

// sample is how many events were passed at a time.
type sample struct {
	done int64
	at   time.Time
}

// meterSpan is how many samples are kept: the time between the first and the last is
// what the rate is of.
const meterSpan = 6

func (m *meter) sample(done int64, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.samples = append(m.samples, sample{done, at}); len(m.samples) > meterSpan {
		m.samples = m.samples[1:]
	}
}

// rate returns the events a second.
func (m *meter) rate() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.samples) < 2 {
		return 0
	}
	first, last := m.samples[0], m.samples[len(m.samples)-1]
	return max(0, float64(last.done-first.done)/last.at.Sub(first.at).Seconds())
}

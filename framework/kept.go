package framework

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
)

// kept is a view as this process keeps it: the versions that the program carries, and
// the generations at work.
type kept struct {
	name     string
	current  View // the greatest version
	versions map[int]View
	working  atomic.Pointer[map[int]*following] // by number; arrange replaces it
	shadows  atomic.Pointer[[]*shadow]          // that a share of the queries is asked of too; nil: none
	cleared  map[int]bool                       // retired ones whose snapshots here are deleted; arrange's own
}

func newKept(current View, versions map[int]View) *kept {
	k := &kept{name: current.Name, current: current, versions: versions, cleared: make(map[int]bool)}
	k.working.Store(&map[int]*following{})
	return k
}

// declared returns the view as a version declares it, and whether the program carries
// that; if not, it is as the current one does, which is good enough to read by.
func (k *kept) declared(version int) (v View, carried bool) {
	if v, carried = k.versions[version]; carried {
		return v, true
	}
	return k.current, false
}

// generation returns a generation at work, nil if that is not.
func (k *kept) generation(number int) *following { return (*k.working.Load())[number] }

// set lets a generation be found; nil: not any more.
func (k *kept) set(number int, f *following) {
	next := maps.Clone(*k.working.Load())
	if next[number] = f; f == nil {
		delete(next, number)
	}
	k.working.Store(&next)
}

// read returns the generation that is read. It fails with an *UnavailableError while
// that is not at work.
func (k *kept) read(r *cluster.Reading) (*following, error) {
	number := r.Of(k.name)
	if f := k.generation(number); f != nil {
		return f, nil
	}
	return nil, &UnavailableError{Reason: fmt.Sprintf("generation %d of view %s is being set up", number, k.name), RetryAfter: retryAfter}
}

// employ puts the tasks of a generation to work at the stations.
func (p *process) employ(f *following) {
	for n, s := range p.stations {
		s.add(f.sources[n], f.runs)
		if f.fills != nil {
			s.add(f.fills[n], f.runs)
		}
	}
}

// dismiss ends the tasks of a generation.
func (p *process) dismiss(f *following) {
	var ends sync.WaitGroup
	for n, s := range p.stations {
		ends.Go(func() {
			s.remove(f.sources[n])
			if f.fills != nil {
				s.remove(f.fills[n])
			}
		})
	}
	ends.Wait()
	f.end()
}

// letGo gives up what all generations hold, once the stations have ended.
func (p *process) letGo() {
	for _, k := range p.views {
		for _, f := range *k.working.Load() {
			f.end()
		}
	}
}

// lineage returns what the control log says of a view, as far as it is folded.
func (p *process) lineage(view string) (l control.Lineage) {
	p.catalogue.See(func(f *control.Fold) { l = f.Lineage(view) })
	return l
}

// carried reports whether a process carries a version of a view: this one, or another
// that is listed, but for an earlier run of this one.
func (p *process) carried(k *kept, version int) (yes bool) {
	if _, yes = k.versions[version]; yes || !p.shared {
		return yes
	}
	p.catalogue.See(func(f *control.Fold) {
		for _, m := range f.Members() {
			another := m.Process != p.self.Process && (m.Instance == "" || m.Instance != p.self.Instance)
			yes = yes || another && m.Carries(k.name, version)
		}
	})
	return yes
}

// followed returns why not all partitions of a version of a view are followed, nil if
// they are: whoever serves a partition must carry the version.
func (p *process) followed(k *kept, version int) (err error) {
	if _, here := k.versions[version]; !p.shared {
		if here {
			return nil
		}
		return fmt.Errorf("this program does not carry version %d", version)
	}
	p.catalogue.See(func(f *control.Fold) {
		for n := range int32(len(p.stations)) {
			o, _ := f.Owner(n)
			m, there := f.Member(o.Process)
			switch {
			case err != nil || there && m.Carries(k.name, version):
			case !there:
				err = fmt.Errorf("partition %d has no owner that is known", n)
			default:
				err = fmt.Errorf("partition %d is served by a process that does not carry version %d (instance %q)", n, version, m.Instance)
			}
		}
	})
	return err
}

// begin lets a view be read in some generation, if it is in none. Where it is in one
// that nobody can follow, it refuses, or lets that be replaced if Config.ReplaceViews
// says so: at once where the stores have begun empty, else by tend.
func (a *App) begin(ctx context.Context, p *process, k *kept) error {
	for range 10 {
		l := p.lineage(k.name)
		read := l.Find(l.Read)
		switch {
		case read != nil && p.carried(k, read.Version):
			return nil
		case read != nil && !a.cfg.ReplaceViews:
			return fmt.Errorf("framework: view %s is read in generation %d, made by version %d of its fold, which neither this program (version %d) nor any other process carries: "+
				"register the former View beside the new one, each with its Version, then rebuild, switch, and take it out; or set Config.ReplaceViews to go on from what there is until version %d is whole",
				k.name, read.Number, read.Version, k.current.Version, k.current.Version)
		case read != nil && !p.Fleeting:
			return nil
		}
		if err := a.advance(ctx, p, k, &l); err != nil {
			return err
		}
	}
	return fmt.Errorf("framework: view %s: the control log takes no new generation of it: %d of them are kept; retire some", k.name, control.MaxKept)
}

// advance takes the next step towards another generation being read: it lets one be
// built, or switches to the one that is there.
func (a *App) advance(ctx context.Context, p *process, k *kept, l *control.Lineage) error {
	record := a.next(l, k.current.Version, Rebuild{}, k.name).Record()
	if target := p.target(k, l); target > 0 {
		record = a.replacing(l, target, k.name).Record()
	}
	if _, err := p.catalogue.Propose(ctx, record); err != nil {
		return fmt.Errorf("framework: begin view %s: %w", k.name, err)
	}
	return nil
}

// target returns the generation that is to be read in the place of one that nobody can
// follow, or of none; 0: it is yet to be built.
func (p *process) target(k *kept, l *control.Lineage) int {
	if l.Read > 0 {
		return l.Newest(k.current.Version)
	}
	for _, g := range l.Generations {
		if g.Retired == nil && p.carried(k, g.Version) {
			return g.Number
		}
	}
	return 0
}

// next returns the generation that is to be built next. The first of a view has the
// number of its version, as stores had it before there were generations.
func (a *App) next(l *control.Lineage, version int, r Rebuild, name string) control.Generation {
	number := l.Greatest + 1
	if l.Greatest == 0 {
		number = version
	}
	return control.Generation{View: name, Number: number, Version: version, Rate: r.Rate, By: r.By, At: a.cfg.Clock.Now().UTC()}
}

// replaced names Config.ReplaceViews as who has switched.
const replaced = "Config.ReplaceViews"

// replacing returns the switch to a generation from one that nobody can follow, or from
// none.
func (a *App) replacing(l *control.Lineage, to int, name string) control.Switch {
	s := control.Switch{View: name, Turn: l.Turns + 1, From: l.Read, To: to, At: a.cfg.Clock.Now().UTC()}
	if read := l.Find(l.Read); read != nil {
		s.Forced, s.By, s.Reason = true, replaced, fmt.Sprintf("the program carries no fold of version %d", read.Version)
	}
	return s
}

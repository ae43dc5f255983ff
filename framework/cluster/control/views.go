package control

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Lineage is what a fold knows of one view. The zero Lineage is that of a view that has
// none.
type Lineage struct {
	Generations []Generation // that are known, retired ones too, by number
	Greatest    int          // number that any has had
	Read        int          // number of the one that is read; 0: none is
	Turns       int          // how often it has been switched
	Switches    []Switch     // the last ones that took effect, oldest first
}

// Find returns the generation of a number, nil if none is known.
func (l *Lineage) Find(number int) *Generation {
	if l == nil {
		return nil
	}
	for i := range l.Generations {
		if l.Generations[i].Number == number {
			return &l.Generations[i]
		}
	}
	return nil
}

// Kept returns how many generations are not retired.
func (l *Lineage) Kept() (n int) {
	for i := range l.Generations {
		if l.Generations[i].Retired == nil {
			n++
		}
	}
	return n
}

// Newest returns the number of the last generation of a version that is not retired and
// came behind the one that is read, 0 if there is none.
func (l *Lineage) Newest(version int) (number int) {
	for _, g := range l.Generations {
		if g.Version == version && g.Retired == nil && g.Number > l.Read {
			number = g.Number
		}
	}
	return number
}

// live returns the generation of a number, nil if there is none that is not retired.
func (l *Lineage) live(number int) *Generation {
	if g := l.Find(number); g != nil && g.Retired == nil {
		return g
	}
	return nil
}

// decode reads a payload whose texts are within bounds.
func decode[T any](r *eventlog.Record, texts func(*T) []string) (v T, ok bool) {
	if json.Unmarshal(r.Value, &v) != nil {
		return v, false
	}
	for _, text := range texts(&v) {
		if len(text) > MaxText {
			return v, false
		}
	}
	return v, true
}

// build adds a generation.
func (f *Fold) build(r *eventlog.Record) bool {
	g, ok := decode(r, func(g *Generation) []string { return []string{g.View, g.By} })
	if !ok || g.View == "" || g.Number < 1 || g.Version < 1 || g.Rate < 0 {
		return false
	}
	l := f.views[g.View]
	if l == nil {
		if len(f.views) == MaxViews {
			return false
		}
		l = &Lineage{Greatest: g.Number - 1}
		f.views[g.View] = l
	}
	if g.Number != l.Greatest+1 || l.Kept() == MaxKept {
		return false
	}
	l.Greatest = g.Number
	l.Generations = append(l.Generations, g)
	return true
}

// turn switches a view.
func (f *Fold) turn(r *eventlog.Record) bool {
	s, ok := decode(r, func(s *Switch) []string { return []string{s.View, s.Reason, s.By} })
	if !ok {
		return false
	}
	l := f.views[s.View]
	if l.live(s.To) == nil || s.Turn != l.Turns+1 || l.Read != s.From || s.From == s.To {
		return false
	}
	l.Read, l.Turns = s.To, s.Turn
	for i := range l.Generations {
		l.Generations[i].Shadowed.end()
	}
	l.Switches = latest(append(l.Switches, s), MaxSwitches)
	return true
}

// latest returns the last n of a list.
func latest[T any](list []T, n int) []T { return slices.Delete(list, 0, max(0, len(list)-n)) }

// retire gives a generation up, and ends the cuts that hold it.
func (f *Fold) retire(r *eventlog.Record) bool {
	gone, ok := decode(r, func(r *Retired) []string { return []string{r.View, r.By} })
	if !ok {
		return false
	}
	l := f.views[gone.View]
	g := l.live(gone.Number)
	if g == nil || l.Read == gone.Number {
		return false
	}
	g.Retired = &gone
	g.Shadowed.end()
	f.end(func(c Cut) bool { return c.View == gone.View && slices.Contains(c.Generations, gone.Number) })
	retired := 0
	for i := len(l.Generations) - 1; i >= 0; i-- {
		if l.Generations[i].Retired == nil {
			continue
		}
		if retired++; retired > MaxRetired {
			l.Generations = slices.Delete(l.Generations, i, i+1)
		}
	}
	return true
}

// shadow changes the share of the queries that a generation is asked too.
func (f *Fold) shadow(r *eventlog.Record) bool {
	s, ok := decode(r, func(s *Shadow) []string { return []string{s.View, s.By} })
	if !ok || s.Share < 0 || s.Share > 1 {
		return false
	}
	l := f.views[s.View]
	g := l.live(s.Number)
	if g == nil || l.Read == 0 || l.Read == s.Number || s.Turn != g.Shadowed.Turn+1 || s.Share == g.Shadowed.Share {
		return false
	}
	if g.Shadowed.Share == 0 {
		g.Shadowed.Begun = s.Turn
	}
	g.Shadowed.Share, g.Shadowed.Turn = s.Share, s.Turn
	return true
}

// end ends it, if it goes on.
func (s *Shadowing) end() {
	if s.Share > 0 {
		s.Share, s.Turn = 0, s.Turn+1
	}
}

// drop notes that nothing is left of a retired generation.
func (f *Fold) drop(r *eventlog.Record) bool {
	d, ok := decode(r, func(*Dropped) []string { return nil })
	if !ok {
		return false
	}
	g := f.views[d.View].Find(d.Number)
	if g == nil || g.Retired == nil || g.Dropped {
		return false
	}
	g.Dropped = true
	return true
}

// cut lets a cut stand.
func (f *Fold) cut(r *eventlog.Record) bool {
	c, ok := decode(r, func(c *Cut) []string { return []string{c.View} })
	if !ok || c.ID.IsZero() || c.Until.IsZero() || len(c.Generations) == 0 || len(c.Generations) > MaxKept {
		return false
	}
	for _, number := range c.Generations {
		if f.views[c.View].live(number) == nil {
			return false
		}
	}
	for n, offset := range c.At {
		if n < 0 || n >= MaxPartition || offset < 0 {
			return false
		}
	}
	if slices.Contains(f.released, c.ID) || f.standing(c.ID) >= 0 {
		return false
	}
	f.cuts = append(f.cuts, standing{c, make(map[place]Held)})
	f.cuts = latest(f.cuts, MaxCuts)
	return true
}

// standing is a cut with where it has stopped what.
type standing struct {
	Cut
	held map[place]Held
}

// place is one partition of a generation.
type place struct {
	generation int
	partition  int32
}

// hold notes where a cut has stopped something.
func (f *Fold) hold(r *eventlog.Record) bool {
	h, ok := decode(r, func(*Held) []string { return nil })
	i := f.standing(h.ID)
	if !ok || i < 0 || !slices.Contains(f.cuts[i].Generations, h.Generation) {
		return false
	}
	if least, in := f.cuts[i].At[h.Partition]; !in || h.Next < least || h.Derived < 0 || h.Parked < 0 {
		return false
	}
	f.cuts[i].held[place{h.Generation, h.Partition}] = h
	return true
}

// standing returns the place of a cut among those that stand, -1 if it does not.
func (f *Fold) standing(id event.ID) int {
	return slices.IndexFunc(f.cuts, func(c standing) bool { return c.ID == id })
}

// Held returns where a cut has stopped a generation at a partition, as it was said
// last; ok is false as long as it has not.
func (f *Fold) Held(cut event.ID, generation int, partition int32) (h Held, ok bool) {
	if i := f.standing(cut); i >= 0 {
		h, ok = f.cuts[i].held[place{generation, partition}]
	}
	return h, ok
}

// release ends a cut.
func (f *Fold) release(r *eventlog.Record) bool {
	over, ok := decode(r, func(*Released) []string { return nil })
	return ok && f.end(func(c Cut) bool { return c.ID == over.ID })
}

// end ends the cuts for which over says so, and reports whether there were any.
func (f *Fold) end(over func(Cut) bool) (any bool) {
	f.cuts = slices.DeleteFunc(f.cuts, func(c standing) bool {
		if !over(c.Cut) {
			return false
		}
		f.released, any = latest(append(f.released, c.ID), MaxReleased), true
		return true
	})
	return any
}

// Views returns the names of the views that have generations, sorted.
func (f *Fold) Views() []string { return slices.Sorted(maps.Keys(f.views)) }

// Lineage returns what is known of a view, the caller's own.
func (f *Fold) Lineage(view string) (l Lineage) {
	if known := f.views[view]; known != nil {
		l = *known
		l.Generations, l.Switches = slices.Clone(l.Generations), slices.Clone(l.Switches)
	}
	return l
}

// Read returns the number of the generation of a view that is read, 0 if none is.
func (f *Fold) Read(view string) int {
	if l := f.views[view]; l != nil {
		return l.Read
	}
	return 0
}

// Cuts returns the cuts that are not released, oldest first. Whether their time has
// passed is for the caller's clock to say.
func (f *Fold) Cuts() []Cut {
	list := make([]Cut, len(f.cuts))
	for i := range f.cuts {
		list[i] = f.cuts[i].Cut
	}
	return list
}

// Carries reports whether the process says that it carries a version of a view.
func (m Member) Carries(view string, version int) bool {
	return slices.Contains(m.Views[view], version)
}

// bounded reports whether a member says no more than it may.
func (m Member) bounded() bool {
	if max(len(m.Instance), len(m.Address), len(m.Host)) > MaxText || len(m.Views) > MaxViews {
		return false
	}
	for name, versions := range m.Views {
		if len(name) > MaxText || len(versions) > MaxKept {
			return false
		}
	}
	return true
}

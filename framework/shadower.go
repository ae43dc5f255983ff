package framework

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/view"
)

// shadowLasts bounds how long two generations are asked until a question is settled; each
// answer is waited for as a query's is, for Config.ReadWait.
const shadowLasts = 10 * time.Second

// shadow is a generation that a share of a view's queries is asked of too.
type shadow struct {
	f     *following
	read  int // the generation that is read, which it is compared with
	since control.Shadowing
	most  uint64 // a query is taken if its number, mixed, is not above this
	n     atomic.Uint64
	found *findings
}

// chosen reports whether the next query is one of the share. Which are looks like chance,
// so that no rhythm of those who ask decides what is asked.
func (s *shadow) chosen() bool { return mixed(s.n.Add(1)) <= s.most }

// mixed is the n-th number of SplitMix64: each is as likely as any other.
func mixed(n uint64) uint64 {
	n *= 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// mostOf returns the greatest number that is within a share, more than 0, of all.
func mostOf(share float64) uint64 {
	if at := share * (1 << 64); at < 1<<64 {
		return uint64(at)
	}
	return math.MaxUint64
}

// shadower asks generations that are not read what was asked of the one that is.
type shadower struct {
	a       *App
	p       *process
	metrics *prometheus.CounterVec
	queue   chan *question
	bytes   atomic.Int64 // of the answers in the queue, and of those that are being compared

	mu sync.Mutex // held while the views' shadows are replaced
}

// question is one that was answered, and is to be asked of another generation too.
type question struct {
	k     *kept
	to    *shadow
	q     Query // without Min
	first reply // of the generation that is read
	size  int64
}

func newShadower(a *App, p *process) *shadower {
	return &shadower{a: a, p: p, metrics: newShadowMetrics(a.cfg.Metrics), queue: make(chan *question, MaxShadowWaiting)}
}

// arrange lets queries be asked from now on of the generations that the control log
// says, as far as they are at work here and this program carries their versions.
func (s *shadower) arrange() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.p.views {
		l := s.p.lineage(k.name)
		var now []*shadow
		for i := range l.Generations {
			if one := s.shadow(k, &l.Generations[i], l.Read); one != nil {
				now = append(now, one)
			}
		}
		switch before := k.shadows.Load(); {
		case len(now) == 0:
			k.shadows.Store(nil)
		case before == nil || !slices.EqualFunc(*before, now, (*shadow).same):
			k.shadows.Store(&now)
		}
	}
}

func (s *shadow) same(o *shadow) bool { return s.f == o.f && s.read == o.read && s.since == o.since }

// shadow returns how a generation is to be asked, nil if it is not. s.mu is held.
func (s *shadower) shadow(k *kept, g *control.Generation, read int) *shadow {
	f := k.generation(g.Number)
	if f == nil || g.Shadowed.Begun == 0 {
		return nil
	}
	found := f.findings.Load()
	if found == nil || found.begun != g.Shadowed.Begun {
		found = s.nothing(k.name, g)
		f.findings.Store(found)
	}
	if g.Shadowed.Share == 0 || !f.runs {
		return nil
	}
	return &shadow{f: f, read: read, since: g.Shadowed, most: mostOf(g.Shadowed.Share), found: found}
}

// nothing returns the findings of what begins.
func (s *shadower) nothing(name string, g *control.Generation) *findings {
	f := &findings{begun: g.Shadowed.Begun}
	for o := range outcomes {
		f.metrics[o] = s.metrics.WithLabelValues(name, strconv.Itoa(g.Number), outcomeNames[o])
	}
	return f
}

// offer takes a query that was answered, if it is one of the share, to be asked of other
// generations too. It waits for nothing.
func (s *shadower) offer(list []*shadow, k *kept, q *Query, answered *Answer) {
	if q.After != "" && bestFirst(q) {
		return // the page before was of one generation, and so is this
	}
	for _, to := range list {
		if answered.Generation == to.read && to.chosen() {
			s.take(to, k, q, answered)
		}
	}
}

// bestFirst reports whether q asks for the best hits, by a measure that is a
// generation's own.
func bestFirst(q *Query) bool { return view.Query{Text: q.Text, Sort: q.Sort}.Scored() }

// take puts a query into the queue, if there is room.
func (s *shadower) take(to *shadow, k *kept, q *Query, answered *Answer) {
	size := int64(len(answered.JSON) + len(q.Text) + len(q.After))
	if s.bytes.Add(size) > MaxShadowBytes {
		s.bytes.Add(-size)
		to.found.note(shadowDropped)
		return
	}
	one := &question{k: k, to: to, q: asked(q), size: size, first: reply{json: slices.Clone(answered.JSON), at: answered.Positions}}
	select {
	case s.queue <- one:
		to.found.take()
	default:
		s.bytes.Add(-size)
		to.found.note(shadowDropped)
	}
}

// asked returns what a query asks for, the caller's own.
func asked(q *Query) Query {
	return Query{App: q.App, Partitions: q.Partitions, Key: q.Key, Text: q.Text, Is: maps.Clone(q.Is), Ranges: maps.Clone(q.Ranges),
		Sort: q.Sort, After: q.After, From: q.From, Skip: q.Skip, Limit: q.Limit}
}

// sameQuestion reports whether two queries ask for the same.
func sameQuestion(a, b *Query) bool {
	return a.Key == b.Key && a.Text == b.Text && maps.Equal(a.Is, b.Is) && maps.Equal(a.Ranges, b.Ranges) &&
		a.Sort == b.Sort && a.After == b.After && a.From == b.From && a.Skip == b.Skip && a.Limit == b.Limit
}

// run asks what comes until ctx ends.
func (s *shadower) run(ctx context.Context) {
	var all sync.WaitGroup
	for range MaxShadowAtOnce {
		all.Go(func() {
			for {
				select {
				case one := <-s.queue:
					s.settle(ctx, one)
					s.bytes.Add(-one.size)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	all.Wait()
}

// errOver says that a generation is not to be asked any more.
var errOver = errors.New("it has ended")

// settle finds out how a generation answers a question, and notes that.
func (s *shadower) settle(ctx context.Context, one *question) {
	within, cancel := context.WithTimeout(ctx, shadowLasts)
	defer cancel()
	d := &dispute{clock: s.a.cfg.Clock,
		ask: func(ctx context.Context, other bool, min eventlog.Positions) (reply, error) {
			return s.ask(ctx, one, other, min)
		},
		end: func(ctx context.Context) (eventlog.Positions, error) { return s.a.end(ctx, s.p) }}
	o, read, other, err := d.settle(within, one.first.compared(one.to.f.view.Kind, &one.q))
	if errors.Is(err, errOver) || ctx.Err() != nil || !s.goesOn(one) {
		return
	}
	if o == shadowDifferent {
		one.to.found.keep(&ShadowDifference{Question: one.q, Read: clipped(read.json), Other: clipped(other.json), Refused: other.refused,
			ReadAt: read.at, OtherAt: other.at, At: s.a.cfg.Clock.Now().UTC()})
	}
	if one.to.found.note(o) {
		s.a.cfg.Logger.Warn("a generation answers otherwise than the one that is read", "view", one.k.name, "generation", one.to.f.number, "read", one.to.read)
	}
}

// goesOn reports whether a question is still to be asked: the same generation is read,
// and the other one is still to be asked too.
func (s *shadower) goesOn(one *question) bool {
	list := one.k.shadows.Load()
	return list != nil && s.p.catalogue.Reading().Of(one.k.name) == one.to.read &&
		slices.ContainsFunc(*list, func(to *shadow) bool { return to.found == one.to.found && to.read == one.to.read })
}

// ask asks one of the two generations. What a caller would be told to have asked wrongly
// is an answer, and so is a panic; that nothing is found is one, too.
func (s *shadower) ask(ctx context.Context, one *question, other bool, min eventlog.Positions) (r reply, err error) {
	if !s.goesOn(one) {
		return reply{}, errOver
	}
	ctx, cancel := context.WithTimeout(ctx, s.a.cfg.ReadWait)
	defer cancel()
	q, reading := one.q, s.p.catalogue.Reading()
	q.Min, q.Generation = min, s.a.generations(reading)
	f, err := one.k.read(reading)
	if other {
		f, err = one.to.f, nil
		q.Generation = s.instead(reading, f)
	}
	if err != nil {
		return reply{}, err
	}
	defer func() {
		if p := recover(); p != nil {
			r, err = reply{refused: fmt.Sprintf("it panics: %v", p)}.compared(f.view.Kind, &one.q), nil
		}
	}()
	out, err := s.a.answer(ctx, s.p, f, reading, &q)
	r = reply{json: out.JSON, at: out.Positions}
	switch {
	case errors.Is(err, ErrInvalid):
		r = reply{refused: err.Error()}
	case err != nil && !errors.Is(err, ErrNotFound):
		return reply{}, err
	}
	return r.compared(f.view.Kind, &one.q), nil
}

// instead is App.generations, but for one view.
func (s *shadower) instead(reading *cluster.Reading, f *following) func(string) view.Generation {
	others := s.a.generations(reading)
	return func(name string) view.Generation {
		g := others(name)
		if name == f.view.Name {
			g.Number = f.number
		}
		return g
	}
}

// end returns positions that cover all events that the log holds now.
func (a *App) end(ctx context.Context, p *process) (eventlog.Positions, error) {
	ends, err := a.ends(ctx, p, p.topic)
	at := eventlog.NewPositions()
	for n, end := range ends {
		if end > 0 {
			at.Offsets[int32(n)] = end - 1
		}
	}
	return at, err
}

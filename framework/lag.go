package framework

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// lagEvery is the time between two looks at how far the views are behind.
const lagEvery = 5 * time.Second

// viewMetrics tell how views fare in the partitions that this process serves, so that
// the sum over processes is that of the application.
type viewMetrics struct {
	keys, lag, stalled *prometheus.GaugeVec
	events             *prometheus.CounterVec
}

// newViewMetrics registers with r, or takes what another application of the process
// has registered.
func newViewMetrics(r prometheus.Registerer) viewMetrics {
	labels := []string{"view", "generation"}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return registered(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))
	}
	return viewMetrics{
		keys:    gauge("drivetrain_view_parked_keys", "Keys with an event that a view cannot fold."),
		lag:     gauge("drivetrain_view_lag_events", "Records of the log, and of a view's shuffle, that a view has not passed."),
		stalled: gauge("drivetrain_view_stalled_seconds", "How long the partition of a view that has stood still longest has not moved, while there is more of the log."),
		events: registered(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "drivetrain_view_parked_events_total",
			Help: "Events that a view has held back; those that it meets again after a start anew count again."}, labels)),
	}
}

// registered registers c with r, or returns what is registered already.
func registered[C prometheus.Collector](r prometheus.Registerer, c C) C {
	var known prometheus.AlreadyRegisteredError
	switch err := r.Register(c); {
	case errors.As(err, &known):
		return known.ExistingCollector.(C)
	case err != nil:
		panic(err)
	}
	return c
}

// lagging is what was seen of one task: since when it has stood still while there was
// more to read.
type lagging struct {
	done  int64
	since time.Time // zero: it is not behind
	ever  int64     // events that it had parked
}

// lagWatch is what watchLag goes by.
type lagWatch struct {
	a     *App
	p     *process
	m     viewMetrics
	seen  map[*stream.Task]*lagging
	shown map[[2]string]bool // labels
}

// watchLag looks at the views' generations until ctx ends.
func (a *App) watchLag(ctx context.Context, p *process) {
	w := &lagWatch{a: a, p: p, m: newViewMetrics(a.cfg.Metrics), seen: make(map[*stream.Task]*lagging), shown: make(map[[2]string]bool)}
	for clock.Sleep(ctx, a.cfg.Clock, lagEvery) == nil {
		w.look(ctx)
	}
	w.keep(nil, nil)
}

func (w *lagWatch) look(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, w.a.cfg.AppendTimeout)
	defer cancel()
	ends := logEnds{ctx: within, p: w.p, known: make(map[logEnd]int64)}
	tasks, labels := make(map[*stream.Task]bool), make(map[[2]string]bool)
	for _, k := range w.p.views {
		for _, g := range w.p.lineage(k.name).Generations {
			f := k.generation(g.Number)
			if f == nil || g.Retired != nil {
				continue
			}
			at := [2]string{k.name, strconv.Itoa(g.Number)}
			labels[at] = true
			w.show(f, at, &ends, tasks)
		}
	}
	w.keep(tasks, labels)
}

// show sets the figures of a generation, and adds its tasks to those that were looked at.
func (w *lagWatch) show(f *following, labels [2]string, ends *logEnds, tasks map[*stream.Task]bool) {
	var behind int64
	var stood time.Duration
	parked := w.m.events.WithLabelValues(labels[:]...)
	one := func(t *stream.Task, topic string, n int) {
		l := w.seen[t]
		if tasks[t] = true; l == nil {
			l = &lagging{}
			w.seen[t] = l
		}
		if w.p.stations[n].owner.Load() == nil {
			l.since = time.Time{} // another process tells of it
			return
		}
		left, still := l.look(w.a.cfg.Clock.Now(), t, ends.of(topic, int32(n)))
		behind, stood = behind+left, max(stood, still)
		parked.Add(float64(l.parked(t)))
	}
	for n := range w.p.stations {
		if one(f.sources[n], w.p.topic, n); f.fills != nil {
			one(f.fills[n], f.shuffle, n)
		}
	}
	w.m.keys.WithLabelValues(labels[:]...).Set(float64(w.p.parked(f)))
	w.m.lag.WithLabelValues(labels[:]...).Set(float64(behind))
	w.m.stalled.WithLabelValues(labels[:]...).Set(stood.Seconds())
}

// keep forgets all tasks and figures but these: those of retired generations.
func (w *lagWatch) keep(tasks map[*stream.Task]bool, labels map[[2]string]bool) {
	maps.DeleteFunc(w.seen, func(t *stream.Task, _ *lagging) bool { return !tasks[t] })
	for gone := range w.shown {
		if !labels[gone] {
			for _, g := range []*prometheus.GaugeVec{w.m.keys, w.m.lag, w.m.stalled} {
				g.DeleteLabelValues(gone[:]...)
			}
		}
	}
	w.shown = labels
}

// look returns how far a task is behind, and for how long it has stood still so.
func (l *lagging) look(now time.Time, t *stream.Task, end int64) (left int64, still time.Duration) {
	done := t.Status().Done
	if left = max(end-done, 0); left == 0 {
		l.since = time.Time{}
	} else if l.since.IsZero() || done != l.done {
		l.since = now
	}
	if l.done = done; !l.since.IsZero() {
		still = now.Sub(l.since)
	}
	return left, still
}

// parked returns how many events a task has parked since the last time.
func (l *lagging) parked(t *stream.Task) int64 {
	before := l.ever
	l.ever = t.EverParked()
	return l.ever - before
}

// logEnds are the ends of partitions, each asked for once.
type logEnds struct {
	ctx   context.Context
	p     *process
	known map[logEnd]int64
}

type logEnd struct {
	topic     string
	partition int32
}

// of returns an end; 0 if it cannot be had now: what is not known is no lag.
func (e *logEnds) of(topic string, n int32) int64 {
	at := logEnd{topic, n}
	if end, ok := e.known[at]; ok {
		return end
	}
	end, err := e.p.Log.End(e.ctx, topic, n)
	if err != nil {
		end = 0
	}
	e.known[at] = end
	return end
}

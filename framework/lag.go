package framework

import (
	"context"
	"errors"
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

// watchLag looks at the views until ctx ends.
func (a *App) watchLag(ctx context.Context, p *process) {
	m, seen := newViewMetrics(a.cfg.Metrics), make(map[*stream.Task]*lagging)
	shown := make(map[[2]string]bool)
	for clock.Sleep(ctx, a.cfg.Clock, lagEvery) == nil {
		a.lookAtLag(ctx, p, m, seen, shown)
	}
}

func (a *App) lookAtLag(ctx context.Context, p *process, m viewMetrics, seen map[*stream.Task]*lagging, shown map[[2]string]bool) {
	within, cancel := context.WithTimeout(ctx, a.cfg.AppendTimeout)
	defer cancel()
	ends := logEnds{ctx: within, p: p, known: make(map[logEnd]int64)}
	here := make(map[[2]string]bool)
	for _, f := range p.views {
		labels := [2]string{f.view.Name, strconv.Itoa(f.generation.Number)}
		here[labels], shown[labels] = true, true
		var keys, behind int64
		var stood time.Duration
		for n, s := range p.stations {
			if s.owner.Load() == nil {
				continue
			}
			for _, at := range []struct {
				tasks []*stream.Task
				topic string
			}{{f.sources, p.topic}, {f.fills, f.shuffle}} {
				if n >= len(at.tasks) {
					continue
				}
				t := at.tasks[n]
				keys += int64(len(t.Parked()))
				if seen[t] == nil {
					seen[t] = &lagging{}
				}
				left, still := seen[t].look(a.cfg.Clock.Now(), t, ends.of(at.topic, int32(n)))
				behind, stood = behind+left, max(stood, still)
				m.events.WithLabelValues(labels[:]...).Add(float64(seen[t].parked(t)))
			}
		}
		m.keys.WithLabelValues(labels[:]...).Set(float64(keys))
		m.lag.WithLabelValues(labels[:]...).Set(float64(behind))
		m.stalled.WithLabelValues(labels[:]...).Set(stood.Seconds())
	}
	for labels := range shown { // of generations that are gone
		if !here[labels] {
			delete(shown, labels)
			for _, g := range []*prometheus.GaugeVec{m.keys, m.lag, m.stalled} {
				g.DeleteLabelValues(labels[:]...)
			}
		}
	}
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

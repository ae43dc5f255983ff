package framework

import "github.com/prometheus/client_golang/prometheus"

// effectMetrics counts what effects do.
type effectMetrics struct{ done, failed *prometheus.CounterVec }

// newEffectMetrics registers with r, or takes what another application of the
// process has registered.
func newEffectMetrics(r prometheus.Registerer) effectMetrics {
	count := func(name, help string) *prometheus.CounterVec {
		return registered(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"effect"}))
	}
	return effectMetrics{
		done:   count("drivetrain_effect_events_total", "Events that an effect has done with."),
		failed: count("drivetrain_effect_failures_total", "Calls of an effect that failed, each followed by another."),
	}
}

// of returns what counts the calls of one effect.
func (m effectMetrics) of(name string) func(error) {
	done, failed := m.done.WithLabelValues(name), m.failed.WithLabelValues(name)
	return func(err error) {
		if err != nil {
			failed.Inc()
		} else {
			done.Inc()
		}
	}
}

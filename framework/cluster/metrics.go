package cluster

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what owners do. Make one with NewMetrics and share it.
type Metrics struct {
	accepted      prometheus.Counter
	refused       prometheus.Counter
	terms         prometheus.Counter
	batchCommits  prometheus.Histogram
	appendSeconds prometheus.Histogram
}

// NewMetrics returns metrics registered with r; nil registers them nowhere. Those
// that another application of the process has registered are shared.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		accepted: prometheus.NewCounter(prometheus.CounterOpts{Name: "drivetrain_commands_accepted_total",
			Help: "Commands whose commit took effect."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "drivetrain_commands_refused_total",
			Help: "Commands rejected, in conflict, or failed in their decision."}),
		terms: prometheus.NewCounter(prometheus.CounterOpts{Name: "drivetrain_owner_terms_ended_total",
			Help: "Terms of a partition's owner that ended by a failure."}),
		batchCommits: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "drivetrain_append_commits",
			Help: "Commits per append.", Buckets: prometheus.ExponentialBuckets(1, 2, 11)}),
		appendSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "drivetrain_append_seconds",
			Help: "Time of an append until it is durable.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 17)}),
	}
	if r != nil {
		keep(r, &m.accepted)
		keep(r, &m.refused)
		keep(r, &m.terms)
		keep(r, &m.batchCommits)
		keep(r, &m.appendSeconds)
	}
	return m
}

// keep registers *c, or takes the one that an earlier application has registered.
func keep[C prometheus.Collector](r prometheus.Registerer, c *C) {
	var known prometheus.AlreadyRegisteredError
	switch err := r.Register(*c); {
	case errors.As(err, &known):
		*c = known.ExistingCollector.(C)
	case err != nil:
		panic(err)
	}
}

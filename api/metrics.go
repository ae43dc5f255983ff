package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics are the figures of requests, by route pattern, never by path: ids in a
// label would be a series each.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	forwards *prometheus.CounterVec
	live     *prometheus.GaugeVec
	gather   prometheus.Gatherer // what /metrics shows
}

func newMetrics(given prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "drivetrain_http_requests_total",
			Help: "Requests answered."}, []string{"route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "drivetrain_http_request_seconds",
			Help:    "Time from a request's headers to the end of its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}}, []string{"route"}),
	}
	m.forwards = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "drivetrain_http_forwards_total",
		Help: "Requests for what another process owns."}, []string{"outcome"})
	m.live = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "drivetrain_http_live",
		Help: "Clients that are shown a query live, by server-sent events."}, []string{"route"})
	gather, both := given.(prometheus.Gatherer)
	if !both {
		own := prometheus.NewRegistry()
		m.register(own)
		gather = own
	}
	if given != nil {
		m.register(given)
	}
	m.gather = gather
	return m
}

// register adds the figures and Go's own to r, or takes those that are in r
// already: of another Handler of the same App.
func (m *metrics) register(r prometheus.Registerer) {
	m.requests = join(r, m.requests)
	m.seconds = join(r, m.seconds)
	m.forwards = join(r, m.forwards)
	m.live = join(r, m.live)
	join[prometheus.Collector](r, collectors.NewGoCollector())
	join[prometheus.Collector](r, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

func join[C prometheus.Collector](r prometheus.Registerer, c C) C {
	err := r.Register(c)
	if there := (prometheus.AlreadyRegisteredError{}); errors.As(err, &there) {
		if same, ok := there.ExistingCollector.(C); ok {
			return same
		}
	}
	if err != nil {
		panic(fmt.Errorf("api: register the figures of requests: %w; take another name for yours", err))
	}
	return c
}

// figures are those of one route.
type figures struct {
	requests *prometheus.CounterVec
	seconds  prometheus.Observer
}

func (m *metrics) of(pattern string) *figures {
	by := prometheus.Labels{"route": pattern}
	return &figures{m.requests.MustCurryWith(by), m.seconds.With(by)}
}

func (f *figures) count(method string, status int, took time.Duration, live bool) {
	f.requests.WithLabelValues(methodLabel(method), statusLabel(status)).Inc()
	if !live { // that lasts for as long as the client likes
		f.seconds.Observe(took.Seconds())
	}
}

// methodLabel keeps clients from making up series.
func methodLabel(method string) string {
	for _, m := range methods {
		if m == method {
			return m
		}
	}
	if method == http.MethodOptions {
		return method
	}
	return "other"
}

// statusLabels are the numbers as text, so that none is allocated.
var statusLabels = func() (list [600]string) {
	for i := range list {
		list[i] = strconv.Itoa(i)
	}
	return list
}()

func statusLabel(status int) string {
	if status < 0 || status >= len(statusLabels) {
		return "other"
	}
	return statusLabels[status]
}

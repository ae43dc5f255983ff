package api

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// server is the API of one application. All of it is built at start: routes,
// schemas, the description.
type server struct {
	app                          app
	set                          settings
	log                          *slog.Logger
	clock                        clock.Clock
	mux                          *chi.Mux
	spec                         *spec
	names                        names
	metrics                      *metrics
	forward                      *forwarder
	lives                        *lives
	arriving, waiting, answering room
	showing                      room // live queries
	folding                      room // states of the past
	stopping                     atomic.Bool
	stopped                      context.Context // ends with stop, at the beginning of the end
	stop                         context.CancelFunc
}

func newServer(a app, options []Option) *server {
	cfg := a.Config()
	set := newSettings(a, options)
	s := &server{app: a, set: set, log: cfg.Logger, clock: cfg.Clock, mux: chi.NewMux(), names: namesOf(a),
		metrics: newMetrics(cfg.Metrics), arriving: make(room, 4*set.maxConcurrent),
		waiting: make(room, set.maxConcurrent), answering: make(room, set.maxConcurrent), folding: make(room, maxFolding),
		showing: make(room, set.maxStreams), lives: &lives{app: a, clock: cfg.Clock, looks: make(map[liveQuery]*look)}}
	s.stopped, s.stop = context.WithCancel(context.Background())
	s.forward = newForwarder(cfg, set, s.metrics.forwards)
	s.spec = newSpec(s.mux, set)
	s.addCommands()
	s.addAggregates()
	s.addViews()
	s.addPages(s.mux, s.spec, false)
	s.addHealth(s.mux)
	s.mux.NotFound(s.route("unmatched", s.noRoute).ServeHTTP)
	s.mux.MethodNotAllowed(s.route("unmatched", s.noMethod).ServeHTTP)
	return s
}

// handler answers a request, or returns why not.
type handler func(w *response, r *http.Request) error

// route is a handler with what surrounds each: a bound on how many run,
// figures, and an answer when it fails.
type route struct {
	*server
	pattern string
	free    bool // of the bound
	handle  handler
	live    handler // of those who ask for server-sent events; nil: handle
	figures *figures
}

func (s *server) route(pattern string, h handler) *route {
	return &route{server: s, pattern: pattern, handle: h, figures: s.metrics.of(pattern)}
}

// operation adds a described route.
func (s *server) operation(op *huma.Operation, h handler) *route {
	t := s.route(op.Path, h)
	s.spec.api.OpenAPI().AddOperation(op)
	s.spec.api.Adapter().Handle(op, func(ctx huma.Context) {
		r, w := humachi.Unwrap(ctx)
		t.ServeHTTP(w, r)
	})
	if op.Method == http.MethodGet {
		s.mux.Head(op.Path, t.ServeHTTP)
	}
	return t
}

// page adds a route for GET that is not described.
func (s *server) page(mux *chi.Mux, pattern string, free bool, h handler) {
	t := s.route(pattern, h)
	t.free = free
	mux.Get(pattern, t.ServeHTTP)
	mux.Head(pattern, t.ServeHTTP)
}

func (t *route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := &response{ResponseWriter: w, request: r, clock: t.clock}
	began := t.clock.Now()
	defer t.done(out, r, began)
	handle := t.handle
	switch {
	case t.live != nil && wantsLive(r):
		handle = t.live
	case !t.free:
		handle = t.within(t.room(r), t.handle)
	}
	if err := handle(out, r); err != nil {
		t.fail(out, r, err)
	}
}

// room is where a request stands at first: while its body arrives, while it waits
// for a position, or where it is answered. Each has its own bound, so that those
// who only wait keep nobody out.
func (s *server) room(r *http.Request) room {
	switch {
	case r.Method == http.MethodPost:
		return s.arriving
	case r.Header["Min-Position"] != nil, r.Header["Consistency"] != nil, r.Header["Max-Staleness"] != nil:
		return s.waiting
	}
	return s.answering
}

// room bounds how many requests are in the same state.
type room chan struct{}

// within lets h run while there is room.
func (s *server) within(where room, h handler) handler {
	return func(w *response, r *http.Request) error {
		select {
		case where <- struct{}{}:
			defer func() { <-where }()
			return h(w, r)
		default:
			return limited.because("the server has %d requests like this one, as many as it may", cap(where)).after(time.Second)
		}
	}
}

// done ends a request, also one whose handler panicked.
func (t *route) done(w *response, r *http.Request, began time.Time) {
	fault := recover()
	if fault != nil && fault != http.ErrAbortHandler {
		t.log.ErrorContext(r.Context(), "request panicked", "route", t.pattern, "request_id", w.requestID(),
			"panic", fault, "stack", string(debug.Stack()))
		if w.status == 0 {
			fault = nil
			p := internal.because("the server's log says why, under the request id in instance")
			p.Instance = "urn:uuid:" + w.requestID().String()
			p.write(w)
		}
	}
	took := t.clock.Now().Sub(began)
	t.figures.count(r.Method, w.status, took, w.live)
	if t.log.Enabled(r.Context(), slog.LevelDebug) {
		t.log.DebugContext(r.Context(), "request", "method", r.Method, "route", t.pattern, "status", w.status, "took", took)
	}
	if fault != nil {
		panic(http.ErrAbortHandler) // half an answer is out: end the connection
	}
}

// fail answers with err's problem. What the client is not told is logged.
func (t *route) fail(w *response, r *http.Request, err error) {
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError {
		copied := *p
		p = &copied
		p.Instance = "urn:uuid:" + w.requestID().String()
	}
	if p.Status == http.StatusInternalServerError {
		t.log.ErrorContext(r.Context(), "request failed", "route", t.pattern, "request_id", w.requestID(), "err", err)
	}
	p.write(w)
}

// response remembers its status, and the request's id.
type response struct {
	http.ResponseWriter
	request *http.Request
	clock   clock.Clock
	status  int
	live    bool // it goes on for as long as the client wants
	id      event.ID
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// requestID is the client's X-Request-Id if that is a UUID, else a new one.
func (w *response) requestID() event.ID {
	if given := w.request.Header.Get("X-Request-Id"); w.id.IsZero() && given != "" {
		w.id, _ = event.ParseID(given) // zero if it is none
	}
	if w.id.IsZero() {
		w.id = clock.NewID(w.clock)
	}
	return w.id
}

// json sends an answer; headers of its own are set before.
func (w *response) json(body []byte) {
	h := w.Header()
	h["Content-Type"] = jsonType
	h["X-Content-Type-Options"] = noSniff
	if h["Cache-Control"] == nil {
		h["Cache-Control"] = noCache
	}
	w.WriteHeader(http.StatusOK)
	w.Write(body)
}

// Header values that never change.
var (
	jsonType = []string{"application/json"}
	noSniff  = []string{"nosniff"}
	noCache  = []string{"no-cache"}
	noStore  = []string{"no-store"}
)

var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// allowed returns the methods that r's path has.
func allowed(mux *chi.Mux, r *http.Request) string {
	path := r.URL.EscapedPath()
	if ctx := chi.RouteContext(r.Context()); ctx != nil && ctx.RoutePath != "" {
		path = ctx.RoutePath
	}
	var list []string
	for _, m := range methods {
		if mux.Match(chi.NewRouteContext(), m, path) {
			list = append(list, m)
		}
	}
	return strings.Join(list, ", ")
}

func (s *server) noMethod(w *response, r *http.Request) error {
	list := allowed(s.mux, r)
	if list == "" {
		return s.noRoute(w, r)
	}
	return wrongMethod.because("%.20q is not allowed here; allowed: %s", r.Method, list).with("Allow", list)
}

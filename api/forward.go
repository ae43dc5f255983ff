package api

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/drivetrain-go/drivetrain/framework"
)

// forwardedHeader marks a request that another process of the application has
// passed on. It gives its sender nothing: such a request is checked like any other,
// and is not passed on again.
const forwardedHeader = "Drivetrain-Forwarded"

const (
	connectTimeout = time.Second // to a process that may be dead
	idleForward    = 30 * time.Second
	maxIdle        = 1024    // connections to all processes
	maxWhole       = 2 << 20 // bytes of an answer that are read before any is passed on
)

// What becomes of a request that is to be passed on, as the figures name it.
const (
	forwardAnswered    = "answered"
	forwardNoOwner     = "no-owner"    // none is known, or it was passed on before
	forwardFull        = "full"        // as many wait for that process as may
	forwardUnreachable = "unreachable" // it was not sent
	forwardCut         = "cut"         // it was sent, and no answer came
)

// forwarder passes requests on to the processes that own their aggregates.
type forwarder struct {
	transport *http.Transport
	most      int           // under way to one process
	command   time.Duration // bounds of waiting for the answer to a command,
	read      time.Duration // and to a query,
	all       time.Duration // and of passing on an answer that is large
	count     *prometheus.CounterVec

	mu       sync.Mutex
	underway map[string]int // by address; those with none are left out
}

func newForwarder(cfg framework.Config, set settings, count *prometheus.CounterVec) *forwarder {
	return &forwarder{
		transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
			TLSHandshakeTimeout:    connectTimeout,
			DisableCompression:     true, // answers pass as they are
			MaxIdleConns:           maxIdle,
			MaxIdleConnsPerHost:    set.maxForwards,
			MaxConnsPerHost:        set.maxForwards,
			IdleConnTimeout:        min(idleForward, set.idleTimeout/2), // before the other side ends them
			MaxResponseHeaderBytes: 1 << 20,
		},
		most: set.maxForwards, command: cfg.CommandWait, read: cfg.CommandWait + cfg.ReadWait, all: set.writeTimeout,
		count: count, underway: make(map[string]int),
	}
}

// connKey is of the connection that a request came on, which Serve notes.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

func connOf(ctx context.Context) net.Conn {
	c, _ := ctx.Value(connKey{}).(net.Conn)
	return c
}

// elsewhere passes a request on if another process is to answer it; done is false
// if it is this one. below is what follows the id in the path.
//
// A process that was stopped for a while finds requests whose clients have given up
// and asked another process. That may have answered without recording anything, and
// such answers are not remembered: a request that takes effect afterwards would
// contradict them. What a process decides by itself then is void, but what it passes
// on would not be. So the connection is looked at, for net/http may not have done so.
func (s *server) elsewhere(w *response, r *http.Request, aggregate, id, below string, body []byte) (done bool, err error) {
	place := s.app.Locate(aggregate, id)
	passedOn := r.Header[forwardedHeader] != nil
	if place.Here && !passedOn {
		return false, nil
	}
	if c := connOf(r.Context()); c != nil && hungUp(c) {
		return true, unavailable.because("nobody waits for the answer").after(time.Second)
	}
	if place.Here {
		return false, nil
	}
	why := place.Why
	if passedOn {
		why = "it was passed on to this process, which does not own the aggregate's partition"
	}
	if why != "" {
		s.forward.count.WithLabelValues(forwardNoOwner).Inc()
		return true, notOwner.because("%s", why).after(time.Second)
	}
	return true, s.forward.pass(w, r, place.Address, "/v1/"+aggregate+"/"+id+below, body)
}

// pass sends a request to another process, once, and answers with its answer.
func (f *forwarder) pass(w *response, r *http.Request, to, path string, body []byte) error {
	if !f.enter(to) {
		f.count.WithLabelValues(forwardFull).Inc()
		return unavailable.because("%d requests wait for the process that owns the aggregate's partition, as many as may", f.most).after(time.Second)
	}
	defer f.leave(to)
	ctx, cancel := context.WithTimeout(r.Context(), f.all)
	defer cancel()
	wait := f.read
	if r.Method == http.MethodPost {
		wait = f.command
	}
	waiting, answered := context.WithTimeout(ctx, wait)
	defer answered()
	late := context.AfterFunc(waiting, cancel)
	var sent atomic.Bool
	out, err := request(watched(ctx, &sent), w, r, to+path, body)
	if err != nil {
		return f.failed(r, false)
	}
	res, err := f.transport.RoundTrip(out)
	if err != nil {
		return f.failed(r, sent.Load())
	}
	defer res.Body.Close()
	first, err := io.ReadAll(io.LimitReader(res.Body, maxWhole))
	if err != nil {
		return f.failed(r, true)
	}
	late()
	f.count.WithLabelValues(forwardAnswered).Inc()
	relay(w, res, first)
	return nil
}

// enter counts a request to a process, unless there are too many.
func (f *forwarder) enter(to string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.underway[to] >= f.most {
		return false
	}
	f.underway[to]++
	return true
}

func (f *forwarder) leave(to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.underway[to]--; f.underway[to] == 0 {
		delete(f.underway, to)
	}
}

// failed says what a client can know of a request without an answer. It is not sent
// again: whether the client wants that is in its key.
func (f *forwarder) failed(r *http.Request, sent bool) error {
	if !sent {
		f.count.WithLabelValues(forwardUnreachable).Inc()
		return unavailable.because("the process that owns the aggregate's partition cannot be reached").after(time.Second)
	}
	f.count.WithLabelValues(forwardCut).Inc()
	const why = "the process that owns the aggregate's partition did not answer"
	if r.Method == http.MethodPost {
		return unresolved.because(why).after(time.Second)
	}
	return unavailable.because(why).after(time.Second)
}

// watched notes in sent whether a connection was found, from where on something may
// have been sent. A transport that looks for another one has sent nothing.
func watched(ctx context.Context, sent *atomic.Bool) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { sent.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
}

// request is r for another process: what authenticates its caller is left as it
// came, so that the other one finds out by itself who sends it.
func request(ctx context.Context, w *response, r *http.Request, to string, body []byte) (*http.Request, error) {
	u, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	u.RawQuery = r.URL.RawQuery
	h := r.Header.Clone()
	for _, list := range r.Header["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range ofConnection {
		h.Del(name)
	}
	h.Del("Expect")
	h.Del("Content-Length")
	h[forwardedHeader] = []string{"1"}
	if h["User-Agent"] == nil {
		h["User-Agent"] = []string{""} // none, instead of the library's
	}
	out := &http.Request{Method: r.Method, URL: u, Host: r.Host, Header: h}
	if r.Method == http.MethodPost {
		h["X-Request-Id"] = []string{w.requestID().String()}
		if key := h["Idempotency-Key"]; key != nil {
			// Go's transport sends a request anew by itself that has a header of
			// exactly this name, as it does with queries, which do no harm. In HTTP
			// the case of letters means nothing.
			h["idempotency-key"] = key
			delete(h, "Idempotency-Key")
		}
	}
	if len(body) > 0 {
		out.ContentLength = int64(len(body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		out.Body, _ = out.GetBody()
	}
	return out.WithContext(ctx), nil
}

// ofConnection are headers that concern a single connection.
var ofConnection = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade"}

// relay answers with another process's answer: first, and what follows it.
func relay(w *response, res *http.Response, first []byte) {
	for _, name := range ofConnection {
		res.Header.Del(name)
	}
	h := w.Header()
	for name, values := range res.Header {
		h[name] = values
	}
	w.WriteHeader(res.StatusCode)
	if len(first) > 0 {
		w.Write(first)
	}
	if len(first) < maxWhole {
		return
	}
	if _, err := io.Copy(w, res.Body); err != nil {
		panic(http.ErrAbortHandler) // half an answer is out
	}
}

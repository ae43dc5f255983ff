package api

import (
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// admin returns the operators' API.
func (s *server) admin() http.Handler { return s.guard(s.operators().mux) }

// operators builds it: all that is added is described.
func (s *server) operators() *operators {
	o := newOperators(s)
	o.addHealth()
	o.addMembers()
	o.addGenerations()
	o.addOrigins()
	o.addDeadLetters()
	o.addMetrics()
	o.addPages(o.mux, o.spec, true)
	o.addProfiles()
	o.mux.NotFound(func(w http.ResponseWriter, r *http.Request) {
		unknown.because("there is nothing at %.200q; there are: %s, /debug/pprof, /docs, /openapi.json", r.URL.Path, strings.Join(o.paths, ", ")).write(w)
	})
	o.mux.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		list := allowed(o.mux, r)
		wrongMethod.because("%.20q is not allowed here; allowed: %s", r.Method, list).with("Allow", list).write(w)
	})
	return o
}

// addMetrics adds the figures.
func (o *operators) addMetrics() {
	all := promhttp.HandlerFor(o.metrics.gather, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	o.add(adminRoute{method: http.MethodGet, path: "/metrics", id: "get_metrics", tag: "process", summary: "Read the figures",
		about:  "Answers with the figures of this process, for Prometheus. Four are answered at once; more get 503 without a problem.",
		answer: answer{about: "The figures.", media: "text/plain"},
		do: func(w *response, r *http.Request) error {
			all.ServeHTTP(w, r)
			return nil
		}})
}

// addProfiles adds Go's profiles, which describe themselves.
func (o *operators) addProfiles() {
	o.mux.Get("/debug/pprof/cmdline", pprof.Cmdline)
	o.mux.Get("/debug/pprof/profile", pprof.Profile)
	o.mux.Get("/debug/pprof/symbol", pprof.Symbol)
	o.mux.Post("/debug/pprof/symbol", pprof.Symbol)
	o.mux.Get("/debug/pprof/trace", pprof.Trace)
	o.mux.Get("/debug/pprof/*", pprof.Index)
	o.mux.Get("/debug/pprof", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/debug/pprof/", http.StatusMovedPermanently)
	})
}

// guard lets pass what asks for this machine by a name that no stranger can give
// another meaning (DNS rebinding), and does not come from another site's page.
func (s *server) guard(next http.Handler) http.Handler {
	listen := hostOf(s.set.adminAddr)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		switch {
		case !ownHost(r, listen):
			forbidden.because("the host %.200q is not this listener's; ask for it by a loopback address, or by the one it listens on", r.Host).write(w)
		case !ownOrigin(r):
			forbidden.because("pages of other sites may not ask this listener").write(w)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// ownHost reports whether the request's Host is a loopback name or address, the
// host that was given to listen on, or the address that the connection reached.
func ownHost(r *http.Request, listen string) bool {
	host := hostOf(r.Host)
	if host == "" {
		return false
	}
	if strings.EqualFold(host, "localhost") || listen != "" && strings.EqualFold(host, listen) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	reached, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ip.IsLoopback() || reached != nil && ip.Unmap() == reached.AddrPort().Addr().Unmap()
}

// ownOrigin reports whether no page sent the request, or one from here.
func ownOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return false
	}
	for _, origin := range r.Header["Origin"] {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return false
		}
	}
	return true
}

// hostOf is the host of an address, without brackets.
func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

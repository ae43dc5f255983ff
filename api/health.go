package api

import (
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"
)

// addHealth adds what a supervisor asks: whether the process lives, and whether
// to send it requests.
func (s *server) addHealth(mux *chi.Mux) {
	s.page(mux, "/healthz", true, alive)
	s.page(mux, "/readyz", true, s.ready)
}

// health is the answer of a process that is well.
type health struct {
	Status string `json:"status" enum:"ok,ready"`
}

// addHealth adds the same to the operators' API.
func (o *operators) addHealth() {
	well := answer{about: "It is.", of: reflect.TypeFor[health]()}
	o.add(adminRoute{method: http.MethodGet, path: "/healthz", id: "get_health", tag: "process", summary: "Ask whether the process answers",
		about: "Answers as long as the process does. Restart it when it does not.", answer: well, do: alive})
	o.add(adminRoute{method: http.MethodGet, path: "/readyz", id: "get_readiness", tag: "process", summary: "Ask whether the process is ready",
		about: "Answers whether the process should get requests. While it should not, errors of the problem lists the reasons.", answer: well,
		fails: []*kind{notReady}, do: o.ready})
}

// alive answers, which is all that is asked.
func alive(w *response, _ *http.Request) error {
	w.Header()["Cache-Control"] = noStore
	w.json([]byte("{\"status\":\"ok\"}\n"))
	return nil
}

// ready answers whether all that the application serves is ready.
func (s *server) ready(w *response, _ *http.Request) error {
	if reasons := s.unready(); len(reasons) > 0 {
		return notReady.because("%d of what the application serves is not ready", len(reasons)).
			faults(reasons).after(time.Second)
	}
	w.Header()["Cache-Control"] = noStore
	w.json([]byte("{\"status\":\"ready\"}\n"))
	return nil
}

// unready returns at most maxFaults reasons.
func (s *server) unready() []*huma.ErrorDetail {
	var list []*huma.ErrorDetail
	if s.stopping.Load() {
		list = append(list, &huma.ErrorDetail{Message: "the server is stopping"})
	}
	for _, reason := range s.app.Unready() {
		if len(list) == maxFaults {
			return append(list, &huma.ErrorDetail{Message: "and more"})
		}
		list = append(list, &huma.ErrorDetail{Message: reason})
	}
	return list
}

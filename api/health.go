package api

import (
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"
)

// addHealth adds what a supervisor asks: whether the process lives, and whether
// to send it requests.
func (s *server) addHealth(mux *chi.Mux) {
	s.page(mux, "/healthz", true, func(w *response, _ *http.Request) error {
		w.Header()["Cache-Control"] = noStore
		w.json([]byte("{\"status\":\"ok\"}\n"))
		return nil
	})
	s.page(mux, "/readyz", true, func(w *response, _ *http.Request) error {
		if reasons := s.unready(); len(reasons) > 0 {
			return notReady.because("%d of what the application serves is not ready", len(reasons)).
				faults(reasons).after(time.Second)
		}
		w.Header()["Cache-Control"] = noStore
		w.json([]byte("{\"status\":\"ready\"}\n"))
		return nil
	})
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

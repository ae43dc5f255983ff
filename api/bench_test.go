package api

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

const benchBody = `{"name":"hikers","kind":"club","size":12,"tags":["hills","lakes"],"notes":{"text":"every Sunday"}}`

// BenchmarkCommand measures what the door costs a command: the whole handler
// with an application that answers at once, beside a bare chi route that reads
// the body and writes the same answer, and the same where another process decides:
// through both doors, and over a connection between them.
func BenchmarkCommand(b *testing.B) {
	result := cluster.Result{Version: 3, Position: eventlog.Position{Partition: 3, Offset: 81234},
		Events: []cluster.Recorded{{ID: idOf(1), Type: "tribe.founded", Version: 3}}}
	s := &script{execute: func(context.Context, framework.Call) (cluster.Result, error) { return result, nil }}
	bare := chi.NewMux()
	bare.Post("/v1/tribe/{id}/found", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			panic(err)
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(accepted{result.Version, result.Position.String(),
			[]acceptedEvent{{result.Events[0].ID.String(), result.Events[0].Type, 3}}})
	})
	quiet := newServer(quietScript{s}, []Option{CallerHeader("User")})
	b.Run("api", func(b *testing.B) { benchmark(b, quiet.mux) })
	b.Run("bare-chi", func(b *testing.B) { benchmark(b, bare) })
	owner := httptest.NewServer(quiet.mux)
	defer owner.Close()
	other := newServer(quietScript{owned(owner.URL)}, []Option{CallerHeader("User")})
	defer other.forward.transport.CloseIdleConnections()
	b.Run("passed-on", func(b *testing.B) { benchmark(b, other.mux) })
}

// quietScript logs at the level of a running server.
type quietScript struct{ *script }

func (s quietScript) Config() framework.Config {
	cfg := s.script.Config()
	cfg.Logger = quiet
	return cfg
}

func benchmark(b *testing.B, h http.Handler) {
	header := http.Header{"User": {"ann"}, "Content-Type": {"application/json"}, "Idempotency-Key": {"018f3c2e-7b1a-7c3d-9e4f-0123456789ab"}}
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("POST", "/v1/tribe/hikers/found", strings.NewReader(benchBody))
		r.Header = header
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Code, w.Body)
		}
	}
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

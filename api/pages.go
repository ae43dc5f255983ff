package api

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
)

// docs are the parts of the page that shows the description; they need nothing
// from elsewhere.
//
//go:embed docs/docs.html docs/docs.css docs/docs.js
var docs embed.FS

// addPages adds to mux what describes its API. free: its requests are not bounded.
func (s *server) addPages(mux *chi.Mux, spec *spec, free bool) {
	described := spec.describe()
	s.page(mux, "/openapi.json", free, func(w *response, r *http.Request) error {
		return described.send(w, r)
	})
	shown := docsPage()
	s.page(mux, "/docs", free, func(w *response, r *http.Request) error {
		return shown.send(w, r)
	})
	s.page(mux, "/problems/{kind}", free, explain)
}

// describe freezes the description: nothing may be added to it any more.
func (s *spec) describe() *file {
	data, err := json.Marshal(s.api.OpenAPI())
	if err != nil {
		panic(fmt.Errorf("api: encode the description: %w", err))
	}
	return newFile("application/openapi+json", data, "")
}

// file is a body that never changes.
type file struct {
	media, etag, policy string
	data                []byte
}

func newFile(media string, data []byte, policy string) *file {
	sum := sha256.Sum256(data)
	return &file{media, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, policy, data}
}

func (f *file) send(w *response, r *http.Request) error {
	h := w.Header()
	h["Etag"] = []string{f.etag}
	h["Cache-Control"] = noCache
	h["X-Content-Type-Options"] = noSniff
	if f.policy != "" {
		h.Set("Content-Security-Policy", f.policy)
		h.Set("Referrer-Policy", "no-referrer")
	}
	if noneMatch(r, f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h["Content-Type"] = []string{f.media}
	w.WriteHeader(http.StatusOK)
	w.Write(f.data)
	return nil
}

// docsPage puts style and script into the page, and names them by their hashes
// in its policy: nothing else runs there.
func docsPage() *file {
	part := func(name string) []byte {
		data, err := docs.ReadFile("docs/" + name)
		if err != nil {
			panic(err) // it is embedded
		}
		return data
	}
	style, script := part("docs.css"), part("docs.js")
	data := bytes.Replace(part("docs.html"), []byte("/*style*/"), style, 1)
	data = bytes.Replace(data, []byte("/*script*/"), script, 1)
	policy := []string{"default-src 'none'", "style-src " + hashOf(style), "script-src " + hashOf(script), "connect-src 'self'",
		"img-src data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"}
	return newFile("text/html; charset=utf-8", data, strings.Join(policy, "; "))
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// explain answers what a problem's type points to.
func explain(w *response, r *http.Request) error {
	for _, k := range kinds {
		if k.name == r.PathValue("kind") {
			h := w.Header()
			h["Content-Type"] = []string{"text/plain; charset=utf-8"}
			h["X-Content-Type-Options"] = noSniff
			w.WriteHeader(http.StatusOK)
			fmt.Fprintf(w, "%s (%d)\n\n%s\n", k.title, k.status, k.about)
			return nil
		}
	}
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return unknown.because("unknown problem %.80q; there are: %s", r.PathValue("kind"), list(names))
}

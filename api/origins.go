package api

import (
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/view"
)

// maxExplaining bounds the explanations that are looked for at once: each may read the
// log for as long as it takes.
const maxExplaining = 4

// maxBookmark bounds the after of an explanation, which says of each partition of the
// log how far it was read.
const maxBookmark = 32 << 10

// madeOf is where a document comes from, as operators see it.
type madeOf struct {
	View       string          `json:"view"`
	Key        string          `json:"key"`
	Generation int             `json:"generation"`
	Version    int             `json:"version"` // of the view's fold
	Document   json.RawMessage `json:"document"`
	Items      []origin        `json:"items"`
	Next       string          `json:"next,omitempty"`
	Looked     looked          `json:"looked"`
}

type origin struct {
	Position    string `json:"position"`
	Aggregate   string `json:"aggregate"`
	AggregateID string `json:"aggregate_id"`
	recorded
	Document *json.RawMessage `json:"document,omitempty"`
	Pending  bool             `json:"pending,omitempty"`
}

type looked struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Next      int64  `json:"next"`
	End       int64  `json:"end"`
	Folded    int64  `json:"folded"`
}

// addOrigins adds to the operators' API what a document comes from. It is not in the
// public one: it shows events whoever they are of.
func (s *server) addOrigins(mux *chi.Mux) {
	s.page(mux, "/v1/views/{view}/explain/{key}", true, s.within(make(room, maxExplaining), s.origins))
}

// origins answers with the events that made a document.
func (s *server) origins(w *response, r *http.Request) error {
	name := r.PathValue("view")
	if _, known := s.names.kinds[name]; !known {
		return unknown.because("unknown view %.80q; there are: %s", name, list(s.names.views))
	}
	key, err := anyKey(r)
	if err != nil {
		return err
	}
	q, err := newQuery(r, append([]string{"generation", "after", "limit", "look", "documents"}, moments...)...)
	if err != nil {
		return err
	}
	e := framework.Explain{AsOf: q.moment(), Generation: int(q.number("generation", 0, 1, math.MaxInt32)), After: q.text("after", maxBookmark),
		Limit: int(q.number("limit", 100, 1, framework.MaxExplained)), Look: int(q.number("look", framework.MaxLook, 1, math.MaxInt32)),
		Documents: q.yes("documents")}
	if err := q.problem(); err != nil {
		return err
	}
	x, err := s.app.Explain(r.Context(), name, key, e)
	if err != nil {
		return err
	}
	out := madeOf{View: name, Key: key, Generation: x.Generation, Version: x.Version, Document: x.Document,
		Items: make([]origin, len(x.Events)), Next: x.Next, Looked: looked(x.Looked)}
	for i := range x.Events {
		out.Items[i] = originOf(&x.Events[i], e.Documents)
	}
	return w.fresh(http.StatusOK, out)
}

func originOf(o *framework.Origin, document bool) origin {
	e := &o.Event
	out := origin{Position: o.Position.String(), Aggregate: o.Aggregate, AggregateID: o.ID, Pending: o.Pending,
		recorded: recorded{e.ID.String(), e.Type, e.Version, e.Time, e.Actor, payloadJSON(e.Data)}}
	if document {
		out.Document = &o.Document
	}
	return out
}

// anyKey returns the key in the path, which may be any: those of sets and of views keyed
// otherwise need be no ids.
func anyKey(r *http.Request) (string, error) {
	key := r.PathValue("key")
	if plain, err := url.PathUnescape(key); r.URL.RawPath != "" && err == nil {
		key = plain
	}
	if len(key) > view.MaxKey {
		return "", unknown.because("the key in the path has %d bytes, at most %d can be", len(key), view.MaxKey)
	}
	return key, nil
}

// yes returns a parameter that is true or false; false if it is not given.
func (q *query) yes(name string) bool {
	text := q.values.Get(name)
	if q.values.Has(name) && text != "true" && text != "false" {
		q.add(name, "want true or false", strings.ToValidUTF8(text, "\uFFFD"))
	}
	return text == "true"
}

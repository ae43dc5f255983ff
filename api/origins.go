package api

import (
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

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
	Version    int             `json:"version" doc:"Of the view's fold"`
	Document   json.RawMessage `json:"document" doc:"As the store has it, of a feed or ranking its set; null: it is not there"`
	Items      []origin        `json:"items" nullable:"false" doc:"The events that made it, in the order in which they were folded"`
	Next       string          `json:"next,omitempty" doc:"Pass as after to get the next page; absent at the end"`
	Looked     looked          `json:"looked"`
}

// origin is an event that has moved a document.
type origin struct {
	Position    string           `json:"position" doc:"Where its commit took effect"`
	Aggregate   string           `json:"aggregate" doc:"The aggregate's type"`
	AggregateID string           `json:"aggregate_id"`
	ID          string           `json:"id" format:"uuid"`
	Type        string           `json:"type"`
	Version     uint64           `json:"version" doc:"Of the aggregate after this event"`
	Time        time.Time        `json:"time"`
	Actor       string           `json:"actor" doc:"Who caused it"`
	Data        json.RawMessage  `json:"data" doc:"The event's payload, as it would be written today"`
	Document    *json.RawMessage `json:"document,omitempty" doc:"After the event, if that was asked for; null: it is not there"`
	Pending     bool             `json:"pending,omitempty" doc:"Whether the view has not folded it yet"`
}

// looked says how far the log was looked through.
type looked struct {
	Topic     string `json:"topic" doc:"The events, or a shuffle of the view"`
	Partition int32  `json:"partition"`
	Next      int64  `json:"next" doc:"No record before it moves the document but for those that are listed, on this page or one before"`
	End       int64  `json:"end" doc:"Of the partition"`
	Folded    int64  `json:"folded" doc:"The view has folded the records before it"`
}

// addOrigins adds what a document comes from. It is not in the public API: it shows
// events whoever they are of.
func (o *operators) addOrigins() {
	text := func(max int) *huma.Schema { return &huma.Schema{Type: huma.TypeString, MaxLength: ptr(max)} }
	o.add(adminRoute{method: http.MethodGet, path: "/v1/views/{view}/explain/{key}", id: "explain_document", tag: "views", summary: "Explain a document",
		about: "Answers with a document and the events that made it, in the order in which they were folded, whether or not it is there still. " +
			"A page may have no items and yet a next, where the log was looked through for long enough.",
		params: append([]*huma.Param{ofView, pathParam("key", "The document's key, or the name of the set", text(view.MaxKey)),
			queryParam("generation", "Of the view. Default: the one that is read.", number(1, nil, nil)),
			queryParam("limit", "The most events to answer with.", number(1, ptr(float64(framework.MaxExplained)), 100)),
			queryParam("after", "The next of the page before; with the same parameters.", text(maxBookmark)),
			queryParam("documents", "Whether each event has the document after it.", &huma.Schema{Type: huma.TypeBoolean, Default: false}),
			queryParam("look", "The most records of the log to read for a page.", number(1, nil, framework.MaxLook))}, explainMoments()...),
		answer: answer{about: "The document and its events.", of: reflect.TypeFor[madeOf]()}, room: make(room, maxExplaining),
		fails: []*kind{malformed, unknown, notFound, wrongState, invalid, limited, broken, unavailable}, do: o.origins})
}

// explainMoments describe the parameters of a moment.
func explainMoments() []*huma.Param {
	list := momentParams()
	for i, about := range []string{"Only events up to this version of the aggregate, of views whose keys are those of aggregates. Of version, at and position one may be given.",
		"Only events before the first that is later.", "Only events whose commits had taken effect at this Position; none of partitions that it does not name."} {
		list[i].Description = about
	}
	return list
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
		ID: e.ID.String(), Type: e.Type, Version: e.Version, Time: e.Time, Actor: e.Actor, Data: payloadJSON(e.Data)}
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

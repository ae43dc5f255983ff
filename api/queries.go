package api

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/view"
)

// aggregate is one aggregate type's door for queries.
type aggregate struct {
	*server
	framework.Aggregate
	name string
}

func (s *server) addAggregates() {
	for _, t := range s.app.Aggregates() {
		a := &aggregate{s, t, t.TypeName()}
		s.operation(s.spec.state(t), a.state)
		s.operation(s.spec.events(t), a.events)
	}
}

func (a *aggregate) state(w *response, r *http.Request) error {
	id, at, err := asked(r, "id")
	if err != nil {
		return err
	}
	q := framework.StateQuery{Min: at}
	if q.MaxStaleness, err = maxStaleness(r); err != nil {
		return err
	}
	if q.Strong, err = strong(r); err != nil {
		return err
	}
	if q.AsOf, err = asOf(r); err != nil {
		return err
	}
	if done, err := a.elsewhere(w, r, a.name, id, "", nil); done {
		return err
	}
	if q.AsOf.IsZero() {
		return a.show(w, r, id, q)
	}
	return a.within(a.folding, func(w *response, r *http.Request) error { return a.show(w, r, id, q) })(w, r)
}

// show answers with a state.
func (a *aggregate) show(w *response, r *http.Request, id string, q framework.StateQuery) error {
	st, err := a.app.StateAsOf(r.Context(), a.name, id, q)
	if err != nil {
		return err
	}
	h, tag := w.Header(), etag(st.Version)
	h["Etag"] = []string{tag}
	h["Position"] = []string{st.Position.String()}
	if noneMatch(r, tag) {
		h["Cache-Control"] = noCache
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.json(st.JSON)
	return nil
}

// asked reads what most queries have: a key in the path, and Min-Position.
func asked(r *http.Request, key string) (string, eventlog.Positions, error) {
	at, err := minPosition(r)
	if err != nil {
		return "", at, err
	}
	id, err := pathID(r, key)
	return id, at, err
}

// history is a page of events.
type history struct {
	Items []recorded `json:"items"`
	Next  uint64     `json:"next,omitempty"`
}

type recorded struct {
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	Version uint64          `json:"version"`
	Time    time.Time       `json:"time"`
	Actor   string          `json:"actor"`
	Data    json.RawMessage `json:"data"`
}

// maxEvents bounds a page of events.
const maxEvents = 1000

func (a *aggregate) events(w *response, r *http.Request) error {
	id, at, err := asked(r, "id")
	if err != nil {
		return err
	}
	q, err := newQuery(r, "after", "limit")
	if err != nil {
		return err
	}
	after := q.number("after", 0, 0, math.MaxInt64)
	limit := int(q.number("limit", 100, 1, maxEvents))
	if err := q.problem(); err != nil {
		return err
	}
	if done, err := a.elsewhere(w, r, a.name, id, "/events", nil); done {
		return err
	}
	if at, err = a.noOlder(r, at); err != nil {
		return err
	}
	list, position, err := a.app.History(r.Context(), a.name, id, after, min(limit+1, maxEvents), at)
	if err != nil {
		return err
	}
	return a.page(w, list, limit, position)
}

// noOlder adds to what an answer must have seen all that Max-Staleness asks for.
func (s *server) noOlder(r *http.Request, min eventlog.Positions) (eventlog.Positions, error) {
	age, err := maxStaleness(r)
	if err != nil || age == 0 {
		return min, err
	}
	held, err := s.app.Held(r.Context(), age)
	return held.Join(min), err
}

// page answers with at most limit of list; one more says that there is a next
// page, and so does a list as long as any can be.
func (a *aggregate) page(w *response, list []cluster.Recorded, limit int, position eventlog.Position) error {
	out := history{Items: make([]recorded, 0, min(len(list), limit))}
	for _, e := range list[:min(len(list), limit)] {
		out.Items = append(out.Items, recorded{e.ID.String(), e.Type, e.Version, e.Time, e.Actor, payloadJSON(e.Data)})
	}
	if n := len(out.Items); n > 0 && (len(list) > limit || n == maxEvents) {
		out.Next = out.Items[n-1].Version
	}
	data, err := json.Marshal(out)
	if err != nil {
		return err
	}
	w.Header()["Position"] = []string{position.String()}
	w.json(data)
	return nil
}

// payloadJSON is an event's data as JSON: as it is, or as a text in base64 where the
// aggregate type's Codec writes something else.
func payloadJSON(data []byte) json.RawMessage {
	if json.Valid(data) {
		return data
	}
	quoted, _ := json.Marshal(data) // bytes always can be
	return quoted
}

// Limits of queries on views; framework.Query has those of Limit.
const (
	maxLimit = 100
	maxSkip  = 10_000 - maxLimit
	maxWords = 1 << 10 // bytes of q
	maxAfter = 4 << 10 // bytes of after
	maxField = 512     // bytes of a keyword
	maxEnd   = 64      // bytes of an end of a range
)

func (s *server) addViews() {
	for _, v := range s.app.Views() {
		t := &viewDoor{s, v}
		switch v.Kind {
		case framework.Document:
			s.operation(s.spec.document(v), t.answers(document)).live = t.live(document)
		case framework.Feed:
			s.operation(s.spec.feed(v), t.answers(feed)).live = t.live(feed)
		case framework.Ranking:
			s.operation(s.spec.ranking(v), t.answers(ranking)).live = t.live(ranking)
		case framework.Search:
			s.operation(s.spec.search(v), t.answers(t.search)).live = notLive
		}
	}
}

// viewDoor is one view's door.
type viewDoor struct {
	*server
	view framework.View
}

// answers returns what answers with what parse makes of a request.
func (v *viewDoor) answers(parse func(*http.Request) (framework.Query, error)) handler {
	return func(w *response, r *http.Request) error {
		q, err := parse(r)
		if err == nil {
			q.MaxStaleness, err = maxStaleness(r)
		}
		if err != nil {
			return err
		}
		return v.ask(w, r, q)
	}
}

func document(r *http.Request) (q framework.Query, err error) {
	if q.Key, q.Min, err = asked(r, "key"); err != nil {
		return q, err
	}
	return q, noQuery(r)
}

func feed(r *http.Request) (out framework.Query, err error) {
	if out.Key, out.Min, err = asked(r, "key"); err != nil {
		return out, err
	}
	q, err := newQuery(r, "after", "limit")
	if err != nil {
		return out, err
	}
	out.After, out.Limit = q.text("after", maxAfter), limitOf(q)
	return out, q.problem()
}

func ranking(r *http.Request) (out framework.Query, err error) {
	if out.Key, out.Min, err = asked(r, "key"); err != nil {
		return out, err
	}
	q, err := newQuery(r, "after", "from", "limit")
	if err != nil {
		return out, err
	}
	out.After, out.From, out.Limit = q.text("after", maxAfter), q.text("from", maxField), limitOf(q)
	return out, q.problem()
}

func limitOf(q *query) int { return int(q.number("limit", 20, 1, maxLimit)) }

func (v *viewDoor) search(r *http.Request) (out framework.Query, err error) {
	if out.Min, err = minPosition(r); err != nil {
		return out, err
	}
	q, err := newQuery(r, v.view.Parameters()...)
	if err != nil {
		return out, err
	}
	out.Text, out.Skip, out.Limit = q.text("q", maxWords), int(q.number("skip", 0, 0, maxSkip)), limitOf(q)
	out.Sort, out.After = q.choice("sort", orders(v.view.Fields)), q.text("after", maxAfter)
	if q.values.Has("skip") && out.Skip > 0 && out.After != "" {
		q.add("skip", "give after alone: it names where the page before has ended", out.Skip)
	}
	out.Is, out.Ranges = v.keywords(q), v.ranges(q)
	return out, q.problem()
}

// keywords returns what the exact fields must be.
func (v *viewDoor) keywords(q *query) (is map[string]string) {
	for _, field := range v.view.Fields.Of(view.FieldKind.Exact) {
		if q.values.Has(field) {
			if is == nil {
				is = make(map[string]string)
			}
			is[field] = q.text(field, maxField)
		}
	}
	return is
}

// ranges returns what numbers and times must lie within.
func (v *viewDoor) ranges(q *query) (within map[string]view.Range) {
	for _, field := range v.view.Fields.Of(view.FieldKind.Measured) {
		r := view.Range{From: v.end(q, field, framework.FromParameter), To: v.end(q, field, framework.ToParameter)}
		if r == (view.Range{}) {
			continue
		}
		if _, _, err := r.Bounds(v.view.Fields[field]); err != nil { // each end is sound
			q.add(field+framework.ToParameter, "want no less than the parameter "+field+framework.FromParameter, r.To)
		}
		if within == nil {
			within = make(map[string]view.Range)
		}
		within[field] = r
	}
	return within
}

// end returns one end of a range, empty if it is not given or not as it must be.
func (v *viewDoor) end(q *query, field, which string) string {
	text, kind := q.text(field+which, maxEnd), v.view.Fields[field]
	if !q.values.Has(field + which) {
		return ""
	}
	if _, err := kind.Parse(text); err != nil {
		want := "want a number as JSON writes it, such as -1.5"
		if kind == view.Time {
			want = "want a time of RFC 3339, such as 2026-01-31T09:30:00Z; write a + in it as %2B"
		}
		q.add(field+which, want, text)
		return ""
	}
	return text
}

// orders are what a search can be sorted by.
func orders(fields view.Fields) []string {
	var list []string
	for _, name := range fields.Of(view.FieldKind.Sorts) {
		list = append(list, name, "-"+name)
	}
	return list
}

func (v *viewDoor) ask(w *response, r *http.Request, q framework.Query) error {
	a, err := v.app.Ask(r.Context(), v.view.Name, q)
	if err != nil {
		return err
	}
	h := w.Header()
	if at := a.Positions.String(); at != "" {
		h["Position"] = []string{at}
	}
	h["Generation"] = []string{strconv.Itoa(a.Generation)}
	w.json(a.JSON)
	return nil
}

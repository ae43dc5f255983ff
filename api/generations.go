package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// Limits of requests about generations.
const (
	maxOrder   = 4 << 10          // bytes of a body
	maxTending = 8                // that are under way at once
	compareFor = 10 * time.Minute // that one which compares may take
)

// unnamed is who is recorded for a request that does not say it.
const unnamed = "admin API"

// rebuildOrder is the body of POST /v1/views/{view}/generations.
type rebuildOrder struct {
	Version int    `json:"version,omitempty" minimum:"1" maximum:"2147483647"`
	Rate    int    `json:"rate,omitempty" minimum:"0" maximum:"2147483647"`
	By      string `json:"by,omitempty" maxLength:"256"`
}

// switchOrder is the body of POST /v1/views/{view}/generations/{number}/switch.
type switchOrder struct {
	Force  bool   `json:"force,omitempty"`
	Reason string `json:"reason,omitempty" maxLength:"256"`
	By     string `json:"by,omitempty" maxLength:"256"`
}

// rollbackOrder is the body of POST /v1/views/{view}/rollback.
type rollbackOrder struct {
	By string `json:"by,omitempty" maxLength:"256"`
}

// generation is one of a view as operators see it.
type generation struct {
	Generation int       `json:"generation"`
	Version    int       `json:"version"`
	State      string    `json:"state"`
	Lag        int64     `json:"lag"`
	Done       int64     `json:"done"`
	End        int64     `json:"end"`
	Rate       float64   `json:"events_per_second"`
	Left       float64   `json:"seconds_left"`
	Carried    bool      `json:"carried"`
	Created    time.Time `json:"created"`
	By         string    `json:"by"`
	Error      string    `json:"error,omitempty"`
}

// comparison is what comparing a generation with the one that is read came to; of pairs
// the first is that one's.
type comparison struct {
	Equal       bool         `json:"equal"`
	Documents   [2]int64     `json:"documents"`
	Entries     [2]int64     `json:"entries"`
	Digests     [2]string    `json:"digests"`
	Position    string       `json:"position"`
	Differences []difference `json:"differences"`
}

type difference struct {
	Key   string          `json:"key"`
	Read  json.RawMessage `json:"read"`
	Other json.RawMessage `json:"other"`
}

func generationOf(g framework.Generation) generation {
	out := generation{Generation: g.Number, Version: g.Version, State: string(g.State), Lag: g.Lag, Done: g.Done, End: g.End,
		Rate: g.Rate, Left: g.Left.Seconds(), Carried: g.Carried, Created: g.Created, By: g.By}
	if g.Err != nil {
		out.Error = g.Err.Error()
	}
	return out
}

// tending is the operators' door to the generations of views.
type tending struct {
	*server
	rules                       *rules
	toRebuild, toSwitch, toBack *rule
}

// addGenerations adds the routes of views' generations to the operators' API. They have
// a bound of their own, so that they answer where the API is busy.
func (s *server) addGenerations(mux *chi.Mux) {
	registry := huma.NewMapRegistry(schemaPrefix, huma.DefaultSchemaNamer)
	t := &tending{server: s, rules: newRules(registry)}
	order := func(of reflect.Type) *rule { return t.rules.of(registry.Schema(of, true, "")) }
	t.toRebuild, t.toSwitch = order(reflect.TypeFor[rebuildOrder]()), order(reflect.TypeFor[switchOrder]())
	t.toBack = order(reflect.TypeFor[rollbackOrder]())
	room := make(room, maxTending)
	add := func(method, pattern string, h handler) {
		route := s.route(pattern, s.within(room, h))
		route.free = true
		mux.Method(method, pattern, route)
	}
	const all, one = "/v1/views/{view}/generations", "/v1/views/{view}/generations/{number}"
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		add(method, all, t.list)
		add(method, one, t.show)
	}
	add(http.MethodPost, all, t.rebuild)
	add(http.MethodPost, one+"/compare", t.compare)
	add(http.MethodPost, one+"/switch", t.change)
	add(http.MethodDelete, one, t.retire)
	add(http.MethodPost, "/v1/views/{view}/rollback", t.rollback)
}

// list answers with the generations of a view.
func (t *tending) list(w *response, r *http.Request) error {
	view, err := t.view(r)
	if err == nil {
		err = noQuery(r)
	}
	if err != nil {
		return err
	}
	all, err := t.app.Generations(r.Context(), view)
	if err != nil {
		return err
	}
	out := struct {
		Items []generation `json:"items"`
	}{make([]generation, len(all))}
	for i, g := range all {
		out.Items[i] = generationOf(g)
	}
	return w.fresh(http.StatusOK, out)
}

// show answers with one generation.
func (t *tending) show(w *response, r *http.Request) error {
	view, number, err := t.numbered(r)
	if err == nil {
		err = noQuery(r)
	}
	if err != nil {
		return err
	}
	all, err := t.app.Generations(r.Context(), view)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(g framework.Generation) bool { return g.Number == number })
	if at < 0 {
		return unknown.because("unknown generation %d of view %q", number, view)
	}
	return w.fresh(http.StatusOK, generationOf(all[at]))
}

// rebuild lets a generation be built.
func (t *tending) rebuild(w *response, r *http.Request) error {
	view, err := t.view(r)
	if err != nil {
		return err
	}
	order := rebuildOrder{By: unnamed}
	if err := t.read(w, r, t.toRebuild, &order); err != nil {
		return err
	}
	number, err := t.app.Rebuild(r.Context(), view, framework.Rebuild{Version: order.Version, Rate: order.Rate, By: order.By})
	if err != nil {
		return err
	}
	w.Header().Set("Location", fmt.Sprintf("/v1/views/%s/generations/%d", url.PathEscape(view), number))
	return w.fresh(http.StatusAccepted, numberOf(number))
}

// compare answers whether a generation holds what the one that is read does.
func (t *tending) compare(w *response, r *http.Request) error {
	view, number, err := t.numbered(r)
	if err == nil {
		err = noQuery(r)
	}
	if err != nil {
		return err
	}
	ctx, end := t.compares(w, r)
	defer end()
	c, err := t.app.Compare(ctx, view, number)
	if err != nil {
		return err
	}
	out := comparison{Equal: c.Equal, Documents: c.Documents, Entries: c.Entries, Digests: c.Digests, Position: c.Positions.String(),
		Differences: make([]difference, len(c.Differences))}
	for i, d := range c.Differences {
		out.Differences[i] = difference(d)
	}
	return w.fresh(http.StatusOK, out)
}

// compares lets a request take as long as a comparison may.
func (t *tending) compares(w *response, r *http.Request) (context.Context, context.CancelFunc) {
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(clock.System.Now().Add(compareFor + lastWrite))
	return context.WithTimeout(r.Context(), compareFor)
}

// change lets a generation be read.
func (t *tending) change(w *response, r *http.Request) error {
	view, number, err := t.numbered(r)
	if err != nil {
		return err
	}
	order := switchOrder{By: unnamed}
	if err := t.read(w, r, t.toSwitch, &order); err != nil {
		return err
	}
	ctx, end := t.compares(w, r) // it does, unless forced
	defer end()
	if err := t.app.Switch(ctx, view, number, framework.Switch(order)); err != nil {
		return err
	}
	return w.fresh(http.StatusOK, numberOf(number))
}

// rollback undoes the last switch.
func (t *tending) rollback(w *response, r *http.Request) error {
	view, err := t.view(r)
	if err != nil {
		return err
	}
	order := rollbackOrder{By: unnamed}
	if err := t.read(w, r, t.toBack, &order); err != nil {
		return err
	}
	number, err := t.app.Rollback(r.Context(), view, order.By)
	if err != nil {
		return err
	}
	return w.fresh(http.StatusOK, numberOf(number))
}

// retire gives a generation up. Who wants it stands in the query string, for a DELETE
// has no body.
func (t *tending) retire(w *response, r *http.Request) error {
	view, number, err := t.numbered(r)
	if err != nil {
		return err
	}
	q, err := newQuery(r, "by")
	if err != nil {
		return err
	}
	by := q.text("by", 256)
	if err := q.problem(); err != nil {
		return err
	}
	if by == "" {
		by = unnamed
	}
	if err := t.app.Retire(r.Context(), view, number, by); err != nil {
		return err
	}
	w.Header()["Cache-Control"] = noStore
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// view returns the view that the path names.
func (t *tending) view(r *http.Request) (string, error) {
	name := r.PathValue("view")
	if !slices.Contains(t.names.views, name) {
		return "", unknown.because("unknown view %.80q; there are: %s", name, list(t.names.views))
	}
	return name, nil
}

// numbered returns the view and the number that the path names.
func (t *tending) numbered(r *http.Request) (view string, number int, err error) {
	if view, err = t.view(r); err != nil {
		return "", 0, err
	}
	text := r.PathValue("number")
	number, err = strconv.Atoi(text)
	if err != nil || number < 1 || strconv.Itoa(number) != text {
		return "", 0, unknown.because("unknown generation %.80q of view %q; want its number, from 1", text, view)
	}
	return view, number, nil
}

// read reads a body into what order points to; where it has no body, that stays as it is.
func (t *tending) read(w *response, r *http.Request, rule *rule, order any) error {
	if err := noQuery(r); err != nil {
		return err
	}
	data, err := body(w.ResponseWriter, r, maxOrder)
	if err != nil || data == nil {
		return err
	}
	v, err := parseJSON(data)
	if err != nil {
		return err
	}
	if faults := t.rules.check(rule, "body", v); len(faults) > 0 {
		return invalid.because("%s in the body", count(len(faults), "fault")).faults(faults)
	}
	if err := json.Unmarshal(data, order); err != nil {
		return fmt.Errorf("%w body: %w", framework.ErrInvalid, err)
	}
	return nil
}

// numberOf is the answer to what has changed the generations of a view.
func numberOf(number int) any {
	return struct {
		Generation int `json:"generation"`
	}{number}
}

// fresh sends an answer that is not to be kept.
func (w *response) fresh(status int, answer any) error {
	data, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"], h["X-Content-Type-Options"], h["Cache-Control"] = jsonType, noSniff, noStore
	w.WriteHeader(status)
	w.Write(append(data, '\n'))
	return nil
}

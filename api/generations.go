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
	Parked     int       `json:"parked"`
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
	Parked      [2]int       `json:"parked"`
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
		Rate: g.Rate, Left: g.Left.Seconds(), Parked: g.Parked, Carried: g.Carried, Created: g.Created, By: g.By}
	if g.Err != nil {
		out.Error = g.Err.Error()
	}
	return out
}

// tending is the operators' door to the generations of views.
type tending struct {
	*server
	*orders
	toRebuild, toSwitch, toBack *rule
}

// addGenerations adds the routes of views' generations to the operators' API. They have
// a bound of their own, so that they answer where the API is busy.
func (s *server) addGenerations(mux *chi.Mux) {
	t := &tending{server: s, orders: newOrders()}
	t.toRebuild, t.toSwitch = t.of(reflect.TypeFor[rebuildOrder]()), t.of(reflect.TypeFor[switchOrder]())
	t.toBack = t.of(reflect.TypeFor[rollbackOrder]())
	room := make(room, maxTending)
	add := func(method, pattern string, h func(w *response, r *http.Request, of target) error) {
		route := s.route(pattern, s.within(room, func(w *response, r *http.Request) error {
			of, err := t.target(r)
			if err == nil && method != http.MethodDelete {
				err = noQuery(r)
			}
			if err != nil {
				return err
			}
			return h(w, r, of)
		}))
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
func (t *tending) list(w *response, r *http.Request, of target) error {
	all, err := t.app.Generations(r.Context(), of.view)
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
func (t *tending) show(w *response, r *http.Request, of target) error {
	all, err := t.app.Generations(r.Context(), of.view)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(g framework.Generation) bool { return g.Number == of.number })
	if at < 0 {
		return unknown.because("unknown generation %d of view %q", of.number, of.view)
	}
	return w.fresh(http.StatusOK, generationOf(all[at]))
}

// rebuild lets a generation be built.
func (t *tending) rebuild(w *response, r *http.Request, of target) error {
	order := rebuildOrder{By: unnamed}
	if err := t.read(w, r, t.toRebuild, &order); err != nil {
		return err
	}
	number, err := t.app.Rebuild(r.Context(), of.view, framework.Rebuild{Version: order.Version, Rate: order.Rate, By: order.By})
	if err != nil {
		return err
	}
	w.Header().Set("Location", fmt.Sprintf("/v1/views/%s/generations/%d", url.PathEscape(of.view), number))
	return w.fresh(http.StatusAccepted, numberOf(number))
}

// compare answers whether a generation holds what the one that is read does.
func (t *tending) compare(w *response, r *http.Request, of target) error {
	ctx, end := t.compares(w, r)
	defer end()
	c, err := t.app.Compare(ctx, of.view, of.number)
	if err != nil {
		return err
	}
	out := comparison{Equal: c.Equal, Documents: c.Documents, Entries: c.Entries, Digests: c.Digests, Parked: c.Parked, Position: c.Positions.String(),
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
func (t *tending) change(w *response, r *http.Request, of target) error {
	order := switchOrder{By: unnamed}
	if err := t.read(w, r, t.toSwitch, &order); err != nil {
		return err
	}
	ctx, end := t.compares(w, r) // it does, unless forced
	defer end()
	if err := t.app.Switch(ctx, of.view, of.number, framework.Switch(order)); err != nil {
		return err
	}
	return w.fresh(http.StatusOK, numberOf(of.number))
}

// rollback undoes the last switch.
func (t *tending) rollback(w *response, r *http.Request, of target) error {
	order := rollbackOrder{By: unnamed}
	if err := t.read(w, r, t.toBack, &order); err != nil {
		return err
	}
	number, err := t.app.Rollback(r.Context(), of.view, order.By)
	if err != nil {
		return err
	}
	return w.fresh(http.StatusOK, numberOf(number))
}

// retire gives a generation up. Who wants it stands in the query string, for a DELETE
// has no body.
func (t *tending) retire(w *response, r *http.Request, of target) error {
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
	if err := t.app.Retire(r.Context(), of.view, of.number, by); err != nil {
		return err
	}
	w.Header()["Cache-Control"] = noStore
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// target is what a request is about: a view or, where its path names one, a generation
// of it.
type target struct {
	view   string
	number int
}

// target returns what the path names.
func (t *tending) target(r *http.Request) (of target, err error) {
	of.view = r.PathValue("view")
	if !slices.Contains(t.names.views, of.view) {
		return of, unknown.because("unknown view %.80q; there are: %s", of.view, list(t.names.views))
	}
	text := r.PathValue("number")
	if text == "" {
		return of, nil
	}
	of.number, err = strconv.Atoi(text)
	if err != nil || of.number < 1 || strconv.Itoa(of.number) != text {
		return of, unknown.because("unknown generation %.80q of view %q; want its number, from 1", text, of.view)
	}
	return of, nil
}

// orders are the bodies of requests to the operators' API.
type orders struct {
	registry huma.Registry
	rules    *rules
}

func newOrders() *orders {
	registry := huma.NewMapRegistry(schemaPrefix, huma.DefaultSchemaNamer)
	return &orders{registry, newRules(registry)}
}

// of returns the rule of an order's type.
func (o *orders) of(t reflect.Type) *rule { return o.rules.of(o.registry.Schema(t, true, "")) }

// read reads a body into what order points to; where it has no body, that stays as it is.
func (o *orders) read(w *response, r *http.Request, rule *rule, order any) error {
	data, err := body(w.ResponseWriter, r, maxOrder)
	if err != nil || data == nil {
		return err
	}
	v, err := parseJSON(data)
	if err != nil {
		return err
	}
	if faults := o.rules.check(rule, "body", v); len(faults) > 0 {
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

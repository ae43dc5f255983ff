package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// letters is what the door needs of an application for its dead letters.
type letters interface {
	DeadLetters(ctx context.Context, after string, limit int) ([]framework.DeadLetter, error)
	DeadLetter(ctx context.Context, id string) (framework.DeadLetter, []stream.Letter, error)
	Rule(ctx context.Context, id string, act stream.Act, reason, by string) (framework.Ruled, error)
}

var _ letters = (*framework.App)(nil)

// lettersOnPage is how many dead letters a page has at most.
const lettersOnPage = 100

// rulingOrder is the body of POST /v1/dead-letters/{id}/retry and …/discard.
type rulingOrder struct {
	Reason string `json:"reason,omitempty" maxLength:"256"`
	By     string `json:"by,omitempty" maxLength:"256"`
}

// deadLetters is the operators' door to what cannot be folded.
type deadLetters struct {
	*orders
	app  letters
	rule *rule // of rulingOrder
}

// addDeadLetters adds what shows events that cannot be folded, and rules on them, with a
// bound of its own.
func (s *server) addDeadLetters(mux *chi.Mux) {
	app, ok := s.app.(letters)
	if !ok {
		return
	}
	d := &deadLetters{orders: newOrders(), app: app}
	d.rule = d.of(reflect.TypeFor[rulingOrder]())
	room := make(room, maxTending)
	add := func(method, pattern string, h handler) {
		route := s.route(pattern, s.within(room, h))
		route.free = true
		mux.Method(method, pattern, route)
	}
	const all, one = "/v1/dead-letters", "/v1/dead-letters/{id}"
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		add(method, all, d.list)
		add(method, one, d.show)
	}
	add(http.MethodPost, one+"/retry", d.retry)
	add(http.MethodPost, one+"/discard", d.discard)
}

// letter is a dead letter as operators see it.
type letter struct {
	ID         string       `json:"id"`
	State      string       `json:"state"`
	View       string       `json:"view,omitempty"`
	Effect     string       `json:"effect,omitempty"`
	Generation int          `json:"generation,omitempty"`
	Operator   string       `json:"operator"`
	Partition  int32        `json:"partition"`
	Position   string       `json:"position"`
	Key        string       `json:"key,omitempty"`
	Event      *letterEvent `json:"event,omitempty"`
	Timer      string       `json:"timer,omitempty"`
	Error      string       `json:"error"`
	Parked     int          `json:"parked"`
	Since      *time.Time   `json:"since,omitempty"`
	Attempts   int          `json:"attempts"`
}

// letterEvent is an event that is held back; Data only where one letter is shown.
type letterEvent struct {
	Position  string          `json:"position,omitempty"`
	ID        string          `json:"id,omitempty"`
	Type      string          `json:"type,omitempty"`
	Version   uint64          `json:"version,omitempty"`
	Time      time.Time       `json:"time"`
	Data      json.RawMessage `json:"data,omitempty"`
	DataBytes []byte          `json:"data_base64,omitempty"`
}

func letterOf(l *framework.DeadLetter) letter {
	out := letter{ID: l.ID, State: string(l.State), View: l.View, Effect: l.Effect, Generation: l.Generation, Operator: l.Operator,
		Partition: l.Position.Partition, Position: l.Position.String(), Key: l.Key, Timer: l.Timer, Error: l.Error, Parked: l.Parked, Attempts: l.Attempts}
	if l.Event != nil {
		e := eventOf(l.Event)
		out.Event = &e
	}
	if !l.Since.IsZero() {
		out.Since = &l.Since
	}
	return out
}

func eventOf(l *stream.Letter) letterEvent {
	e := letterEvent{Type: l.Type, Version: l.Version, Time: l.Time}
	if !l.ID.IsZero() {
		e.ID = l.ID.String()
	}
	return e
}

// list answers a page of them.
func (d *deadLetters) list(w *response, r *http.Request) error {
	q, err := newQuery(r, "after", "limit")
	if err != nil {
		return err
	}
	after, limit := q.text("after", 512), int(q.number("limit", lettersOnPage, 1, lettersOnPage))
	if err := q.problem(); err != nil {
		return err
	}
	all, err := d.app.DeadLetters(r.Context(), after, limit)
	if err != nil {
		return err
	}
	page := struct {
		Items []letter `json:"items"`
		Next  string   `json:"next,omitempty"`
	}{Items: make([]letter, len(all))}
	for i := range all {
		page.Items[i] = letterOf(&all[i])
	}
	if len(all) == limit {
		page.Next = all[limit-1].ID
	}
	return w.fresh(http.StatusOK, page)
}

// show answers one of them, with the data of its events.
func (d *deadLetters) show(w *response, r *http.Request) error {
	if err := noQuery(r); err != nil {
		return err
	}
	l, held, err := d.app.DeadLetter(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if len(held) == 0 && l.Event != nil { // of an effect
		held = []stream.Letter{*l.Event}
	}
	out := struct {
		letter
		Events []letterEvent `json:"events"`
	}{letterOf(&l), make([]letterEvent, len(held))}
	for i := range held {
		e := eventOf(&held[i])
		at := l.Position
		at.Offset = held[i].Offset
		e.Position = at.String()
		if data := held[i].Data; json.Valid(data) && utf8.Valid(data) {
			e.Data = data
		} else {
			e.DataBytes = data
		}
		out.Events[i] = e
	}
	return w.fresh(http.StatusOK, out)
}

// retry lets the events of a parked key be folded again.
func (d *deadLetters) retry(w *response, r *http.Request) error {
	order, err := d.order(w, r)
	if err != nil {
		return err
	}
	return d.ruleOn(w, r, stream.Retry, order)
}

// discard lets those events of a parked key be left out that fail.
func (d *deadLetters) discard(w *response, r *http.Request) error {
	order, err := d.order(w, r)
	if err != nil {
		return err
	}
	if strings.TrimSpace(order.Reason) == "" {
		return invalid.because(`an event is not discarded without a reason: send {"reason": "…"}; it is recorded in the log`)
	}
	return d.ruleOn(w, r, stream.Discard, order)
}

// order reads the body.
func (d *deadLetters) order(w *response, r *http.Request) (order rulingOrder, err error) {
	order.By = unnamed
	if err := noQuery(r); err != nil {
		return order, err
	}
	return order, d.read(w, r, d.rule, &order)
}

// ruled is what has come of a ruling.
type ruled struct {
	Position string  `json:"position"`
	Obeyed   bool    `json:"obeyed"`
	Freed    bool    `json:"freed"`
	Letter   *letter `json:"letter,omitempty"`
}

func (d *deadLetters) ruleOn(w *response, r *http.Request, act stream.Act, order rulingOrder) error {
	came, err := d.app.Rule(r.Context(), r.PathValue("id"), act, order.Reason, order.By)
	var no *framework.DeadLetterError
	if errors.As(err, &no) {
		return notParked.because("%s", no.Error())
	}
	if err != nil {
		return err
	}
	out, status := ruled{came.Position.String(), came.Obeyed, came.Freed, nil}, http.StatusOK
	switch {
	case !came.Obeyed:
		status = http.StatusAccepted
	case !came.Freed:
		l := letterOf(&came.Letter)
		out.Letter = &l
	}
	return w.fresh(status, out)
}

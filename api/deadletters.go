package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
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

// Limits of the routes for dead letters.
const (
	maxRulingBody = 4 << 10
	lettersOnPage = 100
)

// addDeadLetters adds what shows events that cannot be folded, and rules on them.
func (s *server) addDeadLetters(mux *chi.Mux) {
	app, ok := s.app.(letters)
	if !ok {
		return
	}
	d := &deadLetters{app}
	s.page(mux, "/v1/dead-letters", true, d.list)
	s.page(mux, "/v1/dead-letters/{id}", true, d.show)
	s.does(mux, http.MethodPost, "/v1/dead-letters/{id}/retry", d.retry)
	s.does(mux, http.MethodDelete, "/v1/dead-letters/{id}", d.discard)
}

// does adds a route for operators that changes something.
func (s *server) does(mux *chi.Mux, method, pattern string, h handler) {
	t := s.route(pattern, h)
	t.free = true
	mux.Method(method, pattern, t)
}

type deadLetters struct{ app letters }

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

func (d *deadLetters) retry(w *response, r *http.Request) error {
	reason, err := rulingReason(w, r)
	if err != nil {
		return err
	}
	return d.rule(w, r, stream.Retry, reason)
}

func (d *deadLetters) discard(w *response, r *http.Request) error {
	reason, err := rulingReason(w, r)
	if err != nil {
		return err
	}
	if reason == "" {
		return invalid.because(`an event is not discarded without a reason: send {"reason": "…"}; it is recorded in the log`)
	}
	return d.rule(w, r, stream.Discard, reason)
}

// rulingReason reads the body.
func rulingReason(w *response, r *http.Request) (string, error) {
	if err := noQuery(r); err != nil {
		return "", err
	}
	data, err := body(w, r, maxRulingBody)
	if err != nil || data == nil {
		return "", err
	}
	var in struct {
		Reason string `json:"reason"`
	}
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&in); err != nil || !utf8.Valid(data) {
		return "", malformed.because(`the body cannot be read: want {"reason": "…"}`)
	}
	return in.Reason, nil
}

// operator is who rules: the admin listener does not know its callers.
const operator = "operator"

func (d *deadLetters) rule(w *response, r *http.Request, act stream.Act, reason string) error {
	ruled, err := d.app.Rule(r.Context(), r.PathValue("id"), act, reason, operator)
	var no *framework.DeadLetterError
	if errors.As(err, &no) {
		return notParked.because("%s", no.Error())
	}
	if err != nil {
		return err
	}
	out := struct {
		Position string  `json:"position"`
		Obeyed   bool    `json:"obeyed"`
		Freed    bool    `json:"freed"`
		Letter   *letter `json:"letter,omitempty"`
	}{ruled.Position.String(), ruled.Obeyed, ruled.Freed, nil}
	status := http.StatusOK
	switch {
	case !ruled.Obeyed:
		status = http.StatusAccepted
	case !ruled.Freed:
		l := letterOf(&ruled.Letter)
		out.Letter = &l
	}
	return w.fresh(status, out)
}

// fresh answers with what is true now and not to be kept.
func (w *response) fresh(status int, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"], h["X-Content-Type-Options"], h["Cache-Control"] = jsonType, noSniff, noStore
	w.WriteHeader(status)
	w.Write(b.Bytes())
	return nil
}

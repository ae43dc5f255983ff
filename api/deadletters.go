package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// lettersOnPage is how many dead letters a page has at most.
const lettersOnPage = 100

// retryOrder is the body of POST /v1/dead-letters/{id}/retry.
type retryOrder struct {
	Reason string `json:"reason,omitempty" maxLength:"256" doc:"Why; recorded in the log"`
	By     string `json:"by,omitempty" maxLength:"256" doc:"Who wants it; recorded in the log"`
}

// discardOrder is the body of POST /v1/dead-letters/{id}/discard.
type discardOrder struct {
	Reason string `json:"reason" minLength:"1" maxLength:"256" doc:"Why; recorded in the log"`
	By     string `json:"by,omitempty" maxLength:"256" doc:"Who wants it; recorded in the log"`
}

// deadLetters is the operators' door to what cannot be folded.
type deadLetters struct {
	*server
	toRetry   order[retryOrder]
	toDiscard order[discardOrder]
}

const aboutLetters = "What this process serves is all that it knows; GET /v1/members lists the others."

// addDeadLetters adds what shows events that cannot be folded, and rules on them, with a
// bound of its own.
func (o *operators) addDeadLetters() {
	d := &deadLetters{server: o.server}
	room := make(room, maxTending)
	const all, one = "/v1/dead-letters", "/v1/dead-letters/{id}"
	id := []*huma.Param{pathParam("id", "The dead letter's id, as it is listed", &huma.Schema{Type: huma.TypeString})}
	rulings := []*kind{malformed, notFound, notParked, invalid, tooLarge, wrongMedia, limited, unavailable, unresolved}
	obeyed := answer{about: "What has come of it.", of: reflect.TypeFor[ruled]()}
	for _, a := range []adminRoute{
		{method: http.MethodGet, path: all, id: "list_dead_letters", summary: "List what cannot be folded",
			about: "Answers with the events that a view cannot fold, or an effect does not get done, and with the tasks that have stopped. " + aboutLetters,
			params: []*huma.Param{queryParam("after", "The id behind which the page begins.", &huma.Schema{Type: huma.TypeString, MaxLength: ptr(512)}),
				queryParam("limit", "How many at most.", number(1, ptr(float64(lettersOnPage)), lettersOnPage))},
			answer: answer{about: "A page of them.", of: reflect.TypeFor[letterPage]()}, fails: []*kind{malformed, invalid, limited, unavailable}, do: d.list},
		{method: http.MethodGet, path: one, id: "get_dead_letter", summary: "Read a dead letter",
			about:  "Answers with one of them, and with the first 100 events that are held back with it. " + aboutLetters,
			params: id, answer: answer{about: "The dead letter.", of: reflect.TypeFor[letter]()}, fails: []*kind{malformed, notFound, invalid, limited, unavailable}, do: d.show},
		{method: http.MethodPost, path: one + "/retry", id: "retry_dead_letter", summary: "Fold the events of a parked key again",
			about:  "Lets the key's events be folded again, in order, from the state before them. 409 for what is not parked.",
			params: id, takes: &d.toRetry, answer: obeyed, fails: rulings, do: d.retry},
		{method: http.MethodPost, path: one + "/discard", id: "discard_dead_letter", summary: "Leave out what fails of a parked key",
			about:  "Lets the key's events be folded again, and leaves out those that fail, for good. 409 for what is not parked.",
			params: id, takes: &d.toDiscard, answer: obeyed, fails: rulings, do: d.discard},
	} {
		a.tag, a.room = "dead letters", room
		o.add(a)
	}
}

// letter is a dead letter as operators see it.
type letter struct {
	ID         string       `json:"id" doc:"Stays the same as long as it is about this event"`
	State      string       `json:"state" enum:"parked,stalled,stopped" doc:"What waits: a key of a view, a partition of an effect, or a partition for good"`
	View       string       `json:"view,omitempty"`
	Effect     string       `json:"effect,omitempty"`
	Generation int          `json:"generation,omitempty" doc:"Of the view"`
	Operator   string       `json:"operator" doc:"The source of events, or the view's shuffle"`
	Partition  int32        `json:"partition"`
	Position   string       `json:"position" doc:"Of the event that failed, or of the one that let a timer fire"`
	Key        string       `json:"key,omitempty"`
	Event      *letterEvent `json:"event,omitempty" doc:"Absent where it cannot be read now"`
	Timer      string       `json:"timer,omitempty" doc:"That failed, in the place of an event"`
	Error      string       `json:"error"`
	Parked     int          `json:"parked" doc:"Events that are held back"`
	Since      *time.Time   `json:"since,omitempty" doc:"Event time of a parked key; when a stalled one failed first"`
	Attempts   int          `json:"attempts" doc:"Rulings that have not freed the key; calls of an effect"`

	Events []letterEvent `json:"events,omitempty" doc:"That are held back, the first 100, where one dead letter is read"`
}

// letterEvent is an event that is held back; Data only where one letter is shown.
type letterEvent struct {
	Position  string          `json:"position,omitempty"`
	ID        string          `json:"id,omitempty"`
	Type      string          `json:"type,omitempty"`
	Version   uint64          `json:"version,omitempty" doc:"Of the aggregate"`
	Time      time.Time       `json:"time"`
	Data      json.RawMessage `json:"data,omitempty" doc:"As it was written, if it is JSON"`
	DataBytes []byte          `json:"data_base64,omitempty" doc:"If it is not"`
}

// letterPage is some of them.
type letterPage struct {
	Items []letter `json:"items" nullable:"false"`
	Next  string   `json:"next,omitempty" doc:"What after is to be for more; absent at the end"`
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
	page := letterPage{Items: make([]letter, len(all))}
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
	out := letterOf(&l)
	out.Events = make([]letterEvent, len(held))
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
	order := retryOrder{By: unnamed}
	if err := noQuery(r); err != nil {
		return err
	}
	if err := d.toRetry.read(w, r, &order); err != nil {
		return err
	}
	return d.rule(w, r, stream.Retry, order.Reason, order.By)
}

// discard lets those events of a parked key be left out that fail.
func (d *deadLetters) discard(w *response, r *http.Request) error {
	order := discardOrder{By: unnamed}
	if err := noQuery(r); err != nil {
		return err
	}
	if err := d.toDiscard.read(w, r, &order); err != nil {
		return err
	}
	return d.rule(w, r, stream.Discard, order.Reason, order.By)
}

// ruled is what has come of a ruling.
type ruled struct {
	Position string  `json:"position" doc:"Where it is recorded in the log"`
	Obeyed   bool    `json:"obeyed" doc:"Whether the view has got there; false: it will"`
	Freed    bool    `json:"freed" doc:"Whether the key is not parked any more"`
	Letter   *letter `json:"letter,omitempty" doc:"What the key is parked for now, if it is"`
}

func (d *deadLetters) rule(w *response, r *http.Request, act stream.Act, reason, by string) error {
	came, err := d.app.Rule(r.Context(), r.PathValue("id"), act, reason, by)
	var no *framework.DeadLetterError
	if errors.As(err, &no) {
		return notParked.because("%s", no.Error())
	}
	if err != nil {
		return err
	}
	out := ruled{came.Position.String(), came.Obeyed, came.Freed, nil}
	if came.Obeyed && !came.Freed {
		l := letterOf(&came.Letter)
		out.Letter = &l
	}
	return w.fresh(http.StatusOK, out)
}

package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
)

// accepted is the answer to a command, as the description shows it; accept
// writes the same.
type accepted struct {
	Version  uint64          `json:"version" doc:"Of the aggregate, after the command"`
	Position string          `json:"position" doc:"Where in the log; pass it as Min-Position" example:"3@81234"`
	Events   []acceptedEvent `json:"events" nullable:"false" doc:"What was recorded; none if there was nothing to do"`
}

type acceptedEvent struct {
	ID      string `json:"id" format:"uuid"`
	Type    string `json:"type" example:"tribe.founded"`
	Version uint64 `json:"version" doc:"Of the aggregate after this event"`
}

// command is one command's door.
type command struct {
	*server
	framework.Command
	aggregate string
	body      *rule
}

func (s *server) addCommands() {
	for _, c := range s.app.Commands() {
		op, schema := s.spec.command(s.set, c)
		t := &command{s, c, c.Aggregate.TypeName(), s.spec.rules.of(schema)}
		s.operation(op, t.handle)
	}
}

func (c *command) handle(w *response, r *http.Request) error {
	w.Header()["X-Request-Id"] = []string{w.requestID().String()}
	call, err := c.call(w, r)
	if err != nil {
		return err
	}
	return c.within(c.answering, func(w *response, r *http.Request) error {
		if done, err := c.elsewhere(w, r, c.aggregate, call.ID, "/"+c.Name, call.Body); done {
			return err
		}
		result, err := c.app.Execute(r.Context(), call)
		if err != nil {
			return err
		}
		c.answer(w, result)
		return nil
	})(w, r)
}

// call reads and checks a request.
func (c *command) call(w *response, r *http.Request) (call framework.Call, err error) {
	call = framework.Call{Aggregate: c.aggregate, Command: c.Name, Correlation: w.requestID()}
	if call.Actor, err = c.set.callerOf(r); err != nil {
		return call, err
	}
	if call.ID, err = pathID(r, "id"); err != nil {
		return call, err
	}
	if call.Key, err = idempotencyKey(r); err != nil {
		return call, err
	}
	if call.Expected, err = ifMatch(r); err != nil {
		return call, err
	}
	if err = noQuery(r); err != nil {
		return call, err
	}
	if call.Body, err = body(w.ResponseWriter, r, c.set.maxBody); err != nil {
		return call, err
	}
	return call, c.checkBody(call.Body)
}

// noQuery refuses query parameters where there are none.
func noQuery(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	q, err := newQuery(r)
	if err != nil {
		return err
	}
	return q.problem()
}

// checkBody checks a body against its schema; none is an object without members.
func (c *command) checkBody(data []byte) error {
	var v any = map[string]any(nil)
	if data != nil {
		var err error
		if v, err = parseJSON(data); err != nil {
			return err
		}
	}
	if faults := c.spec.rules.check(c.body, "body", v); len(faults) > 0 {
		return invalid.because("%s in the body", count(len(faults), "fault")).faults(faults)
	}
	return nil
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// maxPooled keeps a rare large answer from staying in memory.
const maxPooled = 64 << 10

func (c *command) answer(w *response, result cluster.Result) {
	position := result.Position.String()
	h := w.Header()
	h["Etag"] = []string{etag(result.Version)}
	h["Position"] = []string{position}
	h["Cache-Control"] = noStore
	b := buffers.Get().(*[]byte)
	*b = appendAccepted((*b)[:0], result, position)
	w.json(*b)
	if cap(*b) <= maxPooled {
		buffers.Put(b)
	}
}

func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// appendAccepted appends an accepted as JSON.
func appendAccepted(b []byte, result cluster.Result, position string) []byte {
	b = append(b, `{"version":`...)
	b = strconv.AppendUint(b, result.Version, 10)
	b = appendText(append(b, `,"position":`...), position)
	b = append(b, `,"events":[`...)
	for i := range result.Events {
		e := &result.Events[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"id":`...), e.ID.String())
		b = appendText(append(b, `,"type":`...), e.Type)
		b = strconv.AppendUint(append(b, `,"version":`...), e.Version, 10)
		b = append(b, '}')
	}
	return append(b, "]}\n"...)
}

// appendText appends a JSON string.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string always can be
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

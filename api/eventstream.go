package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

const (
	eventStream = "text/event-stream"
	beatEvery   = 15 * time.Second // without an event, after which a comment is sent
	lastWrite   = time.Second      // that the end may take to be sent when the server stops
	comeAgain   = 1000             // milliseconds, at least, before a client whose connection ended comes again;
	comeSpread  = 2000             // and at most so many more, so that not all come at once
)

// wantsLive reports whether a request is for server-sent events: its Accept names
// them, and not JSON as well.
func wantsLive(r *http.Request) bool {
	accept := strings.Join(r.Header["Accept"], ",")
	if r.Method != http.MethodGet || !strings.Contains(accept, eventStream) {
		return false
	}
	wanted := false
	for part := range strings.SplitSeq(accept, ",") {
		media, params, err := mime.ParseMediaType(part)
		if q, given := params["q"]; given && err == nil {
			var quality float64
			if quality, err = strconv.ParseFloat(q, 64); quality <= 0 {
				continue // refused
			}
		}
		switch {
		case err != nil: // nobody can say what it asks for
		case media == eventStream:
			wanted = true
		case media == "application/json":
			return false
		}
	}
	return wanted
}

// notLive refuses server-sent events where there are none.
func notLive(*response, *http.Request) error {
	return notAcceptable.because("a search is not shown live; ask for application/json, and again when something has changed").
		with("Accept", "application/json")
}

// seen names what a client was shown, as the id of an event.
type seen struct {
	generation int
	positions  eventlog.Positions
	digest     string // empty: that there is no such document
}

// String is "1/3@81234;c@57/pLq5ObqRT_y2QzvT".
func (s seen) String() string {
	return strconv.Itoa(s.generation) + "/" + s.positions.String() + "/" + s.digest
}

// lastEvent returns what a client was shown last, by another connection. It is zero
// if that is the first.
func lastEvent(r *http.Request) (seen, error) {
	id, err := header(r, "Last-Event-Id")
	if id == "" || err != nil {
		return seen{positions: eventlog.NewPositions()}, err
	}
	s, err := parseSeen(id)
	if err != nil {
		return s, malformedHeader("Last-Event-ID", err.Error(), strings.ToValidUTF8(id, "�"))
	}
	return s, nil
}

func parseSeen(id string) (s seen, err error) {
	s.positions = eventlog.NewPositions()
	parts := strings.Split(id, "/")
	if len(parts) != 3 || len(parts[2]) > 2*digestBytes {
		return s, errors.New("want the id of an event as it was sent, such as 1/3@81234/pLq5ObqRT_y2QzvT")
	}
	generation, err := strconv.ParseUint(parts[0], 10, 31)
	if err != nil || generation == 0 {
		return s, errors.New("want the id of an event as it was sent: it begins with the generation")
	}
	s.generation, s.digest = int(generation), parts[2]
	if parts[1] != "" {
		s.positions, err = eventlog.ParsePositions(parts[1])
	}
	return s, err
}

// live returns what shows live what parse makes of a request.
func (v *viewDoor) live(parse func(*http.Request) (framework.Query, error)) handler {
	return func(w *response, r *http.Request) error {
		q, err := parse(r)
		if err != nil {
			return err
		}
		last, err := lastEvent(r)
		if err != nil {
			return err
		}
		if q.Min, err = v.noOlder(r, q.Min.Join(last.positions)); err != nil {
			return err
		}
		select {
		case v.showing <- struct{}{}:
			defer func() { <-v.showing }()
		default:
			return unavailable.because("the server shows %d clients something live, as many as it may", cap(v.showing)).after(5 * time.Second)
		}
		return v.show(w, r, q, last)
	}
}

// show shows a query until the client goes or the server stops. What keeps the first
// answer from being given is a problem, as it is for who asks once. Yet one who comes
// again waits for it: an EventSource would not come a third time.
func (v *viewDoor) show(w *response, r *http.Request, q framework.Query, last seen) error {
	out := http.NewResponseController(w.ResponseWriter)
	ctx, release := v.untilStopped(r.Context(), out)
	defer release()
	var at eventlog.Positions
	err := v.within(v.waiting, func(_ *response, _ *http.Request) (err error) {
		at, err = v.reach(ctx, q)
		return err
	})(w, r)
	if late := (*cluster.UnavailableError)(nil); err != nil && !(last.generation > 0 && errors.As(err, &late)) {
		return err
	}
	gauge := v.metrics.live.WithLabelValues("/v1/views/" + v.view.Name + "/{key}")
	gauge.Inc()
	defer gauge.Dec()
	s := &showing{viewDoor: v, w: w, ctx: ctx, out: out, last: last}
	if s.begin() != nil {
		return nil
	}
	defer s.end()
	for ; err != nil; at, err = v.reach(ctx, q) {
		if s.send(s.problem(problemOf(err))) != nil || clock.Sleep(ctx, v.clock, retryEvery) != nil {
			return nil
		}
	}
	s.follow(liveQuery{v.view.Name, q.Key, q.After, q.From, q.Limit}, at)
	return nil
}

// untilStopped returns a context that ends with ctx, or when the server stops; what is
// being sent then may take lastWrite and no longer.
func (v *viewDoor) untilStopped(ctx context.Context, out *http.ResponseController) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan struct{})
	untold := context.AfterFunc(v.stopped, func() {
		defer close(told)
		cancel()
		_ = out.SetWriteDeadline(clock.System.Now().Add(lastWrite))
	})
	return ctx, func() {
		cancel()
		if !untold() {
			<-told // out is not to be used afterwards
		}
	}
}

// reach waits until the view can show what q asks for, and returns where it is.
func (v *viewDoor) reach(ctx context.Context, q framework.Query) (eventlog.Positions, error) {
	a, err := v.app.Ask(ctx, v.view.Name, q)
	if errors.Is(err, framework.ErrNotFound) {
		err = nil
	}
	return q.Min.Join(a.Positions), err
}

// showing is a query that a client is shown live.
type showing struct {
	*viewDoor
	w    *response
	ctx  context.Context // ends when the client goes or the server stops
	out  *http.ResponseController
	last seen
	lost bool // the client was told that there is no answer
}

// begin sends what comes before any event.
func (s *showing) begin() error {
	h := s.w.Header()
	h["Content-Type"] = []string{eventStream}
	h["X-Content-Type-Options"] = noSniff
	h["Cache-Control"] = noStore
	h["X-Accel-Buffering"] = []string{"no"} // as some proxies understand
	s.w.live = true
	s.w.WriteHeader(http.StatusOK)
	err := s.send(fmt.Appendf(nil, "retry: %d\n\n", s.retry()))
	if errors.Is(err, http.ErrNotSupported) {
		s.log.ErrorContext(s.ctx, "a query is not shown live: what stands before api.Handler hides http.Flusher", "err", err)
	}
	return err
}

// retry is after how many milliseconds a client is to come again.
func (s *showing) retry() int {
	id := s.w.requestID()
	return comeAgain + (int(id[14])<<8|int(id[15]))%comeSpread
}

// follow sends what there is to show, each time that it is another.
func (s *showing) follow(q liveQuery, at eventlog.Positions) {
	viewer := s.lives.join(q, at)
	defer viewer.leave()
	for {
		o, err := s.next(viewer)
		switch {
		case err == nil && o.over || s.ctx.Err() != nil:
			return
		case err != nil:
			err = s.send([]byte(":\n\n"))
		case o.stale != nil:
			err = s.send(s.problem(o.stale))
		default:
			err = s.send(s.answer(o))
		}
		if err != nil {
			return
		}
	}
}

// next returns an outcome, or an error when it is time for a comment.
func (s *showing) next(v *viewer) (outcome, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.set.beat)
	defer cancel()
	return v.next(ctx)
}

// answer returns the events that bring the client from what it was shown last to o:
// none, if that is the same.
func (s *showing) answer(o outcome) []byte {
	now := seen{o.answer.Generation, o.answer.Positions, o.digest}
	var b bytes.Buffer
	if s.last.generation != 0 && s.last.generation != now.generation {
		writeEvent(&b, "generation", now.String(), fmt.Appendf(nil, `{"generation":%d}`, now.generation))
	}
	first := s.last.generation == 0
	switch {
	case !first && !s.lost && s.last.digest == now.digest:
	case now.digest == "":
		writeEvent(&b, "gone", now.String(), []byte("null"))
	default:
		writeEvent(&b, "", now.String(), o.answer.JSON)
	}
	s.last, s.lost = now, false
	return b.Bytes()
}

// problem returns the event that says why there is no answer, once.
func (s *showing) problem(p *problem) []byte {
	if s.lost {
		return []byte(":\n\n")
	}
	s.lost = true
	var b bytes.Buffer
	data, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Errorf("encode problem %s: %w", p.Type, err))
	}
	writeEvent(&b, "unavailable", "", data)
	return b.Bytes()
}

// writeEvent adds an event. Of JSON that has several lines it makes one.
func writeEvent(b *bytes.Buffer, name, id string, data []byte) {
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	b.WriteString("data: ")
	if bytes.ContainsAny(data, "\r\n") && json.Compact(b, data) == nil {
		data = nil
	}
	b.Write(data)
	b.WriteString("\n\n")
}

// send sends bytes at once, within the time that they may take: a client that does
// not read them gets the latest answer when it does, or is cut off.
func (s *showing) send(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	within := s.set.writeTimeout
	if s.stopped.Err() != nil {
		within = lastWrite
	}
	_ = s.out.SetWriteDeadline(clock.System.Now().Add(within)) // sockets know the machine's clock only
	if _, err := s.w.Write(data); err != nil {
		return err
	}
	return s.out.Flush()
}

// end says that the client is to come again, if it is there to hear it.
func (s *showing) end() {
	if s.w.request.Context().Err() == nil {
		_ = s.send(fmt.Appendf(nil, "retry: %d\nevent: end\ndata: null\n\n", s.retry()))
	}
	_ = s.out.SetWriteDeadline(time.Time{})
}

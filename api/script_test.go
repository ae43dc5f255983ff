package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is an app that answers as a test says.
type script struct {
	run         func(context.Context) error
	unready     []string
	execute     func(context.Context, framework.Call) (cluster.Result, error)
	state       func(aggregate, id string, min eventlog.Positions) (cluster.State, error)
	past        func(aggregate, id string, q framework.StateQuery) (cluster.State, error) // in place of state
	history     func(id string, after uint64, limit int, min eventlog.Positions) ([]cluster.Recorded, error)
	locate      func(aggregate, id string) framework.Place
	told        string        // by Advertise
	wait        time.Duration // for commands; 10 s
	ask         func(view string, q framework.Query) (framework.Answer, error)
	notify      func(c chan<- struct{}) (forget func(), err error)
	log         io.Writer
	generations []framework.Generation
	tend        func() error // how it fares with generations; well
	metrics     prometheus.Registerer
	clock       stepClock
}

var _ app = (*script)(nil)

// stepClock moves by a millisecond each time it is asked.
type stepClock struct {
	mu sync.Mutex
	n  int64
}

func (c *stepClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return time.UnixMilli(1_700_000_000_000 + c.n).UTC()
}

// jump moves it by d.
func (c *stepClock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += d.Milliseconds()
}
func (c *stepClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
func (c *stepClock) Entropy() (b [10]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	b[9] = byte(c.n)
	return b
}

func (s *script) Config() framework.Config {
	if s.log == nil {
		s.log = io.Discard
	}
	return framework.Config{App: "test", CommandWait: cmp.Or(s.wait, 10*time.Second), ReadWait: 5 * time.Second, Clock: &s.clock, Metrics: s.metrics,
		Logger: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

func (s *script) Aggregates() []framework.Aggregate {
	return []framework.Aggregate{kindOf{"order"}, kindOf{"tribe"}}
}

func (s *script) Commands() []framework.Command {
	return []framework.Command{
		{Aggregate: kindOf{"order"}, Name: "place", Body: reflect.TypeFor[placeBody]()},
		{Aggregate: kindOf{"tribe"}, Name: "found", Body: reflect.TypeFor[foundBody]()},
		{Aggregate: kindOf{"tribe"}, Name: "join", Body: reflect.TypeFor[joinBody]()},
	}
}

func (s *script) Views() []framework.View {
	return []framework.View{
		{Name: "search", Kind: framework.Search, Item: reflect.TypeFor[State](), Fields: view.Fields{"name": view.Text, "city": view.Keyword, "kind": view.Caseless, "size": view.Number, "founded": view.Time}},
		{Name: "tribe-card", Kind: framework.Document, Item: reflect.TypeFor[State]()},
		{Name: "tribe-feed", Kind: framework.Feed, Item: reflect.TypeFor[State]()},
		{Name: "tribe-top", Kind: framework.Ranking, Item: reflect.TypeFor[State]()},
	}
}

func (s *script) Run(ctx context.Context) error {
	if s.run != nil {
		return s.run(ctx)
	}
	<-ctx.Done()
	return nil
}

func (s *script) Advertise(addr string) error { s.told = addr; return nil }

func (s *script) Members() []framework.Member { return nil }

func (s *script) tended() error {
	if s.tend == nil {
		return nil
	}
	return s.tend()
}

func (s *script) Generations(context.Context, string) ([]framework.Generation, error) {
	return s.generations, s.tended()
}

func (s *script) DeadLetters(context.Context, string, int) ([]framework.DeadLetter, error) {
	return nil, s.tended()
}

func (s *script) DeadLetter(context.Context, string) (framework.DeadLetter, []stream.Letter, error) {
	return framework.DeadLetter{}, nil, s.tended()
}

func (s *script) Rule(context.Context, string, stream.Act, string, string) (framework.Ruled, error) {
	return framework.Ruled{}, s.tended()
}

func (s *script) Rebuild(context.Context, string, framework.Rebuild) (int, error) {
	return 2, s.tended()
}

func (s *script) Shadow(context.Context, string, int, framework.Shadow) error { return s.tended() }

func (s *script) Compare(context.Context, string, int) (framework.Comparison, error) {
	return framework.Comparison{}, s.tended()
}

func (s *script) Switch(context.Context, string, int, framework.Switch) error { return s.tended() }

func (s *script) Rollback(context.Context, string, string) (int, error) { return 1, s.tended() }

func (s *script) Retire(context.Context, string, int, string) error { return s.tended() }

func (s *script) Explain(context.Context, string, string, framework.Explain) (framework.Explanation, error) {
	return framework.Explanation{}, s.tended()
}

func (s *script) Locate(aggregate, id string) framework.Place {
	if s.locate == nil {
		return framework.Place{Here: true}
	}
	return s.locate(aggregate, id)
}

func (s *script) Unready() []string { return s.unready }

func (s *script) Execute(ctx context.Context, c framework.Call) (cluster.Result, error) {
	if s.execute == nil {
		return cluster.Result{Version: 1, Position: eventlog.Position{Partition: 3, Offset: 81234}}, nil
	}
	return s.execute(ctx, c)
}

func (s *script) StateAsOf(_ context.Context, aggregate, id string, q framework.StateQuery) (cluster.State, error) {
	if s.past != nil {
		return s.past(aggregate, id, q)
	}
	if s.state == nil {
		return cluster.State{JSON: []byte(`{"name":"x"}`), Version: 3, Position: eventlog.Position{Partition: 1, Offset: 9}}, nil
	}
	return s.state(aggregate, id, q.Min)
}

func (s *script) History(_ context.Context, _, id string, after uint64, limit int, min eventlog.Positions) ([]cluster.Recorded, eventlog.Position, error) {
	list, err := s.history(id, after, limit, min)
	return list, eventlog.Position{Partition: 1, Offset: 9}, err
}

func (s *script) Held(context.Context, time.Duration) (eventlog.Positions, error) {
	return eventlog.NewPositions(eventlog.Position{Partition: 1, Offset: 9}), nil
}

func (s *script) Ask(_ context.Context, view string, q framework.Query) (framework.Answer, error) {
	if s.ask == nil {
		return framework.Answer{JSON: []byte(`{"items":[]}`), Positions: eventlog.NewPositions(eventlog.Position{Partition: 2, Offset: 5}), Generation: 7}, nil
	}
	return s.ask(view, q)
}

func (s *script) Notify(_ string, _ framework.Query, c chan<- struct{}) (func(), error) {
	if s.notify == nil {
		return func() {}, nil
	}
	return s.notify(c)
}

// kindOf is an aggregate type of the test's domain.
type kindOf struct{ name string }

func (k kindOf) TypeName() string              { return k.name }
func (kindOf) Zero() any                       { return new(State) }
func (kindOf) Fold(any, string, []byte) error  { return nil }
func (kindOf) StateJSON(s any) ([]byte, error) { return json.Marshal(s) }
func (kindOf) Check() error                    { return nil }
func (k kindOf) StateType() reflect.Type       { return reflect.TypeFor[State]() }
func (k kindOf) Written() map[string]reflect.Type {
	return map[string]reflect.Type{k.name + ".founded": reflect.TypeFor[payload](), k.name + ".joined": reflect.TypeFor[State]()}
}
func (k kindOf) Upcast(name string, data []byte) (string, []byte, error) { return name, data, nil }

type payload struct {
	Name string `json:"name"`
}

// State is the name of many a domain's type.
type State struct {
	Name  string   `json:"name"`
	Items []detail `json:"items,omitempty"`
}

type detail struct {
	Text string `json:"text"`
}

type foundBody struct {
	Name  string   `json:"name" minLength:"1" maxLength:"10" pattern:"^[a-z ]*$"`
	Kind  string   `json:"kind,omitempty" enum:"club,team"`
	Size  int      `json:"size,omitempty" minimum:"1" maximum:"50"`
	Tags  []string `json:"tags,omitempty" uniqueItems:"true" maxItems:"3"`
	Notes *detail  `json:"notes,omitempty"`
	aggregates.Meta
}

type joinBody struct{ aggregates.Meta }

type placeBody struct {
	Lines []line            `json:"lines" minItems:"1"`
	Extra map[string]string `json:"extra,omitempty"`
	When  time.Time         `json:"when,omitzero"`
	Any   any               `json:"any,omitempty"`
	aggregates.Meta
}

type line struct {
	SKU   string  `json:"sku"`
	Count int     `json:"count" minimum:"1"`
	Price float64 `json:"price,omitempty"`
}

// call is a request to a handler.
type call struct {
	method, path, body string
	header             []string // names and values; "Name", "" twice gives it twice
}

type reply struct {
	*httptest.ResponseRecorder
	problem problem
}

func do(t testing.TB, h http.Handler, c call) reply {
	t.Helper()
	r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
	if c.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.method == http.MethodPost {
		r.Header.Set("User", "ann")
	}
	for i := 0; i+1 < len(c.header); i += 2 {
		name, value := c.header[i], c.header[i+1]
		switch {
		case value == "-":
			r.Header.Del(name)
		case strings.HasPrefix(name, "+"):
			r.Header.Add(name[1:], value)
		default:
			r.Header[http.CanonicalHeaderKey(name)] = []string{value}
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	out := reply{ResponseRecorder: w}
	if w.Code >= 400 {
		checkProblem(t, &out)
	}
	return out
}

// checkProblem checks what every problem has.
func checkProblem(t testing.TB, r *reply) {
	t.Helper()
	if got := r.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("status %d is sent as %q: %s", r.Code, got, r.Body)
	}
	if err := json.Unmarshal(r.Body.Bytes(), &r.problem); err != nil {
		t.Fatalf("status %d: %v: %s", r.Code, err, r.Body)
	}
	p := r.problem
	if p.Status != r.Code || p.Title == "" || p.Detail == "" || !strings.HasPrefix(p.Type, "/problems/") {
		t.Fatalf("status %d has the problem %s", r.Code, r.Body)
	}
	if (p.Instance != "") != (p.Status >= 500) {
		t.Fatalf("status %d has the instance %q", r.Code, p.Instance)
	}
	for _, k := range kinds {
		if k.uri() == p.Type && k.status == p.Status {
			return
		}
	}
	t.Fatalf("unknown kind: %s", r.Body)
}

func handlerOf(s *script, options ...Option) http.Handler {
	return newServer(s, append([]Option{CallerHeader("User")}, options...)).mux
}

func expect(t *testing.T, r reply, status int, kind *kind, parts ...string) {
	t.Helper()
	if r.Code != status {
		t.Fatalf("status %d, want %d: %s", r.Code, status, r.Body)
	}
	if kind != nil && r.problem.Type != kind.uri() {
		t.Fatalf("problem %s, want %s: %s", r.problem.Type, kind.uri(), r.Body)
	}
	for _, part := range parts {
		if !strings.Contains(r.Body.String(), part) {
			t.Fatalf("the answer lacks %q: %s", part, r.Body)
		}
	}
}

var errDisk = errors.New("disk on fire")

func idOf(n byte) event.ID { return event.NewID(time.UnixMilli(1_700_000_000_000), [10]byte{n}) }

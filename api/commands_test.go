package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

func TestACommandReachesTheApplicationAsItWasSent(t *testing.T) {
	var got framework.Call
	s := &script{execute: func(_ context.Context, c framework.Call) (cluster.Result, error) {
		got = c
		return cluster.Result{Version: 3, Position: eventlog.Position{Partition: 3, Offset: 81234}, Events: []cluster.Recorded{
			{ID: idOf(1), Type: "tribe.founded", Version: 2}, {ID: idOf(2), Type: `tribe."<é`, Version: 3}}}, nil
	}}
	id := "018f3c2e-7b1a-7c3d-9e4f-0123456789ab"
	r := do(t, handlerOf(s), call{"POST", "/v1/tribe/a~b%2E-/found", `{"name":"hikers"}`,
		[]string{"Idempotency-Key", "k-1!", "If-Match", `"2"`, "X-Request-Id", strings.ToUpper(id)}})
	expect(t, r, 200, nil)
	if got.Aggregate != "tribe" || got.ID != "a~b.-" || got.Command != "found" || string(got.Body) != `{"name":"hikers"}` ||
		got.Actor != "ann" || got.Key != "k-1!" || got.Expected == nil || *got.Expected != 2 || got.Correlation.String() != id {
		t.Fatalf("the application got %+v", got)
	}
	want := accepted{3, "3@81234", []acceptedEvent{{idOf(1).String(), "tribe.founded", 2}, {idOf(2).String(), `tribe."<é`, 3}}}
	text, _ := json.Marshal(want)
	if r.Body.String() != string(text)+"\n" {
		t.Fatalf("answered %swant     %s", r.Body, text)
	}
	for name, value := range map[string]string{"ETag": `"3"`, "Position": "3@81234", "X-Request-Id": id, "Cache-Control": "no-store",
		"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"} {
		if r.Header().Get(name) != value {
			t.Errorf("%s is %q, want %q", name, r.Header().Get(name), value)
		}
	}
}

func TestANoOpHasEventsThatAreEmptyAndNotNull(t *testing.T) {
	r := do(t, handlerOf(&script{}), call{"POST", "/v1/tribe/x/join", "", nil})
	expect(t, r, 200, nil, `{"version":1,"position":"3@81234","events":[]}`)
}

func TestARequestWithoutIDGetsANewOne(t *testing.T) {
	var seen []string
	s := &script{execute: func(_ context.Context, c framework.Call) (cluster.Result, error) {
		seen = append(seen, c.Correlation.String())
		return cluster.Result{}, nil
	}}
	for _, given := range []string{"-", "not-a-uuid"} {
		r := do(t, handlerOf(s), call{"POST", "/v1/tribe/x/join", "", []string{"X-Request-Id", given}})
		if id := r.Header().Get("X-Request-Id"); id != seen[len(seen)-1] || len(id) != 36 {
			t.Fatalf("given %q: header %q, correlation %q", given, id, seen)
		}
	}
}

// TestBadCommandsAreRefused: each of these must not reach the application.
func TestBadCommandsAreRefused(t *testing.T) {
	const path = "/v1/tribe/x/found"
	good := `{"name":"a"}`
	h := func(pairs ...string) []string { return pairs }
	for name, c := range map[string]struct {
		call
		kind  *kind
		parts []string
	}{
		"no caller":           {call{"POST", path, good, h("User", "-")}, unauthenticated, []string{"header User"}},
		"empty caller":        {call{"POST", path, good, h("User", "")}, unauthenticated, nil},
		"caller out of form":  {call{"POST", path, good, h("User", "a b")}, unauthenticated, nil},
		"two callers":         {call{"POST", path, good, h("+User", "bob")}, unauthenticated, nil},
		"id with a slash":     {call{"POST", "/v1/tribe/a%2Fb/found", good, nil}, invalid, []string{"path.id", `"a/b"`}},
		"id with a space":     {call{"POST", "/v1/tribe/a%20b/found", good, nil}, invalid, []string{"path.id"}},
		"id no UTF-8":         {call{"POST", "/v1/tribe/%ff/found", good, nil}, invalid, []string{"path.id"}},
		"id too long":         {call{"POST", "/v1/tribe/" + strings.Repeat("a", 129) + "/found", good, nil}, invalid, []string{"path.id"}},
		"key empty":           {call{"POST", path, good, h("Idempotency-Key", "")}, malformed, []string{"Idempotency-Key"}},
		"key with a space":    {call{"POST", path, good, h("Idempotency-Key", "a b")}, malformed, []string{"visible ASCII"}},
		"key no ASCII":        {call{"POST", path, good, h("Idempotency-Key", "ü")}, malformed, nil},
		"key too long":        {call{"POST", path, good, h("Idempotency-Key", strings.Repeat("k", 129))}, malformed, nil},
		"key twice":           {call{"POST", path, good, h("Idempotency-Key", "a", "+Idempotency-Key", "b")}, malformed, []string{"once"}},
		"match without quote": {call{"POST", path, good, h("If-Match", "3")}, malformed, []string{"If-Match"}},
		"match one quote":     {call{"POST", path, good, h("If-Match", `"`)}, malformed, nil},
		"match empty":         {call{"POST", path, good, h("If-Match", "")}, malformed, nil},
		"match anything":      {call{"POST", path, good, h("If-Match", "*")}, malformed, []string{"not supported"}},
		"match weak":          {call{"POST", path, good, h("If-Match", `W/"3"`)}, malformed, nil},
		"match list":          {call{"POST", path, good, h("If-Match", `"3", "4"`)}, malformed, nil},
		"match negative":      {call{"POST", path, good, h("If-Match", `"-1"`)}, malformed, nil},
		"match leading zero":  {call{"POST", path, good, h("If-Match", `"03"`)}, malformed, nil},
		"match too large":     {call{"POST", path, good, h("If-Match", `"18446744073709551616"`)}, malformed, nil},
		"query parameters":    {call{"POST", path + "?a=1&b=2", good, nil}, invalid, []string{"query.a", "query.b"}},
		"query broken":        {call{"POST", path + "?a=%zz", good, nil}, malformed, nil},
		"form":                {call{"POST", path, "name=a", h("Content-Type", "application/x-www-form-urlencoded")}, wrongMedia, []string{"application/json"}},
		"no content type":     {call{"POST", path, good, h("Content-Type", "-")}, wrongMedia, nil},
		"another charset":     {call{"POST", path, good, h("Content-Type", "application/json; charset=latin1")}, wrongMedia, nil},
		"compressed":          {call{"POST", path, good, h("Content-Encoding", "gzip")}, wrongMedia, []string{"gzip"}},
		"too large":           {call{"POST", path, `{"name":"` + strings.Repeat("a", 2000) + `"}`, nil}, tooLarge, []string{"1024"}},
		"cut short":           {call{"POST", path, `{"name":`, nil}, malformed, []string{"line 1, column 9"}},
		"a comma too many":    {call{"POST", path, "{\n \"name\": \"a\",\n}", nil}, malformed, []string{"line 3, column 1"}},
		"single quotes":       {call{"POST", path, `{'name':1}`, nil}, malformed, []string{"column 2"}},
		"trailing garbage":    {call{"POST", path, good + " x", nil}, malformed, []string{"column 14"}},
		"two values":          {call{"POST", path, good + good, nil}, malformed, nil},
		"a name twice":        {call{"POST", path, `{"name":"a","name":"b"}`, nil}, malformed, []string{"given twice"}},
		"no UTF-8":            {call{"POST", path, "{\"name\":\"\xff\"}", nil}, malformed, []string{"UTF-8"}},
		"half a surrogate":    {call{"POST", path, `{"name":"\ud800"}`, nil}, malformed, []string{"surrogate"}},
		"too deep":            {call{"POST", path, strings.Repeat("[", 65), nil}, malformed, []string{"64"}},
		"null":                {call{"POST", path, "null", nil}, invalid, []string{"expected object"}},
		"a list":              {call{"POST", path, "[]", nil}, invalid, []string{"expected object"}},
		"no body":             {call{"POST", path, "", nil}, invalid, []string{"body.name"}},
		"blank body":          {call{"POST", path, " \n", nil}, invalid, []string{"body.name"}},
		"required null":       {call{"POST", path, `{"name":null}`, nil}, invalid, []string{"body.name"}},
		"too short":           {call{"POST", path, `{"name":""}`, nil}, invalid, []string{"length >= 1"}},
		"too long":            {call{"POST", path, `{"name":"aaaaaaaaaaa"}`, nil}, invalid, []string{"length <= 10"}},
		"not of the pattern":  {call{"POST", path, `{"name":"A"}`, nil}, invalid, []string{"pattern"}},
		"not of the enum":     {call{"POST", path, `{"name":"a","kind":"gang"}`, nil}, invalid, []string{"body.kind", "club, team"}},
		"a fraction":          {call{"POST", path, `{"name":"a","size":1.5}`, nil}, invalid, []string{"body.size", "expected integer"}},
		"other case":          {call{"POST", path, `{"name":"a","Name":""}`, nil}, invalid, []string{"body.Name", "it is written name"}},
		"Meta":                {call{"POST", path, `{"name":"a","Meta":{}}`, nil}, invalid, []string{"body.Meta", "unexpected property"}},
		"items not unique":    {call{"POST", path, `{"name":"a","tags":["b","b"]}`, nil}, invalid, []string{"body.tags[1]", "unique"}},
		"items of no kind":    {call{"POST", path, `{"name":"a","tags":[{},[]]}`, nil}, invalid, []string{"body.tags[0]", "body.tags[1]"}},
		"items too many":      {call{"POST", path, `{"name":"a","tags":["b","c","d","e"]}`, nil}, invalid, []string{"body.tags"}},
		"below an object":     {call{"POST", path, `{"name":"a","notes":{"text":1,"x":2}}`, nil}, invalid, []string{"body.notes.text", "body.notes.x"}},
		"below a list":        {call{"POST", "/v1/order/x/place", `{"lines":[{"sku":"a","count":1},{"sku":1,"count":0}]}`, nil}, invalid, []string{"body.lines[1].sku", "body.lines[1].count"}},
		"map values":          {call{"POST", "/v1/order/x/place", `{"lines":[{"sku":"a","count":1}],"extra":{"a.b":1,"c":2}}`, nil}, invalid, []string{"body.extra.a.b", "body.extra.c"}},
		"no time":             {call{"POST", "/v1/order/x/place", `{"lines":[{"sku":"a","count":1}],"when":"today"}`, nil}, invalid, []string{"body.when"}},
		"a field of nobody":   {call{"POST", "/v1/tribe/x/join", `{"by":"bob","at":1,"id":2,"meta":{}}`, nil}, invalid, []string{"body.by", "body.at", "body.id", "body.meta"}},
	} {
		t.Run(name, func(t *testing.T) {
			reached := false
			s := &script{execute: func(context.Context, framework.Call) (cluster.Result, error) {
				reached = true
				return cluster.Result{}, nil
			}}
			r := do(t, handlerOf(s, MaxBody(1024)), c.call)
			expect(t, r, c.kind.status, c.kind, c.parts...)
			if reached {
				t.Error("it reached the application")
			}
		})
	}
}

func TestEveryFaultOfABodyIsNamedWithItsValue(t *testing.T) {
	r := do(t, handlerOf(&script{}), call{"POST", "/v1/tribe/x/found", `{"kind":"gang","size":99,"by":"eve"}`, nil})
	expect(t, r, 422, invalid)
	var got []string
	for _, e := range r.problem.Errors {
		got = append(got, fmt.Sprint(e.Location, "=", e.Value))
	}
	if want := "[body.kind=gang body.name=<nil> body.size=99 body.by=eve]"; fmt.Sprint(got) != want {
		t.Fatalf("faults %v, want %v", got, want)
	}
}

func TestFaultsAndTheirValuesAreBounded(t *testing.T) {
	long := strings.Repeat("x", 5000)
	var b strings.Builder
	for i := range 500 {
		fmt.Fprintf(&b, `"%s%d":1,`, long[:300], i)
	}
	r := do(t, handlerOf(&script{}), call{"POST", "/v1/tribe/x/found", `{` + b.String() + `"name":"` + long + `"}`, nil})
	expect(t, r, 422, invalid, "not listed")
	if n := len(r.problem.Errors); n != maxFaults+1 || r.Body.Len() > 64<<10 {
		t.Fatalf("%d faults in %d bytes", n, r.Body.Len())
	}
}

func TestGoodBodiesPass(t *testing.T) {
	for path, bodies := range map[string][]string{
		"/v1/tribe/x/join":  {"", " ", "{}", " { } "},
		"/v1/tribe/x/found": {`{"name":"a","kind":"club","size":50,"tags":["a","b"],"notes":{"text":"\u00e9\ud83d\ude00\n"}}`, `{"name":"a","tags":null,"notes":null}`},
		"/v1/order/x/place": {`{"lines":[{"sku":"a","count":1,"price":1.5e3}],"extra":{"a":"b"},"when":"2026-01-02T15:04:05Z","any":[1,{"x":[]}]}`},
	} {
		for _, body := range bodies {
			for _, media := range []string{"application/json", "application/json; charset=UTF-8"} {
				if r := do(t, handlerOf(&script{}), call{"POST", path, body, []string{"Content-Type", media}}); r.Code != 200 {
					t.Errorf("%s %s: %d %s", path, body, r.Code, r.Body)
				}
			}
		}
	}
}

func TestABodyOfUnknownSizeIsBoundedToo(t *testing.T) {
	for size, status := range map[int]int{1000: 422, 1024: 422, 1025: 413, 5000: 413} {
		r := httptest.NewRequest("POST", "/v1/tribe/x/found", io.MultiReader(strings.NewReader(`{"name":1}`+strings.Repeat(" ", size-10))))
		r.ContentLength = -1
		r.Header = http.Header{"User": {"ann"}, "Content-Type": {"application/json"}}
		w := httptest.NewRecorder()
		handlerOf(&script{}, MaxBody(1024)).ServeHTTP(w, r)
		if w.Code != status {
			t.Errorf("%d bytes: %d, want %d: %s", size, w.Code, status, w.Body)
		}
	}
}

func TestABodyThatBreaksOffIsRefused(t *testing.T) {
	r := httptest.NewRequest("POST", "/v1/tribe/x/found", strings.NewReader(`{"name":"a"}`))
	r.ContentLength = 20
	r.Header = http.Header{"User": {"ann"}, "Content-Type": {"application/json"}}
	w := reply{ResponseRecorder: httptest.NewRecorder()}
	handlerOf(&script{}).ServeHTTP(w, r)
	checkProblem(t, &w)
	expect(t, w, 400, malformed, "to its end")
}

func TestErrorsOfTheApplicationAreMapped(t *testing.T) {
	decoding := json.Unmarshal([]byte(`{"count":1e300}`), &line{})
	for name, c := range map[string]struct {
		err    error
		kind   *kind
		header [2]string
		part   string
	}{
		"rejection":     {fmt.Errorf("decide: %w", aggregates.Reject("tribe %s exists", "x")), rejected, [2]string{}, `"detail":"tribe x exists"`},
		"forbidden":     {aggregates.Forbid("not you"), forbidden, [2]string{}, `"detail":"not you"`},
		"conflict":      {&cluster.ConflictError{Expected: 3, Actual: 4}, conflict, [2]string{}, `"expected":3,"actual":4`},
		"conflict at 0": {&cluster.ConflictError{Expected: 0, Actual: 4}, conflict, [2]string{}, `"expected":0,"actual":4`},
		"key reused":    {fmt.Errorf("x: %w", cluster.ErrKeyReused), keyReused, [2]string{}, "another command"},
		"too late":      {cluster.ErrTooLate, tooLate, [2]string{}, "too late"},
		"unavailable":   {&cluster.UnavailableError{Reason: "queue full", RetryAfter: 1500 * time.Millisecond}, unavailable, [2]string{"Retry-After", "2"}, "queue full"},
		"no pause":      {&cluster.UnavailableError{Reason: "starting"}, unavailable, [2]string{"Retry-After", "1"}, ""},
		"unresolved":    {&cluster.UnavailableError{Reason: "sent", Unresolved: true, RetryAfter: time.Second}, unresolved, [2]string{"Retry-After", "1"}, "sent"},
		"too large":     {fmt.Errorf("append: %w", eventlog.ErrTooLarge), tooLarge, [2]string{}, "900 KiB"},
		"broken":        {&cluster.BrokenError{Aggregate: "tribe/x", Position: eventlog.Position{Partition: 1, Offset: 2}, Err: errDisk}, broken, [2]string{}, "tribe/x cannot be folded: event at 1@2"},
		"unknown":       {fmt.Errorf("%w command", framework.ErrUnknown), unknown, [2]string{}, ""},
		"not found":     {fmt.Errorf("tribe x: %w", framework.ErrNotFound), notFound, [2]string{}, "tribe x"},
		"invalid":       {fmt.Errorf("%w: key lies in the future", framework.ErrInvalid), invalid, [2]string{}, "future"},
		"out of range":  {fmt.Errorf("%w: body: %w", framework.ErrInvalid, decoding), invalid, [2]string{}, `"location":"body.count"`},
		"deadline":      {fmt.Errorf("wait: %w", context.DeadlineExceeded), unavailable, [2]string{"Retry-After", "1"}, ""},
		"canceled":      {context.Canceled, unavailable, [2]string{"Retry-After", "1"}, ""},
		"anything":      {errDisk, internal, [2]string{}, "server's log"},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			s := &script{log: &log, execute: func(context.Context, framework.Call) (cluster.Result, error) { return cluster.Result{}, c.err }}
			r := do(t, handlerOf(s), call{"POST", "/v1/tribe/x/join", "", nil})
			expect(t, r, c.kind.status, c.kind, c.part)
			if c.header[0] != "" && r.Header().Get(c.header[0]) != c.header[1] {
				t.Errorf("%s is %q, want %q", c.header[0], r.Header().Get(c.header[0]), c.header[1])
			}
			if n := strings.Count(log.String(), "level=ERROR"); (n == 1) != (c.kind.status == 500) {
				t.Errorf("%d errors in the log: %s", n, &log)
			}
			if c.kind == internal && (strings.Contains(r.Body.String(), "fire") || !strings.Contains(log.String(), "disk on fire")) {
				t.Errorf("the client is told %s, the log %s", r.Body, &log)
			}
		})
	}
}

func TestAPanicIsA500ThatIsLoggedAndTheNextRequestIsServed(t *testing.T) {
	var log strings.Builder
	first := true
	s := &script{log: &log, execute: func(context.Context, framework.Call) (cluster.Result, error) {
		if first {
			first = false
			panic("at the disco")
		}
		return cluster.Result{}, nil
	}}
	h := handlerOf(s, MaxConcurrent(1))
	r := do(t, h, call{"POST", "/v1/tribe/x/join", "", nil})
	expect(t, r, 500, internal)
	if strings.Contains(r.Body.String(), "disco") || !strings.Contains(log.String(), "disco") || !strings.Contains(log.String(), "commands_test.go") {
		t.Fatalf("the client is told %s, the log %s", r.Body, &log)
	}
	if id := strings.TrimPrefix(r.problem.Instance, "urn:uuid:"); !strings.Contains(log.String(), id) {
		t.Fatalf("the log does not have %s: %s", id, &log)
	}
	expect(t, do(t, h, call{"POST", "/v1/tribe/x/join", "", nil}), 200, nil)
}

func TestTheCallerIsWhomTheOptionSays(t *testing.T) {
	for name, c := range map[string]struct {
		option Option
		status int
		part   string
	}{
		"nobody":   {func(*settings) {}, 401, "api.Caller"},
		"somebody": {Caller(func(r *http.Request) (string, error) { return "zoë " + r.Header.Get("Token"), nil }), 200, ""},
		"error":    {Caller(func(*http.Request) (string, error) { return "", errors.New("your token has expired") }), 401, "your token has expired"},
		"empty":    {Caller(func(*http.Request) (string, error) { return "", nil }), 401, "nobody"},
		"long":     {Caller(func(*http.Request) (string, error) { return strings.Repeat("x", 257), nil }), 401, "256"},
	} {
		t.Run(name, func(t *testing.T) {
			var actor string
			s := &script{execute: func(_ context.Context, c framework.Call) (cluster.Result, error) {
				actor = c.Actor
				return cluster.Result{}, nil
			}}
			h := newServer(s, []Option{c.option}).mux
			r := do(t, h, call{"POST", "/v1/tribe/x/join", "", []string{"Token", "t"}})
			expect(t, r, c.status, nil, c.part)
			if c.status == 200 && actor != "zoë t" {
				t.Errorf("actor %q", actor)
			}
			if c.status == 401 && r.Header().Get("WWW-Authenticate") == "" {
				t.Error("a 401 without WWW-Authenticate")
			}
			expect(t, do(t, h, call{"GET", "/v1/tribe/x", "", nil}), 200, nil)
		})
	}
}

func TestMoreRequestsThanAllowedAreTurnedAway(t *testing.T) {
	inside, leave := make(chan bool), make(chan bool)
	s := &script{execute: func(context.Context, framework.Call) (cluster.Result, error) {
		inside <- true
		<-leave
		return cluster.Result{}, nil
	}}
	h := handlerOf(s, MaxConcurrent(1))
	done := make(chan int)
	go func() {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/v1/tribe/x/join", nil)
		r.Header.Set("User", "ann")
		h.ServeHTTP(w, r)
		done <- w.Code
	}()
	<-inside
	r := do(t, h, call{"GET", "/v1/tribe/x", "", nil})
	expect(t, r, 429, limited)
	if r.Header().Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", r.Header().Get("Retry-After"))
	}
	expect(t, do(t, h, call{"GET", "/healthz", "", nil}), 200, nil)
	expect(t, do(t, h, call{"GET", "/readyz", "", nil}), 200, nil)
	leave <- true
	if code := <-done; code != 200 {
		t.Fatalf("the first request got %d", code)
	}
	expect(t, do(t, h, call{"GET", "/v1/tribe/x", "", nil}), 200, nil)
}

func TestRequestsAtOnceDoNotMix(t *testing.T) {
	s := &script{execute: func(_ context.Context, c framework.Call) (cluster.Result, error) {
		return cluster.Result{Version: 1, Events: []cluster.Recorded{{Type: c.ID, Version: 1}}}, nil
	}}
	h := handlerOf(s)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 50 {
				id := fmt.Sprintf("t%d-%d", n, i)
				good := do(t, h, call{"POST", "/v1/tribe/" + id + "/found", `{"name":"a"}`, nil})
				if !strings.Contains(good.Body.String(), `"type":"`+id+`"`) {
					t.Errorf("%s was answered with %s", id, good.Body)
				}
				bad := do(t, h, call{"POST", "/v1/tribe/" + id + "/found", `{"name":"a","` + id + `":1}`, nil})
				if len(bad.problem.Errors) != 1 || bad.problem.Errors[0].Location != "body."+id {
					t.Errorf("%s was answered with %s", id, bad.Body)
				}
			}
		})
	}
	all.Wait()
}

func FuzzCommandNeverFailsOnBadInput(f *testing.F) {
	for _, body := range []string{"", "{}", `{"name":"a"}`, `{"name":"a","tags":[{},1],"notes":{"text":"\u12"}}`, `[[[[`, `{"a":{"b":1e999}}`,
		`{"lines":[{"sku":"\ud800\udc00","count":-0.0e-1}],"extra":{"":""}}`, "\xff", `{"name":"a","Name":""}`} {
		f.Add(body, "x", `"3"`, "key", "application/json")
	}
	f.Add("{}", "%2F", "*", " ", "text/plain; a=")
	h := handlerOf(&script{}, MaxBody(4096))
	f.Fuzz(func(t *testing.T, body, id, match, key, media string) {
		for _, path := range []string{"found", "join", "place"} {
			r := httptest.NewRequest("POST", "/v1/tribe/x/join", strings.NewReader(body))
			r.URL.Path = "/v1/tribe/" + id + "/" + path
			if path == "place" {
				r.URL.Path = "/v1/order/" + id + "/" + path
			}
			r.Header = http.Header{"User": {"ann"}, "If-Match": {match}, "Idempotency-Key": {key}, "Content-Type": {media}}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code >= 400 {
				checkProblem(t, &reply{ResponseRecorder: w})
			}
			if w.Code >= 500 || w.Code != 200 && w.Code < 400 {
				t.Fatalf("%d: %s", w.Code, w.Body)
			}
		}
	})
}

// FuzzParseJSON: what parseJSON takes, encoding/json takes, with the same value.
func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e+3,true,false,null,"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é"]}`, `01`, `-`, `1.`, `"\x"`, "\"\x01\"", `[1,]`, `{"a":1,}`, `{"a" 1}`, ` tru`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseJSON([]byte(s))
		if err != nil {
			return
		}
		var want any
		if err := json.Unmarshal([]byte(s), &want); err != nil {
			t.Fatalf("%q was taken; encoding/json says %v", s, err)
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if string(a) != string(b) {
			t.Fatalf("%q is %s, want %s", s, a, b)
		}
	})
}

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// problem is an error as the API answers it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
	Expected *uint64 `json:"expected"`
	Actual   *uint64 `json:"actual"`
}

// readProblem checks that an answer is a whole problem, and returns it.
func readProblem(t *testing.T, a answer) (p problem) {
	t.Helper()
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("%d with a body that is no JSON: %q", a.status, a.body)
	}
	if kind := a.header.Get("Content-Type"); kind != "application/problem+json" {
		t.Errorf("Content-Type %q of %s", kind, a.body)
	}
	if p.Status != a.status || p.Title == "" || p.Detail == "" || !strings.HasPrefix(p.Type, "/problems/") {
		t.Errorf("%d is answered by an incomplete problem: %s", a.status, a.body)
	}
	if text := string(a.body); strings.Contains(text, "goroutine ") || strings.Contains(text, ".go:") || strings.Contains(text, "0xc0") {
		t.Errorf("a problem shows the program's inside: %s", text)
	}
	return p
}

// must sends a command that is to be accepted, and returns the answer.
func must(t *testing.T, p *program, actor, path, content string, headers ...string) outcome {
	t.Helper()
	a, err := ask(t.Context(), http.MethodPost, p.base+path, content, append(headers, "User", actor)...)
	if err != nil {
		t.Fatal(err)
	}
	var got outcome
	if err := json.Unmarshal(a.body, &got); err != nil || a.status != http.StatusOK {
		t.Fatalf("POST %s: %d %s", path, a.status, a.body)
	}
	got.Status = a.status
	return got
}

// fault is a request that cannot be met, and how that is said.
type fault struct {
	name, method, path, body string
	headers                  []string
	status                   int
	kind                     string
	says                     []string // in the body, each
}

const publish = "/v1/post/p2/publish"

var me = []string{"User", "maya"}

func with(headers ...string) []string { return append(slices.Clone(me), headers...) }

var faults = []fault{
	{"malformed JSON", "POST", publish, `{"tribe":"hikers",`, me, 400, "malformed", nil},
	{"more than one value", "POST", publish, `{"tribe":"hikers","text":"x"} {}`, me, 400, "malformed", nil},
	{"a name given twice", "POST", publish, `{"tribe":"a","tribe":"b","text":"x"}`, me, 400, "malformed", []string{"tribe"}},
	{"no UTF-8", "POST", publish, "{\"tribe\":\"hikers\",\"text\":\"\xff\"}", me, 400, "malformed", nil},
	{"no object", "POST", publish, `["hikers"]`, me, 422, "invalid", []string{"body"}},
	{"every wrong value is named", "POST", publish, `{"tribe":7,"text":"","mood":"good"}`, me, 422, "invalid",
		[]string{"body.tribe", "body.text", "body.mood"}},
	{"every missing value is named", "POST", publish, `{}`, me, 422, "invalid", []string{"tribe", "text"}},
	{"no body where one is needed", "POST", publish, ``, me, 422, "invalid", []string{"tribe", "text"}},
	{"a text too long", "POST", publish, `{"tribe":"hikers","text":"` + strings.Repeat("x", 5001) + `"}`, me, 422, "invalid", []string{"body.text", "5000"}},
	{"a name too long", "POST", "/v1/tribe/new/found", `{"name":"` + strings.Repeat("x", 101) + `"}`, me, 422, "invalid", []string{"body.name", "100"}},
	{"an id in a body that is none", "POST", publish, `{"tribe":"not an id","text":"x"}`, me, 422, "invalid", []string{"body.tribe"}},
	{"a field that only the server sets", "POST", publish, `{"tribe":"hikers","text":"x","by":"ines","at":"2020-01-01T00:00:00Z"}`, me, 422, "invalid",
		[]string{"body.by", "body.at"}},
	{"a body too large", "POST", publish, `{"tribe":"hikers","text":"` + strings.Repeat("x", 2<<20) + `"}`, me, 413, "too-large", nil},
	{"a body that is not said to be JSON", "POST", publish, `{"tribe":"hikers","text":"x"}`, with("Content-Type", "text/plain"), 415, "unsupported-media-type",
		[]string{"application/json"}},
	{"an unknown command", "POST", "/v1/post/p1/explode", `{}`, me, 404, "unknown", []string{"publish"}},
	{"an unknown aggregate", "POST", "/v1/planet/p1/explode", `{}`, me, 404, "unknown", []string{"tribe"}},
	{"an unknown aggregate's state", "GET", "/v1/planet/p1", ``, nil, 404, "unknown", nil},
	{"an unknown view", "GET", "/v1/views/planets/p1", ``, nil, 404, "unknown", []string{"tribe-card"}},
	{"an unknown path", "GET", "/nothing/here", ``, nil, 404, "unknown", nil},
	{"a wrong method", "PUT", "/v1/post/p1/bump", ``, me, 405, "method-not-allowed", nil},
	{"no caller", "POST", "/v1/post/p1/bump", ``, nil, 401, "unauthenticated", []string{"User"}},
	{"a caller that is no id", "POST", "/v1/post/p1/bump", ``, []string{"User", "not an id"}, 401, "unauthenticated", []string{"User"}},
	{"a bad id", "POST", "/v1/post/p%201/bump", ``, me, 422, "invalid", []string{"path.id"}},
	{"an id too long", "POST", "/v1/post/" + strings.Repeat("x", 129) + "/bump", ``, me, 422, "invalid", []string{"path.id"}},
	{"to register another", "POST", "/v1/user/ines/register", `{"name":"Ines"}`, me, 403, "forbidden", []string{"ines"}},
	{"to register again", "POST", "/v1/user/maya/register", `{"name":"Maya"}`, me, 422, "rejected", []string{"maya"}},
	{"to found again", "POST", "/v1/tribe/hikers/found", `{"name":"Hikers"}`, me, 422, "rejected", []string{"hikers"}},
	{"to publish again", "POST", "/v1/post/p1/publish", `{"tribe":"hikers","text":"x"}`, me, 422, "rejected", []string{"p1"}},
	{"to join what is not there", "POST", "/v1/tribe/nowhere/join", ``, me, 422, "rejected", []string{"nowhere"}},
	{"to bump what is not there", "POST", "/v1/post/p9/bump", ``, me, 422, "rejected", []string{"p9"}},
	{"to unbump what is not there", "POST", "/v1/post/p9/unbump", ``, me, 422, "rejected", []string{"p9"}},
	{"to comment on what is not there", "POST", "/v1/post/p9/comment", `{"text":"x"}`, me, 422, "rejected", []string{"p9"}},
	{"a malformed If-Match", "POST", "/v1/post/p1/bump", ``, with("If-Match", "1"), 400, "malformed", []string{"header.If-Match"}},
	{"a lost If-Match", "POST", "/v1/post/p1/bump", ``, with("If-Match", `"7"`), 412, "conflict", []string{`"expected":7`, `"actual":1`}},
	{"a malformed key", "POST", "/v1/post/p1/bump", ``, with("Idempotency-Key", "not a key"), 400, "malformed", []string{"Idempotency-Key"}},
	{"a key from the future", "POST", "/v1/post/p1/bump", ``, with("Idempotency-Key", "7fffffff-0000-7000-8000-000000000000"), 422, "invalid", []string{"future"}},
	{"a key reused with another body", "POST", "/v1/post/p1/publish", `{"tribe":"hikers","text":"y"}`, with("Idempotency-Key", "k1"), 422, "idempotency-key-reused", nil},
	{"a key reused for another command", "POST", "/v1/post/p1/bump", ``, with("Idempotency-Key", "k1"), 422, "idempotency-key-reused", nil},
	{"a query parameter on a command", "POST", "/v1/post/p1/bump?loud=yes", ``, me, 422, "invalid", []string{"query.loud"}},
	{"an aggregate without events", "GET", "/v1/post/p9", ``, nil, 404, "not-found", nil},
	{"a document that is not there", "GET", "/v1/views/post-card/p9", ``, nil, 404, "not-found", nil},
	{"a malformed Min-Position", "GET", "/v1/views/post-card/p1", ``, []string{"Min-Position", "yesterday"}, 400, "malformed", []string{"Min-Position"}},
	{"a Min-Position of no partition", "GET", "/v1/views/post-card/p1", ``, []string{"Min-Position", "99@1"}, 422, "invalid", []string{"99@1"}},
	{"a limit out of bounds", "GET", "/v1/views/tribe-feed/hikers?limit=101", ``, nil, 422, "invalid", []string{"query.limit", "100"}},
	{"every wrong parameter is named", "GET", "/v1/views/search?limit=0&skip=-1&colour=red", ``, nil, 422, "invalid",
		[]string{"query.limit", "query.skip", "query.colour"}},
	{"a cursor that is none", "GET", "/v1/views/tribe-feed/hikers?after=x", ``, nil, 422, "invalid", []string{"after"}},
	{"a key of a view that is no id", "GET", "/v1/views/post-card/p%2F1", ``, nil, 422, "invalid", []string{"path.key"}},
}

// TestErrorsLoseNothingAndReadWell sends what cannot be met, each beside good
// commands, and finds a problem that says what is wrong, and a log that holds the
// good ones alone.
func TestErrorsLoseNothingAndReadWell(t *testing.T) {
	if !alone() {
		return
	}
	data := t.TempDir()
	p := startReady(t, data)
	must(t, p, "maya", "/v1/user/maya/register", `{"name":"Maya"}`)
	must(t, p, "maya", "/v1/tribe/hikers/found", `{"name":"Hikers"}`)
	first := must(t, p, "maya", "/v1/post/p1/publish", `{"tribe":"hikers","text":"x"}`, "Idempotency-Key", "k1")
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			a, err := ask(t.Context(), f.method, p.base+f.path, f.body, f.headers...)
			if err != nil {
				t.Fatal(err)
			}
			got := readProblem(t, a)
			if a.status != f.status || got.Type != "/problems/"+f.kind {
				t.Errorf("got %d %s, want %d %s: %s", a.status, got.Type, f.status, f.kind, a.body)
			}
			for _, s := range f.says {
				if !strings.Contains(string(a.body), s) {
					t.Errorf("%q is not said in %s", s, a.body)
				}
			}
			if a.status == http.StatusMethodNotAllowed && a.header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
	if again := must(t, p, "maya", "/v1/post/p1/publish", `{"tribe":"hikers","text":"x"}`, "Idempotency-Key", "k1"); !again.equal(first) {
		t.Errorf("a retry was answered %+v, the command %+v", again, first)
	}
	must(t, p, "ines", "/v1/post/p1/bump", "")
	if err := p.stop(t); err != nil {
		t.Error(err)
	}
	log, err := readLog(filepath.Join(data, "drivetrain.db"), "drivetribe.events")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range judge(log).valid {
		names = append(names, c.key+" "+c.events[0].name)
	}
	slices.Sort(names)
	if want := []string{"post/p1 post.bumped", "post/p1 post.published", "tribe/hikers tribe.founded", "user/maya user.registered"}; !slices.Equal(names, want) {
		t.Errorf("the log holds %q, want %q", names, want)
	}
	if lines := p.lines(); len(lines) > 5 {
		t.Errorf("faults of clients were written to the log: %q", lines)
	}
}

func TestAPositionThatIsNotReachedIsSaidWithinItsBound(t *testing.T) {
	if !alone() {
		return
	}
	t.Parallel()
	p := startReady(t, t.TempDir())
	var far []string
	for n := range 16 {
		far = append(far, fmt.Sprintf("%d@1000000", n))
	}
	var wg sync.WaitGroup
	for _, path := range []string{"/v1/views/post-card/p1", "/v1/views/tribe-feed/hikers", "/v1/views/search?q=x", "/v1/post/p1"} {
		wg.Go(func() {
			a, err := ask(t.Context(), http.MethodGet, p.base+path, "", "Min-Position", strings.Join(far, ","))
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			if a.status != 503 || a.header.Get("Retry-After") == "" || !strings.Contains(string(a.body), "not reached") {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		})
	}
	wg.Wait()
}

// TestTheDescriptionHasExactlyTheWireNames compares /openapi.json with the names
// that users rely on.
func TestTheDescriptionHasExactlyTheWireNames(t *testing.T) {
	if !alone() {
		return
	}
	t.Parallel()
	p := startReady(t, t.TempDir())
	status, text := p.try("/openapi.json")
	var doc struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil || status != 200 || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("%d, %v: %.200s", status, err, text)
	}
	want := []string{"get /v1/views/tribe-card/{key}", "get /v1/views/post-card/{key}", "get /v1/views/tribe-feed/{key}",
		"get /v1/views/post-reach/{key}", "get /v1/views/membership/{key}", "get /v1/views/top-tribes/{key}", "get /v1/views/search",
		"get /v1/views/find-tribe", "get /v1/views/find-post"}
	for aggregate, commands := range map[string][]string{"user": {"register"}, "tribe": {"found", "join", "leave"},
		"post": {"publish", "comment", "bump", "unbump"}} {
		want = append(want, fmt.Sprintf("get /v1/%s/{id}", aggregate), fmt.Sprintf("get /v1/%s/{id}/events", aggregate))
		for _, c := range commands {
			want = append(want, fmt.Sprintf("post /v1/%s/{id}/%s", aggregate, c))
		}
	}
	var got []string
	for path, methods := range doc.Paths {
		for m := range methods {
			if strings.HasPrefix(path, "/v1/") && (m == "get" || m == "post") {
				got = append(got, m+" "+path)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("described are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for path, fields := range map[string][]string{
		"post /v1/user/{id}/register": {"name"}, "post /v1/tribe/{id}/found": {"name"},
		"post /v1/post/{id}/publish": {"tribe", "text"}, "post /v1/post/{id}/comment": {"text"},
	} {
		method, path, _ := strings.Cut(path, " ")
		if got := bodyFields(t, text, doc.Paths[path][method]); !slices.Equal(got, slices.Sorted(slices.Values(fields))) {
			t.Errorf("the body of %s has %q, want %q", path, got, fields)
		}
	}
	for _, card := range [][]string{{"id", "name", "members", "posts"}, {"id", "tribe", "author", "text", "bumps", "comments"}, {"kind", "id", "text"},
		{"id", "name", "members", "founded"}, {"id", "tribe", "author", "text", "published"}} {
		if !describes(t, text, card) {
			t.Errorf("no schema has the fields %q", card)
		}
	}
}

// schemas are those of a description, by name.
func schemas(t *testing.T, doc string) map[string]map[string]json.RawMessage {
	t.Helper()
	var d struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]json.RawMessage
			}
		}
	}
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]map[string]json.RawMessage)
	for name, s := range d.Components.Schemas {
		out[name] = s.Properties
	}
	return out
}

// bodyFields are the names of an operation's body.
func bodyFields(t *testing.T, doc string, operation json.RawMessage) (names []string) {
	t.Helper()
	var op struct {
		RequestBody struct {
			Content map[string]struct {
				Schema struct {
					Ref        string `json:"$ref"`
					Properties map[string]json.RawMessage
				}
			}
		}
	}
	if err := json.Unmarshal(operation, &op); err != nil {
		t.Fatal(err)
	}
	schema := op.RequestBody.Content["application/json"].Schema
	properties := schema.Properties
	if schema.Ref != "" {
		properties = schemas(t, doc)[schema.Ref[strings.LastIndex(schema.Ref, "/")+1:]]
	}
	for name := range properties {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// describes reports whether some schema has exactly these fields.
func describes(t *testing.T, doc string, fields []string) bool {
	t.Helper()
	for _, properties := range schemas(t, doc) {
		has := len(properties) == len(fields)
		for _, f := range fields {
			has = has && properties[f] != nil
		}
		if has {
			return true
		}
	}
	return false
}

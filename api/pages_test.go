package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework"
)

var update = flag.Bool("update", false, "write testdata/openapi.txt and operators.txt anew")

// TestTheDescriptionStays compares the descriptions of the test's domain and of the
// operators' API with the golden files: clients are generated from them.
func TestTheDescriptionStays(t *testing.T) {
	for golden, described := range map[string][]byte{"testdata/openapi.txt": described(t), "testdata/operators.txt": describedToOperators(t)} {
		got := outline(t, described)
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: the description is now\n%s\nwant\n%s\nif it shall change so, run this test with -update", golden, got, want)
		}
	}
}

type description struct {
	OpenAPI string
	Info    struct{ Title, Version string }
	Paths   map[string]map[string]struct {
		OperationID, Summary, Description string
		Tags                              []string
		Parameters                        []struct {
			Name, In string
			Required bool
		}
		RequestBody *struct {
			Required bool
			Content  map[string]struct{ Schema map[string]any }
		}
		Responses map[string]struct {
			Description string
			Headers     map[string]any
			Content     map[string]struct{ Schema map[string]any }
		}
	}
	Components struct{ Schemas map[string]json.RawMessage }
	Problems   []explanation `json:"x-problems"`
}

func described(t *testing.T) []byte {
	t.Helper()
	r := do(t, handlerOf(&script{}, Title("Clubs"), Version("2.1")), call{"GET", "/openapi.json", "", nil})
	expect(t, r, 200, nil)
	if r.Header().Get("Content-Type") != "application/openapi+json" {
		t.Fatalf("headers %v", r.Header())
	}
	return r.Body.Bytes()
}

// outline is what clients rely on, a line each.
func outline(t *testing.T, data []byte) []byte {
	t.Helper()
	var d description
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, d.OpenAPI, d.Info.Title, d.Info.Version)
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(d.Paths[path])) {
			op := d.Paths[path][method]
			fmt.Fprintf(&b, "%s %s\n  %s: %s\n", strings.ToUpper(method), path, op.OperationID, op.Summary)
			for _, p := range op.Parameters {
				fmt.Fprintf(&b, "  %s %s required=%v\n", p.In, p.Name, p.Required)
			}
			if op.RequestBody != nil {
				fmt.Fprintf(&b, "  body %v required=%v\n", op.RequestBody.Content["application/json"].Schema["$ref"], op.RequestBody.Required)
			}
			for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
				r := op.Responses[status]
				fmt.Fprintf(&b, "  %s %v", status, slices.Sorted(maps.Keys(r.Headers)))
				for _, media := range slices.Sorted(maps.Keys(r.Content)) {
					c := r.Content[media]
					fmt.Fprintf(&b, " %s %v", media, c.Schema["$ref"])
				}
				fmt.Fprintln(&b)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Components.Schemas)) {
		fmt.Fprintf(&b, "%s %s\n", name, d.Components.Schemas[name])
	}
	return b.Bytes()
}

func TestTheDescriptionIsTheSameEachTimeAndWhole(t *testing.T) {
	first := described(t)
	for range 5 {
		if !bytes.Equal(first, described(t)) {
			t.Fatal("two starts describe the same application differently")
		}
	}
	if bytes.Contains(first, []byte(`"$schema"`)) || bytes.Contains(first, []byte(`"Meta"`)) || bytes.Contains(first, []byte(`"given"`)) {
		t.Error("the description shows $schema or Meta")
	}
	var d description
	if err := json.Unmarshal(first, &d); err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`"#/components/schemas/([^"]*)"`).FindAllSubmatch(first, -1) {
		if _, ok := d.Components.Schemas[string(m[1])]; !ok {
			t.Errorf("%s is referred to and missing", m[1])
		}
	}
	for path, methods := range d.Paths {
		for method, op := range methods {
			if op.Summary == "" || op.Description == "" || len(op.Tags) != 1 || op.OperationID == "" {
				t.Errorf("%s %s lacks words: %+v", method, path, op)
			}
			if len(op.Responses) < 5 {
				t.Errorf("%s %s has %d answers", method, path, len(op.Responses))
			}
		}
	}
}

// TestEveryKindOfProblemIsExplained also at the path that its type names.
func TestEveryKindOfProblemIsExplained(t *testing.T) {
	var d description
	if err := json.Unmarshal(described(t), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Problems) != len(kinds) {
		t.Fatalf("%d kinds are described, there are %d", len(d.Problems), len(kinds))
	}
	seen := map[string]bool{}
	for _, k := range kinds {
		r := do(t, handlerOf(&script{}), call{"GET", k.uri(), "", nil})
		expect(t, r, 200, nil, k.title, k.about)
		if seen[k.name] || k.status < 400 || http.StatusText(k.status) == "" {
			t.Errorf("kind %s", k.name)
		}
		seen[k.name] = true
	}
}

func TestTheDocsPageNeedsNothingFromElsewhere(t *testing.T) {
	r := do(t, handlerOf(&script{}), call{"GET", "/docs", "", nil})
	expect(t, r, 200, nil, "<!doctype html>", "openapi.json", "color-scheme")
	page, policy := r.Body.String(), r.Header().Get("Content-Security-Policy")
	if len(page) > 40<<10 {
		t.Errorf("%d bytes, at most 40 KiB are meant", len(page))
	}
	if found := regexp.MustCompile(`(https?:)?//[a-z]|@import|innerHTML|eval\(|<link rel="stylesheet"|<script src`).FindAllString(strings.ReplaceAll(page, "// ", ""), -1); found != nil {
		t.Errorf("the page has %q", found)
	}
	if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	for tag, directive := range map[string]string{"style": "style-src ", "script": "script-src "} {
		inside := regexp.MustCompile(`(?s)<` + tag + `>(.*)</` + tag + `>`).FindStringSubmatch(page)
		if inside == nil || !strings.Contains(policy, directive+hashOf([]byte(inside[1]))+";") {
			t.Errorf("the policy %q does not have the hash of what stands in <%s>", policy, tag)
		}
	}
}

func TestPagesThatDidNotChangeAreNotSentAgain(t *testing.T) {
	h := handlerOf(&script{})
	for _, path := range []string{"/docs", "/openapi.json"} {
		tag := do(t, h, call{"GET", path, "", nil}).Header().Get("ETag")
		r := do(t, h, call{"GET", path, "", []string{"If-None-Match", tag}})
		if tag == "" || r.Code != 304 || r.Body.Len() > 0 {
			t.Errorf("%s: ETag %q, then %d", path, tag, r.Code)
		}
	}
}

// crowd is an app whose names meet wherever they are put together.
type crowd struct{ *script }

type node struct {
	Left   *node    `json:"left,omitempty"`
	Detail []detail `json:"detail,omitempty"`
	aggregates.Meta
}

func (crowd) Aggregates() []framework.Aggregate {
	return []framework.Aggregate{kindOf{"a"}, kindOf{"a-b"}, kindOf{"get"}}
}

func (crowd) Commands() []framework.Command {
	type detail struct {
		Other int `json:"other"`
		aggregates.Meta
	}
	return []framework.Command{
		{Aggregate: kindOf{"a"}, Name: "b-c", Body: reflect.TypeFor[node]()},
		{Aggregate: kindOf{"a"}, Name: "detail", Body: reflect.TypeFor[detail]()},
		{Aggregate: kindOf{"a"}, Name: "state", Body: reflect.TypeFor[node]()},
		{Aggregate: kindOf{"a-b"}, Name: "c", Body: reflect.TypeFor[node]()},
		{Aggregate: kindOf{"get"}, Name: "a", Body: reflect.TypeFor[node]()},
	}
}

func (crowd) Views() []framework.View {
	return []framework.View{{Name: "a", Kind: framework.Feed, Item: reflect.TypeFor[State]()}, {Name: "state", Kind: framework.Document}}
}

func TestNamesThatMeetAreToldApart(t *testing.T) {
	h := newServer(crowd{&script{}}, []Option{CallerHeader("User")}).mux
	var d description
	if err := json.Unmarshal(do(t, h, call{"GET", "/openapi.json", "", nil}).Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, methods := range d.Paths {
		for _, op := range methods {
			ids[op.OperationID] = true
		}
	}
	if len(ids) != 5+6+2 {
		t.Errorf("%d operations: %v", len(ids), ids)
	}
	expect(t, do(t, h, call{"POST", "/v1/a/x/detail", `{"other":1}`, nil}), 200, nil)
	expect(t, do(t, h, call{"POST", "/v1/a/x/b-c", `{"left":{"left":{"detail":[{"text":"x"}]}}}`, nil}), 200, nil)
	expect(t, do(t, h, call{"POST", "/v1/a/x/state", `{"left":{"left":{"detail":[{"other":1}]}}}`, nil}), 422, invalid,
		"body.left.left.detail[0].text", "body.left.left.detail[0].other")
}

package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/drivetrain-go/drivetrain/framework"
)

func describedToOperators(t *testing.T) []byte {
	t.Helper()
	r := do(t, newServer(&script{}, []Option{Title("Clubs"), Version("2.1")}).admin(), call{"GET", "http://localhost/openapi.json", "", nil})
	expect(t, r, 200, nil)
	if r.Header().Get("Content-Type") != "application/openapi+json" {
		t.Fatalf("headers %v", r.Header())
	}
	return r.Body.Bytes()
}

// toOperators returns the operators' API and its description.
func toOperators(t *testing.T, s *script) (http.Handler, description) {
	t.Helper()
	var d description
	if err := json.Unmarshal(describedToOperators(t), &d); err != nil {
		t.Fatal(err)
	}
	return newServer(s, nil).admin(), d
}

// routesOf returns what a listener serves, as "GET /path", but for HEAD.
func routesOf(t *testing.T, h http.Handler) (list []string) {
	t.Helper()
	err := chi.Walk(h.(chi.Routes), func(method, path string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if method != http.MethodHead {
			list = append(list, method+" "+path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestEveryRouteForOperatorsIsDescribed but for the description itself, what explains
// it, and Go's own profiles.
func TestEveryRouteForOperatorsIsDescribed(t *testing.T) {
	_, d := toOperators(t, &script{})
	undescribed := []string{"GET /docs", "GET /openapi.json", "GET /problems/{kind}"}
	served := routesOf(t, newServer(&script{}, nil).operators().mux)
	for _, route := range served {
		method, path, _ := strings.Cut(route, " ")
		if strings.HasPrefix(path, "/debug/pprof") || slices.Contains(undescribed, route) {
			continue
		}
		op, ok := d.Paths[path][strings.ToLower(method)]
		if !ok {
			t.Errorf("%s is not described", route)
			continue
		}
		if op.Summary == "" || !strings.HasSuffix(op.Description, ".") || op.OperationID == "" || len(op.Tags) != 1 || len(op.Responses) < 3 {
			t.Errorf("%s lacks words: %+v", route, op)
		}
		for _, part := range strings.Split(path, "/") {
			if name, ok := strings.CutPrefix(part, "{"); ok && !describesParam(op.Parameters, strings.TrimSuffix(name, "}")) {
				t.Errorf("%s does not describe %s", route, part)
			}
		}
	}
	for path, methods := range d.Paths {
		for method := range methods {
			if route := strings.ToUpper(method) + " " + path; !slices.Contains(served, route) {
				t.Errorf("%s is described and not served", route)
			}
		}
	}
	if len(d.Paths) < 9 {
		t.Errorf("%d paths are described", len(d.Paths))
	}
}

func describesParam(params []struct {
	Name, In string
	Required bool
}, name string) bool {
	for _, p := range params {
		if p.Name == name && p.In == "path" && p.Required {
			return true
		}
	}
	return false
}

// TestBodiesForOperatorsAreCheckedAsDescribed: every member that a body has in the
// description is known, its bounds hold, and no other is taken.
func TestBodiesForOperatorsAreCheckedAsDescribed(t *testing.T) {
	h, d := toOperators(t, &script{})
	checked := 0
	for path, methods := range d.Paths {
		for method, op := range methods {
			if op.RequestBody == nil {
				continue
			}
			ref, _ := op.RequestBody.Content["application/json"].Schema["$ref"].(string)
			var schema struct {
				Properties map[string]struct {
					Type      string
					MaxLength *int
					Minimum   *float64
				}
				Required             []string
				AdditionalProperties bool
			}
			if err := json.Unmarshal(d.Components.Schemas[strings.TrimPrefix(ref, schemaPrefix)], &schema); err != nil {
				t.Fatalf("%s %s takes %q: %v", method, path, ref, err)
			}
			at := "http://localhost" + strings.NewReplacer("{view}", "tribe-card", "{number}", "2").Replace(path)
			send := func(body, fault string) {
				t.Helper()
				expect(t, do(t, h, call{strings.ToUpper(method), at, body, nil}), 422, invalid, `"location":"body.`+fault+`"`)
			}
			send(`{"surely_unknown":1}`, "surely_unknown")
			for name, p := range schema.Properties {
				checked++
				send(fmt.Sprintf(`{%q:[]}`, name), name)
				if p.MaxLength != nil {
					send(fmt.Sprintf(`{%q:%q}`, name, strings.Repeat("x", *p.MaxLength+1)), name)
				}
				if p.Minimum != nil {
					send(fmt.Sprintf(`{%q:%v}`, name, *p.Minimum-1), name)
				}
			}
			if schema.AdditionalProperties || op.RequestBody.Required != (len(schema.Required) > 0) {
				t.Errorf("%s %s: the body is described as %+v, required: %v", method, path, schema, op.RequestBody.Required)
			}
		}
	}
	if checked < 7 {
		t.Errorf("%d members were checked", checked)
	}
}

// TestAnswersToOperatorsAreAsDescribed: they have the members that are described, and no
// others.
func TestAnswersToOperatorsAreAsDescribed(t *testing.T) {
	s := &script{generations: []framework.Generation{{Number: 2, State: framework.Ready}}}
	h, d := toOperators(t, s)
	for path, methods := range d.Paths {
		for method, op := range methods {
			body := "" // which two need
			switch path[strings.LastIndexByte(path, '/'):] {
			case "/discard":
				body = `{"reason":"typed twice"}`
			case "/shadow":
				body = `{"share":0.05}`
			}
			r := do(t, h, call{strings.ToUpper(method), "http://localhost" + strings.NewReplacer("{view}", "tribe-card", "{number}", "2").Replace(path), body, nil})
			as, ok := op.Responses[fmt.Sprint(r.Code)]
			if !ok || r.Code >= 300 {
				t.Errorf("%s %s answers %d: %s", method, path, r.Code, r.Body)
				continue
			}
			for name := range as.Headers {
				if r.Header().Get(name) == "" {
					t.Errorf("%s %s lacks the header %s", method, path, name)
				}
			}
			ref, _ := as.Content["application/json"].Schema["$ref"].(string)
			if ref == "" {
				continue
			}
			var got map[string]json.RawMessage
			var schema struct {
				Properties map[string]any
				Required   []string
			}
			if err := json.Unmarshal(r.Body.Bytes(), &got); err != nil {
				t.Errorf("%s %s: %v: %s", method, path, err, r.Body)
			}
			if err := json.Unmarshal(d.Components.Schemas[strings.TrimPrefix(ref, schemaPrefix)], &schema); err != nil {
				t.Fatal(err)
			}
			for name := range got {
				if schema.Properties[name] == nil {
					t.Errorf("%s %s answers with %s, which is not described", method, path, name)
				}
			}
			for _, name := range schema.Required {
				if got[name] == nil {
					t.Errorf("%s %s does not answer with %s", method, path, name)
				}
			}
		}
	}
}

func TestWhoAsksOperatorsForWhatIsNotThereIsToldWhatIs(t *testing.T) {
	h := newServer(&script{}, nil).admin()
	expect(t, do(t, h, call{"GET", "http://localhost/v1/tribe/x", "", nil}), 404, unknown, "/v1/members, /v1/views, /v1/views/{view}/generations, ", "/metrics, /debug/pprof")
	expect(t, do(t, h, call{"GET", "http://localhost/docs", "", nil}), 200, nil, "<!doctype html>")
	expect(t, do(t, h, call{"GET", "http://localhost/problems/generation-state", "", nil}), 200, nil, wrongState.title)
	expect(t, do(t, h, call{"GET", "http://localhost/openapi.json", "", []string{"Origin", "http://evil.example"}}), 403, forbidden)
}

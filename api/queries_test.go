package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

func TestAStateHasItsVersionAndPositionAndIsNotSentTwice(t *testing.T) {
	h := handlerOf(&script{})
	r := do(t, h, call{"GET", "/v1/tribe/x", "", nil})
	expect(t, r, 200, nil, `{"name":"x"}`)
	if r.Header().Get("ETag") != `"3"` || r.Header().Get("Position") != "1@9" || r.Header().Get("Cache-Control") != "no-cache" {
		t.Fatalf("headers %v", r.Header())
	}
	for given, status := range map[string]int{`"3"`: 304, `W/"3"`: 304, `"1", "3"`: 304, `*`: 304, `"2"`: 200, `3`: 200} {
		r := do(t, h, call{"GET", "/v1/tribe/x", "", []string{"If-None-Match", given}})
		if r.Code != status || r.Header().Get("ETag") != `"3"` || r.Header().Get("Position") != "1@9" {
			t.Errorf("If-None-Match %s: %d, %v", given, r.Code, r.Header())
		}
		if status == 304 && r.Body.Len() > 0 {
			t.Errorf("a 304 with the body %s", r.Body)
		}
	}
	expect(t, do(t, h, call{"HEAD", "/v1/tribe/x", "", nil}), 200, nil)
}

func TestMinPositionReachesEveryQuery(t *testing.T) {
	var got []string
	s := &script{
		state: func(_, _ string, min eventlog.Positions) (cluster.State, error) {
			got = append(got, min.String())
			return cluster.State{JSON: []byte("{}"), Version: 1}, nil
		},
		history: func(_ string, _ uint64, _ int, min eventlog.Positions) ([]cluster.Recorded, error) {
			got = append(got, min.String())
			return nil, nil
		},
		ask: func(_ string, q framework.Query) (framework.Answer, error) {
			got = append(got, q.Min.String())
			return framework.Answer{JSON: []byte("{}")}, nil
		},
	}
	h := handlerOf(s)
	paths := []string{"/v1/tribe/x", "/v1/tribe/x/events", "/v1/views/tribe-card/x", "/v1/views/tribe-feed/x", "/v1/views/tribe-top/x", "/v1/views/search"}
	for _, path := range paths {
		expect(t, do(t, h, call{"GET", path, "", []string{"Min-Position", "1@5,3@81234;c@57"}}), 200, nil)
		expect(t, do(t, h, call{"GET", path, "", nil}), 200, nil)
		for _, bad := range []string{"", "x", "1@", "1@2;", "3@-1", "\xff"} {
			expect(t, do(t, h, call{"GET", path, "", []string{"Min-Position", bad}}), 400, malformed, "header.Min-Position")
		}
		expect(t, do(t, h, call{"GET", path, "", []string{"Min-Position", "1@2", "+Min-Position", "2@3"}}), 400, malformed, "once")
	}
	if want := strings.Repeat("1@5,3@81234;c@57||", len(paths)); strings.Join(got, "|")+"|" != want {
		t.Fatalf("the application got %q", got)
	}
}

func TestAPositionNotReachedIsA503WithAPause(t *testing.T) {
	late := &cluster.UnavailableError{Reason: "view is at 3@1, not yet at 3@9", RetryAfter: 2 * time.Second}
	s := &script{
		state: func(string, string, eventlog.Positions) (cluster.State, error) { return cluster.State{}, late },
		ask:   func(string, framework.Query) (framework.Answer, error) { return framework.Answer{}, late },
	}
	for _, path := range []string{"/v1/tribe/x", "/v1/views/tribe-card/x"} {
		r := do(t, handlerOf(s), call{"GET", path, "", []string{"Min-Position", "3@9"}})
		expect(t, r, 503, unavailable, "not yet at 3@9")
		if r.Header().Get("Retry-After") != "2" {
			t.Errorf("Retry-After %q", r.Header().Get("Retry-After"))
		}
	}
}

// historyOf answers as an aggregate with n events does.
func historyOf(n uint64) func(string, uint64, int, eventlog.Positions) ([]cluster.Recorded, error) {
	return func(id string, after uint64, limit int, _ eventlog.Positions) (list []cluster.Recorded, err error) {
		if limit < 1 || limit > 1000 {
			return nil, fmt.Errorf("limit %d", limit)
		}
		for v := after + 1; v <= n && len(list) < limit; v++ {
			list = append(list, cluster.Recorded{ID: idOf(byte(v)), Type: "tribe.founded", Version: v,
				Time: time.UnixMilli(1_700_000_000_123).UTC(), Actor: "ann", Data: []byte(`{"name":"x"}`)})
		}
		return list, nil
	}
}

func TestAHistoryIsReadPageByPage(t *testing.T) {
	h := handlerOf(&script{history: historyOf(5)})
	r := do(t, h, call{"GET", "/v1/tribe/x/events?limit=1", "", nil})
	want := `{"items":[{"id":"` + idOf(1).String() + `","type":"tribe.founded","version":1,"time":"2023-11-14T22:13:20.123Z","actor":"ann","data":{"name":"x"}}],"next":1}`
	if r.Body.String() != want || r.Header().Get("Position") != "1@9" {
		t.Fatalf("%s, want %s; %v", r.Body, want, r.Header())
	}
	for _, limit := range []int{1, 2, 4, 5, 6, 1000} {
		var seen []uint64
		for path, pages := "/v1/tribe/x/events", 0; pages < 10; pages++ {
			var page history
			r := do(t, h, call{"GET", fmt.Sprintf("%s?limit=%d&after=%d", path, limit, len(seen)), "", nil})
			if err := json.Unmarshal(r.Body.Bytes(), &page); err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Items {
				seen = append(seen, e.Version)
			}
			if page.Next == 0 {
				break
			}
			if page.Next != uint64(len(seen)) || len(seen) == 5 {
				t.Fatalf("limit %d: next is %d after %v", limit, page.Next, seen)
			}
		}
		if fmt.Sprint(seen) != "[1 2 3 4 5]" {
			t.Fatalf("limit %d: %v", limit, seen)
		}
	}
	r = do(t, h, call{"GET", "/v1/tribe/x/events?after=5", "", nil})
	expect(t, r, 200, nil, `{"items":[]}`)
	expect(t, do(t, handlerOf(&script{history: historyOf(1000)}), call{"GET", "/v1/tribe/x/events?limit=1000", "", nil}), 200, nil, `"next":1000`)
}

func TestAPayloadThatIsNoJSONIsSentInBase64(t *testing.T) {
	h := handlerOf(&script{history: func(string, uint64, int, eventlog.Positions) ([]cluster.Recorded, error) {
		return []cluster.Recorded{{Data: []byte{0xff, 0, 1}}, {Data: nil}}, nil
	}})
	expect(t, do(t, h, call{"GET", "/v1/tribe/x/events", "", nil}), 200, nil, `"data":"/wAB"`, `"data":null`)
}

func TestAViewGetsItsQuestionAndNamesWhatItAnsweredFrom(t *testing.T) {
	var got framework.Query
	var name string
	s := &script{ask: func(view string, q framework.Query) (framework.Answer, error) {
		name, got = view, q
		return framework.Answer{JSON: []byte(`{"items":[]}`), Generation: 7,
			Positions: eventlog.NewPositions(eventlog.Position{Partition: 2, Offset: 5}, eventlog.Position{Partition: 0, Offset: 1})}, nil
	}}
	h := handlerOf(s)
	for path, want := range map[string]string{
		"/v1/views/tribe-card/a.b":                              `tribe-card key="a.b" after="" text="" is=map[] 0 0`,
		"/v1/views/tribe-feed/x":                                `tribe-feed key="x" after="" text="" is=map[] 0 20`,
		"/v1/views/tribe-feed/x?after=abc%20&limit=100":         `tribe-feed key="x" after="abc " text="" is=map[] 0 100`,
		"/v1/views/tribe-top/x?from=y&limit=1":                  `tribe-top key="x" after="" text="" is=map[] 0 1 from y`,
		"/v1/views/tribe-top/x?after=abc":                       `tribe-top key="x" after="abc" text="" is=map[] 0 20`,
		"/v1/views/search":                                      `search key="" after="" text="" is=map[] 0 20`,
		"/v1/views/search?q=a+b&skip=5&limit=1&city=Bern&kind=": `search key="" after="" text="a b" is=map[city:Bern kind:] 5 1`,
		"/v1/views/search?sort=-size&after=abc":                 `search key="" after="abc" text="" is=map[] 0 20 by -size`,
		"/v1/views/search?sort=city&size.to=-1.5e3&founded.from=2026-01-31T09:30:00.5%2B01:00&founded.to=2026-02-01T00:00:00Z": `search key="" after="" text="" is=map[] 0 20 by city` +
			` within map[founded:{2026-01-31T09:30:00.5+01:00 2026-02-01T00:00:00Z} size:{ -1.5e3}]`,
		"/v1/views/search?q=" + strings.Repeat("%C3%A9", maxWords/2): `search key="" after="" text="` + strings.Repeat("é", maxWords/2) + `" is=map[] 0 20`,
	} {
		r := do(t, h, call{"GET", path, "", nil})
		expect(t, r, 200, nil, `{"items":[]}`)
		if r.Header().Get("Position") != "0@1,2@5" || r.Header().Get("Generation") != "7" {
			t.Errorf("%s: headers %v", path, r.Header())
		}
		s := fmt.Sprintf("%s key=%q after=%q text=%q is=%v %d %d", name, got.Key, got.After, got.Text, got.Is, got.Skip, got.Limit)
		if got.Sort != "" {
			s += " by " + got.Sort
		}
		if got.Ranges != nil {
			s += fmt.Sprint(" within ", got.Ranges)
		}
		if got.From != "" {
			s += " from " + got.From
		}
		if s != want {
			t.Errorf("%s asked %s, want %s", path, s, want)
		}
	}
}

func TestQueryParametersOutOfBoundsAreNamed(t *testing.T) {
	h := handlerOf(&script{})
	for path, parts := range map[string][]string{
		"/v1/views/tribe-card/x?version=3":                                          {"query.version", "there are: none"},
		"/v1/tribe/x/events?limit=0&after=-1&x=1":                                   {"query.limit", "1 to 1000", "query.after", "query.x", "there are: after, limit"},
		"/v1/tribe/x/events?limit=1001":                                             {"query.limit"},
		"/v1/tribe/x/events?limit=":                                                 {"query.limit"},
		"/v1/tribe/x/events?limit=1&limit=2":                                        {"query.limit", "once"},
		"/v1/views/tribe-card/x?q=a":                                                {"query.q"},
		"/v1/views/tribe-feed/x?limit=101&skip=1":                                   {"query.limit", "query.skip"},
		"/v1/views/search?skip=9901&limit=x&town=Bern":                              {"query.skip", "query.limit", "query.town", "q, skip, limit, sort, after, city, founded.from, founded.to, kind, size.from, size.to"},
		"/v1/views/search?sort=name&size.from=ten&founded.to=2026-01-31&size=3":     {"query.sort", "city, -city, founded, -founded, kind, -kind, size, -size", "query.size.from", "a number", "query.founded.to", "RFC 3339", "query.size\""},
		"/v1/views/search?size.from=2&size.to=1&after=x&skip=1":                     {"query.size.to", "no less", "query.skip", "after alone"},
		"/v1/views/search?sort=&founded.from=":                                      {"query.sort", "query.founded.from"},
		"/v1/views/search?size.to=" + strings.Repeat("1", maxEnd+1):                 {"query.size.to"},
		"/v1/views/search?q=%ff":                                                    {"query.q", "UTF-8"},
		"/v1/views/search?q=" + strings.Repeat("a", maxWords+1):                     {"query.q", "1024 bytes"},
		"/v1/views/search?city=" + strings.Repeat("a", maxField+1):                  {"query.city"},
		"/v1/views/tribe-feed/x?after=" + strings.Repeat("a", maxAfter+1):           {"query.after"},
		"/v1/views/tribe-top/x?from=" + strings.Repeat("a", maxField+1) + "&skip=1": {"query.from", "query.skip", "after, from, limit"},
		"/v1/views/tribe-card/a%20b":                                                {"path.key"},
		"/v1/tribe/" + strings.Repeat("a", 129):                                     {"path.id"},
	} {
		expect(t, do(t, h, call{"GET", path, "", nil}), 422, invalid, parts...)
	}
	expect(t, do(t, h, call{"GET", "/v1/tribe/x/events?limit=%zz", "", nil}), 400, malformed)
}

func TestWhatIsUnknownIsAnsweredWithWhatThereIs(t *testing.T) {
	h := handlerOf(&script{})
	for path, part := range map[string]string{
		"/v1/tripe/x":              `unknown aggregate type \"tripe\"; there are: order, tribe`,
		"/v1/tripe/x/found":        `unknown aggregate type \"tripe\"`,
		"/v1/tribe/x/fond":         `unknown command \"fond\" of tribe; it has: found, join`,
		"/v1/tribe":                "/v1/tribe/{id}",
		"/v1/tribe/":               "/v1/tribe/{id}",
		"/v1/tribe/x/events/3":     "/v1/tribe/{id}/events",
		"/v1/views":                "there are: search, tribe-card, tribe-feed, tribe-top",
		"/v1/views/":               "there are: search, tribe-card, tribe-feed, tribe-top",
		"/v1/views/card/x":         `unknown view \"card\"; there are: search, tribe-card, tribe-feed, tribe-top`,
		"/v1/views/tribe-card":     "GET /v1/views/tribe-card/{key}",
		"/v1/views/tribe-card/x/y": "GET /v1/views/tribe-card/{key}",
		"/v1/views/search/x":       "GET /v1/views/search?q=",
		"/v1/":                     "there are: order, tribe",
		"/v2/tribe/x":              "/docs",
		"/":                        "/docs",
		"/problems/odd":            "there are: malformed, ",
		"/%ff":                     "/docs",
	} {
		for _, method := range []string{"GET", "POST"} {
			if method == "POST" && strings.HasPrefix(path, "/problems") {
				continue
			}
			expect(t, do(t, h, call{method, path, "", nil}), 404, unknown, part)
		}
	}
}

func TestAWrongMethodNamesTheRightOnes(t *testing.T) {
	h := handlerOf(&script{})
	for c, allow := range map[[2]string]string{
		{"GET", "/v1/tribe/x/found"}:          "POST",
		{"PUT", "/v1/tribe/x/found"}:          "POST",
		{"POST", "/v1/tribe/x"}:               "GET, HEAD",
		{"DELETE", "/v1/tribe/x/events"}:      "GET, HEAD",
		{"OPTIONS", "/v1/views/tribe-card/x"}: "GET, HEAD",
		{"BREW", "/v1/views/search"}:          "GET, HEAD",
		{"POST", "/openapi.json"}:             "GET, HEAD",
		{"POST", "/readyz"}:                   "GET, HEAD",
	} {
		r := do(t, h, call{c[0], c[1], "", nil})
		expect(t, r, 405, wrongMethod)
		if r.Header().Get("Allow") != allow {
			t.Errorf("%v: Allow %q, want %q", c, r.Header().Get("Allow"), allow)
		}
	}
	expect(t, do(t, h, call{"BREW", "/v1/coffee/x", "", nil}), 404, unknown)
}

package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/api"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/projections"
)

type fact interface{ club() }

type founded struct {
	Name string `json:"name"`
	City string `json:"city,omitempty"`
}

type joined struct {
	Member string `json:"member"`
}

func (founded) club() {}
func (joined) club()  {}

type club struct {
	Name    string          `json:"name"`
	Members map[string]bool `json:"members"`
}

func (c club) evolve(e fact) club {
	switch e := e.(type) {
	case founded:
		c.Name, c.Members = e.Name, map[string]bool{}
	case joined:
		c.Members[e.Member] = true
	}
	return c
}

type found struct {
	Name string `json:"name" minLength:"1" maxLength:"40"`
	City string `json:"city,omitempty"`
	aggregates.Meta
}

type join struct{ aggregates.Meta }

func (c club) found(cmd found) ([]fact, error) {
	if c.Name != "" {
		return nil, aggregates.Reject("the club %s exists already", cmd.ID())
	}
	return []fact{founded{cmd.Name, cmd.City}}, nil
}

func (c club) join(cmd join) ([]fact, error) {
	switch {
	case c.Name == "":
		return nil, aggregates.Reject("there is no club %s", cmd.ID())
	case cmd.By() == "mallory":
		return nil, aggregates.Forbid("mallory is banned")
	case c.Members[cmd.By()]:
		return nil, nil
	}
	return []fact{joined{cmd.By()}}, nil
}

var clubs = &aggregates.Type[club, fact]{Name: "club", Evolve: club.evolve,
	Events: event.Types[fact]{"club.founded": event.As[fact, founded](), "club.joined": event.As[fact, joined]()}}

type card struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	City    string `json:"city"`
	Members int    `json:"members"`
}

func (c card) fold(e projections.Event[fact]) card {
	c.ID = e.ID
	switch f := e.Fact.(type) {
	case founded:
		c.Name, c.City = f.Name, f.City
	case joined:
		c.Members++
	}
	return c
}

var (
	cards = &projections.View[card, fact]{Name: "club-card", From: clubs.Stream(), Fold: card.fold}
	all   = &projections.Feed[fact]{Name: "club-feed", From: clubs.Stream(), Cards: cards,
		Place: func(e projections.Event[fact]) (projections.Place, bool) {
			_, ok := e.Fact.(founded)
			return projections.Place{Set: "all", Key: e.ID, At: e.Time}, ok
		}}
	words = &projections.View[card, fact]{Name: "club-search", From: clubs.Stream(), Fold: card.fold,
		Search: view.Fields{"name": view.Text, "city": view.Keyword}}
)

// membership is what a member has joined.
type membership struct {
	Member string   `json:"member"`
	Clubs  []string `json:"clubs"`
}

func (m membership) fold(e projections.Event[fact]) membership {
	m.Member = e.Key
	m.Clubs = append(m.Clubs, e.ID)
	return m
}

func memberOf(e projections.Event[fact]) []string {
	if f, ok := e.Fact.(joined); ok {
		return []string{f.Member}
	}
	return nil
}

var (
	memberships = &projections.View[membership, fact]{Name: "memberships", From: clubs.Stream(), Key: memberOf, Fold: membership.fold}
	newest      = &projections.Feed[fact]{Name: "newest", From: clubs.Stream(), Cards: memberships,
		Places: func(e projections.Event[fact]) (list []projections.Place) {
			for _, member := range memberOf(e) {
				list = append(list, projections.Place{Set: "all", Key: member, At: e.Time})
			}
			return list
		}}
	top = &projections.Ranking[fact]{Name: "club-top", From: clubs.Stream(), Cards: cards,
		Scores: func(e projections.Event[fact]) []projections.Score {
			s := projections.Score{Set: "members", Key: e.ID, Score: 1, Add: true}
			if _, ok := e.Fact.(founded); ok {
				s.Score = 0
			}
			return []projections.Score{s}
		}}
)

func register(app *framework.App) {
	commands.Handle(app, clubs, "found", club.found)
	commands.Handle(app, clubs, "join", club.join)
	projections.Register(app, cards, all, words, memberships, newest, top)
}

// start serves an application on a log in memory.
func start(t *testing.T) (base string) {
	app, _ := frameworktest.Start(t, register)
	s := httptest.NewServer(api.Handler(app, api.CallerHeader("User")))
	t.Cleanup(s.Close)
	return s.URL
}

type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

func send(t *testing.T, method, url, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{res.StatusCode, res.Header, string(data), nil}
	json.Unmarshal(data, &a.json)
	return a
}

func want(t *testing.T, a answer, status int, parts ...string) {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	for _, part := range parts {
		if !strings.Contains(a.body, part) {
			t.Fatalf("the answer lacks %s: %s", part, a.body)
		}
	}
}

func TestACommandIsRecordedAndShownByEveryQuery(t *testing.T) {
	base := start(t)
	club := base + "/v1/club/hikers"
	a := send(t, "POST", club+"/found", `{"name":"Hill hikers","city":"Bern"}`, "User", "ann", "If-Match", `"0"`)
	want(t, a, 200, `"version":1`, `"type":"club.founded"`)
	if a.header.Get("ETag") != `"1"` || a.header.Get("Position") != a.json["position"] {
		t.Fatalf("headers %v", a.header)
	}
	a = send(t, "POST", club+"/join", "", "User", "bob")
	want(t, a, 200, `"version":2`)
	at := []string{"Min-Position", a.header.Get("Position")}

	a = send(t, "GET", club, "", at...)
	want(t, a, 200, `"members":{"bob":true}`)
	want(t, send(t, "GET", club, "", "If-None-Match", a.header.Get("ETag")), 304)
	a = send(t, "GET", club+"/events?limit=1", "", at...)
	want(t, a, 200, `"actor":"ann"`, `"data":{"name":"Hill hikers","city":"Bern"}`, `"next":1`)
	a = send(t, "GET", club+"/events?after=1", "", at...)
	want(t, a, 200, `"type":"club.joined"`, `"data":{"member":"bob"}`)
	if _, more := a.json["next"]; more {
		t.Fatalf("a next page at the end: %s", a.body)
	}

	a = send(t, "GET", base+"/v1/views/club-card/hikers", "", at...)
	want(t, a, 200, `{"id":"hikers","name":"Hill hikers","city":"Bern","members":1}`)
	if a.header.Get("Generation") != "1" || a.header.Get("Position") == "" {
		t.Fatalf("headers %v", a.header)
	}
	want(t, send(t, "GET", base+"/v1/views/club-feed/all", "", at...), 200, `"items":[{"id":"hikers"`)
	want(t, send(t, "GET", base+"/v1/views/club-search?q=hill", "", at...), 200, `"total":1`)
	want(t, send(t, "GET", base+"/v1/views/club-search?city=Bern", "", at...), 200, `"total":1`)
	want(t, send(t, "GET", base+"/v1/views/club-search?city=Basel", "", at...), 200, `"total":0`)
}

func TestWhatADomainRefusesIsShown(t *testing.T) {
	base := start(t)
	club := base + "/v1/club/rowers"
	want(t, send(t, "POST", club+"/join", "", "User", "ann"), 422, "/problems/rejected", "there is no club rowers")
	want(t, send(t, "POST", club+"/found", `{"name":"Rowers"}`, "User", "ann"), 200)
	want(t, send(t, "POST", club+"/join", "", "User", "mallory"), 403, "/problems/forbidden", "mallory is banned")
	a := send(t, "POST", club+"/join", "", "User", "bob", "If-Match", `"7"`)
	want(t, a, 412, "/problems/conflict", `"expected":7`, `"actual":1`)
	want(t, send(t, "POST", club+"/join", "", "User", "bob", "Idempotency-Key", "k1"), 200, `"version":2`)
	want(t, send(t, "POST", club+"/join", "", "User", "bob", "Idempotency-Key", "k1"), 200, `"version":2`)
	want(t, send(t, "POST", club+"/join", "", "User", "bob"), 200, `"events":[]`)
	want(t, send(t, "POST", club+"/found", `{"name":"x"}`, "User", "bob", "Idempotency-Key", "k1"), 422, "/problems/idempotency-key-reused")
	want(t, send(t, "GET", base+"/v1/club/nobody", ""), 404, "/problems/not-found")
	want(t, send(t, "GET", base+"/v1/club/nobody/events", ""), 404, "/problems/not-found")
	want(t, send(t, "GET", base+"/v1/views/club-card/nobody", ""), 404, "/problems/not-found")
	want(t, send(t, "GET", base+"/v1/views/club-feed/all?after=%21", ""), 422, "/problems/invalid")
}

func TestEveryKindOfViewAnswersOverHTTP(t *testing.T) {
	base := start(t)
	var at []string
	do := func(path, body, by string) {
		t.Helper()
		a := send(t, "POST", base+"/v1/club/"+path, body, "User", by)
		want(t, a, 200)
		if at == nil {
			at = []string{"Min-Position", ""}
		}
		at[1] = strings.TrimPrefix(at[1]+","+a.header.Get("Position"), ",")
	}
	do("hikers/found", `{"name":"Hikers"}`, "ann")
	do("rowers/found", `{"name":"Rowers"}`, "ann")
	do("hikers/join", "", "bob")
	do("rowers/join", "", "bob")
	do("rowers/join", "", "ann")
	want(t, send(t, "GET", base+"/v1/views/memberships/bob", "", at...), 200, `"member":"bob"`, `"hikers"`, `"rowers"`)
	want(t, send(t, "GET", base+"/v1/views/memberships/ann", "", at...), 200, `{"member":"ann","clubs":["rowers"]}`)
	want(t, send(t, "GET", base+"/v1/views/memberships/cid", "", at...), 404, "/problems/not-found")
	want(t, send(t, "GET", base+"/v1/views/newest/all", "", at...), 200, `"member":"ann"`, `"member":"bob"`)

	rowers := `{"rank":1,"key":"rowers","score":2,"item":{"id":"rowers","name":"Rowers","city":"","members":2}}`
	hikers := `{"rank":2,"key":"hikers","score":1,"item":{"id":"hikers","name":"Hikers","city":"","members":1}}`
	a := send(t, "GET", base+"/v1/views/club-top/members", "", at...)
	want(t, a, 200, `{"items":[`+rowers+`,`+hikers+`],"next":""}`)
	if a.header.Get("Generation") != "1" || a.header.Get("Position") == "" {
		t.Errorf("headers %v", a.header)
	}
	a = send(t, "GET", base+"/v1/views/club-top/members?limit=1", "", at...)
	want(t, a, 200, `{"items":[`+rowers+`],"next":"`)
	want(t, send(t, "GET", base+"/v1/views/club-top/members?after="+a.json["next"].(string), "", at...), 200, `{"items":[`+hikers+`],"next":""}`)
	want(t, send(t, "GET", base+"/v1/views/club-top/members?from=hikers", "", at...), 200, `{"items":[`+hikers+`],"next":""}`)
	want(t, send(t, "GET", base+"/v1/views/club-top/members?from=nobody", "", at...), 404, "/problems/not-found")
	want(t, send(t, "GET", base+"/v1/views/club-top/members?from=hikers&after=AAA", "", at...), 422, "/problems/invalid")
	want(t, send(t, "GET", base+"/v1/views/club-top", ""), 404, "GET /v1/views/club-top/{key}")
}

package api_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/api"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
	"github.com/drivetrain-go/drivetrain/projections"
)

// louder is the fold of another version of the cards.
func (c card) louder(e projections.Event[fact]) card {
	c = c.fold(e)
	c.City = strings.ToUpper(c.City)
	return c
}

// tend serves an application that carries two versions of its cards, of which the
// second is read, as generation 2. One club has 40 events.
func tend(t *testing.T) (public, admin string) {
	app, _ := frameworktest.Start(t, func(app *framework.App) {
		commands.Handle(app, clubs, "found", club.found)
		commands.Handle(app, clubs, "join", club.join)
		first, second := *cards, *cards
		first.Version, second.Version, second.Fold = 1, 2, card.louder
		projections.Register(app, &first, &second)
	})
	api1, api2 := httptest.NewServer(api.Handler(app, api.CallerHeader("User"))), httptest.NewServer(api.Admin(app))
	t.Cleanup(api1.Close)
	t.Cleanup(api2.Close)
	want(t, send(t, "POST", api1.URL+"/v1/club/hikers/found", `{"name":"Hikers","city":"Bern"}`, "User", "ann"), 200)
	for n := range 39 {
		want(t, send(t, "POST", api1.URL+"/v1/club/hikers/join", "", "User", fmt.Sprint("u", n)), 200)
	}
	return api1.URL, api2.URL
}

// until asks until the answer has a part.
func until(t *testing.T, url, part string) answer {
	t.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		a := send(t, "GET", url, "")
		if strings.Contains(a.body, part) {
			return a
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%s still lacks %s: %d %s", url, part, a.status, a.body)
		}
	}
}

func TestAViewIsRebuiltSwitchedRolledBackAndRetired(t *testing.T) {
	public, admin := tend(t)
	shown, all := public+"/v1/views/club-card/hikers", admin+"/v1/views/club-card/generations"
	until(t, shown, `"BERN","members":39`)
	a := until(t, all, `"lag":0`)
	want(t, a, 200, `{"items":[{"generation":2,"version":2,"state":"read","lag":0,"done":`, `"events_per_second":`, `"seconds_left":0,"parked":0,"carried":true,"created":"`)
	if a.header.Get("Cache-Control") != "no-store" || strings.Contains(a.body, `"error"`) {
		t.Errorf("%v %s", a.header, a.body)
	}

	a = send(t, "POST", all, `{"version":1,"rate":100000,"by":"ann"}`)
	want(t, a, 202, `{"generation":3}`)
	if at := a.header.Get("Location"); at != "/v1/views/club-card/generations/3" {
		t.Errorf("Location %q", at)
	}
	want(t, send(t, "POST", all, `{"version":1}`), 202, `{"generation":3}`) // it is asked for again
	want(t, until(t, admin+a.header.Get("Location"), `"ready"`), 200, `{"generation":3,"version":1,"state":"ready"`, `"by":"ann"`)

	want(t, send(t, "POST", all+"/3/compare", ""), 200, `{"equal":false,"documents":[1,1],"entries":[0,0],"digests":["`, `"position":"`,
		`"differences":[{"key":"hikers","read":{"id":"hikers","name":"Hikers","city":"BERN"`, `"other":{"id":"hikers","name":"Hikers","city":"Bern"`)
	want(t, send(t, "POST", all+"/3/switch", ""), 409, "generation-state")
	want(t, send(t, "GET", shown, ""), 200, "BERN")
	want(t, send(t, "POST", all+"/3/switch", `{"force":true,"reason":"names of cities as they are","by":"ann"}`), 200, `{"generation":3}`)
	want(t, send(t, "GET", shown, ""), 200, `"Bern","members":39`)
	want(t, send(t, "GET", all+"/2", ""), 200, `"state":"ready"`)
	want(t, send(t, "POST", all+"/3/switch", ""), 200, `{"generation":3}`) // it is read already

	want(t, send(t, "POST", admin+"/v1/views/club-card/rollback", ""), 200, `{"generation":2}`)
	want(t, send(t, "GET", shown, ""), 200, "BERN")
	want(t, send(t, "POST", admin+"/v1/views/club-card/rollback", `{"by":"ann"}`), 200, `{"generation":2}`)

	if a = send(t, "DELETE", all+"/3?by=ann", ""); a.status != 204 || a.body != "" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	want(t, send(t, "DELETE", all+"/3", ""), 204)
	want(t, send(t, "GET", all+"/3", ""), 200, `"state":"retired"`)
	want(t, send(t, "POST", all, ""), 202, `{"generation":4}`) // of the greatest version, without a bound
	want(t, until(t, all+"/4", `"ready"`), 200, `"version":2`, `"by":"admin API"`)
	want(t, send(t, "POST", all+"/4/compare", ""), 200, `{"equal":true,"documents":[1,1]`, `"differences":[]`)
	want(t, send(t, "POST", all+"/4/switch", `{}`), 200, `{"generation":4}`)
	want(t, send(t, "GET", shown, ""), 200, "BERN")
}

func TestWhatMayNotBeDoneWithAGenerationIsSaid(t *testing.T) {
	_, admin := tend(t)
	view := admin + "/v1/views/club-card"
	all := view + "/generations"
	want(t, send(t, "POST", all, `{"version":1,"rate":1}`), 202, `{"generation":3}`) // far from whole for all of the test
	for name, c := range map[string]struct {
		method, url, body string
		status            int
		kind, part        string
	}{
		"read while it is filled":            {"POST", all + "/3/switch", "", 409, "generation-state", "generation 3 of view club-card, which is building"},
		"read by force while it is filled":   {"POST", all + "/3/switch", `{"force":true,"reason":"now"}`, 409, "generation-state", "building"},
		"compare while it is filled":         {"POST", all + "/3/compare", "", 409, "generation-state", "building"},
		"compare with itself":                {"POST", all + "/2/compare", "", 409, "generation-state", "generation 2"},
		"compare a number that is unknown":   {"POST", all + "/77/compare", "", 404, "unknown", "generation 77"},
		"force without a reason":             {"POST", all + "/3/switch", `{"force":true}`, 422, "invalid", "force needs a reason"},
		"force with a blank reason":          {"POST", all + "/3/switch", `{"force":true,"reason":" "}`, 422, "invalid", "force needs a reason"},
		"a long reason":                      {"POST", all + "/3/switch", `{"reason":"` + strings.Repeat("x", 257) + `"}`, 422, "invalid", "body.reason"},
		"a reason of many bytes":             {"POST", all + "/3/switch", `{"reason":"` + strings.Repeat("ß", 200) + `"}`, 422, "invalid", "400 bytes"},
		"ask what is read too":               {"POST", all + "/2/shadow", `{"share":0.5}`, 409, "generation-state", "it answers all queries"},
		"ask what is filled too":             {"POST", all + "/3/shadow", `{"share":0.5}`, 409, "generation-state", "building"},
		"ask a number that is unknown too":   {"POST", all + "/77/shadow", `{"share":0.5}`, 404, "unknown", "generation 77"},
		"ask of a view that is unknown":      {"POST", admin + "/v1/views/nothing/generations/2/shadow", `{"share":0.5}`, 404, "unknown", "nothing"},
		"ask more than all":                  {"POST", all + "/2/shadow", `{"share":1.5}`, 422, "invalid", "body.share"},
		"ask less than none":                 {"POST", all + "/2/shadow", `{"share":-0.1}`, 422, "invalid", "body.share"},
		"ask a share that is a text":         {"POST", all + "/2/shadow", `{"share":"all"}`, 422, "invalid", "body.share"},
		"ask no share":                       {"POST", all + "/2/shadow", `{}`, 422, "invalid", "share"},
		"ask nothing":                        {"POST", all + "/2/shadow", "", 422, "invalid", "share"},
		"a long name of who asks":            {"POST", all + "/2/shadow", `{"share":0,"by":"` + strings.Repeat("x", 257) + `"}`, 422, "invalid", "body.by"},
		"retire what is read":                {"DELETE", all + "/2", "", 409, "generation-state", "switch to another one first"},
		"go back to nothing":                 {"POST", view + "/rollback", "", 409, "generation-state", "no other was read before it"},
		"a version that nobody carries":      {"POST", all, `{"version":9}`, 422, "invalid", "version 9"},
		"version 0":                          {"POST", all, `{"version":0}`, 422, "invalid", "body.version"},
		"a rate below 0":                     {"POST", all, `{"rate":-1}`, 422, "invalid", "body.rate"},
		"a rate beyond numbers":              {"POST", all, `{"rate":1e30}`, 422, "invalid", "body.rate"},
		"a rate that is written as a float":  {"POST", all, `{"rate":1.0}`, 422, "invalid", "body.rate"},
		"a rate that is a text":              {"POST", all, `{"rate":"fast"}`, 422, "invalid", "body.rate"},
		"a member that is unknown":           {"POST", all, `{"speed":5}`, 422, "invalid", "body.speed"},
		"a member of another request":        {"POST", view + "/rollback", `{"force":true}`, 422, "invalid", "body.force"},
		"a long name":                        {"POST", view + "/rollback", `{"by":"` + strings.Repeat("x", 257) + `"}`, 422, "invalid", "body.by"},
		"a long name of who retires":         {"DELETE", all + "/3?by=" + strings.Repeat("x", 257), "", 422, "invalid", "query.by"},
		"a parameter that is unknown":        {"DELETE", all + "/3?force=1", "", 422, "invalid", "query.force"},
		"a parameter where there is none":    {"POST", all + "?version=1", "", 422, "invalid", "query.version"},
		"a parameter of the list":            {"GET", all + "?state=read", "", 422, "invalid", "query.state"},
		"a parameter of one":                 {"GET", all + "/2?state=read", "", 422, "invalid", "query.state"},
		"no object":                          {"POST", all, `[]`, 422, "invalid", "body"},
		"broken JSON":                        {"POST", all, `{"version":`, 400, "malformed", "line 1"},
		"a large body":                       {"POST", all, `{"by":"` + strings.Repeat("x", 5000) + `"}`, 413, "too-large", "4096"},
		"rebuild a view that is unknown":     {"POST", admin + "/v1/views/nothing/generations", "", 404, "unknown", "there are: club-card"},
		"list a view that is unknown":        {"GET", admin + "/v1/views/nothing/generations", "", 404, "unknown", "there are: club-card"},
		"roll back a view that is unknown":   {"POST", admin + "/v1/views/nothing/rollback", "", 404, "unknown", "nothing"},
		"switch a view that is unknown":      {"POST", admin + "/v1/views/nothing/generations/1/switch", "", 404, "unknown", "nothing"},
		"retire of a view that is unknown":   {"DELETE", admin + "/v1/views/nothing/generations/1", "", 404, "unknown", "nothing"},
		"show a number that is unknown":      {"GET", all + "/77", "", 404, "unknown", "generation 77"},
		"switch to a number that is unknown": {"POST", all + "/77/switch", "", 404, "unknown", "generation 77"},
		"retire a number that is unknown":    {"DELETE", all + "/77", "", 404, "unknown", "generation 77"},
		"a number that is none":              {"GET", all + "/latest", "", 404, "unknown", "want the number of one"},
		"a number that is written otherwise": {"GET", all + "/02", "", 404, "unknown", "want the number of one"},
		"another path":                       {"GET", view, "", 404, "unknown", "/v1/views/{view}/generations"},
		"another method":                     {"PUT", all, "", 405, "method-not-allowed", "GET, HEAD, POST"},
	} {
		t.Run(name, func(t *testing.T) {
			a := send(t, c.method, c.url, c.body)
			want(t, a, c.status, `"type":"/problems/`+c.kind+`"`, c.part)
			if a.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("it is %s", a.header.Get("Content-Type"))
			}
		})
	}
	a := send(t, "POST", all, `{}`, "Content-Type", "text/plain")
	want(t, a, 415, "unsupported-media-type")
	a = send(t, "POST", view+"/rollback", "", "Origin", "http://evil.example")
	want(t, a, 403, "forbidden")
	want(t, send(t, "GET", all, ""), 200, `{"generation":2,"version":2,"state":"read"`, `{"generation":3,"version":1,"state":"building"`)
	want(t, send(t, "DELETE", all+"/3", ""), 204) // what is still filled may be given up
	want(t, send(t, "POST", all+"/3/switch", ""), 409, "generation-state", "deleted")
}

// TestTheAPIForClientsDoesNotTendGenerations: they are the operators'.
func TestTheAPIForClientsDoesNotTendGenerations(t *testing.T) {
	public, _ := tend(t)
	want(t, send(t, "POST", public+"/v1/views/club-card/generations", ""), 405)
	want(t, send(t, "POST", public+"/v1/views/club-card/rollback", ""), 405)
	want(t, send(t, "DELETE", public+"/v1/views/club-card/generations/2", ""), 404)
}

// A generation that is not read is asked all queries too: what is answered otherwise is
// shown side by side, and keeps it from being read; clients see none of it.
func TestAGenerationIsAskedAShareOfTheQueriesToo(t *testing.T) {
	public, admin := tend(t)
	shown, all := public+"/v1/views/club-card/", admin+"/v1/views/club-card/generations"
	until(t, shown+"hikers", `"BERN","members":39`)
	want(t, send(t, "POST", all, `{"version":1}`), 202, `{"generation":3}`)
	a := until(t, all+"/3", `"ready"`)
	if strings.Contains(a.body, "shadow") {
		t.Errorf("what was never asked too: %s", a.body)
	}
	for range 2 { // it may be repeated
		want(t, send(t, "POST", all+"/3/shadow", `{"share":1,"by":"ann"}`), 200, `{"generation":3,"share":1}`)
	}
	want(t, send(t, "GET", shown+"hikers", ""), 200, "BERN")
	want(t, send(t, "GET", shown+"nobody", ""), 404)
	want(t, until(t, all+"/3", `"different":1`), 200, `"shadow":{"share":1,"asked":`, `"moved":0,"failed":0,"dropped":0,"first":[{"question":{"key":"hikers","limit":20},"read":{"id":"hikers","name":"Hikers","city":"BERN"`,
		`"other":{"id":"hikers","name":"Hikers","city":"Bern"`, `"read_position":"`, `"other_position":"`, `"at":"`)
	want(t, until(t, admin+"/v1/views", `"asked":2,"equal":1,"different":1`), 200)
	want(t, until(t, admin+"/metrics", `drivetrain_view_shadow_queries_total{generation="3",outcome="different",view="club-card"} 1`), 200,
		`outcome="equal",view="club-card"} 1`)
	want(t, send(t, "POST", all+"/3/switch", ""), 409, "generation-state", "of 2 queries that it was asked too, it answered 1 otherwise")
	want(t, send(t, "POST", all+"/3/shadow", `{"share":0}`), 200, `{"generation":3,"share":0}`)
	want(t, send(t, "GET", shown+"hikers", ""), 200, "BERN")
	want(t, send(t, "GET", all+"/3", ""), 200, `"shadow":{"share":0,"asked":2,`)
	want(t, send(t, "GET", all+"/2", ""), 200, `"state":"read"`)
	want(t, send(t, "POST", all+"/3/switch", `{"force":true,"reason":"as they are"}`), 200)
	if a := send(t, "GET", all, ""); strings.Contains(a.body, "shadow") {
		t.Errorf("what is read was asked too: %s", a.body)
	}
}

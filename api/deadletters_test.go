package api_test

import (
	"context"
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

// startPoisoned serves an application whose view cannot fold the club "bad", and whose
// effect cannot tell of it.
func startPoisoned(t *testing.T) (public, admin string) {
	app, _ := frameworktest.Start(t, func(app *framework.App) {
		commands.Handle(app, clubs, "found", club.found)
		commands.Handle(app, clubs, "join", club.join)
		projections.Register(app, &projections.View[card, fact]{Name: "fragile", From: clubs.Stream(), Fold: func(c card, e projections.Event[fact]) card {
			if f, ok := e.Fact.(founded); ok && f.Name == "bad" {
				panic("it is bad")
			}
			return c.fold(e)
		}}, &projections.Effect[fact]{Name: "tell", From: clubs.Stream(), Do: func(_ context.Context, e projections.Event[fact]) error {
			if f, ok := e.Fact.(founded); ok && f.Name == "bad" {
				return context.DeadlineExceeded
			}
			return nil
		}})
	})
	p, a := httptest.NewServer(api.Handler(app, api.CallerHeader("User"))), httptest.NewServer(api.Admin(app))
	t.Cleanup(p.Close)
	t.Cleanup(a.Close)
	return p.URL, a.URL
}

// items waits until there are so many dead letters, and returns them by state.
func items(t *testing.T, admin string, want int) map[string]map[string]any {
	t.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		got := send(t, "GET", admin+"/v1/dead-letters", "")
		list, _ := got.json["items"].([]any)
		if len(list) == want {
			by := map[string]map[string]any{}
			for _, i := range list {
				by[i.(map[string]any)["state"].(string)] = i.(map[string]any)
			}
			return by
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("there are %s, want %d", got.body, want)
		}
	}
}

func TestOperatorsSeeAndRuleOnWhatCannotBeFolded(t *testing.T) {
	public, admin := startPoisoned(t)
	send(t, "POST", public+"/v1/club/x/found", `{"name":"bad"}`, "User", "ann")
	send(t, "POST", public+"/v1/club/x/join", "", "User", "bob")
	by := items(t, admin, 2)
	parked, stalled := by["parked"], by["stalled"]
	e, _ := parked["event"].(map[string]any)
	if parked["view"] != "fragile" || parked["generation"] != 1.0 || parked["key"] != "club/x" || e["type"] != "club.founded" || e["version"] != 1.0 ||
		!strings.Contains(parked["error"].(string), "it is bad") {
		t.Errorf("parked is %v", parked)
	}
	if e, _ := stalled["event"].(map[string]any); stalled["effect"] != "tell" || stalled["key"] != "club/x" || e["type"] != "club.founded" || stalled["attempts"].(float64) < 1 {
		t.Errorf("stalled is %v", stalled)
	}
	letter, other := admin+"/v1/dead-letters/"+parked["id"].(string), admin+"/v1/dead-letters/"+stalled["id"].(string)
	first := send(t, "GET", admin+"/v1/dead-letters?limit=1", "")
	next, _ := first.json["next"].(string)
	if second := send(t, "GET", admin+"/v1/dead-letters?limit=1&after="+next, ""); first.status != 200 || second.status != 200 || strings.Contains(second.body, next) ||
		len(second.json["items"].([]any)) != 1 {
		t.Errorf("pages of one: %s, then %s", first.body, second.body)
	}
	if got := send(t, "GET", letter, ""); got.status != 200 || !strings.Contains(got.body, `"data":{"name":"bad"}`) || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("the letter: %d %s", got.status, got.body)
	}
	for _, c := range []struct {
		method, url, body string
		status            int
		part              string
	}{
		{"GET", admin + "/v1/dead-letters?limit=101", "", 422, "limit"},
		{"GET", admin + "/v1/dead-letters?after=x", "", 422, "the id of a dead letter"},
		{"GET", admin + "/v1/dead-letters/none", "", 404, "not-found"},
		{"POST", other + "/retry", "", 409, "tried again by itself"},
		{"POST", letter + "/discard", "", 422, "reason"},
		{"POST", letter + "/discard", `{"why":"x"}`, 422, "why"},
		{"POST", letter + "/discard", `{"reason":"` + strings.Repeat("x", 300) + `"}`, 422, "reason"},
		{"POST", letter + "/discard", `{"reason":"` + strings.Repeat("x", 5000) + `"}`, 413, "too-large"},
		{"POST", letter + "/retry", "", 200, `"freed":false`},
		{"POST", letter + "/discard", `{"reason":"a typing error"}`, 200, `"freed":true`},
		{"POST", letter + "/discard", `{"reason":"a typing error"}`, 404, "not-found"},
	} {
		got := send(t, c.method, c.url, c.body, "Content-Type", "application/json")
		if got.status != c.status || !strings.Contains(got.body, c.part) {
			t.Errorf("%s %s %.40s: %d %s, want %d with %q", c.method, c.url, c.body, got.status, got.body, c.status, c.part)
		}
	}
	if got := send(t, "GET", public+"/v1/views/fragile/x", ""); got.status != 200 || got.json["members"] != 1.0 || got.json["name"] != "" {
		t.Errorf("the document is %d %s", got.status, got.body)
	}
	items(t, admin, 1)
	if got := send(t, "POST", letter+"/retry", "", "Origin", "http://evil.example"); got.status != 403 {
		t.Errorf("a page of another site: %d", got.status)
	}
}

package api_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

func TestADocumentIsExplainedByItsEvents(t *testing.T) {
	public, admin := tend(t)
	until(t, public+"/v1/views/club-card/hikers", `"members":39`)
	from := admin + "/v1/views/club-card/explain/hikers"
	a := send(t, "GET", from+"?limit=2&documents=true", "")
	want(t, a, 200, `{"view":"club-card","key":"hikers","generation":2,"version":2,"document":{"id":"hikers","name":"Hikers","city":"BERN","members":39`,
		`"items":[{"position":"`, `"aggregate":"club","aggregate_id":"hikers","id":"`, `"type":"club.founded","version":1,"time":"2017-01-01T12:00:00Z","actor":"ann","data":{"name":"Hikers","city":"Bern"}`,
		`"document":{"id":"hikers","name":"Hikers","city":"BERN","members":0`, `"version":2,`, `"members":1`, `"looked":{"topic":"test.events","partition":`)
	if a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", a.header)
	}
	var all []int
	for next := ""; ; {
		var page struct {
			Items []struct {
				Version  int
				Document *json.RawMessage
			}
			Next string
		}
		a := send(t, "GET", from+"?limit=7&after="+url.QueryEscape(next), "")
		if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != 200 {
			t.Fatalf("%d %s %v", a.status, a.body, err)
		}
		for _, one := range page.Items {
			if all = append(all, one.Version); one.Version != len(all) || one.Document != nil {
				t.Errorf("event %d of all: %+v", len(all), one)
			}
		}
		if next = page.Next; next == "" {
			break
		}
	}
	if len(all) != 40 {
		t.Errorf("%d events, want 40", len(all))
	}
	want(t, send(t, "GET", from+"?version=1", ""), 200, `"type":"club.founded"`)
	if a := send(t, "GET", from+"?version=1", ""); strings.Contains(a.body, "club.joined") || strings.Contains(a.body, `"next":"`) {
		t.Errorf("as of version 1: %s", a.body)
	}
	want(t, send(t, "GET", from+"?generation=2", ""), 200, `"generation":2`)
}

func TestWhatCannotBeExplainedIsSaid(t *testing.T) {
	public, admin := tend(t)
	until(t, public+"/v1/views/club-card/hikers", `"members":39`)
	view := admin + "/v1/views/club-card/explain/"
	for name, c := range map[string]struct {
		url    string
		status int
		parts  []string
	}{
		"a key that nothing moved":  {view + "nobody", 404, []string{"not-found", "nobody"}},
		"an unknown view":           {admin + "/v1/views/nothing/explain/a", 404, []string{"unknown", "club-card"}},
		"an unknown generation":     {view + "hikers?generation=77", 404, []string{"unknown", "generation 77"}},
		"two moments":               {view + "hikers?version=1&at=2017-01-01T12:00:00Z", 422, []string{"query.at", "query.version"}},
		"a bookmark of nothing":     {view + "hikers?after=x", 422, []string{"after", "page before"}},
		"too many":                  {view + "hikers?limit=1001", 422, []string{"query.limit"}},
		"neither yes nor no":        {view + "hikers?documents=perhaps", 422, []string{"query.documents"}},
		"an unknown parameter":      {view + "hikers?lmit=3", 422, []string{"query.lmit"}},
		"a key that is too long":    {view + strings.Repeat("k", 513), 404, []string{"513 bytes"}},
		"the public API has it not": {public + "/v1/views/club-card/explain/hikers", 404, []string{"unknown"}},
	} {
		t.Run(name, func(t *testing.T) { want(t, send(t, "GET", c.url, ""), c.status, c.parts...) })
	}
}

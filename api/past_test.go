package api

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

func TestAStateOfThePastIsAskedForByVersionTimeOrPosition(t *testing.T) {
	var got framework.StateQuery
	h := handlerOf(&script{past: func(_, _ string, q framework.StateQuery) (cluster.State, error) {
		got = q
		return cluster.State{JSON: []byte(`{"name":"was"}`), Version: 2, Position: eventlog.Position{Partition: 1, Offset: 4}}, nil
	}})
	for query, want := range map[string]framework.AsOf{
		"":                                 {},
		"version=2":                        {Version: 2},
		"at=2026-01-31T09:30:00Z":          {At: time.Date(2026, 1, 31, 9, 30, 0, 0, time.UTC)},
		"at=2026-01-31T10:30:00.5%2B01:00": {At: time.Date(2026, 1, 31, 9, 30, 0, 5e8, time.UTC)},
		"position=1@4":                     {Position: eventlog.NewPositions(eventlog.Position{Partition: 1, Offset: 4})},
		"position=1@4,3@0%3Bc@7":           {Position: eventlog.NewPositions(eventlog.Position{Partition: 1, Offset: 4}, eventlog.Position{Partition: 3})},
	} {
		r := do(t, h, call{"GET", "/v1/tribe/x?" + query, "", []string{"Min-Position", "1@3"}})
		expect(t, r, 200, nil, `{"name":"was"}`)
		if r.Header().Get("ETag") != `"2"` || r.Header().Get("Position") != "1@4" {
			t.Errorf("%s: headers %v", query, r.Header())
		}
		same := got.Version == want.Version && got.At.Equal(want.At) && fmt.Sprint(got.Position.Offsets) == fmt.Sprint(want.Position.Offsets)
		if !same || got.Min.String() != "1@3" || got.Strong {
			t.Errorf("%s: the application was asked for %+v", query, got)
		}
	}
	r := do(t, h, call{"GET", "/v1/tribe/x?version=2", "", []string{"If-None-Match", `"2"`}})
	if r.Code != 304 || r.Body.Len() > 0 {
		t.Errorf("the version that the client has: %d %s", r.Code, r.Body)
	}
}

func TestAMomentThatIsNoneIsNamed(t *testing.T) {
	h := handlerOf(&script{})
	for query, named := range map[string]string{
		"version=0": "query.version", "version=-1": "query.version", "version=x": "query.version", "version=": "query.version",
		"at=yesterday": "query.at", "at=2026-01-31": "query.at", "at=2026-01-31T10:30:00+01:00": "%2B", "at=0001-01-01T00:00:00Z": "query.at",
		"position=3": "query.position", "position=c@7": "query.position", "position=": "query.position",
		"version=1&at=2026-01-31T09:30:00Z": "give one of version, at and position", "version=1&position=1@4": "query.position",
		"when=now": "unknown parameter; there are: version, at, position",
	} {
		expect(t, do(t, h, call{"GET", "/v1/tribe/x?" + query, "", nil}), 422, invalid, named)
	}
	expect(t, do(t, h, call{"GET", "/v1/tribe/x/events?version=1", "", nil}), 422, invalid, "query.version")
}

func TestAStrongReadIsAskedForByAHeader(t *testing.T) {
	var got framework.StateQuery
	h := handlerOf(&script{past: func(_, _ string, q framework.StateQuery) (cluster.State, error) {
		got = q
		return cluster.State{JSON: []byte(`{}`), Version: 1}, nil
	}})
	for given, want := range map[string]bool{"strong": true, "eventual": false} {
		expect(t, do(t, h, call{"GET", "/v1/tribe/x", "", []string{"Consistency", given}}), 200, nil)
		if got.Strong != want {
			t.Errorf("Consistency %s: strong %v", given, got.Strong)
		}
	}
	for _, bad := range []string{"", "STRONG", "linear", "\xff"} {
		expect(t, do(t, h, call{"GET", "/v1/tribe/x", "", []string{"Consistency", bad}}), 400, malformed, "header.Consistency")
	}
}

func TestStatesOfThePastHaveABoundOfTheirOwn(t *testing.T) {
	folding, release := make(chan struct{}, maxFolding), make(chan struct{})
	h := handlerOf(&script{past: func(_, _ string, q framework.StateQuery) (cluster.State, error) {
		if !q.IsZero() {
			folding <- struct{}{}
			<-release
		}
		return cluster.State{JSON: []byte(`{}`), Version: 1}, nil
	}})
	answered := make(chan int, maxFolding)
	for range maxFolding {
		go func() { answered <- do(t, h, call{"GET", "/v1/tribe/x?version=1", "", nil}).Code }()
	}
	for range maxFolding {
		<-folding
	}
	expect(t, do(t, h, call{"GET", "/v1/tribe/x?" + url.Values{"version": {"1"}}.Encode(), "", nil}), 429, limited)
	expect(t, do(t, h, call{"GET", "/v1/tribe/x", "", nil}), 200, nil)
	close(release)
	for range maxFolding {
		if code := <-answered; code != 200 {
			t.Errorf("status %d", code)
		}
	}
}

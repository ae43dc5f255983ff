package api

import (
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
)

const generationsPath = "http://localhost/v1/views/tribe-card/generations"

func TestAGenerationThatDoesNotGoOnSaysWhy(t *testing.T) {
	s := &script{generations: []framework.Generation{{Number: 2, Version: 3, State: framework.Building, Lag: 30, Done: 70, End: 100, Rate: 20,
		Left: 1500 * time.Millisecond, Created: time.Unix(0, 0).UTC(), By: "ann", Err: errors.New("partition 1: the store is full")}}}
	one := `{"generation":2,"version":3,"state":"building","lag":30,"done":70,"end":100,"events_per_second":20,"seconds_left":1.5,` +
		`"parked":0,"carried":false,"created":"1970-01-01T00:00:00Z","by":"ann","error":"partition 1: the store is full"}`
	admin := newServer(s, nil).admin()
	expect(t, do(t, admin, call{"GET", generationsPath, "", nil}), 200, nil, `{"items":[`+one+`]}`)
	expect(t, do(t, admin, call{"GET", generationsPath + "/2", "", nil}), 200, nil, one)
	s.generations = nil
	expect(t, do(t, admin, call{"GET", generationsPath, "", nil}), 200, nil, `{"items":[]}`)
}

func TestAChangeOfGenerationsThatMayYetComeIsUnresolved(t *testing.T) {
	s := &script{tend: func() error {
		return &cluster.UnavailableError{Reason: "the control log did not answer", Unresolved: true, RetryAfter: 2 * time.Second}
	}}
	admin := newServer(s, nil).admin()
	for _, c := range []call{{"POST", generationsPath, "", nil}, {"POST", generationsPath + "/2/switch", "", nil},
		{"POST", strings.TrimSuffix(generationsPath, "generations") + "rollback", "", nil}, {"DELETE", generationsPath + "/2", "", nil}} {
		r := do(t, admin, c)
		expect(t, r, 503, unresolved, "the control log did not answer")
		if r.Header().Get("Retry-After") != "2" {
			t.Errorf("%s %s: %v", c.method, c.path, r.Header())
		}
	}
}

// TestRequestsAboutGenerationsHaveABoundOfTheirOwn: they neither crowd out others nor
// are crowded out by these.
func TestRequestsAboutGenerationsHaveABoundOfTheirOwn(t *testing.T) {
	came, release := make(chan struct{}), make(chan struct{})
	s := &script{tend: func() error { came <- struct{}{}; <-release; return nil }}
	srv := newServer(s, []Option{MaxConcurrent(1)})
	admin := srv.admin()
	var all sync.WaitGroup
	for range maxTending {
		all.Go(func() {
			r := httptest.NewRequest("POST", generationsPath+"/2/switch", nil)
			admin.ServeHTTP(httptest.NewRecorder(), r)
		})
		<-came
	}
	expect(t, do(t, admin, call{"POST", generationsPath + "/2/switch", "", nil}), 429, limited)
	expect(t, do(t, admin, call{"GET", "http://localhost/healthz", "", nil}), 200, nil)
	expect(t, do(t, srv.mux, call{"GET", "/v1/tribe/x", "", nil}), 200, nil)
	close(release)
	all.Wait()
}

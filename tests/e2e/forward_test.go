package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// listed is what GET /v1/members answers.
type listed struct {
	Items []struct {
		Process    string  `json:"process"`
		Instance   string  `json:"instance"`
		Address    string  `json:"address"`
		Started    string  `json:"started"`
		Partitions []int32 `json:"partitions"`
	} `json:"items"`
}

// members asks a process for all that it knows of.
func (p *program) members(t testing.TB) (l listed) {
	t.Helper()
	a, err := ask(t.Context(), http.MethodGet, p.admin+"/v1/members", "")
	if err != nil || a.status != http.StatusOK {
		t.Fatalf("members: %v, %d %s", err, a.status, a.body)
	}
	if err := json.Unmarshal(a.body, &l); err != nil {
		t.Fatalf("members: %v: %s", err, a.body)
	}
	return l
}

// known waits until each of the processes lists these alone, at their addresses,
// and each partition at the one that serves it.
func known(t *testing.T, all ...*program) {
	t.Helper()
	var got string
	for began := time.Now(); time.Since(began) < readyWithin; time.Sleep(20 * time.Millisecond) {
		right := true
		for _, p := range all {
			l := p.members(t)
			got = fmt.Sprintf("%+v", l)
			sum := 0
			for _, m := range l.Items {
				n := slices.IndexFunc(all, func(p *program) bool { return p.base == m.Address })
				right = right && n >= 0 && len(m.Partitions) == all[max(n, 0)].serves(t)
				sum += len(m.Partitions)
			}
			right = right && sum == oldPartitions && len(l.Items) == len(all)
		}
		if right {
			return
		}
	}
	t.Fatalf("the processes do not know one another; one lists %s", got)
}

var forwarded = regexp.MustCompile(`(?m)^drivetrain_http_forwards_total\{outcome="answered"\} (\d+)$`)

// passed returns how many requests a process has passed on with success.
func (p *program) passed(t *testing.T) int {
	t.Helper()
	a, err := ask(t.Context(), http.MethodGet, p.admin+"/metrics", "")
	if err != nil {
		t.Fatal(err)
	}
	found := forwarded.FindSubmatch(a.body)
	if found == nil {
		return 0
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestForwardingLetsEveryProcessAnswerForAll drives two processes by clients that
// do not care who owns what: while both live, none of them is sent away.
func TestForwardingLetsEveryProcessAnswerForAll(t *testing.T) {
	for _, b := range onServers() {
		t.Run(b.name, func(t *testing.T) {
			s := newSite(t, b)
			one, two := s.startPair(t)
			known(t, one, two)
			r := s.newRun(t, int(number(t, "E2E_COMMANDS", 3000)), one, two)
			r.begin()
			r.end("answered by process 0", "answered by process 1")
			for _, kind := range []string{sentAway, "429", "no answer"} { // a query of a view may wait for its store in vain
				if n := r.kinds[kind]; n > 0 {
					t.Errorf("%d times %s, though both processes live; the first:\n%s", n, kind, strings.Join(r.away, ""))
				}
			}
			a, b := one.passed(t), two.passed(t)
			t.Logf("passed on %d by one and %d by the other", a, b)
			if a == 0 || b == 0 {
				t.Error("a process has passed nothing on")
			}
			costs(t, one, two)
			states(t, one, two)
			r.inspect([]*program{one, two})
		})
	}
}

// costs tells how long commands take at an owner and at the other process, of a
// client that sends one after the other.
func costs(t *testing.T, one, two *program) {
	t.Helper()
	var took [2][]time.Duration // at the owner, at the other
	for _, id := range inPartition() {
		pair := [2]*program{one, two}
		if !one.decides(t, id) {
			pair = [2]*program{two, one}
		}
		for range 20 {
			for k, p := range pair {
				began := time.Now()
				a, err := ask(t.Context(), http.MethodPost, p.base+"/v1/tribe/"+id+"/leave", "", "User", "nobody")
				if err != nil || a.status != http.StatusOK {
					t.Fatalf("%v, %d %s", err, a.status, a.body)
				}
				took[k] = append(took[k], time.Since(began))
			}
		}
	}
	for k := range took {
		slices.Sort(took[k])
	}
	middle := len(took[0]) / 2
	t.Logf("a command that does nothing takes %v at its owner and %v elsewhere (medians of %d)",
		took[0][middle].Round(time.Microsecond), took[1][middle].Round(time.Microsecond), len(took[0]))
}

// states finds the same states and events at both processes.
func states(t *testing.T, one, two *program) {
	t.Helper()
	for n := range tribes {
		for _, below := range []string{"", "/events?limit=1000"} {
			path := "/v1/tribe/" + tribeID(n) + below
			a, err := ask(t.Context(), http.MethodGet, one.base+path, "")
			b, err2 := ask(t.Context(), http.MethodGet, two.base+path, "")
			if err != nil || err2 != nil || a.status != http.StatusOK || string(a.body) != string(b.body) || a.header.Get("ETag") != b.header.Get("ETag") {
				t.Errorf("%s: one answers %v %d %.200s, the other %v %d %.200s", path, err, a.status, a.body, err2, b.status, b.body)
			}
		}
	}
}

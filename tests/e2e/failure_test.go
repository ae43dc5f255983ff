package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// firstCard is the card of the first tribe that failing founds.
const firstCard = "/v1/views/tribe-card/meanwhile-0"

// noticed is when every partition has found that its store was emptied: an idle
// one looks once a second.
const noticed = 2500 * time.Millisecond

// outage is how long a server is away: E2E_OUTAGE, such as 60s, or otherwise.
func outage(t *testing.T, otherwise time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("E2E_OUTAGE")
	if text == "" {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("E2E_OUTAGE is %q: want a time such as 60s", text)
	}
	return d
}

// failing is an application under load whose servers fail, one after the other.
type failing struct {
	*run
	servers *servers
	partial *partial // before Elasticsearch
	p       *program
	w       *witness
	sent    int // commands of the witness
}

// newFailing starts an application and load.
func newFailing(t *testing.T, servers *servers) *failing {
	t.Helper()
	b := servers.backend()
	var before *partial
	before, b.search = newPartial(t, b.search)
	s := newSite(t, b)
	p := s.startReady(t, 0)
	f := &failing{run: s.newRun(t, 1<<30, p), servers: servers, partial: before, p: p, w: newWitness(t, p, p)}
	f.rest, f.patience = 20*time.Millisecond, giveUp+outage(t, 0)
	f.begin()
	f.reach(600)
	f.foundFirst()
	return f
}

// through lets something happen to the servers, and sees that the program recovers by
// itself.
func (f *failing) through(name string, happen func(f *failing)) {
	whole := f.t
	defer func() { f.t = whole }()
	whole.Run(name, func(t *testing.T) {
		f.t = t
		happen(f)
		began := time.Now()
		f.p.ready(t)
		t.Logf("ready again %v after that, without a restart", time.Since(began).Round(time.Millisecond))
		f.reach(f.settled.Load() + 300)
	})
}

// TestTheProgramOutlivesItsServers lets each server fail in each way while one process of
// an application is under load, and audits all in the end. It is not started again. What
// lets a store be filled anew comes first, for that would mend what others have left.
func TestTheProgramOutlivesItsServers(t *testing.T) {
	for _, servers := range killable(t) {
		f := newFailing(t, servers)
		f.through("an index is deleted behind our back", anIndexIsDeleted)
		f.through("redis is away and comes back empty", redisIsAway)
		f.through("kafka is killed", kafkaIsKilled)
		f.through("elasticsearch is away", elasticsearchIsAway)
		f.through("servers are slow", serversAreSlow)
		f.through("stores fail in part", storesFailInPart)
		f.over.Store(true)
		f.end()
		f.inspect([]*program{f.p}, f.w.entries...)
	}
}

// without kills a server for a while. Meanwhile it calls during, again and again.
func (f *failing) without(server string, d time.Duration, during func()) {
	f.t.Helper()
	if err := f.servers.kill(server); err != nil {
		f.t.Fatal(err)
	}
	settled := f.settled.Load()
	for began := time.Now(); time.Since(began) < d; time.Sleep(500 * time.Millisecond) {
		during()
	}
	f.t.Logf("%d commands were answered while %s was away for %v", f.settled.Load()-settled, server, d)
	if err := f.servers.up(server); err != nil {
		f.t.Fatal(err)
	}
}

// accepts sends a command, which is to be accepted within a second or two, and
// returns its position.
func (f *failing) accepts() (position string) {
	f.t.Helper()
	id := fmt.Sprintf("meanwhile-%d", f.sent)
	f.sent++
	began := time.Now()
	got := f.w.send(f.w.command(id, "maya", "found", body("name", "Meanwhile")), f.p)
	if took := time.Since(began); !got.accepted() || took > 3*time.Second {
		f.t.Errorf("a command was answered %+v after %v", got, took)
	}
	return got.Position
}

// foundFirst makes the first tribe, and waits until its card and its hit show it.
func (f *failing) foundFirst() {
	f.t.Helper()
	position := f.accepts()
	for _, path := range []string{firstCard, "/v1/views/search?q=meanwhile"} {
		a, err := ask(f.t.Context(), http.MethodGet, f.p.base+path, "", "Min-Position", position)
		for began := time.Now(); err == nil && a.status == http.StatusServiceUnavailable && time.Since(began) < giveUp; time.Sleep(pause) {
			a, err = ask(f.t.Context(), http.MethodGet, f.p.base+path, "", "Min-Position", position)
		}
		if err != nil || a.status != http.StatusOK || !strings.Contains(string(a.body), `"Meanwhile"`) {
			f.t.Errorf("GET %s as of %s: %d %s, %v", path, position, a.status, a.body, err)
		}
	}
}

// refusesCommands sends a command that would do nothing, which is to be answered
// with 503 and Retry-After.
func (f *failing) refusesCommands() {
	f.t.Helper()
	a, err := ask(f.t.Context(), http.MethodPost, f.p.base+"/v1/tribe/meanwhile-0/leave", "", "User", "nobody")
	if err != nil {
		f.t.Errorf("a command without Kafka: %v", err)
		return
	}
	if readProblem(f.t, a); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		f.t.Errorf("a command without Kafka: %d %v %s, want 503 with Retry-After", a.status, a.header, a.body)
	}
}

// shows gets a card that was there before, which is to be answered.
func (f *failing) shows() {
	f.t.Helper()
	if status, doc := f.p.try(firstCard); status != http.StatusOK || !strings.Contains(doc, `"name":"Meanwhile"`) {
		f.t.Errorf("the card of meanwhile-0: %d %s", status, doc)
	}
}

// unavailable gets a path, which is to be answered with 503 and Retry-After.
func (f *failing) unavailable(path string, headers ...string) {
	f.t.Helper()
	a, err := ask(f.t.Context(), http.MethodGet, f.p.base+path, "", headers...)
	if err != nil {
		f.t.Errorf("GET %s: %v", path, err)
		return
	}
	if readProblem(f.t, a); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		f.t.Errorf("GET %s: %d %v %s, want 503 with Retry-After", path, a.status, a.header, a.body)
	}
}

// unready sees that the program says that it is not ready, and why.
func (f *failing) unready(word string) {
	f.t.Helper()
	if status, doc := f.p.try("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(doc, word) {
		f.t.Errorf("/readyz: %d %s, want 503 that says %s", status, doc, word)
	}
}

// stays gets a path until the program is ready: what is answered holds want, or
// is 503.
func (f *failing) stays(path, want string) {
	f.t.Helper()
	for began := time.Now(); time.Since(began) < readyWithin; time.Sleep(5 * time.Millisecond) {
		status, doc := f.p.try(path)
		if status != http.StatusServiceUnavailable && (status != http.StatusOK || !strings.Contains(doc, want)) {
			f.t.Errorf("GET %s: %d %s, %v after the server came back; want %s or 503", path, status, doc, time.Since(began), want)
			return
		}
		if ready, _ := f.p.try("/readyz"); ready == http.StatusOK && status == http.StatusOK {
			return
		}
	}
	f.t.Errorf("GET %s: no answer within %v", path, readyWithin)
}

func TestKafkaIsAwayAtTheStart(t *testing.T) {
	for _, servers := range killable(t) {
		s := newSite(t, servers.backend())
		b := s.backend
		var err error
		if s.kafka, err = freeAddr(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		p := s.launch(t, 0)
		if err := p.wait(t, 40*time.Second); err == nil {
			t.Error("it ended without an error")
		}
		t.Logf("it ended after %v: %s", time.Since(began).Round(time.Millisecond), p.out)
		refusedByLine(t, p, "open the log", s.kafka)
		s.backend = b
		stopped(t, s.startReady(t, 0))
	}
}

func kafkaIsKilled(f *failing) {
	began := time.Now()
	f.without("kafka", outage(f.t, 8*time.Second), func() {
		f.refusesCommands()
		f.shows()
		if time.Since(began) > 4*time.Second {
			f.unready("the log does not answer")
		}
	})
}

func redisIsAway(f *failing) {
	f.without("redis", outage(f.t, 15*time.Second), func() {
		f.accepts()
		f.unavailable(firstCard)
		f.unavailable("/v1/views/tribe-feed/meanwhile-0")
		f.unready("redis")
	})
	f.stays(firstCard, `"name":"Meanwhile"`)
}

func elasticsearchIsAway(f *failing) {
	f.without("elasticsearch", outage(f.t, 15*time.Second), func() {
		f.accepts()
		f.unavailable("/v1/views/search?q=meanwhile")
		f.unready("elasticsearch")
		f.shows()
	})
	f.stays("/v1/views/search?q=meanwhile", `"meanwhile-0"`)
}

func anIndexIsDeleted(f *failing) {
	if _, err := elastic(f.t.Context(), http.MethodDelete, f.site.search+"/"+f.site.index(), ""); err != nil {
		f.t.Fatal(err)
	}
	f.accepts()
	time.Sleep(noticed)
	f.stays("/v1/views/search?q=meanwhile", `"meanwhile-0"`)
}

func serversAreSlow(f *failing) {
	f.servers.slow(100 * time.Millisecond)
	defer f.servers.slow(0)
	before, began := f.settled.Load(), time.Now()
	for range 5 {
		f.accepts()
	}
	time.Sleep(max(0, 8*time.Second-time.Since(began)))
	if n := f.settled.Load() - before; n < 100 {
		f.t.Errorf("%d commands were answered in %v", n, time.Since(began))
	}
}

package api_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/api"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
)

// shared is a process's connection to a log, with an assignment that the test
// decides.
type shared struct {
	*memlog.Log
	proposals chan []int32
}

func (l *shared) Join(context.Context, string, string, string) (eventlog.Membership, error) {
	return member{l.proposals}, nil
}

type member struct{ proposals chan []int32 }

func (m member) Next(ctx context.Context) ([]int32, error) {
	select {
	case list := <-m.proposals:
		return list, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (m member) Close() error { return nil }

// node is one of several processes of an application, over HTTP.
type node struct {
	app           *framework.App
	public, admin string
	proposals     chan<- []int32
	stop          func() error
}

// nodes are processes over one log and the same stores.
type nodes struct {
	*testing.T
	log    *memlog.Log
	stores framework.Resources
}

func newNodes(t *testing.T) *nodes {
	log := memlog.New()
	r, err := embedded.With(log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { http.DefaultClient.CloseIdleConnections(); r.Close() })
	return &nodes{t, log, r}
}

// start starts a process that serves the given partitions of two. addr is what it
// advertises; empty: its listener.
func (n *nodes) start(name, addr string, serves ...int32) *node {
	n.Helper()
	proposals := make(chan []int32, 1)
	proposals <- serves
	app := framework.New(framework.Config{App: "test", Partitions: 2, Advertise: addr, Logger: slog.New(slog.DiscardHandler),
		Open: func(context.Context) (framework.Resources, error) {
			return framework.Resources{Log: &shared{n.log.Connect(), proposals}, Documents: n.stores.Documents, Search: n.stores.Search, Instance: name}, nil
		}})
	register(app)
	ctx, cancel := context.WithCancel(context.Background())
	addrs, ended := make(chan [2]net.Addr, 1), make(chan error, 1)
	go func() {
		ended <- api.Serve(ctx, app, "127.0.0.1:0", api.CallerHeader("User"), api.AdminAddr(":0"), api.MaxBody(1<<10),
			api.Listening(func(public, admin net.Addr) { addrs <- [2]net.Addr{public, admin} }))
	}()
	out := &node{app: app, proposals: proposals, stop: sync.OnceValue(func() error { cancel(); return <-ended })}
	n.Cleanup(func() { out.stop() })
	select {
	case a := <-addrs:
		out.public, out.admin = "http://"+a[0].String(), "http://"+a[1].String()
	case err := <-ended:
		n.Fatal(err)
	}
	return out
}

// settled waits until all know an owner, with an address, for what they do not
// serve, and are ready.
func (n *nodes) settled(all ...*node) {
	n.Helper()
	n.eventually(func() bool {
		for _, p := range all {
			for _, id := range clubsOf() {
				if at := p.app.Locate("club", id); !at.Here && at.Address == "" {
					return false
				}
			}
			if len(p.app.Unready()) > 0 {
				return false
			}
		}
		return true
	})
}

func (n *nodes) eventually(ok func() bool) {
	n.Helper()
	for began := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			n.Fatal("it has not come to be within 20 s")
		}
	}
}

// clubsOf returns a club for each of two partitions.
func clubsOf() (ids [2]string) {
	for i := 0; ids[0] == "" || ids[1] == ""; i++ {
		id := fmt.Sprint("c", i)
		ids[eventlog.PartitionOf([]byte("club/"+id), 2)] = id
	}
	return ids
}

// TestTheWrongProcessAnswersAsTheOwnerDoes sends each request to both; with the
// same key and request id the answers must not differ in anything.
func TestTheWrongProcessAnswersAsTheOwnerDoes(t *testing.T) {
	n := newNodes(t)
	a, b := n.start("a", "", 0), n.start("b", "", 1)
	n.settled(a, b)
	for part, id := range clubsOf() {
		owner, other := a, b
		if part == 1 {
			owner, other = b, a
		}
		path := "/v1/club/" + id
		request := "018f3c2e-7b1a-7c3d-9e4f-0123456789ab"
		for _, c := range []struct {
			method, path, body string
			status             int
			header             []string
		}{
			{"POST", path + "/found", `{"name":"Hikers"}`, 200, []string{"User", "ann", "Idempotency-Key", "k1", "If-Match", `"0"`}},
			{"POST", path + "/join", "", 200, []string{"User", "bob", "Idempotency-Key", "k2"}},
			{"POST", path + "/join", "", 412, []string{"User", "cid", "If-Match", `"7"`}},
			{"POST", path + "/found", `{"name":"Again"}`, 422, []string{"User", "ann", "Idempotency-Key", "k3"}},
			{"POST", path + "/found", `{"name":"Another"}`, 422, []string{"User", "ann", "Idempotency-Key", "k1"}},
			{"POST", path + "/join", "", 403, []string{"User", "mallory"}},
			{"POST", path + "/join", "", 401, nil},
			{"POST", path + "/found", `{"name":"` + strings.Repeat("a", 2000) + `"}`, 413, []string{"User", "ann"}},
			{"GET", path, "", 200, []string{"Min-Position", fmt.Sprint(part, "@2")}},
			{"HEAD", path, "", 200, nil},
			{"GET", path, "", 304, []string{"If-None-Match", `"2"`}},
			{"GET", path + "/events?after=1&limit=1", "", 200, nil},
			{"GET", path + "/events?limit=1", "", 200, nil},
			{"GET", path + "x/events", "", 404, nil},
		} {
			header := append([]string{"X-Request-Id", request, "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, c.header...)
			got := send(t, c.method, other.public+c.path, c.body, header...)
			want := send(t, c.method, owner.public+c.path, c.body, header...)
			got.header.Del("Date")
			want.header.Del("Date")
			if want.status != c.status || !reflect.DeepEqual(got, want) {
				t.Errorf("%s %s: the other answers\n%+v, the owner\n%+v, want status %d", c.method, c.path, got, want, c.status)
			}
		}
	}
	for _, p := range []*node{a, b} {
		if figures := send(t, "GET", p.admin+"/metrics", "").body; !strings.Contains(figures, `drivetrain_http_forwards_total{outcome="answered"}`) {
			t.Error("it has passed nothing on")
		}
		members := send(t, "GET", p.admin+"/v1/members", "")
		want(t, members, 200, `"instance":"a","address":"`+a.public+`","started":"`, `"partitions":[0]}`,
			`"instance":"b","address":"`+b.public+`","started":"`, `"partitions":[1]}`)
	}
}

// A process that has lost what others believe to be its own passes nothing on, not
// even back.
func TestAfterTheOwnerHasChangedNothingGoesRound(t *testing.T) {
	n := newNodes(t)
	a, b := n.start("a", "", 0), n.start("b", "", 1)
	n.settled(a, b)
	id := clubsOf()[1]
	b.proposals <- []int32{}
	n.eventually(func() bool { return !b.app.Locate("club", id).Here })
	got := send(t, "POST", a.public+"/v1/club/"+id+"/found", `{"name":"Hikers"}`, "User", "ann", "Idempotency-Key", "k")
	want(t, got, 503, "/problems/not-owner", "was passed on")
	if got.header.Get("Retry-After") != "1" {
		t.Errorf("headers %v", got.header)
	}
	a.proposals <- []int32{0, 1}
	n.eventually(func() bool { return strings.HasPrefix(b.app.Locate("club", id).Address, a.public) })
	want(t, send(t, "POST", b.public+"/v1/club/"+id+"/found", `{"name":"Hikers"}`, "User", "ann", "Idempotency-Key", "k"), 200, `"version":1`)
}

// An owner that is gone without a word has executed nothing, and is replaced.
func TestADeadOwnerIsSaidSoAtOnceAndReplaced(t *testing.T) {
	n := newNodes(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	a, b := n.start("a", "", 0), n.start("b", nobody, 1)
	n.settled(a, b)
	id := clubsOf()[1]
	began := time.Now()
	got := send(t, "POST", a.public+"/v1/club/"+id+"/found", `{"name":"Hikers"}`, "User", "ann", "Idempotency-Key", "k")
	want(t, got, 503, "/problems/unavailable")
	if took := time.Since(began); took > time.Second || got.header.Get("Retry-After") != "1" {
		t.Errorf("after %v, headers %v", took, got.header)
	}
	want(t, send(t, "GET", b.public+"/v1/club/"+id, ""), 404)
	a.proposals <- []int32{0, 1}
	n.eventually(func() bool { return a.app.Locate("club", id).Here && len(a.app.Unready()) == 0 })
	want(t, send(t, "POST", a.public+"/v1/club/"+id+"/found", `{"name":"Hikers"}`, "User", "ann", "Idempotency-Key", "k"), 200, `"version":1`)
}

// TestARetryAfterAnAnswerThatWasLostIsDefinite lets the owner's answers be lost on
// their way: the command runs, and its key says so later.
func TestARetryAfterAnAnswerThatWasLostIsDefinite(t *testing.T) {
	n := newNodes(t)
	var behind atomic.Pointer[url.URL]
	var lost, passed atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		passed.Add(1)
		if lost.Load() == 0 {
			httputil.NewSingleHostReverseProxy(behind.Load()).ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		httputil.NewSingleHostReverseProxy(behind.Load()).ServeHTTP(answer, r)
		io.Copy(io.Discard, answer.Body)
		panic(http.ErrAbortHandler)
	}))
	defer proxy.Close()
	a, b := n.start("a", "", 0), n.start("b", proxy.URL, 1)
	at, _ := url.Parse(b.public)
	behind.Store(at)
	n.settled(a, b)
	id := clubsOf()[1]
	found := func() answer {
		return send(t, "POST", a.public+"/v1/club/"+id+"/found", `{"name":"Hikers"}`, "User", "ann", "Idempotency-Key", "k")
	}
	lost.Store(1)
	want(t, found(), 503, "/problems/unresolved")
	if n := passed.Load(); n != 1 {
		t.Errorf("it was sent %d times", n)
	}
	want(t, send(t, "GET", b.public+"/v1/club/"+id, ""), 200, "Hikers")
	lost.Store(0)
	want(t, found(), 200, `"version":1`)
	want(t, send(t, "GET", b.public+"/v1/club/"+id+"/events", ""), 200, `"version":1`)
	if events := send(t, "GET", b.public+"/v1/club/"+id+"/events", ""); strings.Count(events.body, "club.founded") != 1 {
		t.Errorf("it was recorded more than once: %s", events.body)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

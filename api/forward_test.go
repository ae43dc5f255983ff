package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
)

// peer is another process, as a handler; asked counts what reached it.
type peer struct {
	*httptest.Server
	asked atomic.Int32
}

func newPeer(t *testing.T, h http.HandlerFunc) *peer {
	t.Helper()
	p := &peer{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		h(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// owned is an application whose aggregates all belong to the process at addr.
func owned(addr string) *script {
	return &script{locate: func(string, string) framework.Place { return framework.Place{Address: addr} },
		execute: func(context.Context, framework.Call) (cluster.Result, error) { panic("it is not decided here") }}
}

// serverOf is a server over HTTP, and its metrics' owner.
func serverOf(t *testing.T, s *script, options ...Option) (*server, string) {
	t.Helper()
	srv := newServer(s, append([]Option{CallerHeader("User")}, options...))
	web := httptest.NewServer(srv.mux)
	t.Cleanup(func() {
		web.Close()
		srv.forward.transport.CloseIdleConnections()
		http.DefaultClient.CloseIdleConnections()
	})
	return srv, web.URL
}

func TestWhatAnotherProcessOwnsReachesItAsItWasSent(t *testing.T) {
	type seen struct {
		method, uri, host, body string
		header                  http.Header
	}
	got := make(chan seen, 1)
	p := newPeer(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{r.Method, r.RequestURI, r.Host, string(body), r.Header}
	})
	_, base := serverOf(t, owned(p.URL+"/mounted"))
	id := "018f3c2e-7b1a-7c3d-9e4f-0123456789ab"
	common := []string{"User", "ann", "Authorization", "Bearer x", "Cookie", "a=b; c=d", "Traceparent", "00-1-2-01", "X-Forwarded-For", "10.0.0.1",
		"User-Agent", "test/1", "Accept-Encoding", "br"}
	for _, c := range []struct {
		method, path, body string
		header             []string
	}{
		{"POST", "/v1/tribe/x/found", ` {"name": "hikers"} `, []string{"Content-Type", "application/json", "Idempotency-Key", "k1", "If-Match", `"3"`, "X-Request-Id", id}},
		{"POST", "/v1/tribe/a~b.-/join", "", []string{"Idempotency-Key", "k2", "X-Request-Id", id}},
		{"GET", "/v1/tribe/x", "", []string{"Min-Position", "3@81234", "If-None-Match", `"1"`}},
		{"HEAD", "/v1/tribe/x", "", nil},
		{"GET", "/v1/tribe/x/events?after=2&limit=7", "", nil},
	} {
		r, err := http.NewRequest(c.method, base+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		want := http.Header{forwardedHeader: {"1"}}
		for i, list := 0, append(common, c.header...); i < len(list); i += 2 {
			r.Header.Set(list[i], list[i+1])
			want.Set(list[i], list[i+1])
		}
		r.Host = "api.example.org"
		r.Header.Set("Connection", "keep-alive, X-Hop")
		r.Header.Set("X-Hop", "of this connection")
		if c.method == "POST" {
			want.Set("Content-Length", fmt.Sprint(len(c.body)))
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		s := <-got
		if s.method != c.method || s.uri != "/mounted"+c.path || s.host != "api.example.org" || s.body != c.body {
			t.Errorf("%s %s reached it as %s %s of %s with %q", c.method, c.path, s.method, s.uri, s.host, s.body)
		}
		if !reflect.DeepEqual(s.header, want) {
			t.Errorf("%s %s: headers\n%v, want\n%v", c.method, c.path, s.header, want)
		}
	}
}

func TestACommandWithoutRequestIDIsPassedOnWithTheOneThatIsAnswered(t *testing.T) {
	got := make(chan string, 1)
	p := newPeer(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("X-Request-Id") })
	_, base := serverOf(t, owned(p.URL))
	_, _, h := fetch(t, "POST", base+"/v1/tribe/x/join", "User", "ann")
	if there := <-got; len(there) != 36 || h.Get("X-Request-Id") != there {
		t.Errorf("it got %q, headers %v", there, h)
	}
}

func TestAnAnswerOfAnotherProcessPassesAsItIs(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", (5<<20)/16)
	for name, c := range map[string]struct {
		status int
		header http.Header
		body   string
	}{
		"accepted":    {200, http.Header{"Content-Type": {"application/json"}, "Etag": {`"3"`}, "Position": {"3@7"}, "X-Request-Id": {"r"}}, `{"version":3}`},
		"not changed": {304, http.Header{"Etag": {`"3"`}, "Position": {"3@7"}}, ""},
		"conflict":    {412, http.Header{"Content-Type": {"application/problem+json"}}, `{"status":412}`},
		"limited":     {429, http.Header{"Retry-After": {"7"}}, "{}"},
		"unresolved":  {503, http.Header{"Retry-After": {"1"}, "Set-Cookie": {"a=b", "c=d"}}, `{"type":"/problems/unresolved"}`},
		"large":       {200, http.Header{"Content-Type": {"application/json"}}, large},
		"just whole":  {200, http.Header{"Content-Type": {"application/json"}}, large[:maxWhole]},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, func(w http.ResponseWriter, r *http.Request) {
				for k, v := range c.header {
					w.Header()[k] = v
				}
				w.Header().Set("Keep-Alive", "timeout=5")
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			})
			_, base := serverOf(t, owned(p.URL))
			for _, method := range []string{"POST /join", "GET ", "GET /events"} {
				method, below, _ := strings.Cut(method, " ")
				status, body, header := fetch(t, method, base+"/v1/tribe/x"+below, "User", "ann")
				header.Del("Date")
				header.Del("Content-Length")
				if c.header.Get("Content-Type") == "" {
					header.Del("Content-Type") // guessed by the peer
				}
				if method == "POST" && c.header.Get("X-Request-Id") == "" {
					header.Del("X-Request-Id")
				}
				if status != c.status || body != c.body || !reflect.DeepEqual(header, c.header) {
					t.Errorf("%s: %d %v %.80q (%d bytes)", method, status, header, body, len(body))
				}
			}
		})
	}
}

func TestAnAnswerCutHalfWayIsNoAnswer(t *testing.T) {
	cut := func(size int) string {
		p := newPeer(t, func(w http.ResponseWriter, r *http.Request) {
			w.Write(make([]byte, size))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		})
		_, base := serverOf(t, owned(p.URL))
		return base + "/v1/tribe/x"
	}
	if status, body, _ := fetch(t, "POST", cut(100)+"/join", "User", "ann"); status != 503 || !strings.Contains(body, "/problems/unresolved") {
		t.Errorf("a command: %d %s", status, body)
	}
	if status, body, _ := fetch(t, "GET", cut(100)); status != 503 || !strings.Contains(body, "/problems/unavailable") {
		t.Errorf("a query: %d %s", status, body)
	}
	res, err := http.Get(cut(maxWhole + 100))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Errorf("half an answer of %d bytes looks whole", n)
	}
}

// TestARequestThatWasPassedOnIsNotPassedOnAgain: two processes that take each
// other for the owner would else go on for ever.
func TestARequestThatWasPassedOnIsNotPassedOnAgain(t *testing.T) {
	p := newPeer(t, func(http.ResponseWriter, *http.Request) {})
	s := owned(p.URL)
	h := handlerOf(s)
	for _, c := range []call{{"POST", "/v1/tribe/x/join", "", []string{forwardedHeader, "1"}}, {"POST", "/v1/tribe/x/join", "", []string{forwardedHeader, ""}},
		{"GET", "/v1/tribe/x", "", []string{forwardedHeader, "1"}}, {"GET", "/v1/tribe/x/events", "", []string{forwardedHeader, "1"}}} {
		r := do(t, h, c)
		expect(t, r, 503, notOwner, "passed on")
		if r.Header().Get("Retry-After") != "1" {
			t.Errorf("headers %v", r.Header())
		}
	}
	if n := p.asked.Load(); n > 0 {
		t.Errorf("it was passed on %d times", n)
	}
	s.locate, s.execute = nil, nil
	expect(t, do(t, h, call{"POST", "/v1/tribe/x/join", "", []string{forwardedHeader, "1"}}), 200, nil)
}

func TestWithoutAWayToTheOwnerTheReasonIsSaid(t *testing.T) {
	s := owned("")
	s.locate = func(string, string) framework.Place { return framework.Place{Why: "partition 3 has no owner"} }
	r := do(t, handlerOf(s), call{"POST", "/v1/tribe/x/join", "", nil})
	expect(t, r, 503, notOwner, "partition 3 has no owner")
	if r.Header().Get("Retry-After") != "1" {
		t.Errorf("headers %v", r.Header())
	}
}

// TestBadRequestsAreNotPassedOn: whoever gets them refuses them.
func TestBadRequestsAreNotPassedOn(t *testing.T) {
	p := newPeer(t, func(http.ResponseWriter, *http.Request) {})
	h := handlerOf(owned(p.URL), MaxBody(1<<10))
	for want, c := range map[int]call{401: {"POST", "/v1/tribe/x/join", "", []string{"User", "-"}}, 400: {"POST", "/v1/tribe/x/join", "", []string{"If-Match", "3"}},
		413: {"POST", "/v1/tribe/x/found", `{"name":"` + strings.Repeat("a", 2000) + `"}`, nil}, 422: {"GET", "/v1/tribe/x/events?limit=0", "", nil}} {
		expect(t, do(t, h, c), want, nil)
	}
	if n := p.asked.Load(); n > 0 {
		t.Errorf("%d were passed on", n)
	}
}

func TestAProcessThatCannotBeReachedWasAskedForNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := "http://" + l.Addr().String()
	l.Close()
	h := handlerOf(owned(addr))
	for _, c := range []call{{"POST", "/v1/tribe/x/join", "", []string{"Idempotency-Key", "k"}}, {"POST", "/v1/tribe/x/found", `{"name":"a"}`, nil}, {"GET", "/v1/tribe/x", "", nil}} {
		began := time.Now()
		r := do(t, h, c)
		expect(t, r, 503, unavailable, "cannot be reached")
		if took := time.Since(began); took > connectTimeout || r.Header().Get("Retry-After") != "1" {
			t.Errorf("after %v, headers %v", took, r.Header())
		}
	}
}

// TestACommandThatWasSentIsNotSentAgain: the connection had been used before,
// where Go's transport would send some requests anew by itself.
func TestACommandThatWasSentIsNotSentAgain(t *testing.T) {
	var cut atomic.Bool
	p := newPeer(t, func(w http.ResponseWriter, r *http.Request) {
		if cut.Load() {
			panic(http.ErrAbortHandler) // after the request was read; nothing is answered
		}
	})
	_, base := serverOf(t, owned(p.URL))
	for name, header := range map[string][]string{"with a key": {"User", "ann", "Idempotency-Key", "k"}, "without": {"User", "ann"}} {
		cut.Store(false)
		if status, body, _ := fetch(t, "POST", base+"/v1/tribe/x/join", header...); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		cut.Store(true)
		p.asked.Store(0)
		status, body, h := fetch(t, "POST", base+"/v1/tribe/x/join", header...)
		if status != 503 || !strings.Contains(body, "/problems/unresolved") || h.Get("Retry-After") != "1" {
			t.Errorf("%s: %d %v %s", name, status, h, body)
		}
		if n := p.asked.Load(); n != 1 {
			t.Errorf("%s: it was sent %d times", name, n)
		}
	}
	status, body, _ := fetch(t, "GET", base+"/v1/tribe/x")
	if status != 503 || !strings.Contains(body, "/problems/unavailable") {
		t.Errorf("a query: %d %s", status, body)
	}
}

func TestAProcessThatHangsHoldsACommandNoLongerThanItMayWait(t *testing.T) {
	leave := make(chan bool)
	p := newPeer(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
		case <-leave:
		}
	})
	defer close(leave)
	s := owned(p.URL)
	s.wait = 100 * time.Millisecond
	began := time.Now()
	expect(t, do(t, handlerOf(s), call{"POST", "/v1/tribe/x/join", "", nil}), 503, unresolved)
	if took := time.Since(began); took < s.wait || took > 5*time.Second {
		t.Errorf("after %v", took)
	}
}

func TestAClientThatLeavesEndsWhatWasPassedOn(t *testing.T) {
	inside, ended := make(chan bool), make(chan bool, 1)
	p := newPeer(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		inside <- true
		<-r.Context().Done()
		ended <- true
	})
	_, base := serverOf(t, owned(p.URL))
	ctx, leave := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "POST", base+"/v1/tribe/x/join", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User", "ann")
	go func() {
		if res, err := http.DefaultClient.Do(r); err == nil {
			res.Body.Close()
		}
	}()
	<-inside
	leave()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("it still runs 5 s later")
	}
}

func TestOnlySoManyRequestsWaitForOneProcess(t *testing.T) {
	inside, leave := make(chan bool), make(chan bool)
	hanging := newPeer(t, func(http.ResponseWriter, *http.Request) { inside <- true; <-leave })
	quick := newPeer(t, func(http.ResponseWriter, *http.Request) {})
	s := owned("")
	s.locate = func(_, id string) framework.Place {
		if id == "quick" {
			return framework.Place{Address: quick.URL}
		}
		return framework.Place{Address: hanging.URL}
	}
	srv, base := serverOf(t, s, MaxForwards(2))
	answered := make(chan int, 2)
	for range 2 {
		go func() {
			status, _, _ := fetch(t, "POST", base+"/v1/tribe/x/join", "User", "ann")
			answered <- status
		}()
		<-inside
	}
	status, body, h := fetch(t, "POST", base+"/v1/tribe/x/join", "User", "ann")
	if status != 503 || !strings.Contains(body, "/problems/unavailable") || h.Get("Retry-After") != "1" || hanging.asked.Load() != 2 {
		t.Errorf("the third: %d %v %s", status, h, body)
	}
	if status, body, _ := fetch(t, "POST", base+"/v1/tribe/quick/join", "User", "ann"); status != 200 {
		t.Errorf("to another process: %d %s", status, body)
	}
	leave <- true
	leave <- true
	if a, b := <-answered, <-answered; a != 200 || b != 200 {
		t.Errorf("those that waited: %d, %d", a, b)
	}
	go func() { <-inside; leave <- true }()
	if status, body, _ := fetch(t, "POST", base+"/v1/tribe/x/join", "User", "ann"); status != 200 {
		t.Errorf("afterwards: %d %s", status, body)
	}
	if len(srv.forward.underway) > 0 {
		t.Errorf("left over: %v", srv.forward.underway)
	}
	_, figures, _ := fetch(t, "GET", adminOf(t, srv)+"/metrics")
	for _, line := range []string{`drivetrain_http_forwards_total{outcome="answered"} 4`, `drivetrain_http_forwards_total{outcome="full"} 1`} {
		if !strings.Contains(figures, line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}
}

func adminOf(t *testing.T, s *server) string {
	web := httptest.NewServer(s.admin())
	t.Cleanup(web.Close)
	return web.URL
}

func TestOnlyALoopbackListenerIsAdvertisedByItself(t *testing.T) {
	s := &script{}
	srv := startServe(t, s)
	if "http://"+s.told != srv.public {
		t.Errorf("it listens on %s and says %q", srv.public, s.told)
	}
	srv.stop()
	srv.wait(t)
	s.told = ""
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if newServer(s, nil).advertise(l); s.told != "" {
		t.Errorf("it listens on all addresses and says %q", s.told)
	}
}

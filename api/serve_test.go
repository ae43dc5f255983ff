package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
)

// served is a running Serve.
type served struct {
	public, admin string
	stop          context.CancelFunc
	ended         chan error
}

func startServe(t *testing.T, s *script, options ...Option) served {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	out := served{stop: stop, ended: make(chan error, 1)}
	addrs := make(chan [2]net.Addr, 1)
	options = append([]Option{CallerHeader("User"), AdminAddr(":0"),
		Listening(func(public, admin net.Addr) { addrs <- [2]net.Addr{public, admin} })}, options...)
	go func() { out.ended <- serve(ctx, s, "127.0.0.1:0", options) }()
	select {
	case a := <-addrs:
		out.public = "http://" + a[0].String()
		if a[1] != nil {
			out.admin = "http://" + a[1].String()
		}
	case err := <-out.ended:
		t.Fatalf("serve ended: %v", err)
	}
	t.Cleanup(func() { stop(); http.DefaultClient.CloseIdleConnections() })
	return out
}

func (s served) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("serve does not end")
		return nil
	}
}

func fetch(t *testing.T, method, url string, header ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body), res.Header
}

func TestServeAnswersOnBothListenersAndStopsInOrder(t *testing.T) {
	var stopped atomic.Bool
	inside, leave := make(chan bool), make(chan bool)
	s := &script{
		run: func(ctx context.Context) error {
			<-ctx.Done()
			stopped.Store(true)
			return nil
		},
		execute: func(ctx context.Context, c framework.Call) (cluster.Result, error) {
			inside <- true
			<-leave
			if stopped.Load() || ctx.Err() != nil {
				return cluster.Result{}, errors.New("the application stopped before its request was answered")
			}
			return cluster.Result{Version: 1}, nil
		},
	}
	srv := startServe(t, s)
	for _, base := range []string{srv.public, srv.admin} {
		for _, path := range []string{"/healthz", "/readyz"} {
			if status, body, _ := fetch(t, "GET", base+path); status != 200 {
				t.Errorf("%s%s: %d %s", base, path, status, body)
			}
		}
	}
	answered := make(chan int, 1)
	go func() {
		status, _, _ := fetch(t, "POST", srv.public+"/v1/tribe/x/join", "User", "ann")
		answered <- status
	}()
	<-inside
	srv.stop()
	for { // it stops accepting while the request is under way
		c, err := net.Dial("tcp", strings.TrimPrefix(srv.public, "http://"))
		if err != nil {
			break
		}
		c.Close()
		time.Sleep(time.Millisecond)
	}
	leave <- true
	if status := <-answered; status != 200 {
		t.Errorf("the request under way got %d", status)
	}
	if err := srv.wait(t); err != nil || !stopped.Load() {
		t.Errorf("ended with %v, application stopped: %v", err, stopped.Load())
	}
}

func TestARequestThatDoesNotEndIsCutOff(t *testing.T) {
	ended := make(chan error, 1)
	inside := make(chan bool)
	s := &script{execute: func(ctx context.Context, _ framework.Call) (cluster.Result, error) {
		inside <- true
		<-ctx.Done()
		ended <- ctx.Err()
		return cluster.Result{}, ctx.Err()
	}}
	srv := startServe(t, s, ShutdownTimeout(20*time.Millisecond))
	go func() {
		req, _ := http.NewRequest("POST", srv.public+"/v1/tribe/x/join", nil)
		req.Header.Set("User", "ann")
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
		}
	}()
	<-inside
	srv.stop()
	if err := srv.wait(t); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("its context ended with %v", err)
	}
}

func TestServeEndsWithTheApplicationsError(t *testing.T) {
	fail := make(chan bool)
	srv := startServe(t, &script{run: func(context.Context) error {
		<-fail
		return errDisk
	}})
	close(fail)
	if err := srv.wait(t); !errors.Is(err, errDisk) {
		t.Fatalf("ended with %v", err)
	}
	if _, err := http.Get(srv.public + "/healthz"); err == nil {
		t.Error("it still answers")
	}
}

func TestAnErrorOfStoppingIsReturned(t *testing.T) {
	srv := startServe(t, &script{run: func(ctx context.Context) error {
		<-ctx.Done()
		return errDisk
	}})
	srv.stop()
	if err := srv.wait(t); !errors.Is(err, errDisk) {
		t.Fatalf("ended with %v", err)
	}
}

func TestAnAddressInUseIsNamedWithTheRemedy(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	at := taken.Addr().String()
	ran := false
	s := &script{run: func(context.Context) error { ran = true; return nil }}
	err = serve(context.Background(), s, at, nil)
	if err == nil || !strings.Contains(err.Error(), "listen on "+at+": the address is in use: stop") {
		t.Errorf("public: %v", err)
	}
	err = serve(context.Background(), s, "127.0.0.1:0", []Option{AdminAddr(at)})
	if err == nil || !strings.Contains(err.Error(), "api.AdminAddr") {
		t.Errorf("admin: %v", err)
	}
	if err := serve(context.Background(), s, "127.0.0.1:x", nil); err == nil {
		t.Error("a port x was taken")
	}
	if ran {
		t.Error("the application was run without its listeners")
	}
}

func TestUnreadyIsA503WithEveryReason(t *testing.T) {
	s := &script{unready: []string{"partition 3 is not served", "view tribe-card is behind"}}
	r := do(t, handlerOf(s), call{"GET", "/readyz", "", nil})
	expect(t, r, 503, notReady, "partition 3 is not served", "view tribe-card is behind")
	if len(r.problem.Errors) != 2 || r.Header().Get("Retry-After") != "1" {
		t.Errorf("%s, %v", r.Body, r.Header())
	}
	expect(t, do(t, handlerOf(s), call{"GET", "/healthz", "", nil}), 200, nil, `{"status":"ok"}`)
	s.unready = make([]string, 500)
	r = do(t, handlerOf(s), call{"GET", "/readyz", "", nil})
	if len(r.problem.Errors) != maxFaults+1 {
		t.Errorf("%d reasons", len(r.problem.Errors))
	}
	srv := newServer(&script{}, nil)
	srv.stopping.Store(true)
	expect(t, do(t, srv.mux, call{"GET", "/readyz", "", nil}), 503, notReady, "stopping")
}

func TestOperatorsSeeTheFiguresOfRequests(t *testing.T) {
	for name, given := range map[string]prometheus.Registerer{
		"none": nil, "a registry": prometheus.NewRegistry(), "only a registerer": prometheus.WrapRegistererWithPrefix("x_", prometheus.NewRegistry())} {
		t.Run(name, func(t *testing.T) {
			srv := startServe(t, &script{metrics: given})
			fetch(t, "POST", srv.public+"/v1/tribe/secret-id/join", "User", "ann")
			fetch(t, "GET", srv.public+"/v1/tripe/secret-id")
			fetch(t, "BREW", srv.public+"/v1/tripe/secret-id")
			_, body, _ := fetch(t, "GET", srv.admin+"/metrics")
			for _, line := range []string{
				`drivetrain_http_requests_total{method="POST",route="/v1/tribe/{id}/join",status="200"} 1`,
				`drivetrain_http_requests_total{method="GET",route="unmatched",status="404"} 1`,
				`drivetrain_http_requests_total{method="other",route="unmatched",status="404"} 1`,
				`drivetrain_http_request_seconds_count{route="/v1/tribe/{id}/join"} 1`, "go_goroutines ", "process_"} {
				if !strings.Contains(body, line) {
					t.Errorf("/metrics lacks %s", line)
				}
			}
			if strings.Contains(body, "secret") {
				t.Error("/metrics shows an id")
			}
			srv.stop()
			if err := srv.wait(t); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHandlerAndAdminShareTheFiguresOfARegistry(t *testing.T) {
	s := &script{metrics: prometheus.NewRegistry()}
	do(t, handlerOf(s), call{"GET", "/v1/tribe/x", "", nil})
	do(t, handlerOf(s), call{"GET", "/v1/tribe/x", "", nil})
	r := do(t, newServer(s, nil).admin(), call{"GET", "http://localhost/metrics", "", nil})
	if want := `drivetrain_http_requests_total{method="GET",route="/v1/tribe/{id}",status="200"} 2`; !strings.Contains(r.Body.String(), want) {
		t.Errorf("no %s", want)
	}
}

func TestOperatorsCanProfile(t *testing.T) {
	h := newServer(&script{}, nil).admin()
	expect(t, do(t, h, call{"GET", "http://localhost/debug/pprof/", "", nil}), 200, nil, "goroutine")
	expect(t, do(t, h, call{"GET", "http://localhost/debug/pprof/heap", "", nil}), 200, nil)
	expect(t, do(t, h, call{"GET", "http://localhost/debug/pprof/cmdline", "", nil}), 200, nil)
	expect(t, do(t, h, call{"GET", "http://localhost/debug/pprof", "", nil}), 301, nil)
	expect(t, do(t, h, call{"GET", "http://localhost/x", "", nil}), 404, unknown, "/metrics")
	expect(t, do(t, h, call{"POST", "http://localhost/metrics", "", nil}), 405, wrongMethod)
}

// TestStrangersCannotAskTheOperatorsListener: a page in an operator's browser
// reaches it under a name of its own, or from its own origin.
func TestStrangersCannotAskTheOperatorsListener(t *testing.T) {
	for name, c := range map[string]struct {
		header []string
		listen string
		status int
	}{
		"as dialled":          {nil, ":0", 200},
		"localhost":           {[]string{"Host", "localhost"}, ":0", 200},
		"LOCALHOST with port": {[]string{"Host", "LocalHost:8081"}, ":0", 200},
		"loopback":            {[]string{"Host", "127.0.0.9:1"}, ":0", 200},
		"IPv6 loopback":       {[]string{"Host", "[::1]:8081"}, ":0", 200},
		"rebound name":        {[]string{"Host", "evil.example"}, ":0", 403},
		"like localhost":      {[]string{"Host", "localhost.evil.example"}, ":0", 403},
		"another address":     {[]string{"Host", "10.0.0.1:8081"}, ":0", 403},
		"listen name":         {[]string{"Host", "Localhost:1"}, "localhost:0", 200},
		"another site":        {[]string{"Origin", "http://evil.example"}, ":0", 403},
		"no origin at all":    {[]string{"Origin", "null"}, ":0", 403},
		"another port":        {[]string{"Origin", "http://localhost:1", "Host", "localhost:2"}, ":0", 403},
		"own origin":          {[]string{"Origin", "http://localhost:2", "Host", "localhost:2"}, ":0", 200},
		"cross site":          {[]string{"Sec-Fetch-Site", "cross-site"}, ":0", 403},
		"same site":           {[]string{"Sec-Fetch-Site", "same-site"}, ":0", 403},
		"typed in":            {[]string{"Sec-Fetch-Site", "none"}, ":0", 200},
	} {
		t.Run(name, func(t *testing.T) {
			srv := startServe(t, &script{}, AdminAddr(c.listen))
			for _, path := range []string{"/healthz", "/readyz", "/metrics", "/debug/pprof/cmdline"} {
				status, body, header := fetch(t, "GET", srv.admin+path, c.header...)
				if status != c.status || status == 403 && header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s: %d, want %d: %s", path, status, c.status, body)
				}
			}
			srv.stop()
			srv.wait(t)
		})
	}
}

func TestTheAddressListenedOnIsAHost(t *testing.T) {
	h := newServer(&script{}, []Option{AdminAddr("ops.internal:8081")}).admin()
	expect(t, do(t, h, call{"GET", "http://ops.internal:8081/healthz", "", nil}), 200, nil)
	r := httptest.NewRequest("GET", "http://10.0.0.5:8081/healthz", nil)
	reached := &net.TCPAddr{IP: net.ParseIP("10.0.0.5"), Port: 8081}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, reached)))
	if w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestASlowBodyIsA408AndALongHeaderA431(t *testing.T) {
	srv := startServe(t, &script{}, ReadTimeout(200*time.Millisecond), MaxHeader(4<<10))
	addr := strings.TrimPrefix(srv.public, "http://")
	slow := "POST /v1/tribe/x/found HTTP/1.1\r\nHost: x\r\nUser: ann\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
	long := "GET /v1/tribe/x HTTP/1.1\r\nHost: x\r\nLong: " + strings.Repeat("a", 16<<10) + "\r\n\r\n"
	for request, status := range map[string]string{slow: "408", long: "431"} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, request)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		answer, _ := io.ReadAll(c)
		c.Close()
		if !strings.HasPrefix(string(answer), "HTTP/1.1 "+status) {
			t.Errorf("want %s: %.300s", status, answer)
		}
	}
	srv.stop()
	srv.wait(t)
}

func TestRequestsAreLoggedWithoutPersonalData(t *testing.T) {
	var log strings.Builder
	h := handlerOf(&script{log: &log})
	do(t, h, call{"POST", "/v1/tribe/secret-id/found", `{"name":"secret"}`, []string{"Idempotency-Key", "secret-key"}})
	if got := log.String(); !strings.Contains(got, `level=DEBUG msg=request method=POST route=/v1/tribe/{id}/found status=200`) || strings.Contains(got, "secret") || strings.Contains(got, "ann") {
		t.Errorf("the log has %s", got)
	}
}

func TestOptionsOutOfBoundsPanicWithTheFix(t *testing.T) {
	for want, o := range map[string]Option{
		"api: MaxBody(1): want 1024 to 16777216": MaxBody(1), "api: MaxHeader(-1)": MaxHeader(-1), "api: MaxConcurrent(70000)": MaxConcurrent(70000),
		"api: ReadTimeout(1ns): want 100ms to 10m0s": ReadTimeout(1), "api: WriteTimeout(2h0m0s)": WriteTimeout(2 * time.Hour),
		"api: IdleTimeout(1ns)": IdleTimeout(1), "api: ShutdownTimeout(-1s)": ShutdownTimeout(-time.Second), "api: Caller(nil)": Caller(nil)} {
		t.Run(want, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.HasPrefix(got, want) {
					t.Errorf("panic %q", got)
				}
			}()
			newServer(&script{}, []Option{o})
		})
	}
}

func TestDefaultsLetACommandWaitAsLongAsItMay(t *testing.T) {
	s := newSettings(&script{}, nil)
	if s.title != "test" || s.version != "1" || s.maxBody != 1<<20 || s.readTimeout != 10*time.Second || s.writeTimeout != 45*time.Second {
		t.Errorf("%+v", s)
	}
}

//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package api

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// connected returns both ends of a connection.
func connected(t *testing.T) (server, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return server, client
}

func TestAClosedConnectionIsSeenWithoutReading(t *testing.T) {
	server, client := connected(t)
	if hungUp(server) {
		t.Error("a connection at rest looks closed")
	}
	go server.Read(make([]byte, 1)) // as net/http does while it waits for an answer
	if time.Sleep(10 * time.Millisecond); hungUp(server) {
		t.Error("a connection that is waited on looks closed")
	}
	client.Write([]byte("xy"))
	if time.Sleep(10 * time.Millisecond); hungUp(server) {
		t.Error("a connection with something to read looks closed")
	}
	server.Read(make([]byte, 2))
	client.Close()
	for began := time.Now(); !hungUp(server); time.Sleep(time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatal("a closed connection does not look so")
		}
	}
	server.Close()
	if !hungUp(server) {
		t.Error("a connection that we have closed looks open")
	}
}

// TestWhatNobodyWaitsForIsNotPassedOn: a process that was stopped for a while finds
// requests whose clients have long asked elsewhere, and may have been answered
// there. Before net/http has noticed they must not take effect after that answer.
func TestWhatNobodyWaitsForIsNotPassedOn(t *testing.T) {
	p := newPeer(t, func(http.ResponseWriter, *http.Request) {})
	s := owned(p.URL)
	srv := newServer(s, []Option{CallerHeader("User")})
	defer srv.forward.transport.CloseIdleConnections()
	conn, client := connected(t)
	ask := func(method, path string, header ...string) int {
		r := httptest.NewRequest(method, path, nil)
		r = r.WithContext(withConn(r.Context(), conn))
		r.Header.Set("User", "ann")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		srv.mux.ServeHTTP(w, r)
		return w.Code
	}
	if status := ask("POST", "/v1/tribe/x/join"); status != 200 || p.asked.Load() != 1 {
		t.Fatalf("while its client waits: %d", status)
	}
	client.Close()
	for !hungUp(conn) {
		time.Sleep(time.Millisecond)
	}
	for _, path := range []string{"POST /v1/tribe/x/join", "GET /v1/tribe/x"} {
		if status := ask(strings.Fields(path)[0], strings.Fields(path)[1]); status != 503 || p.asked.Load() != 1 {
			t.Errorf("%s: %d, passed on %d times", path, status, p.asked.Load())
		}
	}
	s.locate = nil
	s.execute = nil
	if status := ask("POST", "/v1/tribe/x/join", forwardedHeader, "1"); status != 503 {
		t.Errorf("what was passed on is decided, though nobody waits for it: %d", status)
	}
}

func TestServeLooksAtItsConnections(t *testing.T) {
	got := make(chan bool, 1)
	s := &script{}
	srv := startServe(t, s, Caller(func(r *http.Request) (string, error) {
		got <- connOf(r.Context()) != nil
		return "ann", nil
	}))
	fetch(t, "POST", srv.public+"/v1/tribe/x/join")
	if !<-got {
		t.Error("a request does not know its connection")
	}
	if connOf(context.Background()) != nil {
		t.Error("there is a connection where there is none")
	}
	srv.stop()
	srv.wait(t)
}

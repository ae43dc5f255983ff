package zombie

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
)

// gate stands between a writer and a store. Once it is armed, it holds the first
// request that looks like a write of documents, and all behind it on any connection,
// until it is opened: then the store gets them, whether their sender still waits or
// not.
type gate struct {
	net.Listener
	target string
	looks  func(request []byte) bool
	held   chan struct{} // is closed when a write is held
	open   chan struct{} // is closed to let it through

	mu    sync.Mutex
	armed bool
	shut  bool // a write is held
}

func newGate(t *testing.T, target string, looks func([]byte) bool) *gate {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{Listener: l, target: target, looks: looks, held: make(chan struct{}), open: make(chan struct{})}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go g.serve(client)
		}
	}()
	return g
}

func (g *gate) arm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = true
}

func (g *gate) serve(client net.Conn) {
	server, err := net.Dial("tcp", g.target)
	if err != nil {
		client.Close()
		return
	}
	go func() {
		_, _ = io.Copy(client, server)
		client.Close()
	}()
	defer server.Close()
	buf := make([]byte, 1<<20)
	for {
		n, err := client.Read(buf)
		if n > 0 {
			if g.holds(buf[:n]) {
				<-g.open
			}
			if _, err := server.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// holds reports whether a piece of a request is to wait.
func (g *gate) holds(piece []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.armed && !g.shut && g.looks(piece) {
		g.shut = true
		close(g.held)
	}
	return g.shut
}

// Writes of documents to either store.
func toRedis(piece []byte) bool  { return bytes.Contains(piece, []byte("scribbled")) }
func toSearch(piece []byte) bool { return bytes.Contains(piece, []byte("/_bulk")) }

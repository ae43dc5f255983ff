package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy stands between the program and a server: it can be slow, can refuse, and can
// lose answers.
type proxy struct {
	addr   string // where it listens
	target string
	delay  atomic.Int64 // nanoseconds by which each answer is late
	loses  atomic.Int64 // 10: every tenth answer is lost, with its connection; 0: none
	seen   atomic.Int64 // answers, or pieces of some

	mu       sync.Mutex
	listener net.Listener
	open     map[net.Conn]struct{}
}

// newProxy returns a proxy on a free port, which does not listen yet.
func newProxy(target string) (*proxy, error) {
	addr, err := freeAddr()
	return &proxy{addr: addr, target: target, open: make(map[net.Conn]struct{})}, err
}

// freeAddr returns an address that nobody listens at.
func freeAddr() (string, error) {
	port, err := freePorts(1)
	return local(port), err
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// freePorts returns the first of n ports in a row at which nobody listens. They
// lie below those that systems give to clients: one who calls a server that is
// away could otherwise be given that server's port, and so reach himself.
func freePorts(n int) (first int, err error) {
	for range 100 {
		first = 20000 + rand.IntN(10000)
		if err = unused(first, n); err == nil {
			return first, nil
		}
	}
	return 0, err
}

// unused returns nil if nobody listens at n ports in a row.
func unused(first, n int) error {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", local(port))
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// listen accepts connections until refuse; twice is as good as once.
func (p *proxy) listen() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("stand before %s: %w", p.target, err)
	}
	p.listener = l
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return nil
}

// refuse ends all connections and accepts none.
func (p *proxy) refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
	}
	p.listener = nil
	for c := range p.open {
		c.Close()
	}
}

// keep remembers a connection until forget; false: none are wanted any more.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[c] = struct{}{}
	return p.listener != nil
}

func (p *proxy) forget(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

func (p *proxy) serve(client net.Conn) {
	defer p.forget(client)
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.forget(server)
	if !p.keep(client) || !p.keep(server) {
		return
	}
	go func() {
		defer client.Close()
		p.late(client, server)
	}()
	_, _ = io.Copy(server, client) // one of the ends is gone
}

// late copies, each piece by the delay later than it came.
func (p *proxy) late(to io.WriteCloser, from io.Reader) {
	type piece struct {
		data []byte
		due  time.Time
	}
	pieces := make(chan piece, 256)
	go func() {
		defer close(pieces)
		for {
			buf := make([]byte, 32<<10)
			n, err := from.Read(buf)
			if n > 0 {
				pieces <- piece{buf[:n], time.Now().Add(time.Duration(p.delay.Load()))}
			}
			if err != nil {
				return
			}
		}
	}()
	gone := false
	for piece := range pieces {
		if gone {
			continue
		}
		if every := p.loses.Load(); every > 0 && p.seen.Add(1)%every == 0 {
			gone = true
			to.Close()
			continue
		}
		time.Sleep(time.Until(piece.due))
		_, err := to.Write(piece.data)
		gone = err != nil
	}
}

// TestAProxyIsSlowAndRefusesAndLoses tries the proxy itself.
func TestAProxyIsSlowAndRefusesAndLoses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn) }()
		}
	}()
	p, err := newProxy(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	echo := func() (time.Duration, error) {
		began := time.Now()
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("hello")); err != nil {
			return 0, err
		}
		_, err = io.ReadFull(conn, make([]byte, 5))
		return time.Since(began), err
	}
	if _, err := echo(); err == nil {
		t.Error("answered before it listened")
	}
	if err := p.listen(); err != nil {
		t.Fatal(err)
	}
	if took, err := echo(); err != nil || took > 50*time.Millisecond {
		t.Errorf("answered after %v, %v", took, err)
	}
	p.delay.Store(int64(100 * time.Millisecond))
	if took, err := echo(); err != nil || took < 100*time.Millisecond {
		t.Errorf("a slow one answered after %v, %v", took, err)
	}
	p.delay.Store(0)
	p.loses.Store(2)
	if _, err := echo(); err != nil {
		t.Errorf("the first of two was lost: %v", err)
	}
	if _, err := echo(); err == nil {
		t.Error("the second of two was answered although it was lost")
	}
	p.loses.Store(0)
	p.refuse()
	if _, err := echo(); err == nil {
		t.Error("answered although it refuses")
	}
}

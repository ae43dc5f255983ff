package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// adminWrite bounds an answer to operators: a profile takes as long as it is
// asked to.
const adminWrite = 5 * time.Minute

// door is a listener with the server behind it.
type door struct {
	server   *http.Server
	listener net.Listener
}

func serve(ctx context.Context, a app, addr string, options []Option) error {
	s := newServer(a, options)
	doors, err := s.open(ctx, addr)
	if err != nil {
		return err
	}
	s.advertise(doors[0].listener)
	if s.set.listening != nil {
		s.set.listening(address(doors, 0), address(doors, 1))
	}
	return s.run(ctx, doors)
}

// advertise tells the application where it can be reached from this machine, if
// from nowhere else: any other address may be another one to others.
func (s *server) advertise(l net.Listener) {
	if addr, ok := l.Addr().(*net.TCPAddr); ok && addr.IP.IsLoopback() {
		if err := s.app.Advertise(addr.String()); err != nil {
			s.log.Warn("other processes are not told where this one is", "err", err)
		}
	}
}

// address is that of the n-th door, nil if there is none.
func address(doors []door, n int) net.Addr {
	if n >= len(doors) {
		return nil
	}
	return doors[n].listener.Addr()
}

// open listens on all addresses, or none.
func (s *server) open(ctx context.Context, addr string) ([]door, error) {
	public, err := listen(ctx, addr, "another address")
	if err != nil {
		return nil, err
	}
	doors := []door{{s.httpServer(s.mux, s.set.writeTimeout), public}}
	if s.set.adminAddr == "" {
		return doors, nil
	}
	admin, err := listen(ctx, local(s.set.adminAddr), "another api.AdminAddr")
	if err != nil {
		public.Close()
		return nil, err
	}
	return append(doors, door{s.httpServer(s.admin(), adminWrite), admin}), nil
}

// local adds the loopback address to one without host.
func local(addr string) string {
	if strings.HasPrefix(addr, ":") {
		return "127.0.0.1" + addr
	}
	return addr
}

func listen(ctx context.Context, addr, other string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: the address is in use: stop the program that listens there, or choose %s: %w", addr, other, err)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

func (s *server) httpServer(h http.Handler, write time.Duration) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: min(s.set.readTimeout/2, 5*time.Second),
		ReadTimeout:       s.set.readTimeout,
		WriteTimeout:      write,
		IdleTimeout:       s.set.idleTimeout,
		MaxHeaderBytes:    s.set.maxHeader,
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // clients that went away
	}
}

// run runs the application and the doors until ctx ends or one of them fails.
// The application outlives the requests under way.
func (s *server) run(ctx context.Context, doors []door) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, len(doors)+1)
	go func() { ended <- s.app.Run(running) }()
	for _, d := range doors {
		go func() { ended <- d.server.Serve(d.listener) }()
	}
	left := cap(ended)
	var first error
	select {
	case <-ctx.Done():
	case first = <-ended:
		left--
	}
	s.stopping.Store(true)
	s.stop()
	s.shutdown(ctx, doors)
	s.forward.transport.CloseIdleConnections()
	stop()
	for range left {
		if err := <-ended; first == nil && !errors.Is(err, http.ErrServerClosed) {
			first = err
		}
	}
	return first
}

// shutdown lets requests under way finish, within a bound.
func (s *server) shutdown(ctx context.Context, doors []door) {
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.set.shutdown)
	defer cancel()
	var all sync.WaitGroup
	for _, d := range doors {
		all.Go(func() {
			if err := d.server.Shutdown(bound); err != nil {
				s.log.Warn("requests were cut off", "addr", d.listener.Addr().String(), "after", s.set.shutdown, "err", err)
				d.server.Close()
			}
		})
	}
	all.Wait()
}

package kafkalog

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	kafkasasl "github.com/segmentio/kafka-go/sasl"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

const (
	dialTimeout    = 3 * time.Second
	answerTimeout  = 5 * time.Second // beside the time that a request itself may take
	metadataMinAge = 100 * time.Millisecond
)

// way tells how this program connects.
func (c Config) way() string {
	way := "at " + strings.Join(c.Brokers, ", ")
	if c.SASL != nil {
		way += ", with SASL " + c.SASL.String()
	}
	if c.TLS == nil {
		return way + ", without TLS"
	}
	return way + ", with TLS"
}

// backoff is how long franz-go waits before it tries again.
func backoff(failures int) time.Duration {
	return min(firstPause<<min(failures, 10), 500*time.Millisecond)
}

// options are those that every franz-go client of this log has.
func (c Config) options(auth sasl.Mechanism) []kgo.Opt {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(c.ClientID),
		kgo.DialTimeout(dialTimeout),
		kgo.RequestTimeoutOverhead(answerTimeout),
		kgo.RetryBackoffFn(backoff),
		kgo.MetadataMinAge(metadataMinAge),
		kgo.DisableClientMetrics(),
		kgo.WithLogger(logger{c.Logger}),
	}
	if c.TLS != nil {
		opts = append(opts, kgo.DialTLSConfig(c.TLS))
	}
	if c.dial != nil {
		opts = append(opts, kgo.Dialer(c.dial))
	}
	if auth != nil {
		opts = append(opts, kgo.SASL(auth))
	}
	return opts
}

// mechanism returns franz-go's own; nil for a nil s.
func (s *SASL) mechanism() (sasl.Mechanism, error) {
	if s == nil {
		return nil, nil
	}
	if s.User == "" {
		return nil, fmt.Errorf("Config.SASL has no User")
	}
	pass := scram.Auth{User: s.User, Pass: s.Password}
	switch strings.ToLower(s.Mechanism) {
	case "plain":
		return plain.Auth{User: s.User, Pass: s.Password}.AsMechanism(), nil
	case "scram-sha-256":
		return pass.AsSha256Mechanism(), nil
	case "scram-sha-512":
		return pass.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("Config.SASL.Mechanism is %q: want plain, scram-sha-256 or scram-sha-512", s.Mechanism)
}

// ForKafkaGo returns what a kafka-go client outside this package, such as one of
// package bus, authenticates with; nil for a nil s.
func (s *SASL) ForKafkaGo() (kafkasasl.Mechanism, error) {
	m, err := s.mechanism()
	if m == nil || err != nil {
		return nil, err
	}
	return shared{m}, nil
}

// shared lets kafka-go use franz-go's mechanism, so that both send the same.
type shared struct{ sasl.Mechanism }

// Start implements kafka-go's Mechanism.
func (s shared) Start(ctx context.Context) (kafkasasl.StateMachine, []byte, error) {
	host := ""
	if m := kafkasasl.MetadataFromContext(ctx); m != nil {
		host = m.Host
	}
	session, first, err := s.Authenticate(ctx, host)
	return exchange{session}, first, err
}

type exchange struct{ sasl.Session }

// Next implements kafka-go's StateMachine.
func (e exchange) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	return e.Challenge(challenge)
}

// logger passes franz-go's warnings and errors on.
type logger struct{ to *slog.Logger }

// Level implements kgo.Logger.
func (logger) Level() kgo.LogLevel { return kgo.LogLevelWarn }

// Log implements kgo.Logger.
func (l logger) Log(level kgo.LogLevel, msg string, args ...any) {
	as := slog.LevelWarn
	if level == kgo.LogLevelError {
		as = slog.LevelError
	}
	l.to.Log(context.Background(), as, msg, args...)
}

// connections knows kafka-go's connections, so that Close can end requests that
// are under way: kafka-go itself waits for their deadlines.
type connections struct {
	dialer net.Dialer

	mu     sync.Mutex
	open   map[*connection]struct{}
	closed bool
}

func newConnections() *connections {
	return &connections{dialer: net.Dialer{Timeout: dialTimeout}, open: make(map[*connection]struct{})}
}

func (c *connections) dial(ctx context.Context, network, address string) (net.Conn, error) {
	inner, err := c.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn := &connection{Conn: inner, of: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("%w, and %w", net.ErrClosed, inner.Close())
	}
	c.open[conn] = struct{}{}
	return conn, nil
}

func (c *connections) close() {
	c.mu.Lock()
	c.closed = true
	open := c.open
	c.open = make(map[*connection]struct{})
	c.mu.Unlock()
	for conn := range open {
		_ = conn.Conn.Close() // its reader finds out
	}
}

type connection struct {
	net.Conn
	of *connections
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// Package kafkalog keeps the event log on Kafka 3.0 or later:
//
//	log, err := kafkalog.Open(ctx, kafkalog.Config{Brokers: []string{"127.0.0.1:9092"}})
//	if err != nil {
//		return err // names the address that does not answer
//	}
//	defer log.Close()
//	err = log.Ensure(ctx, eventlog.Topic{Name: "app.events", Partitions: 16})
//	base, err := log.Append(ctx, "app.events", 3, batch)
//
// Appends go through kafka-go, one record batch at a time for each partition,
// acknowledged by all replicas in sync. Reads and topics go through franz-go:
// readers share a client, and with it one connection to each broker, and those of one
// partition that have come equally far share what is fetched. The log retries nothing that may have reached a broker: what an
// error other than the contract's own means, only the log itself can tell.
//
// Topics of others are read and filled through the same ways, with all headers
// of their records; what is published in transactions goes request by request to
// their leaders, see [Log.Transact].
//
// Where to look: append.go writes, batch.go encodes, read.go, slot.go and line.go read,
// topics.go creates and checks topics, list.go lists them, outside.go is about
// topics of others, transact.go makes transactional producers and commit.go uses
// one, assign.go shares partitions among processes, offsets.go keeps how far groups
// have got, connect.go holds what both libraries need to connect, errors.go says
// which failure means what.
package kafkalog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// Config says how to reach a cluster. Brokers is required; a zero field is its
// default.
type Config struct {
	// Brokers are addresses to start from, as host:port. The others of the
	// cluster are found by asking these.
	Brokers []string
	// ClientID is what brokers call this program in logs and quotas. Default
	// "drivetrain".
	ClientID string
	// TLS encrypts every connection; nil: none. An empty ServerName is the
	// host of each broker.
	TLS *tls.Config
	// SASL authenticates every connection; nil: none.
	SASL *SASL
	// Replication is how many copies Ensure gives a new topic, 1 to 32767.
	// Default: 3, or the number of brokers where there are fewer. From 3 on a
	// batch is acknowledged by at least two of them.
	Replication int
	// AppendTimeout bounds one batch from its turn to its acknowledgement; half
	// of it the brokers may use to replicate. Default 5 s. A caller's context
	// may end an append sooner.
	AppendTimeout time.Duration
	// FetchWait is how long a broker holds a request that has nothing new to
	// answer with. It is not the delay of new records, which are sent at once,
	// but that of a reader which has just begun or had to pause while the
	// others of its client are idle. Shorter waits cost requests: at 10 ms an
	// idle client takes 2 % of a processor, at 50 ms 0.6 %. 1 ms to 10 s, default
	// 25 ms.
	FetchWait time.Duration
	// ReadAhead bounds the bytes that wait for one reader, counting 200 for
	// each record beside its own. A fetch under way may come on top: a quarter
	// of this and 1 MiB at most, as it was sent, or one batch. A full feed costs
	// one fetch that is thrown away, so small values cost work. 64 KiB to 1 GiB,
	// default 4 MiB.
	ReadAhead int
	// Markers makes readers return the markers that end others' transactions, as
	// records without a header, so that the last offset before the end is always
	// a record's. Default: they are left out.
	Markers bool
	// MaxReaders bounds the readers of one partition at the same time, and so
	// the clients that read. Default 32.
	MaxReaders int
	// MaxProducers bounds the transactional producers at the same time, each of
	// which has a client of its own. Default 256.
	MaxProducers int
	// MaxWaiting bounds the appends that wait for their turn in one partition.
	// Default 4096.
	MaxWaiting int
	// Logger takes what the libraries tell of brokers they lost and found.
	// Default: nowhere.
	Logger *slog.Logger
	// Now stamps the records. Default time.Now.
	Now func() time.Time

	dial func(ctx context.Context, network, address string) (net.Conn, error) // franz-go's, so that tests can cut it
}

// SASL is a user and how it proves itself.
type SASL struct {
	// Mechanism is plain, scram-sha-256 or scram-sha-512, in either case.
	Mechanism string
	User      string
	Password  string
}

// String names the mechanism and the user, never the password.
func (s SASL) String() string { return s.Mechanism + " as " + s.User }

// GoString does what String does.
func (s SASL) GoString() string { return s.String() }

// withDefaults returns c complete, or says which field is out of bounds.
func (c Config) withDefaults() (Config, error) {
	c.ClientID = or(c.ClientID, "drivetrain")
	c.AppendTimeout = or(c.AppendTimeout, 5*time.Second)
	c.FetchWait = or(c.FetchWait, 25*time.Millisecond)
	c.ReadAhead = or(c.ReadAhead, 4<<20)
	c.MaxReaders = or(c.MaxReaders, 32)
	c.MaxWaiting = or(c.MaxWaiting, 4096)
	c.MaxProducers = or(c.MaxProducers, 256)
	c.Logger = or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Now == nil {
		c.Now = clock.System.Now
	}
	for _, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			return c, fmt.Errorf("broker %q: want host:port such as 127.0.0.1:9092", b)
		}
	}
	return c, c.bounds()
}

// bounds names the first field that is out of bounds.
func (c Config) bounds() error {
	switch {
	case len(c.Brokers) == 0:
		return errors.New("no brokers: set Config.Brokers to addresses such as 127.0.0.1:9092")
	case c.AppendTimeout < time.Millisecond:
		return fmt.Errorf("Config.AppendTimeout is %v: want 1ms or more", c.AppendTimeout)
	case c.FetchWait < time.Millisecond || c.FetchWait > 10*time.Second:
		return fmt.Errorf("Config.FetchWait is %v: want 1ms to 10s", c.FetchWait)
	case c.ReadAhead < 64<<10 || c.ReadAhead > 1<<30:
		return fmt.Errorf("Config.ReadAhead is %d: want 64 KiB to 1 GiB", c.ReadAhead)
	case c.MaxReaders < 1 || c.MaxWaiting < 1 || c.MaxProducers < 1:
		return fmt.Errorf("Config.MaxReaders is %d, MaxWaiting %d, MaxProducers %d: want 1 or more", c.MaxReaders, c.MaxWaiting, c.MaxProducers)
	case c.Replication < 0 || c.Replication > 1<<15-1:
		return fmt.Errorf("Config.Replication is %d: want 1 to 32767, or 0 for the default", c.Replication)
	}
	return nil
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// openTimeout bounds the wait for a first answer.
const openTimeout = 5 * time.Second

// Log is a connection to a Kafka cluster. Make one with Open.
type Log struct {
	cfg    Config
	client *kgo.Client // for everything but records
	admin  *kadm.Client
	conns  *connections // of the sender
	sender *sender
	slots  *slots

	settled *slots // of readers that want no aborted records

	ctx  context.Context // ends with Close
	stop context.CancelFunc

	mu      sync.Mutex           // before sender.mu
	topics  map[string]int32     // partitions of the topics that are known
	members map[*member]struct{} // that Close shall close
	txns    map[*transactions]struct{}
}

var (
	_ eventlog.Log        = (*Log)(nil)
	_ eventlog.Outside    = (*Log)(nil)
	_ eventlog.Transactor = (*Log)(nil)
)

// Open connects to a cluster and waits, 5 s at most, until a broker answers. The
// error names the addresses and what each said.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open kafka log: %w", err)
	}
	l := &Log{cfg: cfg, topics: make(map[string]int32), members: make(map[*member]struct{}), txns: make(map[*transactions]struct{}), conns: newConnections()}
	l.ctx, l.stop = context.WithCancel(context.Background())
	auth, err := cfg.SASL.mechanism()
	if err == nil {
		l.client, err = kgo.NewClient(cfg.options(auth)...)
	}
	if err != nil {
		l.stop()
		return nil, fmt.Errorf("open kafka log: %w", err)
	}
	l.admin = kadm.NewClient(l.client)
	l.sender = newSender(l.ctx, cfg, auth, l.conns)
	l.slots = newSlots(cfg, auth, kgo.ReadUncommitted())
	l.settled = newSlots(cfg, auth, kgo.ReadCommitted())
	if err := l.ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open kafka log: no broker answers %s: %w", cfg.way(), err), l.Close())
	}
	return l, nil
}

// ping waits for an answer. franz-go's own does not end with its context while a
// connection is being made.
func (l *Log) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	answer := make(chan error, 1)
	go func() { answer <- l.client.Ping(ctx) }()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends every call under way and closes all connections. Appends that wait
// for their turn and readers end with ErrClosed; an append that is under way
// ends with an error that leaves its outcome open. Members of groups leave.
// Closing it again does nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	closed := l.ctx.Err() != nil
	l.stop()
	l.mu.Unlock()
	if closed {
		return nil
	}
	l.leaveAll()
	l.endTransactions()
	l.slots.close()
	l.settled.close()
	l.sender.close()
	l.conns.close()
	l.client.Close()
	return nil
}

// bound returns a context that ends with ctx and with the log.
func (l *Log) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return both(ctx, l.ctx)
}

// both returns a context that ends with either of two and has the values and the
// deadline of the first.
func both(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	detach := context.AfterFunc(other, cancel)
	return ctx, func() { detach(); cancel() }
}

// Package esstore keeps and searches a view's documents in Elasticsearch 8.
//
//	store, err := esstore.New(esstore.Config{URLs: []string{"https://es1:9200"}, User: "drivetrain", Password: password})
//	if err != nil { … }
//	defer store.Close()
//	g := view.Generation{App: "drivetribe", View: "posts", Number: 1}
//	err = store.Prepare(ctx, g, view.Fields{"title": view.Text, "tribe": view.Keyword})
//	…
//	hits, err := store.Find(ctx, g, view.Query{Text: "red cars", Is: map[string]string{"tribe": "racers"}, Size: 20})
//
// # How it works
//
// A generation is an index, drivetrain.APP.VIEW.NUMBER, whose settings and
// mappings are declared here and compared by Prepare. It is written through an
// alias of its own with require_alias, so that a write to an index that is gone
// fails where Elasticsearch would else make one up with guessed mappings.
//
// Each partition has a mark in the index. Write sends the documents in bulk
// requests, and at last moves the mark from where it has moved it before, or has
// seen it, with if_seq_no: a compare-and-set, so only one writer's progress counts.
// Elasticsearch has no transactions, so documents become visible before their mark,
// and a writer that is fenced leaves those of one batch behind. Neither is false: a
// document's version is its Offset (external_gte), a late one is refused, an equal
// one is the same fold of the same records, and a later writer comes to those
// records too. The retry of a Write whose outcome is unknown is harmless for the same
// reason.
//
// A deleted document becomes a tombstone, hidden from Find, until Drop, for
// Elasticsearch forgets the version of what it has really deleted. Should
// someone else delete a document, so that Elasticsearch refuses for a while what
// is older than that, Write fails until it no longer does.
//
// The name of a mark holds the index's uuid. So no writer can take an index that
// was deleted and made anew for the one it knew: its marks are zero. Open makes a
// prepared index again that is gone.
//
// A text is split into words by the rules of Unicode (the standard tokenizer) and lowered;
// no stop words. Languages have Snowball's stemmers, prefixes are edge n-grams. Hits are
// ranked by BM25, a word by its best field. Keywords longer than 8,191 characters are
// kept, not found. Documents of one key in two partitions are two.
//
// What hits are sorted by lies in fields of its own, below "order", written here so that
// texts compare as values do: a place to go on from is then the same for all kinds of
// field, and exact. Indices of before there were sorted queries do not have them; they are
// used on, but a query that sorts is refused with what to do.
//
// # For outside readers
//
// Point sets the alias drivetrain.APP.VIEW on the index of the generation that is read, filtered to
// documents: what an outside reader sees is neither marks nor tombstones. "fields" are the indexed
// fields (bytes of a name outside a-z, A-Z, 0-9 and - are _ and two hexadecimal digits),
// "value" is the document. An empty index, drivetrain.APP.VIEW.read, has an alias that ends in how
// often the view has been switched. One _aliases call moves both, and fails where the
// latter is not as it was, so that the aliases never go back.
//
// # What the server must be
//
// Elasticsearch 8, alone or a cluster; no scripts, by-query or reindex calls are
// made. The user needs, on indices drivetrain.*, the privileges manage (which aliases take),
// read and write. A batch's documents travel in requests of at most some 6 MB; a page of
// large documents is held whole by the server.
package esstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// Config says which server, how to reach it, and how new indices are made.
type Config struct {
	// URLs of the nodes, one at least, such as "https://es1:9200"; calls go to
	// them in turn. A user and password in a URL are taken for all of them when
	// User is empty.
	URLs []string
	// User and Password of basic authentication; empty: none.
	User, Password string
	// APIKey is an encoded API key, instead of a user; empty: none.
	APIKey string
	// TLS is the configuration of https URLs; nil: the system's certificates.
	TLS *tls.Config
	// Timeout bounds each request, a call making a few; default 30 s, at least
	// 10 ms.
	Timeout time.Duration
	// Shards of a new index; default 1, which suits some 50 GB; at most 1,024.
	Shards int
	// Replicas of each shard of a new index; default 0: a lost node then costs a
	// rebuild of its views. On a cluster, 1 or more. At most 100.
	Replicas int
}

// String names the nodes and the kind of authentication, never a secret.
func (c Config) String() string {
	how := "without a user"
	switch {
	case c.APIKey != "":
		how = "with an API key"
	case c.User != "":
		how = "as " + c.User
	}
	hosts := make([]string, len(c.URLs))
	for i, raw := range c.URLs {
		hosts[i] = "a malformed URL"
		if u, err := url.Parse(raw); err == nil {
			hosts[i] = u.Host
		}
	}
	return fmt.Sprintf("Elasticsearch at %v %s", hosts, how)
}

// GoString does what String does.
func (c Config) GoString() string { return c.String() }

// LogValue does what String does.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// ErrClosed says that the store was closed.
var ErrClosed = errors.New("store closed")

// Store is a view.Search on Elasticsearch. It is safe for concurrent use, also
// by several processes.
type Store struct {
	config    Config
	transport *elastictransport.Client
	idle      func()         // closes idle connections
	calls     sync.WaitGroup // refreshes under way, which Close waits for

	mu          sync.Mutex
	closed      bool
	generations map[view.Generation]*generation
}

var _ view.Search = (*Store)(nil)

// generation is an index that Prepare was called for.
type generation struct {
	fields view.Fields
	name   string // of the index
	alias  string // to write through

	mu      sync.Mutex
	uuid    string          // of the index as last seen
	reached map[int32]int64 // marks that it is known to have reached
	shown   map[int32]int64 // searches see all that lies below these
	moved   map[int32]place // marks as they were last moved from here, unless that failed since
	format  int             // of the index, 0 as long as it was not seen
	refresh *refreshing     // the next refresh, not yet begun
	running *refreshing     // the one under way

	turn chan struct{} // holds one token while no refresh runs
}

// New returns the store; it calls nobody yet. Errors name the field at fault.
func New(c Config) (*Store, error) {
	c, urls, err := c.complete()
	if err != nil {
		return nil, fmt.Errorf("elasticsearch: %w", err)
	}
	base := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: min(c.Timeout, 10*time.Second)}).DialContext,
		TLSClientConfig:     c.TLS,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     90 * time.Second,
	}
	// Calls are not repeated here: whether to repeat a write is the caller's to decide.
	transport, err := elastictransport.NewClient(elastictransport.WithURLs(urls...), elastictransport.WithBasicAuth(c.User, c.Password),
		elastictransport.WithAPIKey(c.APIKey), elastictransport.WithTransport(base), elastictransport.WithDisableRetry())
	if err != nil {
		return nil, fmt.Errorf("elasticsearch: make a transport: %w", err)
	}
	return &Store{config: c, transport: transport, idle: base.CloseIdleConnections,
		generations: make(map[view.Generation]*generation)}, nil
}

// complete returns c with its defaults and its URLs without users, or says which
// field is wrong, not showing URLs, which may hold a password.
func (c Config) complete() (Config, []*url.URL, error) {
	if len(c.URLs) == 0 {
		return c, nil, errors.New("no URLs; name a node, such as http://127.0.0.1:9200")
	}
	urls := make([]*url.URL, len(c.URLs))
	for i, raw := range c.URLs {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return c, nil, fmt.Errorf("URL %d is malformed; want https://host:port", i+1)
		}
		if password, ok := u.User.Password(); ok && c.User == "" && c.APIKey == "" {
			c.User, c.Password = u.User.Username(), password
		}
		u.User = nil
		urls[i] = u
	}
	c.Timeout, c.Shards = or(c.Timeout, 30*time.Second), or(c.Shards, 1)
	switch {
	case c.APIKey != "" && c.User != "":
		return c, nil, errors.New("both User and APIKey; want one of them")
	case c.Password != "" && c.User == "":
		return c, nil, errors.New("a Password without a User")
	case c.Timeout < 10*time.Millisecond:
		return c, nil, fmt.Errorf("a Timeout of %v; want at least 10ms", c.Timeout)
	case c.Shards < 1 || c.Shards > 1024 || c.Replicas < 0 || c.Replicas > 100:
		return c, nil, fmt.Errorf("%d Shards with %d Replicas; want 1 to 1024 with 0 to 100", c.Shards, c.Replicas)
	}
	return c, urls, nil
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// Close waits for refreshes under way and closes idle connections. Calls after
// it fail with ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	s.calls.Wait() // at most Config.Timeout
	defer s.idle()
	if err := s.transport.Close(context.Background()); err != nil {
		return fmt.Errorf("elasticsearch: close: %w", err)
	}
	return nil
}

// Ping implements view.Store.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.open(); err != nil {
		return fmt.Errorf("elasticsearch: ping: %w", err)
	}
	if err := s.call(ctx, esapi.PingRequest{}, nil); err != nil {
		return fmt.Errorf("elasticsearch: ping: %w", err)
	}
	return nil
}

func (s *Store) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return nil
}

// generation returns what Prepare was called for.
func (s *Store) generation(g view.Generation) (*generation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	x, ok := s.generations[g]
	if !ok {
		return nil, errors.New("no index; call Prepare first")
	}
	return x, nil
}

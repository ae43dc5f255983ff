// Package framework puts an application together: it takes what commands and
// projections register, runs the partitions' owners and the views' tasks over the
// log and stores that its [Config] brings, and stops them in order.
//
//	app := framework.New(embedded.Config("./data"))
//	commands.Handle(app, Tribes, "found", Tribe.Found)
//	projections.Register(app, Cards)
//	log.Fatal(api.Serve(ctx, app, "127.0.0.1:8080"))
package framework

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// Config says where an application runs. Packages embedded and servers make one;
// a zero field is the default named.
type Config struct {
	App        string // prefix of topics and store keys: [a-z][a-z0-9-]*, default "app"
	Partitions int    // of the events topic, fixed at its creation; default 16, at most MaxPartitions

	// Open connects to the log and the stores. It is called once, by Run.
	Open func(ctx context.Context) (Resources, error)

	AppendTimeout time.Duration // an append's fate counts as unknown after it; default 5 s
	CommandWait   time.Duration // the longest that a command waits for its outcome; default 10 s
	ReadWait      time.Duration // the longest that a query waits for its Min-Position; default 5 s
	RememberAge   time.Duration // how long accepted commands are remembered; default 24 h
	RememberCount int           // and how many, per partition; default 100,000
	MaxQueue      int           // commands waiting per partition, above which they are refused; default 4096
	SnapshotEvery time.Duration // between two snapshots of a fold that has moved, where Open brings a place for them; default 10 s

	// MaxParkedKeys and MaxParkedEvents bound what a view holds back of one partition: the
	// keys with an event that it cannot fold, and the events of these keys. With more it
	// stops there. Defaults: 1,000 and 100,000; see stream.Park.
	MaxParkedKeys   int
	MaxParkedEvents int

	// Advertise is where other processes of the application reach this one's API:
	// host:port, which means http, or an http or https URL, perhaps with the path
	// below which the API is mounted; at most 256 bytes. They forward to it what only
	// this process can answer, as it was sent, so an address outside a network that
	// is trusted with callers' credentials is to be an https one, with a certificate
	// that the machines' own roots vouch for. It matters with a
	// Log that shares partitions only. Default: what App.Advertise was told; with
	// neither, others answer 503 in place of this process.
	Advertise string

	// Heartbeat lets the owner of a partition that has had no events for so long
	// append a record that says so, and again each time as long as there are none: at
	// least 1 s; default 0, none. It is for topologies with windows or timers that read
	// the events topic (stream.FromEvents): where a partition is idle, these close and
	// fire by its heartbeats, else with the next event. The application is told, as
	// only its owners may say what time it is in their partitions, and they do not know
	// who reads them. A record has some 40 bytes; readers of before there were
	// heartbeats stop at one.
	Heartbeat time.Duration

	// ReplaceViews lets the program begin where no process carries the version of a view
	// that is read: it goes on answering from what there is, as it stands, has a
	// generation of its own version built, switches to it once that is whole, whatever
	// it holds, and retires what nobody can follow any more. Default: such a program
	// refuses to start, as its readers would get old answers meanwhile. Package embedded
	// sets it.
	ReplaceViews bool

	// CheckDecisions refuses a decision that has changed its state, which only
	// Evolve may: a map or slice in it, say. It costs two encodings of the state a
	// command, so it is for tests; package frameworktest sets it.
	CheckDecisions bool

	Logger  *slog.Logger          // default: text on standard error, from warnings on
	Metrics prometheus.Registerer // default: a registry of its own, which the admin API shows
	Clock   clock.Clock           // default: the machine's
}

// Resources is what Config.Open brings, closed by Close when the application has
// stopped.
type Resources struct {
	Log       eventlog.Log // an eventlog.Offsets too if there are effects
	Documents view.Documents
	Search    view.Search
	// Snapshots keeps copies of what the folds hold, so that a start need not fold
	// the log from its beginning. Nil: none are kept. Where processes share the
	// partitions, one that all reach lets a partition move as fast as it restarts.
	Snapshots snapshot.BlobStore
	// Fleeting says that Documents and Search begin empty each time, so that snapshots
	// of what fills them are of no use.
	Fleeting bool
	Instance string // the process's name over restarts, for a Log that shares partitions; empty: none
	Close    func() error
}

// Aggregate is an aggregate type as the framework needs it; *aggregates.Type is
// one.
type Aggregate interface {
	cluster.Aggregate
	Check() error
	StateType() reflect.Type
	Written() map[string]reflect.Type // event names written today, with their types
	// Upcast returns a recorded event as it would be written today.
	Upcast(name string, data []byte) (nowName string, nowData []byte, err error)
}

// Command is a command as the framework needs it; commands.Handle makes one.
type Command struct {
	Aggregate Aggregate
	Name      string       // in URLs, for ever: [a-z][a-z0-9-]*
	Body      reflect.Type // the struct that its JSON body becomes
	Prepares  bool         // Bind does more than decode, and is left out for a retry of what was accepted
	// Bind decodes a body, whose values are checked already, and returns the
	// decision on it. It may do I/O, bounded by ctx.
	Bind func(ctx context.Context, body []byte, g cluster.Given) (cluster.Decide, error)
}

// View is a view as the framework needs it; projections.Register makes one.
type View struct {
	Name    string       // in URLs and store keys, for ever: [a-z][a-z0-9-]*
	Version int          // of its folds, from 1; 0 means 1. A generation is made by one
	Kind    ViewKind     // how it is asked
	Item    reflect.Type // a document of it
	Fields  view.Fields  // of Search: what a query may name
	Reads   []Read       // other views that its answers are made of
	// Topology declares what keeps a generation: a source of the name Source and, if
	// the view is keyed otherwise than the events, the shuffle behind it, whose tasks
	// fill the stores in the place of the source's.
	Topology func(Following) *stream.Topology
	Shuffle  string // the shuffle's name; empty: none
	Refolded error  // why snapshots cannot hold what its folds do; nil: they can
	// Partition returns the one partition that q's answer is made of, of the shuffle
	// if there is one; ok is false if it is made of all.
	Partition func(q Query) (n int32, ok bool)
	// Answer answers a query from the stores; the framework has waited for q.Min
	// and knows the views to be whole. Its errors are ErrNotFound, ErrInvalid, or
	// the store's.
	Answer func(ctx context.Context, r Resources, q Query) (json []byte, err error)
	// Origins says which events a document comes from, for App.Explain. Nil: nobody can
	// ask.
	Origins *Origins
	// Drop deletes what the stores hold of a generation that is retired. Nil: nothing is
	// held. It may be called again, also for what is gone.
	Drop func(ctx context.Context, r Resources, g view.Generation) error
}

// Read is a view that another one's answers are made of. Partition is of its
// partitions; nil: all.
type Read struct {
	View      string
	Partition func(q Query) (n int32, ok bool)
}

// Source is the name of what reads the events in a view's topology.
const Source = "events"

// Following is what a view's topology works on.
type Following struct {
	Resources
	Generation view.Generation
	Topic      string        // the events
	Partitions int           // that it has, and shuffles are to have
	MarkEvery  time.Duration // see stream.Store: other processes watch the marks; 0: none does
	Park       *stream.Park  // the topology's; nil: it stops where an event cannot be folded
}

// Effect is an effect as the framework needs it; projections.Register makes one.
type Effect struct {
	Name  string                        // of its group of offsets, for ever: [a-z][a-z0-9-]*
	Takes func(e *partition.Event) bool // whether Do is to be called
	Do    func(ctx context.Context, e *partition.Event) error
}

// ViewKind says how a view is asked.
type ViewKind string

// The kinds of view.
const (
	Document ViewKind = "document" // by key: the document
	Feed     ViewKind = "feed"     // by key: a page {items, next}
	Ranking  ViewKind = "ranking"  // by key: a page {items, next} of {rank, key, score, item}
	Search   ViewKind = "search"   // by words and fields: {items, total, next}
)

// Query asks a view. App, Partitions and Generation are the framework's to set.
type Query struct {
	App        string
	Partitions int
	Generation func(view string) view.Generation // that is read, the same however often it is asked
	Key        string                            // of Document, Feed and Ranking
	Text       string                            // of Search
	Is         map[string]string                 // of Search: keyword fields that must be so
	Ranges     map[string]view.Range             // of Search: what numbers and times must lie within
	Sort       string                            // of Search: the field to sort by, from the greatest down behind a "-"; empty: the best first
	After      string                            // of all but Document: the next of the page before; of Search not with Skip
	From       string                            // of Ranking: begin with the entry of this key; not with After
	Skip       int                               // of Search
	Limit      int                               // of all but Document, 1 to 100; default 20
	Min        eventlog.Positions
	// MaxStaleness lets the answer hold at least what the log held so long before it was
	// asked for, whichever process appended it: it waits for that as for Min. Below 1 ms
	// that is what the log holds then; 0: no bound; at most the constant MaxStaleness.
	MaxStaleness time.Duration
	// Shown is, of Search, by partition of the view, the offset below which all that was
	// written must be found; nil: none. Give it to the store as view.Query.Shown, and what the
	// store says of it to Saw. The framework's to set.
	Shown map[int32]int64

	parts []part           // that the answer is made of
	seen  *map[int32]int64 // what Saw was told
}

// part is a partition of a view that an answer is made of.
type part struct {
	view      string
	partition int32
	mark      int64 // that its store was known to have
}

// Least returns the mark that a store's part of a view is known to have had when the
// view was found to be whole: what is read from a part of less is not what the answer
// would claim. Give it to the store as view.Ref.Least. It is 0 for a part that the view
// does not read.
func (q *Query) Least(view string, partition int32) int64 {
	for i := range q.parts {
		if p := &q.parts[i]; p.partition == partition && p.view == view {
			return p.mark
		}
	}
	return 0
}

// Leasts is Least of all partitions of a view that it reads, as view.Query.Least.
func (q *Query) Leasts(view string) map[int32]int64 {
	all := make(map[int32]int64, len(q.parts))
	for i := range q.parts {
		if p := &q.parts[i]; p.view == view {
			all[p.partition] = p.mark
		}
	}
	return all
}

// Saw says, of an answer of Search, what the store has looked through, as view.Hits.Seen: the
// answer's position says no more than that. Without it the position says what was asked for.
func (q *Query) Saw(seen map[int32]int64) {
	if q.seen != nil {
		*q.seen = seen
	}
}

// Answer is a view's answer.
type Answer struct {
	JSON       []byte
	Positions  eventlog.Positions // the view had passed these, the offsets unknown for a search without Query.Min; with the place of the control log in which the generations were those that are read
	Generation int
}

// Call is a command as a caller sends it.
type Call struct {
	Aggregate   string
	ID          string // matches IDPattern
	Command     string
	Body        []byte // JSON; empty: no fields. A retry sends the same bytes
	Actor       string // the caller, authenticated
	Key         string // of idempotency, 1 to 128 visible ASCII characters; empty: none
	Expected    *uint64
	Correlation event.ID
}

// IDPattern is what an id in a URL must match; "." and ".." are no ids either.
const IDPattern = `^[A-Za-z0-9._~-]{1,128}$`

// MaxPartitions bounds Config.Partitions: a query of all parts is one call of a
// store.
const MaxPartitions = view.MaxPage

// What commands and states come to, as package cluster has it.
type (
	Result           = cluster.Result
	Recorded         = cluster.Recorded
	State            = cluster.State
	ConflictError    = cluster.ConflictError
	UnavailableError = cluster.UnavailableError
	BrokenError      = cluster.BrokenError
)

// Errors of commands, as package cluster has them.
var (
	ErrKeyReused = cluster.ErrKeyReused
	ErrTooLate   = cluster.ErrTooLate
)

// Errors of calls and queries.
var (
	ErrUnknown  = errors.New("unknown")   // an aggregate type, command or view that is not declared
	ErrNotFound = errors.New("not found") // an aggregate without events, or no such document
	ErrInvalid  = errors.New("invalid")   // a query or call whose values are out of bounds
)

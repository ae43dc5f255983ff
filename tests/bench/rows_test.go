package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/redis/go-redis/v9"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/api"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/clock"
	"github.com/drivetrain-go/drivetrain/projections"
)

// The application that is measured: counters, whose own code costs next to
// nothing.
type (
	fact    interface{ counter() }
	counted struct {
		By int `json:"by"`
	}
	counter struct {
		Total int `json:"total"`
	}
	count struct {
		By int `json:"by" minimum:"1"`
		aggregates.Meta
	}
)

func (counted) counter() {}

func (c counter) evolve(f fact) counter {
	c.Total += f.(counted).By
	return c
}

func (c counter) count(cmd count) ([]fact, error) { return []fact{counted{cmd.By}}, nil }

const (
	commandBody     = `{"by":1}`
	aggregatesCount = 10_000
	cardsCount      = 1000 // of these, which have a document
	partitions      = 16
	maxBatch        = 1024 // records of a floor's append, as an owner's commits
	maxWaiting      = 4096 // per partition
)

// bench is a round: an application with an empty log, and the floors beside it.
type bench struct {
	app     *framework.App
	log     eventlog.Log
	topics  [2]string // the application's, the floor's
	floor   *bareLog
	redis   *redis.Client // of what queries are asked of; nil: nothing
	ids     []string
	servers map[string]*httptest.Server // by row
	clients *clients
}

// row is one thing that is measured.
type row struct {
	name    string
	floors  []string // names of rows
	logs    bool     // it appends a record per command
	queries bool     // it answers queries by HTTP, from Redis
	ask     func(b *bench) ask
}

var rows = []row{
	{name: "bare log", logs: true, ask: (*bench).appendBare},
	{name: "App.Execute", floors: []string{"bare log"}, logs: true, ask: (*bench).execute},
	{name: "bare chi"},
	{name: "bare chi on bare log", logs: true},
	{name: "api.Handler", floors: []string{"bare chi", "bare chi on bare log"}, logs: true},
	{name: bareView, queries: true},
	{name: ourView, floors: []string{bareView}, queries: true},
}

// The rows of queries, and what of its floor's rate a processor second is promised to
// bring.
const (
	bareView       = "bare chi on bare Redis"
	ourView        = "view by key"
	promisedOfView = 0.7
)

// start runs an application until stop.
func start(cfg framework.Config, c *clients) (b *bench, stop func() error, err error) {
	cfg.App = "bench-" + clock.NewID(clock.System).String()
	cfg.Partitions = partitions
	b = &bench{clients: c, topics: [2]string{cfg.App + ".events", cfg.App + ".floor"}}
	open := cfg.Open
	cfg.Open = func(ctx context.Context) (framework.Resources, error) {
		r, err := open(ctx)
		b.log = r.Log
		if documents, ok := r.Documents.(inRedis); ok {
			b.redis = documents.client
		}
		return r, err
	}
	b.app = framework.New(cfg)
	counters := &aggregates.Type[counter, fact]{Name: "counter", Evolve: counter.evolve,
		Events: event.Types[fact]{"counter.counted": event.As[fact, counted]()}}
	commands.Handle(b.app, counters, "count", counter.count)
	projections.Register(b.app, &projections.View[card, fact]{Name: "card", From: counters.Stream(), Fold: card.fold})
	for i := range aggregatesCount {
		b.ids = append(b.ids, fmt.Sprint("counter-", i))
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.app.Run(ctx) }()
	stop = func() error {
		b.close()
		cancel()
		return <-ended
	}
	if err := b.furnish(ctx); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return b, stop, nil
}

// furnish waits for the application and sets up the floors.
func (b *bench) furnish(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); len(b.app.Unready()) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("the application is not ready: %v", b.app.Unready())
		}
	}
	if err := b.log.Ensure(ctx, eventlog.Topic{Name: b.topics[1], Partitions: partitions}); err != nil {
		return err
	}
	record, err := b.sample(ctx)
	if err != nil {
		return err
	}
	b.floor = newBareLog(b.log, b.topics[1], record)
	handler := api.Handler(b.app, api.CallerHeader("User"))
	same, err := b.sameAnswer(handler)
	if err != nil {
		return err
	}
	b.servers = map[string]*httptest.Server{
		"bare chi": httptest.NewServer(bareChi(same, func(*http.Request) error { return nil })),
		"bare chi on bare log": httptest.NewServer(bareChi(same, func(r *http.Request) error {
			return b.floor.append(partitionOf(chi.URLParam(r, "id")))
		})),
		"api.Handler": httptest.NewServer(handler),
	}
	if b.redis == nil {
		return nil
	}
	header, err := b.furnishViews(ctx, handler)
	if err != nil {
		return err
	}
	b.servers[bareView], b.servers[ourView] = httptest.NewServer(b.bareView(header)), httptest.NewServer(handler)
	return nil
}

func (b *bench) close() {
	for _, s := range b.servers {
		s.Close()
	}
	if b.floor != nil {
		b.floor.close()
	}
}

// sample executes a command and returns its record, which the floor appends.
func (b *bench) sample(ctx context.Context) (eventlog.Record, error) {
	res, err := b.app.Execute(ctx, b.call())
	if err != nil {
		return eventlog.Record{}, err
	}
	reader, err := b.log.Read(b.topics[0], res.Position.Partition, res.Position.Offset)
	if err != nil {
		return eventlog.Record{}, err
	}
	defer reader.Close()
	records, err := reader.Next(ctx)
	if err != nil {
		return eventlog.Record{}, err
	}
	return records[0], nil
}

// written returns how many records both topics hold.
func (b *bench) written(ctx context.Context) (n int64, err error) {
	for _, topic := range b.topics {
		for p := range int32(partitions) {
			end, err := b.log.End(ctx, topic, p)
			if err != nil {
				return 0, err
			}
			n += end
		}
	}
	return n, nil
}

func (b *bench) call() framework.Call {
	return framework.Call{Aggregate: "counter", ID: b.ids[rand.IntN(len(b.ids))], Command: "count", Body: []byte(commandBody), Actor: "maya"}
}

func (b *bench) execute() ask {
	return func() error {
		res, err := b.app.Execute(context.Background(), b.call())
		if err == nil && len(res.Events) != 1 {
			err = fmt.Errorf("%d events were recorded", len(res.Events))
		}
		return err
	}
}

func (b *bench) appendBare() ask {
	return func() error { return b.floor.append(partitionOf(b.ids[rand.IntN(len(b.ids))])) }
}

func partitionOf(id string) int32 {
	return eventlog.PartitionOf(partition.Key("counter", id), partitions)
}

// bareLog appends one record for each caller: per partition one batch in flight,
// and the next is made of those who came meanwhile. An owner must at least do
// this.
type bareLog struct {
	log    eventlog.Log
	topic  string
	record eventlog.Record
	queues [partitions]chan chan error
	spare  sync.Pool
	loops  sync.WaitGroup
}

func newBareLog(log eventlog.Log, topic string, record eventlog.Record) *bareLog {
	l := &bareLog{log: log, topic: topic, record: record}
	l.spare.New = func() any { return make(chan error, 1) }
	for p := range l.queues {
		l.queues[p] = make(chan chan error, maxWaiting)
		l.loops.Go(func() { l.loop(int32(p)) })
	}
	return l
}

// append returns when the record is durable.
func (l *bareLog) append(p int32) error {
	done := l.spare.Get().(chan error)
	l.queues[p] <- done
	err := <-done
	l.spare.Put(done)
	return err
}

func (l *bareLog) loop(p int32) {
	var waiting []chan error
	for first := range l.queues[p] {
		waiting = l.gather(append(waiting[:0], first), p)
		batch := make([]eventlog.Record, len(waiting)) // the log keeps it
		for i := range batch {
			batch[i] = l.record
		}
		_, err := l.log.Append(context.Background(), l.topic, p, batch)
		for _, done := range waiting {
			done <- err
		}
	}
}

func (l *bareLog) gather(waiting []chan error, p int32) []chan error {
	for len(waiting) < maxBatch {
		select {
		case done, ok := <-l.queues[p]:
			if !ok {
				return waiting
			}
			waiting = append(waiting, done)
		default:
			return waiting
		}
	}
	return waiting
}

// close ends the loops; nobody may wait any more.
func (l *bareLog) close() {
	for _, q := range l.queues {
		close(q)
	}
	l.loops.Wait()
}

// answer is what a handler sends.
type answer struct {
	header http.Header
	body   []byte
}

// sameAnswer returns what ours answers to a command.
func (b *bench) sameAnswer(ours http.Handler) (answer, error) {
	r := httptest.NewRequest(http.MethodPost, "/v1/counter/counter-0/count", strings.NewReader(commandBody))
	r.Header.Set("User", "maya")
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	ours.ServeHTTP(w, r)
	a := answer{w.Header(), w.Body.Bytes()}
	if w.Code != http.StatusOK || !json.Valid(a.body) {
		return a, fmt.Errorf("a command is answered %d: %s", w.Code, a.body)
	}
	return a, nil
}

// bareChi is the least that a chi handler can do for a command.
func bareChi(same answer, before func(*http.Request) error) http.Handler {
	mux := chi.NewMux()
	mux.Post("/v1/counter/{id}/count", func(w http.ResponseWriter, r *http.Request) {
		if err := before(r); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		h := w.Header()
		for name, values := range same.header {
			h[name] = values
		}
		w.Write(same.body)
	})
	return mux
}

// cell is one measurement.
type cell struct {
	measured
	server time.Duration // processor time of the process that answers
	client time.Duration // of the callers' process; 0 if they are in the same
	others float64       // processors that were busy with others; -1: not known
}

// measure fills a cell of r.
func (b *bench) measure(ctx context.Context, r row, callers int, d time.Duration) (c cell, err error) {
	before, err := b.written(ctx)
	if err != nil {
		return c, err
	}
	var marks []usage
	mark := func() { marks = append(marks, now()) }
	if server := b.servers[r.name]; server != nil {
		var told report
		what := aCommand
		if r.queries {
			what = aQuery
		}
		told, err = b.clients.ask(order{server.Listener.Addr().String(), what, callers, d}, mark)
		c.measured, c.client = told.Measured, told.CPU
	} else {
		asks := make([]ask, callers)
		for i := range asks {
			asks[i] = r.ask(b)
		}
		c.measured, err = load(asks, d, mark)
	}
	if err != nil {
		return c, fmt.Errorf("%s, %d callers: %w", r.name, callers, err)
	}
	c.server = marks[1].own - marks[0].own
	c.others = marks[1].others(marks[0], c.client)
	after, err := b.written(ctx)
	if r.logs && after-before < int64(c.Answered) {
		err = errors.Join(err, fmt.Errorf("%s, %d callers: %d commands were answered, but %d records are in the log", r.name, callers, c.Answered, after-before))
	}
	return c, err
}

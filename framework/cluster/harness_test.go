package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "t.events"

// tally is a state that is changed in place, before anything can fail.
type tally struct {
	Sum int            `json:"sum"`
	By  map[string]int `json:"by"`
}

func (t *tally) MarshalJSON() ([]byte, error) {
	if t.By["unshowable"] > 0 {
		panic("as asked")
	}
	type plain tally
	return json.Marshal((*plain)(t))
}

type tallies struct{}

func (tallies) TypeName() string                { return "tally" }
func (tallies) Zero() any                       { return &tally{By: map[string]int{}} }
func (tallies) StateJSON(s any) ([]byte, error) { return json.Marshal(s) }
func (tallies) Shape() string                   { return "v1 test" }
func (tallies) AppendState(b []byte, s any) ([]byte, error) {
	data, err := json.Marshal(s)
	return append(b, data...), err
}
func (tallies) DecodeState(data []byte) (any, error) {
	t := new(tally)
	return t, json.Unmarshal(data, t)
}
func (tallies) Fold(s any, name string, data []byte) error {
	t := s.(*tally)
	t.By[string(data)]++
	switch name {
	case "added":
		t.Sum++
		return nil
	case "boom":
		panic("as asked")
	}
	return fmt.Errorf("unknown event %q", name)
}

// no is a rejection.
type no string

func (n no) Error() string            { return string(n) }
func (n no) Rejected() (string, bool) { return string(n), false }

func emit(name string, keys ...string) Decide {
	return func(any, Given) (facts []Fact, _ error) {
		for _, k := range keys {
			facts = append(facts, Fact{name, []byte(k)})
		}
		return facts, nil
	}
}

func add(keys ...string) Decide { return emit("added", keys...) }

// between adds key while the sum is at least low and below high.
func between(low, high int, key string) Decide {
	return func(s any, g Given) ([]Fact, error) {
		if sum := s.(*tally).Sum; sum < low || sum >= high {
			return nil, no(fmt.Sprintf("sum is %d", sum))
		}
		return add(key)(s, g)
	}
}

var noon = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // where a bubble's clock begins

func cmd(n int) event.ID {
	return event.NewID(noon.Add(time.Duration(n)*time.Millisecond), [10]byte{byte(n), byte(n >> 8)})
}

func ask(id string, n int, d Decide) Request {
	return Request{Aggregate: tallies{}, ID: id, Command: cmd(n), Digest: uint64(n), Decide: d}
}

// play is a test in a bubble of its own time, on a log with one partition.
type play struct {
	*testing.T
	log *memlog.Log // as a process without faults sees it
}

func script(t *testing.T, f func(*play)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		if err := log.Ensure(t.Context(), eventlog.Topic{Name: topic, Partitions: 1}); err != nil {
			t.Fatal(err)
		}
		f(&play{t, log})
	})
}

// node is an owner at work in a process of its own.
type node struct {
	*Owner
	p      *play
	log    *memlog.Log
	cancel context.CancelFunc
	ended  chan struct{}

	mu     sync.Mutex
	sent   [][]eventlog.Record // batches, in the order sent
	times  []time.Time
	faults []memlog.Fault // of the next appends
	before func()         // the next append
}

func (p *play) config(log eventlog.Log, options ...func(*OwnerConfig)) OwnerConfig {
	cfg := OwnerConfig{Log: log, Topic: topic, Process: clock.NewID(clock.System), Aggregates: map[string]Aggregate{"tally": tallies{}},
		AppendTimeout: 5 * time.Second, Memory: partition.Memory{Age: 24 * time.Hour, Number: 1000}, MaxQueue: 64,
		Clock: clock.System, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: NewMetrics(nil)}
	for _, o := range options {
		o(&cfg)
	}
	return cfg
}

// idle makes a node that does not run yet.
func (p *play) idle(options ...func(*OwnerConfig)) *node {
	n := &node{p: p, log: p.log.Connect(), ended: make(chan struct{})}
	n.log.OnAppend(n.hook)
	n.Owner = NewOwner(p.config(n.log, options...))
	return n
}

func (p *play) node(options ...func(*OwnerConfig)) *node {
	n := p.idle(options...)
	n.start()
	return n
}

func (n *node) start() {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() {
		defer close(n.ended)
		n.Run(ctx)
	}()
	n.p.Cleanup(n.stop)
	synctest.Wait()
}

func (n *node) stop() {
	n.cancel()
	<-n.ended
}

func (n *node) hook(_ string, _ int32, batch []eventlog.Record) memlog.Fault {
	n.mu.Lock()
	n.sent, n.times = append(n.sent, batch), append(n.times, time.Now())
	fault := memlog.None
	if len(n.faults) > 0 {
		fault, n.faults = n.faults[0], n.faults[1:]
	}
	before := n.before
	n.before = nil
	n.mu.Unlock()
	if before != nil {
		before()
	}
	return fault
}

func (n *node) suffers(faults ...memlog.Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = faults
}

func (n *node) then(before func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.before = before
}

// kinds returns what was sent, a letter for each batch: claim, probe, heartbeat, or
// the number of its events.
func (n *node) kinds() (s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range n.sent {
		switch kind, _ := event.KindOf(b[0].Header); kind {
		case event.KindClaim:
			s += "c"
		case event.KindProbe:
			s += "p"
		case event.KindHeartbeat:
			s += "h"
		default:
			s += fmt.Sprint(len(b))
		}
	}
	return s
}

// call is a request under way.
type call struct {
	p    *play
	done chan struct{}
	res  Result
	err  error
}

// send sends a request whose caller waits for a minute, and lets all settle.
func (n *node) send(r Request) *call { return n.sendFor(time.Minute, r) }

func (n *node) sendFor(d time.Duration, r Request) *call {
	c := &call{p: n.p, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		c.res, c.err = n.Execute(ctx, r)
	}()
	synctest.Wait()
	return c
}

func (c *call) answered() bool {
	synctest.Wait()
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *call) accepted(version uint64) Result {
	c.p.Helper()
	<-c.done
	if c.err != nil || c.res.Version != version || len(c.res.Events) == 0 {
		c.p.Fatalf("got version %d with %d events, %v, want version %d", c.res.Version, len(c.res.Events), c.err, version)
	}
	return c.res
}

func (c *call) refused(check func(error) bool) {
	c.p.Helper()
	<-c.done
	if c.err == nil || !check(c.err) {
		c.p.Fatalf("got %+v, %v (%T), want another error", c.res, c.err, c.err)
	}
}

func is(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }

func rejected(err error) bool {
	var r Rejecter
	return errors.As(err, &r)
}

func unresolved(err error) bool {
	var u *UnavailableError
	return errors.As(err, &u) && u.Unresolved
}

func unavailable(err error) bool {
	var u *UnavailableError
	return errors.As(err, &u) && !u.Unresolved
}

func (n *node) shows(id, want string) {
	n.p.Helper()
	s, err := n.State(context.Background(), tallies{}, id)
	if err != nil || string(s.JSON) != want {
		n.p.Fatalf("state of %s is %s, %v, want %s", id, s.JSON, err, want)
	}
}

// valid checks how many commits in the log are valid, by the naive oracle.
func (p *play) valid(want int) {
	p.Helper()
	synctest.Wait()
	if got := replay(p.log.Records(topic, 0)); len(got.commits) != want {
		p.Fatalf("%d commits are valid, want %d: %+v", len(got.commits), want, got.commits)
	}
}

func (p *play) append(records ...eventlog.Record) {
	p.Helper()
	if _, err := p.log.Append(context.Background(), topic, 0, records); err != nil {
		p.Fatal(err)
	}
}

// claim writes another process's claim.
func (p *play) claim(epoch uint64) {
	p.append(eventlog.Record{Header: partition.ClaimHeader(partition.Claim{Epoch: epoch, Owner: event.ID{9}})})
}

// commit writes another process's commit.
func (p *play) commit(epoch uint64, id string, version uint64, n int, name string, keys ...string) {
	records := make([]eventlog.Record, len(keys))
	for i, k := range keys {
		e := event.Envelope{ID: cmd(n).Derive(i, noon), Command: cmd(n), Digest: uint64(n), Type: name, Version: version + uint64(i),
			Epoch: epoch, Index: i, Count: len(keys), Time: noon}
		records[i] = eventlog.Record{Key: partition.Key("tally", id), Header: e.Append(nil), Value: []byte(k)}
	}
	p.append(records...)
}

package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// TestSimulation lets two or three processes with an owner each share one
// partition, while appends are lost, late, doubled and slow and processes are
// paused, stopped and killed, and judges all answers by what the log says in the
// end. SIM_SEEDS says how many seeds (200), SIM_SEED the first of them (1; alone it
// runs just that one).
func TestSimulation(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // a seed's run is almost the same each time
	first, n := uint64(1), uint64(200)
	if s, err := strconv.ParseUint(os.Getenv("SIM_SEED"), 10, 64); err == nil {
		first, n = s, 1
	}
	if s, err := strconv.ParseUint(os.Getenv("SIM_SEEDS"), 10, 64); err == nil {
		n = s
	}
	counts := map[string]int{}
	for seed := first; seed < first+n && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) { simulate(t, seed, counts) })
	}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%7d %s", counts[name], name)
	}
}

const (
	simProcesses  = 3
	simCallers    = 6
	simCommands   = 40 // of each caller
	simAggregates = 3
)

// world is one simulation.
type world struct {
	t      testing.TB
	seed   uint64
	log    *memlog.Log // without faults
	memory partition.Memory
	clock  *seeded

	mu       sync.Mutex
	counts   map[string]int
	running  []*process
	all      []*process
	attempts []*attempt
}

// process is an owner with a connection of its own, in which it can be paused.
type process struct {
	*Owner
	log    *memlog.Log
	cancel context.CancelFunc
	ended  chan struct{}

	mu     sync.Mutex
	paused chan struct{} // closed when it goes on; nil while it runs
}

// gated is a process's log: a call under way stands still while it is paused.
type gated struct {
	*memlog.Log
	p *process
}

func (g *gated) Append(ctx context.Context, topic string, part int32, batch []eventlog.Record) (int64, error) {
	if g.p.stand() { // what was sent in time may arrive long after
		var cancel func()
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
	}
	defer g.p.stand()
	return g.Log.Append(ctx, topic, part, batch)
}

func (g *gated) End(ctx context.Context, topic string, part int32) (int64, error) {
	defer g.p.stand()
	return g.Log.End(ctx, topic, part)
}

// stand waits while the process is paused and reports whether it was.
func (p *process) stand() bool {
	p.mu.Lock()
	paused := p.paused
	p.mu.Unlock()
	if paused != nil {
		<-paused
	}
	return paused != nil
}

func (p *process) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused == nil {
		p.paused = make(chan struct{})
	}
}

func (p *process) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused != nil {
		close(p.paused)
		p.paused = nil
	}
}

// seeded is the bubble's clock with a seed's randomness.
type seeded struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func (c *seeded) Now() time.Time                         { return time.Now() }
func (c *seeded) After(d time.Duration) <-chan time.Time { return time.After(d) }
func (c *seeded) Entropy() (b [10]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	binary.BigEndian.PutUint64(b[:], c.rng.Uint64())
	b[8], b[9] = byte(c.rng.Uint32()), byte(c.rng.Uint32())
	return b
}

// attempt is one request and its answer, as its caller saw it.
type attempt struct {
	command    event.ID
	key        string
	began, end time.Time
	from, to   int64 // the log's end when it began and when it was answered
	res        Result
	state      *State // of a read
	err        error
}

func simulate(t *testing.T, seed uint64, counts map[string]int) {
	w := &world{t: t, seed: seed, log: memlog.New(), counts: counts,
		memory: partition.Memory{Age: 24 * time.Hour, Number: 1000}, clock: &seeded{rng: rand.New(rand.NewPCG(seed, 1))}}
	if seed%5 == 0 {
		w.memory.Number = 20
	}
	if err := w.log.Ensure(t.Context(), eventlog.Topic{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	var callers, chaos sync.WaitGroup
	for i := range simProcesses - int(seed%2) {
		chaos.Go(func() {
			w.haunt(rand.New(rand.NewPCG(seed, uint64(100+i))), time.Duration(i)*50*time.Millisecond, over)
		})
	}
	for i := range simCallers {
		callers.Go(func() { w.call(rand.New(rand.NewPCG(seed, uint64(200+i)))) })
	}
	callers.Wait()
	close(over)
	chaos.Wait()
	w.settle()
	w.judge()
}

// haunt keeps a process in one place of the cluster, and plagues it.
func (w *world) haunt(rng *rand.Rand, after time.Duration, over chan struct{}) {
	time.Sleep(after)
	p := w.start(rng)
	for {
		select {
		case <-over:
			return
		case <-time.After(time.Duration(rng.IntN(400)) * time.Millisecond):
		}
		switch rng.IntN(10) {
		case 0, 1, 2:
			w.count("process paused")
			p.pause()
			select {
			case <-time.After(time.Duration(1+rng.IntN(1<<rng.IntN(13))) * time.Millisecond):
			case <-over:
			}
			p.resume()
		case 3:
			w.count("process stopped")
			w.end(p)
			time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
			p = w.start(rng)
		case 4:
			w.count("process killed")
			p.log.Close()
			w.end(p)
			p = w.start(rng)
		}
	}
}

func (w *world) start(rng *rand.Rand) *process {
	p := &process{log: w.log.Connect(), ended: make(chan struct{})}
	few := 1 - 0.8*float64(w.seed%3)/2 // some seeds are kinder
	p.log.SetFaults(rng.Uint64(), memlog.Faults{Lost: 0.03 * few, Unacked: 0.03 * few, Late: 0.04 * few, Twice: 0.08 * few, UnackedTwice: 0.02 * few,
		Delayed: 0.06 * few, Held: 0.02 * few, End: 0.05, Next: 0.05, Deliver: 0.2})
	p.Owner = NewOwner(OwnerConfig{Log: &gated{p.log, p}, Topic: topic, Process: clock.NewID(w.clock), Aggregates: map[string]Aggregate{"tally": tallies{}},
		AppendTimeout: 200 * time.Millisecond, Memory: w.memory, MaxQueue: 16,
		Clock: w.clock, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: NewMetrics(nil)})
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() {
		defer close(p.ended)
		p.Run(ctx)
	}()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running, w.all = append(w.running, p), append(w.all, p)
	return p
}

func (w *world) end(p *process) {
	if reason := p.Status().Reason; strings.Contains(reason, errBroken.Error()) || strings.Contains(reason, errLostRecords.Error()) {
		w.fail("an owner has stopped for good: %s", reason)
	}
	p.resume()
	p.cancel()
	<-p.ended
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = slices.DeleteFunc(w.running, func(q *process) bool { return q == p })
	for f := memlog.Lost; f <= memlog.NextFailed; f++ {
		w.counts["fault "+f.String()] += p.log.Count(f)
	}
}

func (w *world) count(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what]++
}

// pick returns a process to ask, one that serves if it can.
func (w *world) pick(rng *rand.Rand) *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.running) == 0 {
		return nil
	}
	p := w.running[rng.IntN(len(w.running))]
	for range 3 {
		if !p.Status().Serving {
			p = w.running[rng.IntN(len(w.running))]
		}
	}
	return p
}

// call is one caller: it sends commands, and sends them again.
func (w *world) call(rng *rand.Rand) {
	for range simCommands {
		r := w.request(rng)
		var hedge sync.WaitGroup
		if rng.IntN(10) == 0 {
			other := rand.New(rand.NewPCG(rng.Uint64(), 0))
			hedge.Go(func() { w.insist(other, r) })
		}
		w.insist(rng, r)
		hedge.Wait()
		if rng.IntN(6) == 0 {
			time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
			w.insist(rng, r)
		}
		if rng.IntN(4) == 0 {
			w.read(rng, r.ID)
		}
		time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond)
	}
}

func (w *world) request(rng *rand.Rand) Request {
	r := Request{Aggregate: tallies{}, ID: strconv.Itoa(rng.IntN(simAggregates)), Command: clock.NewID(w.clock), Digest: rng.Uint64()}
	key := string(rune('a' + rng.IntN(4)))
	high := rng.IntN(simCallers * simCommands / simAggregates)
	switch n := rng.IntN(20); {
	case n < 9:
		r.Decide = add(slices.Repeat([]string{key}, 1+rng.IntN(3))...)
	case n < 14:
		r.Decide = between(0, high, key)
	case n < 17:
		expected := uint64(high)
		if p := w.pick(rng); p != nil {
			if s, err := p.State(w.t.Context(), tallies{}, r.ID); err == nil {
				expected = s.Version
			}
		}
		r.Expected, r.Decide = &expected, add(key)
	case n < 19:
		r.Decide = add()
	default:
		r.Decide = emit("boom", key)
	}
	return r
}

// insist sends a command until its fate is known, at most five times.
func (w *world) insist(rng *rand.Rand, r Request) {
	for range 5 {
		p := w.pick(rng)
		if p == nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		var u *UnavailableError
		if a := w.attempt(p, r, time.Duration(1+rng.IntN(1<<rng.IntN(12)))*time.Millisecond); !errors.As(a.err, &u) {
			return
		}
		time.Sleep(time.Duration(rng.IntN(1<<rng.IntN(9))) * time.Millisecond)
	}
}

func (w *world) attempt(p *process, r Request, d time.Duration) *attempt {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	a := &attempt{command: r.Command, key: "tally/" + r.ID, began: time.Now(), from: w.length()}
	a.res, a.err = p.Execute(ctx, r)
	w.note(a)
	return a
}

func (w *world) note(a *attempt) {
	a.end, a.to = time.Now(), w.length()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts = append(w.attempts, a)
	w.counts["answer "+a.outcome()]++
}

func (w *world) read(rng *rand.Rand, id string) {
	p := w.pick(rng)
	if p == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	a := &attempt{key: "tally/" + id, began: time.Now(), from: w.length()}
	s, err := p.State(ctx, tallies{}, id)
	a.state, a.err = &s, err
	w.note(a)
}

func (w *world) length() int64 {
	end, err := w.log.End(context.Background(), topic, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return end
}

// settle ends the faults: now every command gets a definite answer.
func (w *world) settle() {
	w.log.DeliverAll()
	for _, p := range slices.Clone(w.running[1:]) {
		w.end(p)
	}
	p := w.running[0]
	p.log.SetFaults(0, memlog.Faults{})
	w.log.DeliverAll()
	time.Sleep(time.Minute)
	asked := map[event.ID]bool{}
	for _, a := range slices.Clone(w.attempts) {
		if a.state != nil || a.outcome() != "unresolved" || asked[a.command] {
			continue
		}
		asked[a.command] = true
		r := Request{Aggregate: tallies{}, ID: a.key[len("tally/"):], Command: a.command, Decide: add()}
		if h := replay(w.t, w.log.Records(topic, 0)); h.find(a.command) != nil {
			r.Digest = h.digests[a.command]
		}
		if got := w.attempt(p, r, time.Minute); got.outcome() != "accepted" && got.outcome() != "no-op" && got.outcome() != "too late" {
			w.fail("the last try of %v: %+v, %v", a.command, got.res, got.err)
		}
	}
	w.end(p)
}

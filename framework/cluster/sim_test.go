package cluster

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
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
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/internal/clock"
	"github.com/drivetrain-go/drivetrain/internal/seeds"
)

// TestSimulation lets two or three processes with an owner each share one
// partition, while appends are lost, torn, late, doubled and slow and processes
// are paused, stopped and killed, and judges all answers by what the log says in
// the end. SIM_SEEDS says how many seeds, SIM_SEED the first of them (1; alone it
// runs just that one). It prints the same each time, whatever the machine does.
func TestSimulation(t *testing.T) { seeds.Test(t, simSeeds, simMust, simulated) }

func simulated(t *testing.T, seed uint64) (r seeds.Report) {
	synctest.Test(t, func(t *testing.T) { r = simulate(t, seed) })
	return r
}

// simMust is what the seeds of a plain run bring about, each at least once.
var simMust = []string{"answer accepted", "answer conflict", "answer failed", "answer no-op", "answer read", "answer rejected",
	"answer too late", "answer unavailable", "answer unresolved", "fault delayed", "fault end-failed", "fault held", "fault late",
	"fault lost", "fault next-failed", "log a snapshot is not used", "log a snapshot was not stored", "log partition restored from a snapshot", "fault torn", "fault twice", "fault unacked", "fault unacked-twice", "process killed",
	"process paused", "process stopped", "verdict claimed", "verdict cut off", "verdict heartbeat", "verdict open", "verdict probe", "verdict valid",
	"verdict void old epoch", "verdict void version does not follow"}

func TestASimulationIsTheSameAgain(t *testing.T) { seeds.TestAgain(t, 1, againSeeds, simulated) }

const (
	simProcesses  = 3
	simCallers    = 6
	simCommands   = 25 // of each caller
	simAggregates = 3
)

// world is one simulation.
type world struct {
	seed   uint64
	turns  *turns
	log    *memlog.Log // without faults
	memory partition.Memory
	blobs  snapshot.BlobStore // nil: no snapshots are kept

	mu       sync.Mutex
	report   seeds.Report
	running  []*process
	all      []*process
	attempts []*attempt
}

// attempt is one request and its answer, as its caller saw it.
type attempt struct {
	command    event.ID
	fresh      bool
	key        string
	began, end time.Time
	from, to   int64 // the log's end when it began and when it was answered
	res        Result
	state      *State // of a read
	err        error
}

// Who takes turns, besides the callers' and the processes' goroutines.
const (
	director = iota
	firstHaunt
	firstCaller  = 100
	firstHedge   = 200 // its caller's number + 100
	firstProcess = 1000
	stores       = 10_000 // of a process: its number + 10,000
)

func simulate(t *testing.T, seed uint64) seeds.Report {
	w := &world{seed: seed, turns: newTurns(seed), log: memlog.New(), report: seeds.Report{Counts: map[string]int{}},
		memory: partition.Memory{Age: 24 * time.Hour, Number: 1000}}
	if seed%5 == 0 {
		w.memory.Number = 20
	}
	if seed%4 != 0 {
		w.blobs = w.store()
	}
	if err := w.log.Ensure(t.Context(), eventlog.Topic{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		w.direct(as(director))
	}()
	w.turns.give(over)
	return w.report
}

// direct lets all the others play, and then judges them.
func (w *world) direct(ctx context.Context) {
	over := make(chan struct{})
	var callers, chaos sync.WaitGroup
	for i := range simProcesses - int(w.seed%2) {
		chaos.Go(func() { w.haunt(as(firstHaunt+i), i, over) })
	}
	for i := range simCallers {
		callers.Go(func() { w.call(as(firstCaller+i), w.rng(firstCaller+i)) })
	}
	callers.Wait()
	close(over)
	chaos.Wait()
	w.turns.take(ctx)
	w.settle(ctx)
	w.judge()
}

// rng returns the randomness of one goroutine.
func (w *world) rng(who int) *rand.Rand { return rand.New(rand.NewPCG(w.seed, uint64(who))) }

// sleep waits, and then for its turn.
func (w *world) sleep(ctx context.Context, d time.Duration) {
	time.Sleep(d)
	w.turns.take(ctx)
}

// haunt keeps a process in the i-th place of the cluster, and plagues it.
func (w *world) haunt(ctx context.Context, i int, over chan struct{}) {
	rng := w.rng(firstHaunt + i)
	w.sleep(ctx, time.Duration(i)*50*time.Millisecond)
	p := w.start()
	for w.pass(ctx, time.Duration(rng.IntN(400))*time.Millisecond, over) {
		switch rng.IntN(10) {
		case 0, 1, 2:
			w.count("process paused")
			p.pause()
			w.pass(ctx, time.Duration(1+rng.IntN(1<<rng.IntN(13)))*time.Millisecond, over)
			p.resume()
		case 3:
			w.count("process stopped")
			w.end(ctx, p)
			w.sleep(ctx, time.Duration(rng.IntN(200))*time.Millisecond)
			p = w.start()
		case 4:
			w.count("process killed")
			p.log.Close()
			w.end(ctx, p)
			p = w.start()
		case 5, 6:
			w.log.Release(topic, 0) // else who cannot read cannot append, and so nobody releases it
		}
	}
}

// pass waits, and then for its turn, and reports whether it is not over.
func (w *world) pass(ctx context.Context, d time.Duration, over chan struct{}) bool {
	select {
	case <-over:
	case <-time.After(d):
	}
	w.turns.take(ctx)
	select {
	case <-over:
		return false
	default:
		return true
	}
}

func (w *world) start() *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	who := firstProcess + len(w.all)
	rng := w.rng(who)
	few := 1 - 0.8*float64(w.seed%3)/2 // some seeds are kinder
	p := &process{log: w.log.Connect(), ended: make(chan struct{}), seed: rng.Uint64(), rng: rng}
	p.suffer(few)
	log, source := &gated{p.log, w, p}, &seeded{rng: rand.New(rand.NewPCG(w.seed, p.seed))}
	p.Owner = NewOwner(OwnerConfig{Log: log, Topic: topic, Process: clock.NewID(source), Aggregates: map[string]Aggregate{"tally": tallies{}},
		AppendTimeout: 200 * time.Millisecond, Memory: w.memory, MaxQueue: 16,
		Snapshots: w.blobs, SnapshotEvery: time.Duration(5+rng.IntN(200))*time.Millisecond + 137*time.Microsecond, // when nothing else is due
		Heartbeat: time.Duration(w.seed%3) * 15 * time.Millisecond,
		Clock:     source, Logger: slog.New(noting{w}), Metrics: NewMetrics(nil)})
	p.each = 1 // so that a cut takes several rounds
	ctx, cancel := context.WithCancel(as(who))
	p.cancel = cancel
	go func() {
		defer close(p.ended)
		p.Run(ctx)
	}()
	w.running, w.all = append(w.running, p), append(w.all, p)
	return p
}

func (w *world) end(ctx context.Context, p *process) {
	if reason := p.Status().Reason; strings.Contains(reason, errBroken.Error()) || strings.Contains(reason, errLostRecords.Error()) {
		w.fail("an owner has stopped for good: %s", reason)
	}
	p.resume()
	p.cancel()
	<-p.ended
	w.turns.take(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = slices.DeleteFunc(w.running, func(q *process) bool { return q == p })
	for f := memlog.Lost; f < memlog.NextFailed; f++ {
		w.report.Counts["fault "+f.String()] += p.log.Count(f)
	}
}

func (w *world) count(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report.Counts[what]++
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
func (w *world) call(ctx context.Context, rng *rand.Rand) {
	w.turns.take(ctx)
	for range simCommands {
		r := w.request(ctx, rng)
		if rng.IntN(6) == 0 {
			w.once(ctx, rng, r)
			continue
		}
		var hedge sync.WaitGroup
		if rng.IntN(10) == 0 {
			other := rand.New(rand.NewPCG(rng.Uint64(), 0))
			again := as(who(ctx) + firstHedge - firstCaller)
			hedge.Go(func() {
				w.turns.take(again)
				w.insist(again, other, r)
			})
		}
		w.insist(ctx, rng, r)
		hedge.Wait()
		w.turns.take(ctx)
		if rng.IntN(6) == 0 {
			w.sleep(ctx, time.Duration(rng.IntN(100))*time.Millisecond)
			w.insist(ctx, rng, r)
		}
		if rng.IntN(4) == 0 {
			w.read(ctx, rng, r.ID)
		}
		w.sleep(ctx, time.Duration(rng.IntN(10))*time.Millisecond)
	}
}

// once sends a command that is never sent again.
func (w *world) once(ctx context.Context, rng *rand.Rand, r Request) {
	if p := w.pick(rng); p != nil {
		r.Fresh = true
		w.attempt(ctx, p, r, time.Second)
	}
	w.sleep(ctx, time.Duration(rng.IntN(10))*time.Millisecond)
}

func (w *world) request(ctx context.Context, rng *rand.Rand) Request {
	r := Request{Aggregate: tallies{}, ID: strconv.Itoa(rng.IntN(simAggregates)), Command: clock.NewID(&seeded{rng: rng}), Digest: rng.Uint64()}
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
			if s, err := p.State(ctx, tallies{}, r.ID); err == nil {
				expected = s.Version
			}
			w.turns.take(ctx)
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
func (w *world) insist(ctx context.Context, rng *rand.Rand, r Request) {
	for range 5 {
		p := w.pick(rng)
		if p == nil {
			w.sleep(ctx, 10*time.Millisecond)
			continue
		}
		var u *UnavailableError
		if a := w.attempt(ctx, p, r, time.Duration(1+rng.IntN(1<<rng.IntN(12)))*time.Millisecond); !errors.As(a.err, &u) {
			return
		}
		w.sleep(ctx, time.Duration(10+rng.IntN(1<<rng.IntN(10)))*time.Millisecond)
	}
}

func (w *world) attempt(ctx context.Context, p *process, r Request, d time.Duration) *attempt {
	within, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	a := &attempt{command: r.Command, fresh: r.Fresh, key: "tally/" + r.ID, began: time.Now(), from: w.length()}
	a.res, a.err = p.Execute(within, r)
	w.note(ctx, a)
	return a
}

// note takes in an answer that has just come.
func (w *world) note(ctx context.Context, a *attempt) {
	a.end, a.to = time.Now(), w.length()
	w.turns.take(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts = append(w.attempts, a)
	w.report.Counts["answer "+a.outcome()]++
}

func (w *world) read(ctx context.Context, rng *rand.Rand, id string) {
	p := w.pick(rng)
	if p == nil {
		return
	}
	within, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	a := &attempt{key: "tally/" + id, began: time.Now(), from: w.length()}
	s, err := p.State(within, tallies{}, id)
	a.state, a.err = &s, err
	w.note(ctx, a)
}

func (w *world) length() int64 {
	end, err := w.log.End(context.Background(), topic, 0)
	if err != nil {
		panic(err)
	}
	return end
}

// settle ends the faults: now every command gets a definite answer.
func (w *world) settle(ctx context.Context) {
	w.log.DeliverAll()
	for _, p := range slices.Clone(w.running[1:]) {
		w.end(ctx, p)
	}
	p := w.running[0]
	p.suffer(0)
	w.log.DeliverAll()
	w.sleep(ctx, time.Minute)
	h, asked := replay(w.log.Records(topic, 0)), map[event.ID]bool{}
	for _, a := range slices.Clone(w.attempts) {
		if a.state != nil || a.outcome() != "unresolved" || asked[a.command] {
			continue
		}
		asked[a.command] = true
		r := Request{Aggregate: tallies{}, ID: a.key[len("tally/"):], Command: a.command, Digest: h.digests[a.command], Decide: add()}
		if got := w.attempt(ctx, p, r, time.Minute); got.outcome() != "accepted" && got.outcome() != "no-op" && got.outcome() != "too late" {
			w.fail("the last try of %v: %+v, %v", a.command, got.res, got.err)
		}
	}
	w.end(ctx, p)
}

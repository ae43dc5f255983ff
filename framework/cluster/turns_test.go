package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

// turns lets the goroutines of a simulation go on one at a time, in an order that
// the seed decides. Each waits for its turn after whatever it has waited for, and
// before it touches what others touch: the log, the list of processes, an owner's
// queue. What one turn sets in motion comes to rest before the next.
type turns struct {
	rng     *rand.Rand
	arrived chan struct{} // tells that someone waits

	mu      sync.Mutex
	waiting map[int]chan struct{}
}

func newTurns(seed uint64) *turns {
	return &turns{rng: rand.New(rand.NewPCG(seed, 1)), arrived: make(chan struct{}, 1), waiting: map[int]chan struct{}{}}
}

type whoKey struct{}

// as returns the context of the goroutine with this number.
func as(who int) context.Context { return context.WithValue(context.Background(), whoKey{}, who) }

func who(ctx context.Context) int { return ctx.Value(whoKey{}).(int) }

// take waits for one's turn.
func (s *turns) take(ctx context.Context) {
	turn := make(chan struct{})
	s.mu.Lock()
	if s.waiting[who(ctx)] != nil {
		panic(fmt.Sprintf("%d waits twice", who(ctx)))
	}
	s.waiting[who(ctx)] = turn
	s.mu.Unlock()
	select {
	case s.arrived <- struct{}{}:
	default:
	}
	<-turn
}

// give gives turns until it is over.
func (s *turns) give(over <-chan struct{}) {
	for {
		synctest.Wait()
		if s.next() {
			continue
		}
		select { // time passes
		case <-s.arrived:
		case <-over:
			return
		}
	}
}

// next gives a turn to one of those who wait, and reports whether one does.
func (s *turns) next() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return false
	}
	all := slices.Sorted(maps.Keys(s.waiting))
	one := all[s.rng.IntN(len(all))]
	close(s.waiting[one])
	delete(s.waiting, one)
	return true
}

// process is an owner with a connection of its own, in which it can be paused.
type process struct {
	*Owner
	log    *memlog.Log
	cancel context.CancelFunc
	ended  chan struct{}
	seed   uint64
	rng    *rand.Rand // of its appends
	torn   float64    // chance that an append is
	failed float64    // chance that a read is

	mu     sync.Mutex
	paused chan struct{} // closed when it goes on; nil while it runs
}

// suffer gives its log faults, fewer or none.
func (p *process) suffer(few float64) {
	p.torn, p.failed = 0.02*few, 0.05*few
	p.log.SetFaults(p.seed, memlog.Faults{Lost: 0.03 * few, Unacked: 0.03 * few, Late: 0.04 * few, Twice: 0.08 * few, UnackedTwice: 0.02 * few,
		Delayed: 0.06 * few, Held: 0.02 * few, End: 0.05 * few, Deliver: 0.2})
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

// gated is a process's log: a call takes a turn, and stands still while the
// process is paused.
type gated struct {
	*memlog.Log
	w *world
	p *process
}

func (g *gated) Append(ctx context.Context, topic string, part int32, batch []eventlog.Record) (int64, error) {
	if g.p.stand() { // what was sent in time may arrive long after
		var cancel func()
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
	}
	g.travel()
	g.w.turns.take(ctx)
	defer g.back(ctx)
	defer g.travel()
	if len(batch) > 1 && g.p.rng.Float64() < g.p.torn {
		g.w.count("fault torn")
		batch = batch[:1+g.p.rng.IntN(len(batch)-1)]
		if _, err := g.w.log.Append(ctx, topic, part, batch); err != nil {
			return 0, err
		}
		return 0, memlog.ErrNoAnswer
	}
	return g.Log.Append(ctx, topic, part, batch)
}

func (g *gated) End(ctx context.Context, topic string, part int32) (int64, error) {
	g.w.turns.take(ctx)
	defer g.back(ctx)
	return g.Log.End(ctx, topic, part)
}

// travel is the way of an append to the log, or of its answer back.
func (g *gated) travel() {
	time.Sleep(time.Duration(g.p.rng.IntN(1<<g.p.rng.IntN(5))) * time.Millisecond)
}

func (g *gated) back(ctx context.Context) {
	g.p.stand()
	g.w.turns.take(ctx)
}

func (g *gated) Read(topic string, part int32, from int64) (eventlog.Reader, error) {
	r, err := g.Log.Read(topic, part, from)
	if err != nil {
		return nil, err
	}
	return &gatedReader{r, nil, g.w, g.p.failed, rand.New(rand.NewPCG(g.p.seed^uint64(from), uint64(time.Now().UnixNano())))}, nil
}

// gatedReader has faults of its own: several may draw at the same time.
type gatedReader struct {
	eventlog.Reader
	rest   []eventlog.Record // of what it has read: a run may end within a commit
	w      *world
	failed float64
	rng    *rand.Rand
}

func (r *gatedReader) Next(ctx context.Context) ([]eventlog.Record, error) {
	r.w.turns.take(ctx)
	defer r.w.turns.take(ctx)
	if r.rng.Float64() < r.failed {
		r.w.count("fault " + memlog.NextFailed.String())
		return nil, memlog.ErrNoAnswer
	}
	if len(r.rest) == 0 {
		run, err := r.Reader.Next(ctx)
		if err != nil {
			return nil, err
		}
		r.rest = run
	}
	n := len(r.rest)
	if r.rng.IntN(3) == 0 {
		n = 1 + r.rng.IntN(n)
	}
	run := r.rest[:n:n]
	r.rest = r.rest[n:]
	return run, nil
}

// seeded is the bubble's clock with a seed's randomness.
type seeded struct{ rng *rand.Rand }

func (c *seeded) Now() time.Time                         { return time.Now() }
func (c *seeded) After(d time.Duration) <-chan time.Time { return time.After(d) }
func (c *seeded) Entropy() (b [10]byte) {
	binary.BigEndian.PutUint64(b[:], c.rng.Uint64())
	b[8], b[9] = byte(c.rng.Uint32()), byte(c.rng.Uint32())
	return b
}

// gatedStore is a place for snapshots. A put takes a turn once it has its bytes, and
// fails, or spoils what it stores, now and then.
type gatedStore struct {
	*snapshot.MemoryStore
	w   *world
	rng *rand.Rand
}

func (w *world) store() *gatedStore { return &gatedStore{snapshot.Memory(), w, w.rng(stores)} }

func (s *gatedStore) Put(ctx context.Context, name string, body io.Reader) error {
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	s.w.turns.take(as(who(ctx) + stores))
	n := s.rng.IntN(40)
	if n < 2 {
		return errStore
	}
	if n == 2 {
		b[len(b)/2] ^= 1
	}
	if err := s.MemoryStore.Put(ctx, name, bytes.NewReader(b)); err != nil {
		return err
	}
	if n == 3 {
		return errStore
	}
	return nil
}

var errStore = errors.New("the store does not answer")

// noting counts what an owner logs, by its message.
type noting struct{ w *world }

func (noting) Enabled(context.Context, slog.Level) bool { return true }
func (c noting) WithAttrs([]slog.Attr) slog.Handler     { return c }
func (c noting) WithGroup(string) slog.Handler          { return c }
func (c noting) Handle(_ context.Context, r slog.Record) error {
	c.w.count("log " + r.Message)
	return nil
}

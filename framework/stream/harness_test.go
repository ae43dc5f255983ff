package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
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

// cabinet is what a fake part writes to: how often each key was folded, and how far.
type cabinet struct {
	mu   sync.Mutex
	mark int64
	docs map[string]int
}

func (s *cabinet) empty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark, s.docs = 0, map[string]int{}
}

// holds returns the mark and the documents, as "@12 a=1 b=2".
func (s *cabinet) holds() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := fmt.Sprintf("@%d", s.mark)
	for _, k := range slices.Sorted(maps.Keys(s.docs)) {
		out += fmt.Sprintf(" %s=%d", k, s.docs[k])
	}
	return out
}

// fake is a part that keeps counts by aggregate id and writes down each call.
type fake struct {
	p     *play
	mark  int64
	dirty map[string]int

	mu    sync.Mutex
	calls []string
	fails func(call string) error // asked before each call takes effect
	after func(call string) error // and afterwards
}

var _ Part[int] = (*fake)(nil)

func (f *fake) note(call string) error {
	f.mu.Lock()
	fails := f.fails
	f.calls = append(f.calls, call)
	f.mu.Unlock()
	if fails == nil {
		return nil
	}
	return fails(call)
}

func (f *fake) noted() string {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	out := strings.Join(f.calls, "; ")
	f.calls = nil
	return out
}

func (f *fake) failing(fails func(string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = fails
}

func (f *fake) Open(context.Context) (int64, error) {
	if err := f.note("open"); err != nil {
		return 0, err
	}
	f.dirty = map[string]int{}
	f.p.store.mu.Lock()
	defer f.p.store.mu.Unlock()
	f.mark = f.p.store.mark
	return f.mark, nil
}

func (f *fake) Put(e *Element, n int) error {
	f.dirty[strings.TrimPrefix(string(e.Key), "x/")] = n
	return nil
}

func (f *fake) Pending() int { return len(f.dirty) }

func (f *fake) Batch(next int64) (func(context.Context) error, error) {
	dirty := f.dirty
	f.dirty = map[string]int{}
	keys := slices.Sorted(maps.Keys(dirty))
	call := fmt.Sprintf("write %d %s", next, strings.Join(keys, ","))
	if len(keys) > 20 {
		call = fmt.Sprintf("write %d, %d keys", next, len(keys))
	}
	return func(context.Context) error {
		if err := f.note(call); err != nil {
			return err
		}
		s := f.p.store
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.mark != f.mark {
			return fmt.Errorf("the store is at %d, not %d", s.mark, f.mark)
		}
		maps.Copy(s.docs, dirty)
		s.mark, f.mark = next, next
		if f.after != nil {
			return f.after(call)
		}
		return nil
	}, nil
}

func (f *fake) Check(context.Context) error {
	if err := f.note("check"); err != nil {
		return err
	}
	f.p.store.mu.Lock()
	defer f.p.store.mu.Unlock()
	if f.p.store.mark != f.mark {
		return fmt.Errorf("the store is at %d, not %d", f.p.store.mark, f.mark)
	}
	return nil
}

func (f *fake) Mark(context.Context) (int64, error) {
	if err := f.note("mark"); err != nil {
		return 0, err
	}
	f.p.store.mu.Lock()
	defer f.p.store.mu.Unlock()
	return f.p.store.mark, nil
}

// play is a test in a bubble of its own time: a log of one partition and a store.
type play struct {
	*testing.T
	log      *memlog.Log
	store    *cabinet
	part     *fake
	versions map[string]uint64
	commands int
}

// count declares a topology that counts events by aggregate and keeps the counts in
// p's store.
func (p *play) count(every time.Duration) *Topology {
	t := &Topology{Name: "counts"}
	events := FromEvents(t, &Events[string]{Name: "events", Topic: topic, Group: NoGroup, Decode: func(e *partition.Event, v *string) (bool, error) {
		switch *v = e.Type; e.Type {
		case "bad":
			return false, errors.New("as asked")
		case "panics":
			panic("as asked")
		}
		return e.Type != "quiet", nil
	}})
	counts, _ := Via(events, &Process[int, string, int]{Name: "count", OnEvent: func(c *Context[int, int], _ string) error {
		*c.State()++
		c.Emit(*c.State())
		return nil
	}})
	Fill(counts, &Store[int]{Name: "kept", MarkEvery: every, Part: func(int32) Part[int] { return p.part }})
	return t
}

// task returns the one task of a topology that reads the events.
func (p *play) task(t *Topology, cfg Config) *Task {
	p.Helper()
	cfg.Clock, cfg.Logger = clock.System, slog.New(slog.NewTextHandler(io.Discard, nil))
	runner, err := NewRunner(t, cfg)
	if err != nil {
		p.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.Cleanup(cancel)
	tasks, err := runner.Tasks(ctx)
	if err != nil {
		p.Fatal(err)
	}
	return tasks["events"][0]
}

func script(t *testing.T, f func(*play)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &play{T: t, log: memlog.New(), store: &cabinet{docs: map[string]int{}}, versions: map[string]uint64{}}
		p.part = &fake{p: p}
		if err := p.log.Ensure(t.Context(), eventlog.Topic{Name: topic, Partitions: 1}); err != nil {
			t.Fatal(err)
		}
		p.append(eventlog.Record{Header: partition.ClaimHeader(partition.Claim{Epoch: 1, Owner: event.ID{1}})})
		f(p)
	})
}

func (p *play) append(records ...eventlog.Record) {
	p.Helper()
	if _, err := p.log.Append(context.Background(), topic, 0, records); err != nil {
		p.Fatal(err)
	}
}

// commit appends a commit of n events of one type to an aggregate.
func (p *play) commit(id string, n int, name string) {
	p.append(p.records(id, n, name)...)
}

func (p *play) records(id string, n int, name string) []eventlog.Record {
	p.commands++
	records := make([]eventlog.Record, n)
	for i := range records {
		p.versions[id]++
		e := event.Envelope{ID: event.ID{2}, Command: event.NewID(time.Now(), [10]byte{byte(p.commands), byte(p.commands >> 8), byte(p.commands >> 16)}),
			Type: name, Version: p.versions[id], Epoch: 1, Index: i, Count: n, Time: time.Now()}
		records[i] = eventlog.Record{Key: partition.Key("x", id), Header: e.Append(nil)}
	}
	return records
}

func (p *play) probe() {
	p.append(eventlog.Record{Header: partition.ProbeHeader(partition.Claim{Epoch: 1, Owner: event.ID{1}})})
}

// start runs a task until the test, or the returned function, ends it.
func (p *play) start(log eventlog.Log) (*Task, func()) {
	t := p.task(p.count(0), Config{Log: log})
	return t, p.run(t)
}

// run runs a task until the test, or the returned function, ends it.
func (p *play) run(t *Task) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.Run(ctx)
	}()
	stop = func() { cancel(); <-ended }
	p.Cleanup(stop)
	synctest.Wait()
	return stop
}

func (p *play) holds(want string) {
	p.Helper()
	synctest.Wait()
	if got := p.store.holds(); got != want {
		p.Fatalf("the store holds %s, want %s", got, want)
	}
}

func (p *play) called(want string) {
	p.Helper()
	if got := p.part.noted(); got != want {
		p.Fatalf("calls were\n%s, want\n%s", got, want)
	}
}

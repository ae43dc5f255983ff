package framework_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
	"github.com/drivetrain-go/drivetrain/projections"
)

// sharedLog is a process's connection to a log, with an assignment that the test
// decides.
type sharedLog struct {
	*memlog.Log
	proposals chan []int32
	mu        sync.Mutex
	left      bool
}

func (l *sharedLog) Join(context.Context, string, string, string) (eventlog.Membership, error) {
	return l, nil
}

func (l *sharedLog) Next(ctx context.Context) ([]int32, error) {
	select {
	case list, ok := <-l.proposals:
		if !ok {
			return nil, errors.New("fenced")
		}
		return list, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *sharedLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = true
	return nil
}

// crew is processes of one application over one log and the same stores.
type crew struct {
	*testing.T
	stores framework.Resources
	log    *memlog.Log
}

func newCrew(t *testing.T) *crew {
	log := memlog.New()
	r, err := embedded.With(log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return &crew{t, r, log}
}

// start starts a process that serves the given partitions of two.
func (c *crew) start(serves ...int32) (*framework.App, *sharedLog, func() error) {
	return c.startWith("", "", nil, serves...)
}

// startAs is start under a name over restarts, and at an address.
func (c *crew) startAs(instance, addr string, serves ...int32) (*framework.App, *sharedLog, func() error) {
	return c.startWith(instance, addr, nil, serves...)
}

// startWith is startAs with an effect, if it is not nil.
func (c *crew) startWith(instance, addr string, effect *projections.Effect[fact], serves ...int32) (*framework.App, *sharedLog, func() error) {
	l := &sharedLog{Log: c.log.Connect(), proposals: make(chan []int32, 1)}
	l.proposals <- serves
	app := framework.New(framework.Config{App: "test", Partitions: 2, Advertise: addr, AppendTimeout: 500 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler), Open: func(context.Context) (framework.Resources, error) {
			return framework.Resources{Log: l, Documents: c.stores.Documents, Search: c.stores.Search, Instance: instance}, nil
		}})
	register(app)
	if effect != nil {
		projections.Register(app, effect)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-ended })
	c.Cleanup(func() { stop() })
	return app, l, stop
}

func (c *crew) ready(apps ...*framework.App) {
	c.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		var why []string
		for _, app := range apps {
			why = append(why, app.Unready()...)
		}
		if len(why) == 0 {
			return
		}
		if time.Since(began) > 20*time.Second {
			c.Fatalf("not ready: %v", why)
		}
	}
}

// idsOf returns an aggregate id for each of two partitions.
func idsOf() (ids [2]string) {
	for i := 0; ids[0] == "" || ids[1] == ""; i++ {
		id := fmt.Sprint("t", i)
		ids[eventlog.PartitionOf([]byte("tally/"+id), 2)] = id
	}
	return ids
}

func TestProcessesShareThePartitionsAndSeeEachOthersWrites(t *testing.T) {
	c := newCrew(t)
	a, _, _ := c.start(0)
	b, _, _ := c.start(1)
	c.ready(a, b)
	for n, id := range idsOf() {
		owner, other := a, b
		if n == 1 {
			owner, other = b, a
		}
		var unavailable *cluster.UnavailableError
		if _, err := other.Execute(context.Background(), call(id)); !errors.As(err, &unavailable) || unavailable.Unresolved {
			t.Errorf("partition %d: the process that does not serve it said %v", n, err)
		}
		res, err := owner.Execute(context.Background(), call(id))
		if err != nil {
			t.Fatal(err)
		}
		for name, app := range map[string]*framework.App{"owner": owner, "other": other} {
			if got := frameworktest.Ask(t, app, "shown", framework.Query{Key: id, Min: frameworktest.After(res)}); got != `{"n":1}` {
				t.Errorf("partition %d: the %s shows %s", n, name, got)
			}
		}
	}
}

func TestAPartitionMovesWithNothingLostOrDoubled(t *testing.T) {
	c := newCrew(t)
	a, toA, stopA := c.start(0, 1)
	b, toB, _ := c.start()
	c.ready(a, b)
	ids := idsOf()
	keyed := call(ids[0])
	keyed.Key = "once"
	first, err := a.Execute(context.Background(), keyed)
	if err != nil {
		t.Fatal(err)
	}
	toB.proposals <- []int32{0} // before a hears of it: both believe that it is theirs
	eventually(t, func() bool {
		_, err := b.State(context.Background(), "tally", ids[0], eventlog.NewPositions())
		return err == nil
	})
	toA.proposals <- []int32{1}
	eventually(t, func() bool {
		_, err := a.State(context.Background(), "tally", ids[0], eventlog.NewPositions())
		return err != nil && len(b.Unready()) == 0
	})
	again, err := b.Execute(context.Background(), keyed)
	if err != nil || fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("the retry at the new owner got %v, %v; the first %v", again, err, first)
	}
	if err := stopA(); err != nil {
		t.Error(err)
	}
	if !toA.left {
		t.Error("a process that ended has not left its group")
	}
	toB.proposals <- []int32{0, 1}
	var last cluster.Result
	eventually(t, func() bool { last, err = b.Execute(context.Background(), call(ids[1])); return err == nil })
	if got := frameworktest.Ask(t, b, "shown", framework.Query{Key: ids[1], Min: frameworktest.After(last)}); got != `{"n":1}` {
		t.Errorf("the view shows %s", got)
	}
}

// An effect of the partition that moves is under way then: it is cut off, and done
// by the process that takes over; what was done is not.
func TestAnEffectRunsWhereItsPartitionIsServed(t *testing.T) {
	c := newCrew(t)
	var mu sync.Mutex
	var calls []string
	effect := func(process string) *projections.Effect[fact] {
		return &projections.Effect[fact]{Name: "tell", From: tallies.Stream(), Do: func(ctx context.Context, e projections.Event[fact]) error {
			mu.Lock()
			calls = append(calls, fmt.Sprint(process, e.Version))
			mu.Unlock()
			if process == "a" && e.Version == 2 {
				<-ctx.Done()
			}
			return ctx.Err()
		}}
	}
	told := func(want ...string) {
		t.Helper()
		var got []string
		eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			got = slices.Clone(calls)
			return len(got) >= len(want)
		})
		if !slices.Equal(got, want) {
			t.Fatalf("calls %v, want %v", got, want)
		}
	}
	a, toA, _ := c.startWith("", "", effect("a"), 0, 1)
	b, toB, _ := c.startWith("", "", effect("b"))
	c.ready(a, b)
	id := idsOf()[0]
	for range 3 {
		if _, err := a.Execute(context.Background(), call(id)); err != nil {
			t.Fatal(err)
		}
	}
	told("a1", "a2")
	toA.proposals <- []int32{1}
	eventually(t, func() bool {
		next, known, err := c.log.Committed(context.Background(), "test.tell", "test.events", 0)
		return err == nil && known && next == 2 // behind the claim and the first event
	})
	toB.proposals <- []int32{0}
	told("a1", "a2", "b2", "b3")
}

func TestAnEffectThatHasStoppedIsNamedWhereItsPartitionIsServed(t *testing.T) {
	c := newCrew(t)
	forgot := &aggregates.Type[tally, fact]{Name: "tally", Evolve: tallies.Evolve,
		Events: event.Types[fact]{"tally.forgotten": event.As[fact, counted]()}}
	a, toA, _ := c.startWith("", "", &projections.Effect[fact]{Name: "tell", From: forgot.Stream(),
		Do: func(context.Context, projections.Event[fact]) error { return nil }}, 0, 1)
	c.ready(a)
	if _, err := a.Execute(context.Background(), call(idsOf()[0])); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return len(a.Unready()) == 1 })
	if why := a.Unready()[0]; !strings.HasPrefix(why, "effect tell, partition 0: ") {
		t.Errorf("unready: %s", why)
	}
	toA.proposals <- []int32{1}
	c.ready(a)
}

func TestAProcessThatIsFencedEndsWithTheReason(t *testing.T) {
	c := newCrew(t)
	a, toA, _ := c.start(0, 1)
	c.ready(a)
	close(toA.proposals)
	eventually(t, func() bool {
		_, err := a.Execute(context.Background(), call("t"))
		var unavailable *cluster.UnavailableError
		return errors.As(err, &unavailable)
	})
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatal("it has not come to be within 20 s")
		}
	}
}

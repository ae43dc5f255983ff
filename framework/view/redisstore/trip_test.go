package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/redisstore"
)

// counter is a hook that counts round trips, and holds them while it is told to.
type counter struct {
	n    atomic.Int64
	hold atomic.Pointer[chan struct{}]
}

func (*counter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return next(ctx, cmd) }
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(1)
		if hold := c.hold.Load(); hold != nil {
			<-*hold
		}
		return next(ctx, cmds)
	}
}

// filled is a store with documents 0 to 999, each of which holds its key, and a set
// of as many entries, in 4 partitions; and the trips of its reads.
func filled(t *testing.T) (*redisstore.Store, view.Generation, *counter) {
	return filledBy(t, client(t))
}

func filledBy(t *testing.T, c *redis.Client) (*redisstore.Store, view.Generation, *counter) {
	s := redisstore.New(c)
	g := generation(t, s)
	for p := range int32(4) {
		mark, err := s.Open(t.Context(), g, p)
		if err != nil {
			t.Fatal(err)
		}
		b := &view.Batch{Partition: p, Epoch: mark.Epoch, Next: 1}
		for n := p; n < 1000; n += 4 {
			b.Puts = append(b.Puts, view.Put{Key: fmt.Sprint(n), Value: fmt.Append(nil, n)})
			b.Adds = append(b.Adds, view.Entry{Set: "all", Sort: fmt.Sprintf("%04d", n), Member: "m"})
		}
		if err := s.Write(t.Context(), g, b); err != nil {
			t.Fatal(err)
		}
	}
	trips := &counter{}
	c.AddHook(trips)
	if _, err := s.Get(t.Context(), g, []view.Ref{{Key: "k"}}); err != nil { // what a new connection says at first is a trip too
		t.Fatal(err)
	}
	return s, g, trips
}

func ref(n int) view.Ref { return view.Ref{Partition: int32(n % 4), Key: fmt.Sprint(n)} }

func TestAReadIsOneRoundTripHoweverMuchItTakes(t *testing.T) {
	s, g, trips := filled(t)
	for _, n := range []int{1, 2, 20, 100, 1000} {
		refs, sets := make([]view.Ref, n), make([]view.Ref, n)
		for i := range refs {
			refs[i], sets[i] = ref(i), view.Ref{Partition: int32(i % 4), Key: "all"}
		}
		for name, read := range map[string]func() (int, error){
			"documents": func() (int, error) { found, err := s.Get(t.Context(), g, refs); return len(found), err },
			"sizes":     func() (int, error) { found, err := s.Sizes(t.Context(), g, sets); return len(found), err },
			"page": func() (int, error) {
				found, err := s.Page(t.Context(), g, sets[:min(n, 4)], nil, n)
				return len(found), err
			},
		} {
			before := trips.n.Load()
			if found, err := read(); err != nil || trips.n.Load() != before+1 || name != "page" && found != n {
				t.Errorf("%d %s: %d found in %d round trips, %v", n, name, found, trips.n.Load()-before, err)
			}
		}
	}
}

// TestReadsShareRoundTrips lets many reads come while the first trips are under way.
func TestReadsShareRoundTrips(t *testing.T) {
	s, g, trips := filled(t)
	hold := make(chan struct{})
	trips.hold.Store(&hold)
	const many = 200
	var all sync.WaitGroup
	for n := range many {
		all.Go(func() {
			found, err := s.Get(t.Context(), g, []view.Ref{ref(n), {Key: "nobody"}})
			if err != nil || string(found[0]) != fmt.Sprint(n) || found[1] != nil {
				t.Errorf("document %d: %q, %v", n, found, err)
			}
		})
	}
	time.Sleep(100 * time.Millisecond) // they all wait, or are on their way
	close(hold)
	all.Wait()
	if n := trips.n.Load(); n > 4+many/10 {
		t.Errorf("%d reads took %d round trips", many, n)
	}
}

// TestAReadThatIsGivenUpHoldsUpNobody gives up reads that wait for a trip, and those
// on one.
func TestAReadThatIsGivenUpHoldsUpNobody(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("given up", func(t *testing.T) {
		s, g, trips := filled(t)
		hold := make(chan struct{})
		trips.hold.Store(&hold)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for n := range 20 {
			all.Go(func() {
				if _, err := s.Get(ctx, g, []view.Ref{ref(n)}); !errors.Is(err, context.Canceled) {
					t.Errorf("a read that was given up: %v", err)
				}
			})
		}
		time.Sleep(20 * time.Millisecond)
		cancel()
		all.Wait()
		trips.hold.Store(nil)
		close(hold)
		for n := range 20 {
			if found, err := s.Get(t.Context(), g, []view.Ref{ref(n)}); err != nil || string(found[0]) != fmt.Sprint(n) {
				t.Errorf("document %d: %q, %v", n, found, err)
			}
		}
	})
}

// TestAReadThatFailsSpoilsNoOther reads, in the same trips, what is not a hash.
func TestAReadThatFailsSpoilsNoOther(t *testing.T) {
	c := client(t)
	s, g, trips := filledBy(t, c)
	foreign := g
	foreign.View = "foreign"
	if err := c.Set(t.Context(), fmt.Sprintf("{%s:0}", foreign), "of another type", 0).Err(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Drop(context.Background(), foreign) })
	hold := make(chan struct{})
	trips.hold.Store(&hold)
	var all sync.WaitGroup
	for n := range 100 {
		all.Go(func() {
			if n%2 == 0 {
				if _, err := s.Get(t.Context(), foreign, []view.Ref{{Key: "k"}}); err == nil {
					t.Error("a document of a key that is no hash was read")
				}
				return
			}
			if found, err := s.Get(t.Context(), g, []view.Ref{ref(n)}); err != nil || string(found[0]) != fmt.Sprint(n) {
				t.Errorf("document %d: %q, %v", n, found, err)
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	close(hold)
	all.Wait()
}

package redisstore

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Reads share round trips: while maxTrips are under way, those that come wait, and
// the next trip takes all of them, up to maxShared. So many callers cost the server
// and this process less each, and one alone waits for nobody.
const (
	maxTrips  = 4
	maxShared = 64
	linger    = 10 * time.Millisecond // that a goroutine waits for another read before it ends
)

// trips are a store's round trips for reads.
type trips struct {
	client redis.UniversalClient
	queue  chan *read // without a buffer: it is taken by who has time

	mu      sync.Mutex
	running int // goroutines
	waiting int // reads that count on one of them
}

// read is the commands of one read.
type read struct {
	add  func(redis.Pipeliner)
	done chan struct{} // is closed once they are answered, each with its own error
}

func newTrips(client redis.UniversalClient) *trips {
	return &trips{client: client, queue: make(chan *read)}
}

// do lets the commands that add puts into a pipeline be answered. When ctx ends
// first, it returns at once: they must not be looked at then.
func (t *trips) do(ctx context.Context, add func(redis.Pipeliner)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r := &read{add, make(chan struct{})}
	if err := t.send(ctx, r); err != nil {
		return err
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// send hands a read to a goroutine that has time, or starts one, or waits.
func (t *trips) send(ctx context.Context, r *read) error {
	select {
	case t.queue <- r:
		return nil
	default:
	}
	t.mu.Lock()
	if t.running < maxTrips {
		t.running++
		t.mu.Unlock()
		go t.work(r)
		return nil
	}
	t.waiting++
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.waiting--
		t.mu.Unlock()
	}()
	select {
	case t.queue <- r:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// work makes one trip after the other, until there is nothing to read for a while.
// The client bounds how long a trip takes; whoever waits for it may leave before.
func (t *trips) work(r *read) {
	idle := time.NewTimer(linger)
	defer idle.Stop()
	all := make([]*read, 0, maxShared)
	for {
		all = t.gather(append(all[:0], r))
		pipe := t.client.Pipeline()
		for _, r := range all {
			r.add(pipe)
		}
		_, _ = pipe.Exec(context.Background()) // each command has its own error
		for i, r := range all {
			close(r.done)
			all[i] = nil
		}
		if r = t.next(idle); r == nil {
			return
		}
	}
}

// next returns the next read; nil: the goroutine has left.
func (t *trips) next(idle *time.Timer) *read {
	for {
		idle.Reset(linger)
		select {
		case r := <-t.queue:
			return r
		case <-idle.C:
			if t.leave() {
				return nil
			}
		}
	}
}

// gather adds the reads that wait.
func (t *trips) gather(all []*read) []*read {
	for len(all) < maxShared {
		select {
		case r := <-t.queue:
			all = append(all, r)
		default:
			return all
		}
	}
	return all
}

// leave ends a goroutine, unless a read counts on it.
func (t *trips) leave() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting > 0 {
		return false
	}
	t.running--
	return true
}

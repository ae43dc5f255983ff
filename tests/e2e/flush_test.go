package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// wholeWithin is how soon views are whole again after Redis has lost all that it had.
const wholeWithin = 30 * time.Second

// flushes is how often Redis is emptied.
const flushes = 2

// still is what nobody changes any more, by the path at which it is read: its answer must
// be this one for ever.
type still map[string]string

// settle makes tribes with members and posts, sees that all views show them, and returns
// what they show.
func settle(t *testing.T, w *witness, p *program) still {
	t.Helper()
	w.everywhere("maya", "found", body("name", "Watched"), 1, p)
	w.everywhere("mira", "join", nil, 2, p)
	for n := range 30 {
		id := fmt.Sprint("still-", n)
		w.send(command{Aggregate: "post", ID: id, Actor: "maya", Name: "publish", Body: body("tribe", w.tribes[n%2], "text", "Still "+word(n)), Key: id, Want: 200}, p)
	}
	all := make(still)
	read := func(path string) {
		a, err := ask(t.Context(), http.MethodGet, p.base+"/v1/views/"+path, "", "Min-Position", latest(w.entries))
		if err != nil || a.status != http.StatusOK {
			t.Fatalf("GET %s: %d %s, %v", path, a.status, a.body, err)
		}
		all[path] = string(a.body)
	}
	for n := range 30 {
		read(fmt.Sprint("post-card/still-", n))
	}
	for _, id := range w.tribes[:16] {
		read("tribe-card/" + id)
	}
	for _, id := range w.tribes[:3] { // of 15 posts, or none
		read("tribe-feed/" + id)
		read("tribe-feed/" + id + "?limit=5")
	}
	read("membership/mira")
	return all
}

// watched reads what is still, again and again, until ctx ends. An answer is that, or 503
// with Retry-After.
func (s still) watched(ctx context.Context, t *testing.T, p *program, answers, away *atomic.Int64) {
	for ctx.Err() == nil {
		for path, want := range s {
			a, err := ask(context.WithoutCancel(ctx), http.MethodGet, p.base+"/v1/views/"+path, "")
			switch {
			case err == nil && a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "":
				away.Add(1)
			case err != nil || a.status != http.StatusOK || string(a.body) != want:
				t.Errorf("GET %s: %d %s, %v; want %s", path, a.status, a.body, err, want)
				return
			default:
				answers.Add(1)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
}

// whole returns how long it takes until all is answered again by all processes.
func (s still) whole(t *testing.T, all ...*program) time.Duration {
	t.Helper()
	began := time.Now()
	var waits sync.WaitGroup
	for _, p := range all {
		for path := range s {
			waits.Go(func() {
				for status := 0; status != http.StatusOK; status, _ = p.try("/v1/views/" + path) {
					if time.Since(began) > wholeWithin {
						t.Errorf("%s is not there %v after Redis was emptied", path, wholeWithin)
						return
					}
					time.Sleep(5 * pause)
				}
			})
		}
	}
	waits.Wait()
	took := time.Since(began)
	for _, p := range all {
		p.ready(t)
	}
	return took
}

// TestRedisIsEmptiedUnderReads takes all away that Redis has, again and again, while two
// processes are read and written to. What was there is never said to be missing, nor shown
// as it was before, and is whole again soon.
func TestRedisIsEmptiedUnderReads(t *testing.T) {
	for _, servers := range killable(t) {
		s := newSite(t, servers.backend())
		one, two := s.startPair(t)
		r := s.newRun(t, 1<<30, one, two)
		r.rest = 100 * time.Millisecond
		r.begin()
		r.reach(600)
		w := newWitness(t, one, two)
		all := settle(t, w, one)
		ctx, cancel := context.WithCancel(t.Context())
		var readers sync.WaitGroup
		var answers, away atomic.Int64
		for n := range 4 {
			readers.Go(func() { all.watched(ctx, t, []*program{one, two}[n%2], &answers, &away) })
		}
		client := s.redisClient()
		defer client.Close()
		worst := time.Duration(0)
		for range flushes {
			if err := client.FlushAll(ctx).Err(); err != nil {
				t.Fatal(err)
			}
			worst = max(worst, all.whole(t, one, two))
			time.Sleep(500 * time.Millisecond)
		}
		cancel()
		readers.Wait()
		t.Logf("Redis was emptied %d times: all was whole again after %v at most; %d right answers, %d were sent away", flushes, worst.Round(10*time.Millisecond), answers.Load(), away.Load())
		if away.Load() == 0 {
			t.Error("nobody was sent away, so this run tests less than it should")
		}
		r.over.Store(true)
		r.end("503")
		r.inspect([]*program{one, two}, w.entries...)
	}
}

package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"sync"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

const (
	lookEvery  = 100 * time.Millisecond // at most, that a query which is shown live is asked
	retryEvery = time.Second            // that one which gets no answer is asked
	staleAfter = 5 * time.Second        // without an answer, after which its clients are told
)

// lives are the queries that are shown live: each is asked by one look, however many
// clients it is shown to.
type lives struct {
	app   app
	clock clock.Clock

	mu    sync.Mutex
	looks map[liveQuery]*look
}

// liveQuery tells looks apart.
type liveQuery struct {
	view, key, after, from string
	limit                  int
}

// look asks a query again each time its answer may have changed, and holds the latest
// outcome for all who show it.
type look struct {
	*lives
	query   liveQuery
	viewers int // guarded by lives.mu
	stop    context.CancelFunc
	ended   chan struct{}
	moved   chan struct{} // the answer may be another; holds one
	joined  chan struct{} // somebody has come; holds one

	mu      sync.Mutex
	begun   int                // asks that were begun,
	done    int                // and that have ended
	awaited bool               // somebody waits for one that has not begun yet
	min     eventlog.Positions // what the next answer must have seen, so that none goes back
	failing time.Time          // since when no answer is got; zero: it is
	now     outcome
	changed chan struct{} // closed when who waits is to look at what is above
}

// outcome is what there is to show.
type outcome struct {
	number int // counted up with each that is another; 0: there is none yet
	answer framework.Answer
	digest string   // of the answer; empty: there is no such document
	stale  *problem // why there has been no answer for a while; nil: it is the latest
	over   bool     // the application has stopped
}

// same reports whether a client that was shown o has no need of other.
func (o outcome) same(other outcome) bool {
	return o.digest == other.digest && o.answer.Generation == other.answer.Generation &&
		(o.stale == nil) == (other.stale == nil) && o.over == other.over
}

// digestBytes of a hash are enough to tell the answers to one query apart.
const digestBytes = 12

func digestOf(json []byte) string {
	sum := sha256.Sum256(json)
	return base64.RawURLEncoding.EncodeToString(sum[:digestBytes])
}

// viewer is one client of a look.
type viewer struct {
	look  *look
	after int // asks that began before it came, whose answers are not for it
	shown int // the number of the outcome that it was given last
}

// join begins to show a query to a client, from answers on that have seen min.
func (l *lives) join(q liveQuery, min eventlog.Positions) *viewer {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.looks[q]
	if k == nil {
		ctx, stop := context.WithCancel(context.Background())
		k = &look{lives: l, query: q, stop: stop, ended: make(chan struct{}), moved: make(chan struct{}, 1),
			joined: make(chan struct{}, 1), changed: make(chan struct{}), min: eventlog.NewPositions()}
		l.looks[q] = k
		go k.run(ctx)
	}
	k.viewers++
	return k.viewer(min)
}

// viewer has an ask begin soon that must have seen min.
func (k *look) viewer(min eventlog.Positions) *viewer {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.min, k.awaited = k.min.Join(min), true
	select {
	case k.joined <- struct{}{}:
	default:
	}
	return &viewer{look: k, after: k.begun}
}

// leave ends the showing. The last one to leave ends the look, and waits for that.
func (v *viewer) leave() {
	k := v.look
	k.lives.mu.Lock()
	k.viewers--
	last := k.viewers == 0
	if last {
		delete(k.looks, k.query)
	}
	k.lives.mu.Unlock()
	if last {
		k.stop()
		<-k.ended
	}
}

// next waits for an outcome that the client was not given yet, and returns the latest.
func (v *viewer) next(ctx context.Context) (outcome, error) {
	for k := v.look; ; {
		k.mu.Lock()
		now, changed := k.now, k.changed
		ripe := k.done > v.after || now.over
		k.mu.Unlock()
		if ripe && now.number > v.shown {
			v.shown = now.number
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return outcome{}, ctx.Err()
		}
	}
}

// run asks until nobody looks any more, or the application has stopped.
func (k *look) run(ctx context.Context) {
	defer close(k.ended)
	for ctx.Err() == nil {
		q, awaited := k.begin()
		forget, err := k.app.Notify(k.query.view, q, k.moved)
		if err != nil {
			k.finish()
			return
		}
		a, err := k.app.Ask(ctx, k.query.view, q)
		if ctx.Err() == nil {
			k.pause(ctx, k.take(a, err, awaited))
		}
		forget()
	}
}

// begin returns the query to ask, and whether somebody waits for just this.
func (k *look) begin() (q framework.Query, awaited bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.begun++
	awaited, k.awaited = k.awaited, false
	return framework.Query{Key: k.query.key, After: k.query.after, From: k.query.from, Limit: k.query.limit, Min: k.min}, awaited
}

// take takes what came of an ask, and returns whether that is an answer. While there
// is none the one before stands, and after a while whoever looks is told.
func (k *look) take(a framework.Answer, err error, awaited bool) (answered bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := outcome{answer: a}
	switch {
	case err == nil:
		now.digest = digestOf(a.JSON)
	case !errors.Is(err, framework.ErrNotFound):
		at := k.clock.Now()
		if k.failing.IsZero() {
			k.failing = at
		}
		if now = k.now; at.Sub(k.failing) >= staleAfter {
			now.stale = problemOf(err)
		}
		k.show(now, awaited)
		return false
	}
	k.failing, k.min = time.Time{}, k.min.Join(a.Positions)
	k.show(now, awaited)
	return true
}

// show ends an ask with what there is to show now.
func (k *look) show(now outcome, awaited bool) {
	k.done++
	another := !k.now.same(now)
	if now.number = k.now.number; another {
		now.number++
	}
	k.now = now
	if another || awaited {
		close(k.changed)
		k.changed = make(chan struct{})
	}
}

// finish says that there will be no other outcome.
func (k *look) finish() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.show(outcome{answer: k.now.answer, digest: k.now.digest, over: true}, true)
}

// pause waits until it is time to ask again: once something has moved, yet not too
// soon, or somebody has come.
func (k *look) pause(ctx context.Context, answered bool) {
	if !answered {
		select {
		case <-k.joined:
		case <-k.clock.After(retryEvery):
		case <-ctx.Done():
		}
		return
	}
	select {
	case <-k.joined:
		return
	case <-k.clock.After(lookEvery):
	case <-ctx.Done():
		return
	}
	select {
	case <-k.moved:
	case <-k.joined:
	case <-ctx.Done():
	}
}

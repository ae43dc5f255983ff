package framework

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// MaxStaleness is the most that a query may bound how old its answer is by.
const MaxStaleness = time.Hour

// anew is the age below which the log is asked for each query that comes, or for those
// that come while it answers.
const anew = time.Millisecond

// Held returns positions that cover all events that the log held so long ago, at least:
// an answer that has passed them is no older. Below 1 ms it is now. They are asked of the
// log itself, so that what other processes append counts; queries share what it says,
// and while they come it is asked once in half the age, or once a second if that is more
// often. Errors: ErrInvalid, *UnavailableError.
func (a *App) Held(ctx context.Context, age time.Duration) (eventlog.Positions, error) {
	if age < 0 || age > MaxStaleness {
		return eventlog.Positions{}, fmt.Errorf("%w staleness %v: want 0 to %v", ErrInvalid, age, MaxStaleness)
	}
	p, err := a.now()
	if err != nil {
		return eventlog.Positions{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.ReadWait)
	defer cancel()
	ends, err := p.horizon.ends(ctx, age)
	if err != nil {
		return eventlog.Positions{}, a.readError(ctx, err)
	}
	at := eventlog.NewPositions()
	for n, end := range ends {
		if end > 0 {
			at.Offsets[int32(n)] = end - 1
		}
	}
	return at, nil
}

// bounded adds to what a query must have seen all that the log held so long ago. 0 is no
// bound.
func (a *App) bounded(ctx context.Context, min eventlog.Positions, age time.Duration) (eventlog.Positions, error) {
	if age == 0 {
		return min, nil
	}
	held, err := a.Held(ctx, age)
	return held.Join(min), err
}

// tooOld says of an answer that was not to be had before ctx ended that any other would
// have been too old.
func (a *App) tooOld(ctx context.Context, err error, age time.Duration) error {
	if unavailable := (*UnavailableError)(nil); age == 0 || ctx.Err() == nil || !errors.As(err, &unavailable) {
		return err
	}
	return &UnavailableError{Reason: fmt.Sprintf("an answer that is not older than %v was not to be had within %v", age, a.cfg.ReadWait), RetryAfter: retryAfter}
}

// horizon is what a process knows of the ends that the events topic had.
type horizon struct {
	ask func(context.Context) ([]int64, error)
	now func() time.Time

	mu     sync.Mutex
	seen   []sighted // in the order in which the log was asked
	asked  uint64    // how often it was
	asking *asking   // under way; nil: none is
}

// sighted are ends that the log had at begun or later.
type sighted struct {
	begun  time.Time
	number uint64 // of the asking
	ends   []int64
}

// asking is a question to the log that several queries may wait for.
type asking struct {
	number uint64
	done   chan struct{} // closed when it is over
	err    error         // then
}

// Limits of a horizon.
const (
	maxSighted = 64          // that are kept: the younger ones hold more
	askAhead   = time.Second // at most, after which the log is asked before a query has to wait for it
)

// ends returns ends that the log had no longer than age ago: the oldest that are known,
// for a view has passed these most likely.
func (h *horizon) ends(ctx context.Context, age time.Duration) ([]int64, error) {
	h.mu.Lock()
	now, before := h.now(), h.asked
	for {
		if ends := h.young(now, age, before); ends != nil {
			if newest := h.seen[len(h.seen)-1]; h.asking == nil && age >= anew && now.Sub(newest.begun) >= min(age/2, askAhead) {
				h.begin(ctx)
			}
			h.mu.Unlock()
			return ends, nil
		}
		q := h.asking
		if q == nil {
			q = h.begin(ctx)
		}
		h.mu.Unlock()
		select {
		case <-q.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if q.err != nil && q.number > before {
			return nil, q.err
		}
		h.mu.Lock()
	}
}

// young returns the oldest ends that are young enough for a query that came at now: those
// that the log was asked for since, or not much before. mu is held.
func (h *horizon) young(now time.Time, age time.Duration, before uint64) []int64 {
	for i := range h.seen {
		if s := &h.seen[i]; s.number > before || age >= anew && now.Sub(s.begun) <= age {
			return s.ends
		}
	}
	return nil
}

// begin asks the log, for all who come meanwhile, also when ctx has ended. mu is held.
func (h *horizon) begin(ctx context.Context) *asking {
	h.asked++
	q := &asking{number: h.asked, done: make(chan struct{})}
	h.asking = q
	s := sighted{begun: h.now(), number: q.number}
	go func() {
		s.ends, q.err = h.ask(context.WithoutCancel(ctx)) // which is bounded
		h.mu.Lock()
		if h.asking = nil; q.err == nil {
			h.seen = append(h.seen, s)
			h.seen = slices.Delete(h.seen, 0, max(0, len(h.seen)-maxSighted))
		}
		h.mu.Unlock()
		close(q.done)
	}()
	return q
}

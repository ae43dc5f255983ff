// Package clock is where time and randomness enter: everything else takes a
// [Clock], so that a test or a simulation decides both.
package clock

import (
	"context"
	crand "crypto/rand"
	"math/rand/v2"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

// Clock tells the time, waits, and gives randomness. It is safe for concurrent
// use.
type Clock interface {
	Now() time.Time
	// After returns a channel that gets one value once d has passed.
	After(d time.Duration) <-chan time.Time
	// Entropy returns random bytes, as an event.NewID takes them.
	Entropy() [10]byte
}

// System is the machine's clock and the kernel's randomness.
var System Clock = system{}

type system struct{}

func (system) Now() time.Time                         { return time.Now() }
func (system) After(d time.Duration) <-chan time.Time { return time.After(d) }
func (system) Entropy() (b [10]byte) {
	crand.Read(b[:]) // never fails, see crypto/rand
	return b
}

// NewID returns a UUIDv7 of now.
func NewID(c Clock) event.ID { return event.NewID(c.Now(), c.Entropy()) }

// Sleep waits for d or until ctx ends, and returns ctx's error in that case.
func Sleep(ctx context.Context, c Clock, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.After(d):
		return nil
	}
}

// Backoff is a pause that doubles, with jitter, from Least to Most. The zero
// Backoff goes from 50 ms to 5 s.
type Backoff struct {
	Least, Most time.Duration
	last        time.Duration
}

// Next returns the next pause: between half of it and the whole.
func (b *Backoff) Next(c Clock) time.Duration {
	least, most := b.Least, b.Most
	if least == 0 {
		least = 50 * time.Millisecond
	}
	if most == 0 {
		most = 5 * time.Second
	}
	b.last = min(max(2*b.last, least), most)
	entropy := c.Entropy()
	r := rand.New(rand.NewPCG(uint64(entropy[0])<<8|uint64(entropy[1]), uint64(entropy[2])))
	return b.last/2 + time.Duration(r.Int64N(int64(b.last/2)+1))
}

// Reset starts again from Least.
func (b *Backoff) Reset() { b.last = 0 }

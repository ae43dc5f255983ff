package bus

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// deliver hands copies of m to out, one after the other, until one was
// acknowledged. It gives up when offer ends while nobody has taken a copy, or
// when hold ends, which is the copies' context.
func deliver(offer, hold context.Context, out chan<- *message.Message, m *message.Message, pause *clock.Backoff) error {
	for {
		if acked, err := attempt(offer, hold, out, m.Copy()); acked || err != nil {
			return err
		}
		timer := time.NewTimer(pause.Next(clock.System))
		select {
		case <-timer.C:
		case <-offer.Done():
			timer.Stop()
			return offer.Err()
		}
	}
}

func attempt(offer, hold context.Context, out chan<- *message.Message, m *message.Message) (acked bool, err error) {
	ctx, cancel := context.WithCancel(hold)
	defer cancel()
	m.SetContext(ctx)
	select {
	case out <- m:
	case <-offer.Done():
		return false, offer.Err()
	}
	select {
	case <-m.Acked():
		return true, nil
	case <-m.Nacked():
		return false, nil
	case <-hold.Done():
		return false, hold.Err()
	}
}

// either returns a context with the values of a that ends with a or b.
func either(a, b context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(a)
	detach := context.AfterFunc(b, cancel)
	return ctx, func() { detach(); cancel() }
}

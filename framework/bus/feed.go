package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// Feed is a Watermill subscriber that a task of this process feeds. It keeps
// nothing: a message is with the one who delivers it until it was handled, so
// progress behind it can be committed. It has one subscription at a time; what
// it is called in Subscribe does not matter. As many messages are in flight as
// calls of Deliver.
type Feed struct {
	ctx  context.Context // ends with Close
	stop context.CancelFunc

	mu   sync.Mutex
	sub  *feeding
	news chan struct{} // closed at the next subscription
}

// feeding is a subscription to a feed.
type feeding struct {
	ctx  context.Context
	out  chan *message.Message
	busy sync.WaitGroup // deliveries
}

var _ message.Subscriber = (*Feed)(nil)

// NewFeed returns a feed that nobody has subscribed to.
func NewFeed() *Feed {
	f := &Feed{news: make(chan struct{})}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f
}

// Subscribe implements Watermill's Subscriber. It fails while another
// subscription lasts.
func (f *Feed) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ctx.Err() != nil:
		return nil, ErrClosed
	case f.sub != nil:
		return nil, fmt.Errorf("subscribe to %s: the feed has a subscription; make a Feed for each handler", topic)
	}
	sub := &feeding{out: make(chan *message.Message)}
	var cancel context.CancelFunc
	sub.ctx, cancel = either(ctx, f.ctx)
	f.sub = sub
	close(f.news)
	f.news = make(chan struct{})
	context.AfterFunc(sub.ctx, func() {
		cancel()
		f.end(sub)
	})
	return sub.out, nil
}

func (f *Feed) end(sub *feeding) {
	f.mu.Lock()
	f.sub = nil
	f.mu.Unlock()
	sub.busy.Wait()
	close(sub.out)
}

// current returns the subscription, with busy raised, or a channel that tells of
// the next.
func (f *Feed) current() (*feeding, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sub == nil || f.sub.ctx.Err() != nil {
		return nil, f.news
	}
	f.sub.busy.Add(1)
	return f.sub, nil
}

// Deliver hands m to the subscription and returns nil once it was acknowledged.
// One that was refused is handed over again, after a pause that grows from 50 ms
// to 5 s. While there is no subscription it waits for one. It returns ctx's
// error when that ends first, ErrClosed when the feed is closed; then m may have
// been handled or not. The handler's context has the values and the deadline of
// ctx.
func (f *Feed) Deliver(ctx context.Context, m *message.Message) error {
	var pause clock.Backoff
	for {
		sub, news := f.current()
		err := errors.New("no subscription yet")
		if sub != nil {
			err = sub.deliver(ctx, m, &pause)
			news = nil
		}
		switch {
		case err == nil:
			return nil
		case f.ctx.Err() != nil:
			return fmt.Errorf("deliver message %s: %w", m.UUID, ErrClosed)
		case ctx.Err() != nil:
			return fmt.Errorf("deliver message %s: %w", m.UUID, ctx.Err())
		case news == nil:
			continue // the subscription ended
		}
		select {
		case <-news:
		case <-ctx.Done():
		case <-f.ctx.Done():
		}
	}
}

func (s *feeding) deliver(ctx context.Context, m *message.Message, pause *clock.Backoff) error {
	defer s.busy.Done()
	hold, cancel := either(ctx, s.ctx)
	defer cancel()
	return deliver(hold, hold, s.out, m, pause)
}

// Close implements Watermill's Subscriber: Deliver ends with ErrClosed.
func (f *Feed) Close() error {
	f.stop()
	return nil
}

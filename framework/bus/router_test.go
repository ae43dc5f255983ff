package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/drivetrain-go/drivetrain/framework/bus"
	"github.com/drivetrain-go/drivetrain/framework/event"
)

// sink is a publisher that keeps what it is given, or fails.
type sink struct {
	mu   sync.Mutex
	fail error
	got  []*message.Message
	at   []string
}

func (s *sink) Publish(topic string, messages ...*message.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for _, m := range messages {
		s.got, s.at = append(s.got, m), append(s.at, topic)
	}
	return nil
}

func (*sink) Close() error { return nil }

func (s *sink) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// route runs a router with one handler on a feed.
func route(t *testing.T, poison *sink, handle message.NoPublishHandlerFunc) *bus.Feed {
	t.Helper()
	r, err := bus.Router(bus.RouterConfig{Poison: "app.poison", Publisher: poison, Retries: 3, MinPause: time.Millisecond, MaxPause: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	feed := bus.NewFeed()
	r.AddConsumerHandler("handler", "events", feed, handle)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(context.Background()) }()
	t.Cleanup(func() {
		if err := errors.Join(r.Close(), <-ended); err != nil {
			t.Error(err)
		}
	})
	return feed
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestADeliveryEndsOnceItIsHandled(t *testing.T) {
	var calls atomic.Int32
	feed := route(t, &sink{}, func(m *message.Message) error {
		if calls.Add(1) < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err := feed.Deliver(within(t, 10*time.Second), message.NewMessage("1", nil)); err != nil {
		t.Fatal(err)
	}
	if n := calls.Load(); n != 3 {
		t.Errorf("%d calls of the handler, want 3", n)
	}
}

func TestWhatCannotBeHandledIsPoisonAfterItsRetries(t *testing.T) {
	var calls atomic.Int32
	poison := &sink{}
	feed := route(t, poison, func(m *message.Message) error {
		if m.UUID == "good" {
			return nil
		}
		if calls.Add(1) == 2 {
			panic("no")
		}
		return errors.New("never")
	})
	for _, id := range []string{"bad", "good"} {
		if err := feed.Deliver(within(t, 10*time.Second), message.NewMessage(id, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if n := calls.Load(); n != 4 {
		t.Errorf("%d calls of the handler, want one and three retries", n)
	}
	if len(poison.got) != 1 || poison.at[0] != "app.poison" || poison.got[0].UUID != "bad" || poison.got[0].Metadata.Get(middleware.ReasonForPoisonedKey) != "never" {
		t.Errorf("poison: %v at %v", poison.got, poison.at)
	}
}

func TestADeliveryWaitsWhileThePoisonTopicCannotBeReached(t *testing.T) {
	poison := &sink{fail: errors.New("no broker")}
	feed := route(t, poison, func(*message.Message) error { return errors.New("never") })
	if err := feed.Deliver(within(t, 500*time.Millisecond), message.NewMessage("1", nil)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v, want none within its context", err)
	}
	poison.set(nil)
	if err := feed.Deliver(within(t, 10*time.Second), message.NewMessage("1", nil)); err != nil {
		t.Fatal(err)
	}
}

// A handler that its context ended has said nothing about the message.
func TestAMessageThatWasCutShortIsNotPoison(t *testing.T) {
	poison := &sink{}
	feed := route(t, poison, func(m *message.Message) error {
		<-m.Context().Done()
		return m.Context().Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := feed.Deliver(ctx, message.NewMessage("1", nil)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	<-time.After(100 * time.Millisecond)
	poison.mu.Lock()
	defer poison.mu.Unlock()
	if len(poison.got) != 0 {
		t.Errorf("%v were given up", poison.got)
	}
}

func TestRouterConfigIsChecked(t *testing.T) {
	for want, cfg := range map[string]bus.RouterConfig{
		"no poison queue": {},
		"1 to 100":        {Poison: "p", Publisher: &sink{}, Retries: 101},
		"MinPause is abo": {Poison: "p", Publisher: &sink{}, MinPause: time.Hour},
	} {
		if _, err := bus.Router(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestAFeedHandsOverUntilAckedOneSubscriptionAfterTheOther(t *testing.T) {
	feed := bus.NewFeed()
	done := make(chan error, 1)
	go func() { done <- feed.Deliver(within(t, 20*time.Second), message.NewMessage("1", []byte("x"))) }()
	ctx, cancel := context.WithCancel(t.Context())
	first, err := feed.Subscribe(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := feed.Subscribe(t.Context(), ""); err == nil {
		t.Error("two subscriptions at a time")
	}
	take(t, first).Nack()
	held := take(t, first)
	cancel()
	<-held.Context().Done()
	if _, open := <-first; open {
		t.Error("the channel is open after its context")
	}
	second, err := feed.Subscribe(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	m := take(t, second)
	select {
	case err := <-done:
		t.Fatalf("delivered before it was acknowledged: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if m.Ack(); string(m.Payload) != "x" {
		t.Errorf("%q", m.Payload)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	go func() { done <- feed.Deliver(within(t, 20*time.Second), message.NewMessage("2", nil)) }()
	take(t, second)
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, bus.ErrClosed) {
		t.Errorf("%v, want ErrClosed", err)
	}
	if _, err := feed.Subscribe(t.Context(), ""); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("subscribe after close: %v", err)
	}
}

func TestManyDeliverAtOnce(t *testing.T) {
	var handled atomic.Int32
	feed := route(t, &sink{}, func(*message.Message) error { handled.Add(1); return nil })
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 50 {
				if err := feed.Deliver(t.Context(), message.NewMessage(fmt.Sprint(i, j), nil)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := handled.Load(); n != 800 {
		t.Errorf("%d handled, want 800", n)
	}
}

var envelope = event.Envelope{
	ID: event.NewID(time.UnixMilli(1_700_000_000_000), [10]byte{7}), Type: "tribe.founded", Version: 1,
	Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
}

func TestACloudEventHasWhatTheSpecificationAsks(t *testing.T) {
	m, err := bus.CloudEvent("//drivetribe", "hikers", &envelope, []byte(`{"name":"<hikers>"}`))
	if err != nil {
		t.Fatal(err)
	}
	if m.UUID != envelope.ID.String() || m.Metadata.Get("content-type") != "application/cloudevents+json" {
		t.Errorf("%s %v", m.UUID, m.Metadata)
	}
	var got map[string]any
	if err := json.Unmarshal(m.Payload, &got); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{
		"specversion": "1.0", "id": m.UUID, "source": "//drivetribe", "type": "tribe.founded", "subject": "hikers",
		"time": "2026-01-02T03:04:05.000000006Z", "datacontenttype": "application/json", "data": "map[name:<hikers>]",
	} {
		if is := fmt.Sprint(got[k]); is != want {
			t.Errorf("%s is %s, want %s", k, is, want)
		}
	}
	if len(got) != 8 {
		t.Errorf("%d attributes: %v", len(got), got)
	}
}

func TestACloudEventWithoutDataOrSubjectLeavesThemOut(t *testing.T) {
	m, err := bus.CloudEvent("//drivetribe", "", &envelope, nil)
	if err != nil || strings.Contains(string(m.Payload), "data") || strings.Contains(string(m.Payload), "subject") {
		t.Errorf("%s, %v", m.Payload, err)
	}
}

func TestACloudEventIsRefusedForWhatIsMissing(t *testing.T) {
	for want, make := range map[string]func() (*message.Message, error){
		"no JSON":   func() (*message.Message, error) { return bus.CloudEvent("//a", "x", &envelope, []byte("{")) },
		"no source": func() (*message.Message, error) { return bus.CloudEvent("", "x", &envelope, nil) },
		"no id":     func() (*message.Message, error) { return bus.CloudEvent("//a", "x", &event.Envelope{Type: "t"}, nil) },
	} {
		if _, err := make(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

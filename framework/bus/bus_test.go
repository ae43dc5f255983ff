package bus_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/framework/bus"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// restart names a command that restarts the brokers, for the suite's test of
// reconnecting. That test is for runs without -race: it has a race of its own.
const restart = "KAFKA_RESTART"

func config(t testing.TB) bus.Config {
	return bus.Config{Brokers: kafkatest.Brokers(t), MinBackoff: time.Millisecond, MaxBackoff: 50 * time.Millisecond, CloseTimeout: 300 * time.Millisecond}
}

// suite returns the constructors that Watermill's tests want.
func suite(cfg bus.Config) (tests.PubSubConstructor, tests.ConsumerGroupPubSubConstructor) {
	grouped := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		return publisher(t, cfg), subscriber(t, cfg, group)
	}
	return func(t *testing.T) (message.Publisher, message.Subscriber) { return grouped(t, "suite") }, grouped
}

func publisher(t testing.TB, cfg bus.Config) message.Publisher {
	t.Helper()
	p, err := bus.Publisher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func subscriber(t testing.TB, cfg bus.Config, group string) message.Subscriber {
	t.Helper()
	s, err := bus.Subscriber(cfg, group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestPubSub(t *testing.T) {
	features := tests.Features{ConsumerGroups: true, Persistent: true, ForceShort: true}
	if command := os.Getenv(restart); command != "" {
		features.RestartServiceCommand = strings.Fields(command)
	}
	one, grouped := suite(config(t))
	tests.TestPubSub(t, features, one, grouped)
}

func TestPubSubInOrder(t *testing.T) {
	cfg := config(t)
	cfg.InFlight = 1
	cfg.Key = func(m *message.Message) string { return string(m.Payload) }
	one, _ := suite(cfg)
	features := tests.Features{ConsumerGroups: true, Persistent: true, GuaranteedOrder: true, GuaranteedOrderWithSingleSubscriber: true, ForceShort: true}
	for name, test := range map[string]func(*testing.T, tests.TestContext, tests.PubSubConstructor){
		"in order": tests.TestPublishSubscribeInOrder, "no ack": tests.TestNoAck,
	} {
		t.Run(name, func(t *testing.T) { test(t, tests.TestContext{TestID: tests.NewTestID(), Features: features}, one) })
	}
}

func TestEmbeddedDeliversToAllWhoSubscribe(t *testing.T) {
	b := bus.Embedded(nil)
	defer b.Close()
	var wg sync.WaitGroup
	for range 2 {
		got, err := b.Subscribe(t.Context(), "out")
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			m := <-got
			m.Nack()
			m = <-got
			if string(m.Payload) != "x" {
				t.Errorf("%q", m.Payload)
			}
			m.Ack()
		})
	}
	if err := b.Publish("out", message.NewMessage("1", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

func topic() string { return "bus-" + watermill.NewUUID() }

func take(t testing.TB, from <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case m, open := <-from:
		if !open {
			t.Fatal("the channel is closed")
		}
		return m
	case <-time.After(30 * time.Second):
		t.Fatal("no message")
	}
	return nil
}

func TestAMessageKeepsWhatItCarriesAndItsKey(t *testing.T) {
	cfg := config(t)
	name := topic()
	m := message.NewMessage("id-1", []byte{0, 1, 255})
	m.Metadata.Set("content-type", "x/y")
	m.Metadata.Set("leer", "")
	if err := publisher(t, cfg).Publish(name, m); err != nil {
		t.Fatal(err)
	}
	got, err := subscriber(t, cfg, name).Subscribe(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	back := take(t, got)
	back.Ack()
	if !back.Equals(m) || len(back.Metadata) != 2 {
		t.Errorf("%s %v %v, want %v", back.UUID, back.Metadata, back.Payload, m)
	}
}

// What was refused, or never answered, comes again after a restart; what was
// acknowledged, if only while closing, does not.
func TestOffsetsAreCommittedAfterAcksOnly(t *testing.T) {
	cfg := config(t)
	cfg.Partitions, cfg.CloseTimeout = 1, time.Second
	name := topic()
	pub := publisher(t, cfg)
	for i := range 5 {
		if err := pub.Publish(name, message.NewMessage(fmt.Sprint(i), nil)); err != nil {
			t.Fatal(err)
		}
	}
	next := func(from <-chan *message.Message, want string) *message.Message {
		t.Helper()
		m := take(t, from)
		if m.UUID != want {
			t.Fatalf("message %s, want %s", m.UUID, want)
		}
		return m
	}
	during := func(use func(from <-chan *message.Message)) {
		t.Helper()
		sub := subscriber(t, cfg, name)
		from, err := sub.Subscribe(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		use(from)
		if err := sub.Close(); err != nil {
			t.Fatal(err)
		}
	}
	during(func(from <-chan *message.Message) {
		next(from, "0").Ack()
		next(from, "1").Ack()
		late := next(from, "2")
		time.AfterFunc(300*time.Millisecond, func() { late.Ack() })
	})
	during(func(from <-chan *message.Message) {
		next(from, "3").Nack()
		next(from, "3") // and is never answered
	})
	during(func(from <-chan *message.Message) { next(from, "3").Ack() })
}

func TestNoMoreThanInFlightIsHandedOut(t *testing.T) {
	cfg := config(t)
	cfg.InFlight = 3
	name := topic()
	pub := publisher(t, cfg)
	for range 64 {
		if err := pub.Publish(name, message.NewMessage(watermill.NewUUID(), nil)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := subscriber(t, cfg, name).Subscribe(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		take(t, got)
	}
	select {
	case m := <-got:
		t.Errorf("message %s beyond three that were not acknowledged", m.UUID)
	case <-time.After(time.Second):
	}
}

func TestPublishRefusesAndReports(t *testing.T) {
	cfg := config(t)
	pub := publisher(t, cfg)
	name := topic()
	if err := pub.Publish(name, message.NewMessage("big", make([]byte, bus.MaxMessage+1))); err == nil || !strings.Contains(err.Error(), "message big") {
		t.Errorf("too large: %v", err)
	}
	if err := pub.Publish(name, message.NewMessage("fits", make([]byte, bus.MaxMessage))); err != nil {
		t.Errorf("the greatest: %v", err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pub.Publish(name, message.NewMessageWithContext(over, "late", nil)); err == nil {
		t.Error("published in an ended context")
	}
	if err := pub.Close(); err != nil {
		t.Fatal(err)
	}
	if err := pub.Publish(name, message.NewMessage("x", nil)); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("after close: %v", err)
	}
	cfg.Brokers, cfg.Timeout = []string{"127.0.0.1:1"}, time.Second
	began := time.Now()
	if err := publisher(t, cfg).Publish(name, message.NewMessage("x", nil)); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("no broker: %v after %v", err, time.Since(began))
	}
}

func TestConfigIsChecked(t *testing.T) {
	for want, cfg := range map[string]bus.Config{
		"no brokers":        {},
		"want host:port":    {Brokers: []string{"kafka"}},
		"want 1 or more":    {Brokers: []string{"a:1"}, InFlight: -1},
		"MinBackoff is abo": {Brokers: []string{"a:1"}, MinBackoff: time.Hour},
	} {
		if _, err := bus.Publisher(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := bus.Subscriber(bus.Config{Brokers: []string{"a:1"}}, ""); err == nil {
		t.Error("a subscriber without a group")
	}
}

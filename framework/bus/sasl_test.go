package bus_test

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/drivetrain-go/drivetrain/framework/bus"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

func TestBothHalvesAuthenticate(t *testing.T) {
	c := kafkatest.Start(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "alice", "secret"))
	as, err := (&kafkalog.SASL{Mechanism: "scram-sha-256", User: "alice", Password: "secret"}).ForKafkaGo()
	if err != nil {
		t.Fatal(err)
	}
	cfg := bus.Config{Brokers: c.ListenAddrs(), SASL: as}
	name := topic()
	if err := publisher(t, cfg).Publish(name, message.NewMessage("1", nil)); err != nil {
		t.Fatal(err)
	}
	got, err := subscriber(t, cfg, name).Subscribe(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	take(t, got).Ack()
	cfg.SASL, cfg.Timeout = nil, 2*time.Second
	if err := publisher(t, cfg).Publish(name, message.NewMessage("2", nil)); err == nil {
		t.Error("published without a password")
	}
}

func TestTLSIsUsedByBothHalves(t *testing.T) {
	c := kafkatest.Start(t)
	cfg := bus.Config{Brokers: c.ListenAddrs(), TLS: &tls.Config{}, Timeout: time.Second}
	if err := publisher(t, cfg).Publish(topic(), message.NewMessage("1", nil)); err == nil {
		t.Error("published in clear text")
	}
	if _, err := subscriber(t, cfg, "g").Subscribe(t.Context(), topic()); err == nil {
		t.Error("subscribed in clear text")
	}
}

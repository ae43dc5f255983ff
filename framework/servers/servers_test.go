package servers_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/drivetrain-go/drivetrain/framework/bus"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/servers"
)

func clear(t *testing.T) {
	for _, name := range []string{"KAFKA_BROKERS", "REDIS_ADDR", "ELASTICSEARCH_URL"} {
		t.Setenv(name, "")
	}
}

func TestWithNoServerNamedItRunsEmbedded(t *testing.T) {
	clear(t)
	if servers.Named() {
		t.Fatal("it says that servers are named")
	}
	r, err := servers.FromEnv(t.TempDir()).Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWithSomeServersNamedTheMissingOnesAreNamed(t *testing.T) {
	clear(t)
	t.Setenv("REDIS_ADDR", "127.0.0.1:1")
	_, err := servers.FromEnv(t.TempDir()).Open(context.Background())
	if err == nil || !strings.Contains(err.Error(), "set KAFKA_BROKERS and ELASTICSEARCH_URL too") {
		t.Fatalf("got %v", err)
	}
}

func TestKafkaIsReachedAsTheVariablesSay(t *testing.T) {
	clear(t)
	for _, name := range []string{"KAFKA_TLS", "KAFKA_SASL", "KAFKA_USER", "KAFKA_PASSWORD"} {
		t.Setenv(name, "")
	}
	if c := servers.Kafka(); len(c.Brokers) != 0 || c.TLS != nil || c.SASL != nil {
		t.Errorf("of an empty environment it makes %+v", c)
	}
	for name, value := range map[string]string{"KAFKA_BROKERS": "a:1, b:2", "KAFKA_TLS": "yes", "KAFKA_SASL": "plain",
		"KAFKA_USER": "maya", "KAFKA_PASSWORD": "secret"} {
		t.Setenv(name, value)
	}
	c := servers.Kafka()
	if strings.Join(c.Brokers, " ") != "a:1 b:2" || c.TLS == nil || c.SASL == nil ||
		*c.SASL != (kafkalog.SASL{Mechanism: "plain", User: "maya", Password: "secret"}) {
		t.Errorf("it makes %+v", c)
	}
}

func TestAConfigNamesWhatItLacks(t *testing.T) {
	_, err := servers.Config{}.Framework().Open(context.Background())
	if err == nil || !strings.Contains(err.Error(), "set Dir and Elasticsearch.URLs and Kafka.Brokers and Redis.Addrs") {
		t.Fatalf("got %v", err)
	}
}

func TestABrokerThatCannotBeReachedIsNamed(t *testing.T) {
	clear(t)
	t.Setenv("KAFKA_BROKERS", "127.0.0.1:1")
	t.Setenv("REDIS_ADDR", "127.0.0.1:1")
	t.Setenv("ELASTICSEARCH_URL", "http://127.0.0.1:1")
	_, err := servers.FromEnv(t.TempDir()).Open(context.Background())
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Fatalf("got %v", err)
	}
}

func TestAPublisherGoesWhereTheLogIs(t *testing.T) {
	clear(t)
	t.Setenv("KAFKA_SASL", "nope")
	t.Setenv("KAFKA_USER", "alice")
	pub, err := servers.PublisherFromEnv(bus.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(pub.Publish("app.out", message.NewMessage("1", nil)), pub.Close()); err != nil {
		t.Errorf("embedded, with nobody who listens: %v", err)
	}
	t.Setenv("KAFKA_BROKERS", "127.0.0.1:1")
	if _, err := servers.PublisherFromEnv(bus.Config{}); err == nil || !strings.Contains(err.Error(), "set REDIS_ADDR and ELASTICSEARCH_URL too") {
		t.Errorf("with one server named: %v", err)
	}
	t.Setenv("REDIS_ADDR", "127.0.0.1:1")
	t.Setenv("ELASTICSEARCH_URL", "http://127.0.0.1:1")
	if _, err := servers.PublisherFromEnv(bus.Config{}); err == nil || !strings.Contains(err.Error(), "want plain") {
		t.Errorf("an unknown mechanism: %v", err)
	}
	t.Setenv("KAFKA_SASL", "plain")
	pub, err = servers.PublisherFromEnv(bus.Config{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()
	if err := pub.Publish("app.out", message.NewMessage("1", nil)); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("a broker that does not answer: %v", err)
	}
}

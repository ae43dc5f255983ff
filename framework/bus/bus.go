// Package bus sends events and their effects to the world and takes messages
// from it, as a Watermill Pub/Sub over Kafka, or a Go channel when embedded:
//
//	pub, err := bus.Publisher(bus.Config{Brokers: brokers})
//	router, err := bus.Router(bus.RouterConfig{Poison: "app.poison", Publisher: pub})
//	feed := bus.NewFeed() // what an effect delivers to, see projections.Effect
//	router.AddHandler("out", "events", feed, "app.out", pub, handle)
//	go router.Run(ctx)
//	msg, err := bus.CloudEvent("//app", id, &envelope, data)
//	err = feed.Deliver(ctx, msg) // nil: handled, so progress may be committed
//
// Messages arrive at least once, in the order of their partition while
// [Config.InFlight] is 1 or keys are what order is about. Topics of the event
// log are never read through a bus: they hold void records too.
//
// Where to look: publish.go and subscribe.go are the two halves over kafka-go,
// deliver.go hands one message over until it is acknowledged, feed.go,
// router.go and cloudevent.go stand alone.
package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
)

// UUIDHeader names the record header that carries a message's UUID. The others
// are the message's metadata.
const UUIDHeader = "_watermill_message_uuid"

// MaxMessage is the most bytes of payload and metadata that Publish takes in one
// message.
const MaxMessage = 900 << 10

// MaxMessages is the most messages that one Publish takes.
const MaxMessages = 5_000

// Errors by which a caller decides what to do.
var (
	ErrClosed   = errors.New("bus closed")
	ErrTooLarge = errors.New("too large: at most 900 KiB a message and 5000 messages a call")
)

// Config says how to reach a Kafka cluster and how to treat messages. Brokers is
// required; a zero field is its default.
type Config struct {
	Brokers  []string       // addresses to start from, as host:port
	ClientID string         // what brokers call this program. Default "drivetrain"
	TLS      *tls.Config    // encrypts every connection; nil: none
	SASL     sasl.Mechanism // authenticates every connection; nil: none
	// Partitions is how many a topic gets that is created because it was
	// missing, with the brokers' own settings otherwise. Default 8.
	Partitions int
	// Key returns the key by which a message finds its partition. Default: its
	// UUID, so that messages spread.
	Key func(*message.Message) string
	// Timeout bounds one Publish. Default 10 s.
	Timeout time.Duration
	// MaxPublishing bounds the calls of Publish under way; more wait their turn
	// within Timeout. Default 1024.
	MaxPublishing int
	// InFlight bounds the messages of one subscription that are handed out and
	// not acknowledged yet; there is never more than one of a partition. Default
	// 8.
	InFlight int
	// MinBackoff and MaxBackoff bound the pause before a message that was
	// refused (Nack) is handed out again; it doubles. Default 50 ms and 5 s.
	MinBackoff, MaxBackoff time.Duration
	// CloseTimeout is how long Close of a subscriber waits for messages that are
	// handed out. Default 5 s.
	CloseTimeout time.Duration
	// Logger takes what goes wrong beside the calls. Default: nowhere.
	Logger *slog.Logger
}

// withDefaults returns c complete, or says which field is out of bounds.
func (c Config) withDefaults() (Config, error) {
	c.ClientID = or(c.ClientID, "drivetrain")
	c.Partitions = or(c.Partitions, 8)
	c.Timeout = or(c.Timeout, 10*time.Second)
	c.MaxPublishing = or(c.MaxPublishing, 1024)
	c.InFlight = or(c.InFlight, 8)
	c.MinBackoff = or(c.MinBackoff, 50*time.Millisecond)
	c.MaxBackoff = or(c.MaxBackoff, 5*time.Second)
	c.CloseTimeout = or(c.CloseTimeout, 5*time.Second)
	c.Logger = or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Key == nil {
		c.Key = func(m *message.Message) string { return m.UUID }
	}
	switch {
	case len(c.Brokers) == 0:
		return c, errors.New("no brokers: set Config.Brokers to addresses such as 127.0.0.1:9092")
	case c.Partitions < 1 || c.MaxPublishing < 1 || c.InFlight < 1:
		return c, fmt.Errorf("Config.Partitions is %d, MaxPublishing %d, InFlight %d: want 1 or more", c.Partitions, c.MaxPublishing, c.InFlight)
	case c.Timeout < 0 || c.CloseTimeout < 0 || c.MinBackoff < 0 || c.MaxBackoff < c.MinBackoff:
		return c, errors.New("a time in Config is negative, or MinBackoff is above MaxBackoff")
	}
	for _, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			return c, fmt.Errorf("broker %q: want host:port such as 127.0.0.1:9092", b)
		}
	}
	return c, nil
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Embedded returns a Pub/Sub in this process. Publish returns once all who
// subscribe to the topic have acknowledged; a message that nobody subscribes to
// is gone.
func Embedded(logger *slog.Logger) *gochannel.GoChannel {
	return gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, adapter(logger))
}

// adapter lets Watermill log to logger; nil: nowhere.
func adapter(logger *slog.Logger) watermill.LoggerAdapter {
	return watermill.NewSlogLogger(or(logger, slog.New(slog.DiscardHandler)))
}

// metadataTTL is how long kafka-go believes what it remembers of leaders.
const metadataTTL = time.Second

func (c Config) transport() *kafka.Transport {
	return &kafka.Transport{ClientID: c.ClientID, TLS: c.TLS, SASL: c.SASL, DialTimeout: 3 * time.Second, MetadataTTL: metadataTTL}
}

func (c Config) dialer() *kafka.Dialer {
	return &kafka.Dialer{ClientID: c.ClientID, TLS: c.TLS, SASLMechanism: c.SASL, Timeout: 3 * time.Second, DualStack: true}
}

// ensure creates topic if the cluster does not have it.
func (c Config) ensure(ctx context.Context, over *kafka.Transport, topic string) error {
	client := kafka.Client{Addr: kafka.TCP(c.Brokers...), Timeout: c.Timeout, Transport: over}
	known, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return fmt.Errorf("look up topic %s: %w", topic, err)
	}
	if len(known.Topics) == 1 && known.Topics[0].Error == nil {
		return nil
	}
	made, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: topic, NumPartitions: c.Partitions, ReplicationFactor: -1,
	}}})
	if err == nil {
		err = made.Errors[topic]
	}
	if err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
		return fmt.Errorf("create topic %s with %d partitions: %w", topic, c.Partitions, err)
	}
	return nil
}

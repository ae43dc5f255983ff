package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/kafka-go"
)

// Publisher returns a Watermill publisher over Kafka. Publish returns once all
// replicas in sync have the messages. After an error some may be in the topic,
// and may be there twice: whoever publishes again does no harm to readers that
// know messages by their UUID. The first message's context ends a Publish too.
func Publisher(cfg Config) (message.Publisher, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("bus publisher: %w", err)
	}
	p := &publisher{cfg: cfg, transport: cfg.transport(), turns: make(chan struct{}, cfg.MaxPublishing), topics: make(map[string]struct{})}
	p.writer = &kafka.Writer{
		Addr:         kafka.TCP(cfg.Brokers...),
		Balancer:     kafka.Murmur2Balancer{Consistent: true},
		RequiredAcks: kafka.RequireAll,
		BatchTimeout: batchTimeout,
		WriteTimeout: cfg.Timeout,
		Transport:    p.transport,
	}
	return p, nil
}

// batchTimeout is how long a message waits for others to share its batch.
const batchTimeout = 2 * time.Millisecond

type publisher struct {
	cfg       Config
	transport *kafka.Transport
	writer    *kafka.Writer
	turns     chan struct{}

	mu     sync.Mutex
	topics map[string]struct{} // that are known to exist
	closed bool
}

var _ message.Publisher = (*publisher)(nil)

// Publish implements Watermill's Publisher.
func (p *publisher) Publish(topic string, messages ...*message.Message) error {
	if len(messages) == 0 {
		return nil
	}
	if err := p.publish(topic, messages); err != nil {
		return fmt.Errorf("publish %d messages to %s: %w", len(messages), topic, err)
	}
	return nil
}

func (p *publisher) publish(topic string, messages []*message.Message) error {
	records, err := p.records(topic, messages)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(messages[0].Context(), p.cfg.Timeout)
	defer cancel()
	select {
	case p.turns <- struct{}{}:
		defer func() { <-p.turns }()
	case <-ctx.Done():
		return fmt.Errorf("%d calls are under way, nothing was sent; raise Config.MaxPublishing: %w", p.cfg.MaxPublishing, ctx.Err())
	}
	if err := p.exists(ctx, topic); err != nil {
		return err
	}
	return first(p.writer.WriteMessages(ctx, records...))
}

// first returns the first error of those that kafka-go gives for each message.
func first(err error) error {
	var each kafka.WriteErrors
	if !errors.As(err, &each) {
		return err
	}
	for i, err := range each {
		if err != nil {
			return fmt.Errorf("message %d, and %d in all: %w", i, each.Count(), err)
		}
	}
	return nil
}

func (p *publisher) records(topic string, messages []*message.Message) ([]kafka.Message, error) {
	if len(messages) > MaxMessages {
		return nil, ErrTooLarge
	}
	records := make([]kafka.Message, len(messages))
	for i, m := range messages {
		size := len(m.Payload)
		headers := []kafka.Header{{Key: UUIDHeader, Value: []byte(m.UUID)}}
		for k, v := range m.Metadata {
			headers = append(headers, kafka.Header{Key: k, Value: []byte(v)})
			size += len(k) + len(v)
		}
		if size > MaxMessage {
			return nil, fmt.Errorf("message %s has %d bytes: %w", m.UUID, size, ErrTooLarge)
		}
		records[i] = kafka.Message{Topic: topic, Key: []byte(p.cfg.Key(m)), Value: m.Payload, Headers: headers}
	}
	return records, nil
}

// exists creates a topic when it is used for the first time, if it is missing.
func (p *publisher) exists(ctx context.Context, topic string) error {
	p.mu.Lock()
	_, known := p.topics[topic]
	closed := p.closed
	p.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case known:
		return nil
	}
	if err := p.cfg.ensure(ctx, p.transport, topic); err != nil {
		return err
	}
	p.mu.Lock()
	p.topics[topic] = struct{}{}
	p.mu.Unlock()
	return nil
}

// Close implements Watermill's Publisher: it waits for messages under way.
func (p *publisher) Close() error {
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	p.mu.Unlock()
	if closed {
		return nil
	}
	err := p.writer.Close()
	p.transport.CloseIdleConnections()
	if err != nil {
		return fmt.Errorf("close bus publisher: %w", err)
	}
	return nil
}

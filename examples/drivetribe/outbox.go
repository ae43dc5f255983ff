package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/drivetrain-go/drivetrain/framework/bus"
	"github.com/drivetrain-go/drivetrain/framework/servers"
)

// outbox takes messages to the topic <app>.out, and those that its router gives
// up to <app>.poison: on Kafka, or on a channel in this process, which nobody
// listens to unless a program subscribes.
type outbox struct {
	feed      *bus.Feed // of messages, each delivered once it is in a topic
	publisher message.Publisher
	router    *message.Router
	ended     chan error
}

// openOutbox makes an outbox and runs it until close. No server has to answer yet.
func openOutbox(app string, logger *slog.Logger) (*outbox, error) {
	publisher, err := servers.PublisherFromEnv(bus.Config{Logger: logger})
	if err != nil {
		return nil, err
	}
	o, err := outboxOn(publisher, app, logger)
	if err != nil {
		return nil, errors.Join(err, publisher.Close())
	}
	return o, nil
}

// outboxOn is openOutbox with a publisher, which close closes.
func outboxOn(publisher message.Publisher, app string, logger *slog.Logger) (*outbox, error) {
	router, err := bus.Router(bus.RouterConfig{Poison: app + ".poison", Publisher: publisher, Logger: logger})
	if err != nil {
		return nil, err
	}
	o := &outbox{feed: bus.NewFeed(), publisher: publisher, router: router, ended: make(chan error, 1)}
	router.AddHandler("out", app+".events", o.feed, app+".out", publisher, func(m *message.Message) ([]*message.Message, error) {
		return message.Messages{m}, nil
	})
	go func() { o.ended <- router.Run(context.Background()) }()
	select {
	case <-router.Running():
		return o, nil
	case err := <-o.ended:
		return nil, err
	}
}

// close ends the outbox; what was not delivered by then is delivered after the
// next start.
func (o *outbox) close() error {
	return errors.Join(o.router.Close(), <-o.ended, o.publisher.Close())
}

package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/drivetrain-go/drivetrain/framework/bus"
	"github.com/drivetrain-go/drivetrain/framework/event"
)

// A task delivers an event; a router takes it out as a CloudEvent, at the second
// attempt.
func Example() {
	out := bus.Embedded(nil) // or a bus.Publisher on Kafka
	defer out.Close()
	sent, err := out.Subscribe(context.Background(), "app.out")
	if err != nil {
		log.Fatal(err)
	}
	router, err := bus.Router(bus.RouterConfig{Poison: "app.poison", Publisher: out})
	if err != nil {
		log.Fatal(err)
	}
	feed, failed := bus.NewFeed(), false
	router.AddHandler("out", "events", feed, "app.out", out, func(m *message.Message) ([]*message.Message, error) {
		if !failed {
			failed = true
			return nil, errors.New("try again")
		}
		return message.Messages{m}, nil
	})
	go router.Run(context.Background())
	defer router.Close()

	go func() {
		m := <-sent
		fmt.Println(string(m.Payload))
		m.Ack()
	}()
	e := event.Envelope{ID: event.ID{15: 1}, Type: "tribe.founded", Time: time.Unix(1_700_000_000, 0).UTC()}
	m, err := bus.CloudEvent("//drivetribe", "hikers", &e, []byte(`{"name":"Hikers"}`))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(feed.Deliver(context.Background(), m))
	// Output:
	// {"specversion":"1.0","id":"00000000-0000-0000-0000-000000000001","source":"//drivetribe","type":"tribe.founded","subject":"hikers","time":"2023-11-14T22:13:20Z","datacontenttype":"application/json","data":{"name":"Hikers"}}
	// <nil>
}

package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/drivetrain-go/drivetrain/examples/drivetribe/effects"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/bus"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
	"github.com/drivetrain-go/drivetrain/projections"
)

// newOutbox makes an outbox that ends with the test.
func newOutbox(t *testing.T, publisher message.Publisher) *outbox {
	t.Helper()
	o, err := outboxOn(publisher, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// announcing starts Drivetribe with its effect.
func announcing(t *testing.T, o *outbox) *framework.App {
	t.Helper()
	app, _ := frameworktest.Start(t, func(app *framework.App) {
		register(app)
		projections.Register(app, effects.AnnounceTribes("//test", o.feed.Deliver))
	})
	return app
}

func TestAFoundedTribeGoesOutThroughTheRouter(t *testing.T) {
	channel := bus.Embedded(nil)
	sent, err := channel.Subscribe(t.Context(), "test.out")
	if err != nil {
		t.Fatal(err)
	}
	app := announcing(t, newOutbox(t, channel))
	res := frameworktest.Send(t, app, framework.Call{Aggregate: "tribe", ID: "hikers", Command: "found", Actor: "maya", Body: []byte(`{"name":"Hikers"}`)})
	select {
	case m := <-sent:
		m.Nack() // so that it comes again
		if m = <-sent; m.UUID != res.Events[0].ID.String() || m.Metadata.Get(bus.ContentType) != bus.CloudEventType {
			t.Errorf("message %s with %v, want the event's id %s", m.UUID, m.Metadata, res.Events[0].ID)
		}
		var e struct{ Type, Subject, Source string }
		if err := json.Unmarshal(m.Payload, &e); err != nil || e.Type != "tribe.founded" || e.Subject != "hikers" || e.Source != "//test" {
			t.Errorf("payload %s, %v", m.Payload, err)
		}
		m.Ack()
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was sent")
	}
}

// Without a subscriber the messages are gone, and nobody waits.
func TestNobodyHasToListen(t *testing.T) {
	o := newOutbox(t, bus.Embedded(nil))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 3 {
		if err := o.feed.Deliver(ctx, message.NewMessage("1", nil)); err != nil {
			t.Fatal(err)
		}
	}
}

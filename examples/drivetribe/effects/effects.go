// Package effects is what Drivetribe tells other systems.
package effects

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/drivetrain-go/drivetrain/examples/drivetribe/tribe"
	"github.com/drivetrain-go/drivetrain/framework/bus"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/projections"
)

// AnnounceTribes tells of each tribe that was founded, by a CloudEvent with the
// event's id. Deliver returns once the message is where it shall be. Source names
// the application, as "//drivetribe".
func AnnounceTribes(source string, deliver func(context.Context, *message.Message) error) *projections.Effect[tribe.Event] {
	return &projections.Effect[tribe.Event]{
		Name: "announce-tribes",
		From: tribe.Type.Stream(),
		Do: func(ctx context.Context, e projections.Event[tribe.Event]) error {
			if _, ok := e.Fact.(tribe.Founded); !ok {
				return nil
			}
			m, err := cloudEvent(source, e)
			if err != nil {
				return err
			}
			return deliver(ctx, m)
		},
	}
}

func cloudEvent(source string, e projections.Event[tribe.Event]) (*message.Message, error) {
	data, err := json.Marshal(e.Fact)
	if err != nil {
		return nil, fmt.Errorf("encode %s of %s: %w", e.Name, e.ID, err)
	}
	return bus.CloudEvent(source, e.ID, &event.Envelope{ID: e.EventID, Type: e.Name, Time: e.Time}, data)
}

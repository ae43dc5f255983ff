package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

// ContentType is the metadata key, and record header, of a message's media type.
const ContentType = "content-type"

// CloudEventType is the media type of a CloudEvent in structured JSON.
const CloudEventType = "application/cloudevents+json"

// cloudEvent is a CloudEvent 1.0 with the attributes that an event has.
type cloudEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject,omitempty"`
	Time        time.Time       `json:"time"`
	ContentType string          `json:"datacontenttype,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
}

// CloudEvent returns an event as a CloudEvent 1.0 message in structured JSON.
// Source is a URI that names the application, as "//drivetribe"; subject the
// aggregate's id, which may be empty. Data is the event's payload, JSON or
// nothing. The message's UUID is the event's id, so that a second copy is known
// as one.
func CloudEvent(source, subject string, e *event.Envelope, data []byte) (*message.Message, error) {
	c := cloudEvent{SpecVersion: "1.0", ID: e.ID.String(), Source: source, Type: e.Type, Subject: subject, Time: e.Time}
	if len(data) > 0 {
		c.ContentType, c.Data = "application/json", data
	}
	var err error
	switch {
	case e.ID.IsZero() || e.Type == "":
		err = errors.New("the event has no id or no type")
	case source == "":
		err = errors.New("no source: name the application by a URI such as //drivetribe")
	case len(data) > 0 && !json.Valid(data):
		err = errors.New("its data is no JSON; encode it before")
	}
	var payload []byte
	if err == nil {
		payload, err = json.Marshal(c)
	}
	if err != nil {
		return nil, fmt.Errorf("cloud event of %s %s: %w", e.Type, c.ID, err)
	}
	m := message.NewMessage(c.ID, payload)
	m.Metadata.Set(ContentType, CloudEventType)
	return m, nil
}

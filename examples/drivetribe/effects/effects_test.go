package effects_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/drivetrain-go/drivetrain/examples/drivetribe/effects"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/tribe"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/projections"
)

func TestFoundedTribesAreAnnouncedAndNothingElse(t *testing.T) {
	var sent []string
	down := errors.New("down")
	do := effects.AnnounceTribes("//drivetribe", func(_ context.Context, m *message.Message) error {
		sent = append(sent, m.UUID+" "+string(m.Payload))
		return down
	}).Do
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	e := projections.Event[tribe.Event]{Fact: tribe.Founded{Name: "Hikers"}, Aggregate: "tribe", ID: "hikers", Version: 1, Time: at,
		Name: "tribe.founded", EventID: event.ID{15: 7}}
	if err := do(t.Context(), e); !errors.Is(err, down) {
		t.Errorf("%v, want what deliver said", err)
	}
	e.Fact, e.Name = tribe.Joined{Member: "maya"}, "tribe.joined"
	if err := do(t.Context(), e); err != nil {
		t.Error(err)
	}
	const id = "00000000-0000-0000-0000-000000000007"
	want := id + ` {"specversion":"1.0","id":"` + id + `","source":"//drivetribe","type":"tribe.founded","subject":"hikers",` +
		`"time":"2026-01-02T03:04:05Z","datacontenttype":"application/json","data":{"name":"Hikers"}}`
	if len(sent) != 1 || sent[0] != want {
		t.Errorf("sent %q, want\n%s", sent, want)
	}
}

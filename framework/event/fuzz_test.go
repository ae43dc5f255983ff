package event_test

import (
	"errors"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

// FuzzEnvelope decodes arbitrary headers: what is taken is an envelope that may
// be written, and reads back as the same.
func FuzzEnvelope(f *testing.F) {
	e := full()
	f.Add(e.Append(nil))
	f.Add((&event.Envelope{Type: "x", Count: 1}).Append(nil))
	f.Add([]byte{1, 2})
	f.Add([]byte{2, 1})
	f.Fuzz(func(t *testing.T, header []byte) {
		var d event.Decoder
		var got, again event.Envelope
		if err := d.Decode(header, &got); err != nil {
			if errors.Is(err, event.ErrForeign) == errors.Is(err, event.ErrNewer) {
				t.Fatalf("%x: %v is neither foreign nor newer", header, err)
			}
			return
		}
		if got.Type == "" || got.Index < 0 || got.Index >= got.Count || got.Count > event.MaxCommit ||
			max(len(got.Type), len(got.Actor), len(got.Tenant), len(got.Subject)) > event.MaxName {
			t.Fatalf("%x: taken as %+v", header, got)
		}
		if err := d.Decode(got.Append(nil), &again); err != nil || again != got {
			t.Fatalf("%+v reads back as %+v, %v", got, again, err)
		}
		if name, err := d.TypeOf(header); err != nil || name != got.Type {
			t.Fatalf("%x: its type alone is read as %q, %v; want %q", header, name, err, got.Type)
		}
	})
}

package event_test

import (
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"pgregory.net/rapid"
)

var (
	ids   = rapid.Custom(func(t *rapid.T) event.ID { return event.ID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")) })
	texts = rapid.StringN(0, -1, event.MaxName)
)

// envelopes are all that may be written.
var envelopes = rapid.Custom(func(t *rapid.T) event.Envelope {
	count := rapid.IntRange(1, event.MaxCommit).Draw(t, "count")
	return event.Envelope{
		ID: ids.Draw(t, "id"), Command: ids.Draw(t, "command"), Correlation: ids.Draw(t, "correlation"), Causation: ids.Draw(t, "causation"),
		Digest: rapid.Uint64().Draw(t, "digest"), Type: rapid.StringN(1, -1, event.MaxName).Draw(t, "type"),
		Version: rapid.Uint64().Draw(t, "version"), Epoch: rapid.Uint64().Draw(t, "epoch"),
		Index: rapid.IntRange(0, count-1).Draw(t, "index"), Count: count,
		Time:  time.Unix(0, rapid.Int64().Draw(t, "time")).UTC(),
		Actor: texts.Draw(t, "actor"), Tenant: texts.Draw(t, "tenant"), Subject: texts.Draw(t, "subject"),
	}
})

func TestAnyEnvelopeReadsBackAsWritten(t *testing.T) {
	var d event.Decoder // one for all: what it keeps must not show
	rapid.Check(t, func(t *rapid.T) {
		e := envelopes.Draw(t, "envelope")
		var got event.Envelope
		if err := d.Decode(e.Append(nil), &got); err != nil || got != e {
			t.Fatalf("got %+v, %v\nwant %+v", got, err, e)
		}
	})
}

func TestAnyIDReadsBackAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := ids.Draw(t, "id")
		if got, err := event.ParseID(id.String()); err != nil || got != id {
			t.Fatalf("%v reads back as %v, %v", id, got, err)
		}
	})
}

func TestScopesRunIntoOneAnotherNever(t *testing.T) {
	words := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 0, 3, -1), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		a, b := append(words.Draw(t, "a"), "key"), append(words.Draw(t, "b"), "key")
		same := len(a) == len(b)
		for i := 0; same && i < len(a); i++ {
			same = a[i] == b[i]
		}
		last := len(a) - 1
		if got := event.Scoped(a[last], a[:last]...) == event.Scoped(b[len(b)-1], b[:len(b)-1]...); got != same {
			t.Fatalf("%q and %q: same id %v", a, b, got)
		}
	})
}

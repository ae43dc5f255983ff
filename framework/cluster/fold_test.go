package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	json "github.com/goccy/go-json"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// members is an aggregate whose events are JSON of 105 bytes.
type members struct{ codec event.Codec }

type joined struct {
	Member string `json:"member"`
	Guest  bool   `json:"guest"`
	Note   string `json:"note"`
	At     int64  `json:"at"`
}

func (members) TypeName() string                { return "tribe" }
func (members) Zero() any                       { return new(int) }
func (members) StateJSON(s any) ([]byte, error) { return json.Marshal(s) }
func (m members) Fold(s any, _ string, data []byte) error {
	var e joined
	if err := m.codec.Unmarshal(data, &e); err != nil {
		return err
	}
	*s.(*int)++
	return nil
}

// parted is members that decode apart from folding, to a state that shows the order
// of what was folded.
type parted struct {
	members
	panics string // of the member whose decoding panics; empty: none
}

func (parted) Zero() any { return new(sum) }

type sum struct{ n, order int }

func (p parted) Fold(s any, name string, data []byte) error {
	fact, err := p.DecodeFact(name, data)
	if err != nil {
		return err
	}
	return p.FoldFact(s, fact)
}

func (p parted) DecodeFact(_ string, data []byte) (any, error) {
	var e joined
	if err := p.codec.Unmarshal(data, &e); err != nil {
		return nil, err
	}
	if p.panics != "" && e.Member == p.panics {
		panic("no " + e.Member)
	}
	return &e, nil
}

func (parted) FoldFact(state, fact any) error {
	s, e := state.(*sum), fact.(*joined)
	s.n++
	for _, c := range e.Member {
		s.order = s.order*31 + int(c)
	}
	return nil
}

// whole hides that parted decodes apart.
type whole struct{ Aggregate }

func payload(n int) []byte {
	return fmt.Appendf(nil, `{"member":"member-%08d","guest":true,"note":"comes with two friends, and leaves early","at":1767225600000}`, n)
}

type goccy struct{}

func (goccy) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (goccy) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// long writes one aggregate's events, between which others' lie, and returns what
// an owner holds of it when it must fold it anew.
func long(t testing.TB, log eventlog.Log, kind Aggregate, events, others int) (*Owner, []byte, *aggregate) {
	t.Helper()
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	key, a := partition.Key("tribe", "hikers"), &aggregate{at: nowhere, kind: kind}
	e := event.Envelope{Type: "tribe.joined", Epoch: 1, Count: 1, Time: noon}
	for a.offsets.Count < events {
		var batch []eventlog.Record
		for n := range 64 {
			at := a.offsets.Count + n/(others+1)
			e.Version = uint64(at + 1)
			data := payload(at)
			k := key
			if n%(others+1) != 0 {
				k = partition.Key("tribe", "others")
			}
			batch = append(batch, eventlog.Record{Key: k, Header: e.Append(nil), Value: data})
		}
		base, err := log.Append(t.Context(), topic, 0, batch)
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(batch) && a.offsets.Count < events; n += others + 1 {
			a.offsets.Add(base + int64(n))
		}
	}
	a.folded = uint64(events)
	o := &Owner{cfg: OwnerConfig{Log: log, Topic: topic, AppendTimeout: time.Minute, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}}
	return o, key, a
}

// counted counts the readers of a log.
type counted struct {
	eventlog.Log
	readers int
}

func (l *counted) Read(topic string, part int32, from int64) (eventlog.Reader, error) {
	l.readers++
	return l.Log.Read(topic, part, from)
}

// On a broker a reader costs some round trips: a fold of many events that lie near
// each other takes one.
func TestAnAggregateIsFoldedAgainByOneReader(t *testing.T) {
	log := &counted{Log: memlog.New()}
	o, key, a := long(t, log, members{event.JSON}, 1000, 3)
	if err := o.refold(t.Context(), key, a); err != nil {
		t.Fatal(err)
	}
	if got := *a.state.(*int); got != 1000 || a.version != 1000 || log.readers != 1 {
		t.Errorf("folded %d events to version %d with %d readers, want 1000 and one", got, a.version, log.readers)
	}
}

// interrupted ends each read after some runs.
type interrupted struct {
	eventlog.Log
	cancel context.CancelFunc
}

func (l *interrupted) Read(topic string, part int32, from int64) (eventlog.Reader, error) {
	r, err := l.Log.Read(topic, part, from)
	return &brief{Reader: r, of: l}, err
}

type brief struct {
	eventlog.Reader
	of   *interrupted
	runs int
}

func (r *brief) Next(ctx context.Context) ([]eventlog.Record, error) {
	if r.runs++; r.runs > 1 {
		r.of.cancel()
		return nil, context.Canceled
	}
	run, err := r.Reader.Next(ctx)
	return run[:min(len(run), 100)], err
}

// A fold that is interrupted goes on where it was, and folds no event twice.
func TestAFoldGoesOnWhereItWas(t *testing.T) {
	for name, kind := range map[string]Aggregate{"at once": whole{parted{members: members{event.JSON}}}, "decoded apart": parted{members: members{event.JSON}}} {
		t.Run(name, func(t *testing.T) { foldInterrupted(t, kind) })
	}
}

func foldInterrupted(t *testing.T, kind Aggregate) {
	log := &interrupted{Log: memlog.New()}
	o, key, a := long(t, log, kind, 1000, 0)
	for attempt := 1; ; attempt++ {
		ctx, cancel := context.WithCancel(t.Context())
		log.cancel = cancel
		err := o.refold(ctx, key, a)
		cancel()
		if err == nil {
			break
		}
		if a.state != nil || attempt > 20 {
			t.Fatalf("after attempt %d, which failed: %v, state %v", attempt, err, a.state)
		}
	}
	if got := a.state.(*sum).n; got != 1000 {
		t.Errorf("folded %d events, want 1000", got)
	}
}

// A long history is decoded by several goroutines, and folded in its order.
func TestWhatIsDecodedApartIsFoldedInOrder(t *testing.T) {
	for _, events := range []int{1, 63, 64, 65, 1024, 1025, 3000} {
		var states [2]any
		for i, kind := range []Aggregate{whole{parted{members: members{event.JSON}}}, parted{members: members{event.JSON}}} {
			o, key, a := long(t, memlog.New(), kind, events, 0)
			if err := o.refold(t.Context(), key, a); err != nil {
				t.Fatal(err)
			}
			states[i] = a.state
		}
		if got, want := *states[1].(*sum), *states[0].(*sum); got != want || got.n != events {
			t.Errorf("%d events are folded to %+v, want %+v", events, got, want)
		}
	}
}

// The first event that cannot be decoded is named, whichever was met first.
func TestAnEventThatCannotBeDecodedBreaksItsAggregate(t *testing.T) {
	kind := parted{members{event.JSON}, "member-00001500"}
	o, key, a := long(t, memlog.New(), kind, 3000, 0)
	err := o.refold(t.Context(), key, a)
	var broken *BrokenError
	if !errors.As(err, &broken) || broken.Position.Offset != 1500 || !strings.Contains(err.Error(), "decode tribe.joined panicked: no member-00001500") {
		t.Fatalf("%v, want a BrokenError at 1500", err)
	}
	if a.state != nil || a.broken != broken {
		t.Errorf("state %v, broken %v", a.state, a.broken)
	}
}

// BenchmarkFoldAgain folds one aggregate of 10,000 events out of a log where they
// lie together, beside a bare loop over the same payloads in memory, which decodes
// them one after the other. An operation is the whole fold.
func BenchmarkFoldAgain(b *testing.B) {
	const events = 10_000
	logs := map[string]func() eventlog.Log{
		"memlog": func() eventlog.Log { return memlog.New() },
		"boltlog": func() eventlog.Log {
			log, err := boltlog.Open(filepath.Join(b.TempDir(), "log.db"), boltlog.Options{TailBytes: -1})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { log.Close() })
			return log
		},
	}
	codecs := map[string]event.Codec{"nothing": nothing{}, "goccy": goccy{}, "json": event.JSON}
	for _, codec := range []string{"nothing", "goccy", "json"} {
		b.Run(fmt.Sprintf("log=none/codec=%s", codec), func(b *testing.B) {
			var payloads [][]byte
			for n := range events {
				payloads = append(payloads, payload(n))
			}
			measureFold(b, func() error {
				for n := range payloads {
					var e joined
					if err := codecs[codec].Unmarshal(payloads[n], &e); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	for _, log := range []string{"memlog", "boltlog"} {
		for _, codec := range []string{"nothing", "goccy", "json"} {
			b.Run(fmt.Sprintf("log=%s/codec=%s", log, codec), func(b *testing.B) {
				o, key, a := long(b, logs[log](), parted{members: members{codecs[codec]}}, events, 0)
				measureFold(b, func() error {
					a.state = nil
					return o.refold(b.Context(), key, a)
				})
			})
		}
	}
}

func measureFold(b *testing.B, fold func() error) {
	b.ReportAllocs()
	for b.Loop() {
		if err := fold(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/fold")
}

// nothing is a codec that reads nothing.
type nothing struct{}

func (nothing) Marshal(any) ([]byte, error) { return nil, nil }
func (nothing) Unmarshal([]byte, any) error { return nil }

package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// tellOfParking lets the core's parking read the log and tell of itself, and shows it.
func (a *attempt) tellOfParking() {
	p := a.core.parking
	if p == nil {
		return
	}
	p.records, p.told = a.records, a.told
	a.parking.Store(p)
}

// records begins to read what the task has read before.
func (a *attempt) records() (at func(offset int64) (*eventlog.Record, error), end func()) {
	f := a.fetcher()
	return func(offset int64) (*eventlog.Record, error) {
		ctx, cancel := context.WithTimeout(a.ctx, a.cfg.AppendTimeout)
		defer cancel()
		return f.At(ctx, offset)
	}, f.Close
}

// fetcher returns what reads single records of the task's input.
func (t *Task) fetcher() *eventlog.Fetcher {
	return &eventlog.Fetcher{Log: inputLog{t}, Topic: t.stage.input(), Partition: t.part}
}

// inputLog reads a task's input as the task does.
type inputLog struct{ *Task }

func (l inputLog) Read(topic string, part int32, from int64) (eventlog.Reader, error) {
	if l.stage.foreign {
		return l.cfg.Log.(eventlog.Outside).ReadOutside(topic, part, from, l.stage.committed)
	}
	return l.cfg.Log.Read(topic, part, from)
}

// told counts and logs what is parked: where it lies, not what is in it.
func (a *attempt) told(e parkedEvent) {
	a.everParked.Add(1)
	if !e.first {
		return
	}
	log := a.cfg.Logger.With("topology", a.stage.of.Name, "version", a.stage.of.version(), "operator", a.stage.name, "partition", a.part)
	if e.stack != nil {
		log.Error("an operator panicked", "stack", string(e.stack))
	}
	log.Warn("a key is parked: an event of it cannot be folded, and what follows is held back; see the dead letters", "offset", e.at)
}

// EverParked returns how many events the task has parked since the process began;
// those that it parks again after a start anew count again.
func (t *Task) EverParked() int64 { return t.everParked.Load() }

// unsure notes what a failed attempt has found out for the next one, and reports
// whether it ended for that alone.
func (t *Task) unsure(err error) bool {
	var u *unsureError
	if !errors.As(err, &u) {
		return false
	}
	t.around.heed(u, t.stage.of.Park)
	return true
}

// heed lets the next core take back what a call does that fails as u says.
func (s *shape) heed(u *unsureError, limits *Park) {
	if !limits.Refold {
		s.careful = true
		return
	}
	if s.known == nil {
		s.known = make(map[callID]string)
	}
	s.known[u.at] = u.err.Error()
}

// Letter is an event that is held back, as the log has it.
type Letter struct {
	Offset  int64
	Key     string
	ID      event.ID  // zero: it is no event of an application, but an element behind a shuffle, or of a topic of others
	Type    string    // of the event; empty as ID is zero
	Version uint64    // the aggregate's, after the event
	Time    time.Time // event time; of a topic of others, the record's
	Data    []byte    // the payload, as it was written
}

// Letter reads one record of the task's input. Its errors are eventlog.ErrOffset, for
// one that is not there any more, event.ErrForeign for one that is no element, wrapped,
// and the log's.
func (t *Task) Letter(ctx context.Context, offset int64) (Letter, error) {
	f := t.fetcher()
	defer f.Close()
	r, err := f.At(ctx, offset)
	if err != nil {
		return Letter{}, err
	}
	l, err := letterOf(t.stage, r)
	if err != nil {
		return Letter{}, fmt.Errorf("offset %d of %s, partition %d: %w", offset, t.stage.input(), t.part, err)
	}
	return l, nil
}

func letterOf(s *stage, r *eventlog.Record) (Letter, error) {
	l := Letter{Offset: r.Offset, Key: string(r.Key), Data: r.Value}
	if r.At > 0 {
		l.Time = time.UnixMilli(r.At).UTC()
	}
	if s.foreign {
		return l, nil
	}
	kind, err := event.KindOf(r.Header)
	switch {
	case err != nil:
	case kind == event.KindDerived:
		var d partition.Derived
		if err = d.Decode(r.Header); err == nil {
			l.Time = time.Unix(0, d.Time).UTC()
		}
	default:
		var e event.Envelope
		var decoder event.Decoder
		if err = decoder.Decode(r.Header, &e); err == nil {
			l.ID, l.Type, l.Version, l.Time = e.ID, e.Type, e.Version, e.Time
		}
	}
	return l, err
}

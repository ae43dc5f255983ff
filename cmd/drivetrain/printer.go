package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// errEnough ends the printing once the limit is reached.
var errEnough = errors.New("enough")

// line is a record as it is printed.
type line struct {
	Partition   int32           `json:"partition"`
	Offset      int64           `json:"offset"`
	Kind        string          `json:"kind"`
	Key         string          `json:"key,omitempty"`
	KeyBytes    []byte          `json:"key_base64,omitempty"`
	ID          *event.ID       `json:"id,omitempty"`
	Type        string          `json:"type,omitempty"`
	Version     uint64          `json:"version,omitempty"`
	Epoch       uint64          `json:"epoch,omitempty"`
	Owner       *event.ID       `json:"owner,omitempty"`
	Command     *event.ID       `json:"command,omitempty"`
	Index       *int            `json:"index,omitempty"`
	Count       int             `json:"count,omitempty"`
	Time        *time.Time      `json:"time,omitempty"`
	Actor       string          `json:"actor,omitempty"`
	Correlation *event.ID       `json:"correlation,omitempty"`
	Causation   *event.ID       `json:"causation,omitempty"`
	Header      []byte          `json:"header_base64,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	DataBytes   []byte          `json:"data_base64,omitempty"`
	Verdict     string          `json:"verdict"`
	Reason      string          `json:"reason,omitempty"`
}

// window is how many lines wait for an unfinished commit to end. A commit's own
// events fit, but records of earlier owners may lie between them without bound.
const window = 2 * event.MaxCommit

// sink is where lines go, up to a limit; several printers may share it.
type sink struct {
	mu   sync.Mutex
	out  *json.Encoder
	left int // lines that may still be written; negative: without limit
}

// newSink returns one that takes limit lines; 0: without limit.
func newSink(out io.Writer, limit int) *sink {
	s := &sink{out: json.NewEncoder(out), left: limit}
	s.out.SetEscapeHTML(false)
	if limit == 0 {
		s.left = -1
	}
	return s
}

// put writes a line. It returns errEnough with the last one that may be written,
// and from then on.
func (s *sink) put(l *line) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		return errEnough
	}
	if err := s.out.Encode(l); err != nil {
		return fmt.Errorf("write the records: %w", err)
	}
	if s.left--; s.left == 0 {
		return errEnough
	}
	return nil
}

// printer writes lines in the order of their offsets. Those from an unfinished
// commit's first event on wait, since what follows decides their verdict.
type printer struct {
	to     *sink
	window int

	fold    *partition.Fold
	decoder event.Decoder
	from    int64 // the first offset to be printed
	waiting []line
	opened  bool             // there is an unfinished commit
	fate    partition.Result // of it, if that had to be looked for
}

func newPrinter(to *sink) *printer { return &printer{to: to, window: window} }

// partition prints one partition. Its errors are errEnough, those of the log,
// and event.ErrNewer.
func (p *printer) partition(ctx context.Context, s source, from int64) error {
	p.fold, p.from = partition.New(partition.Memory{}), from
	p.opened, p.fate = false, partition.Result{}
	err := s.each(ctx, s.begin, func(r eventlog.Record) error {
		if err := p.record(s.part, r); err != nil {
			return fmt.Errorf("partition %d: %w", s.part, err)
		}
		if len(p.waiting) < p.window {
			return nil
		}
		return p.lookAhead(ctx, s)
	})
	if errors.Is(err, errEnough) {
		return err
	}
	return errors.Join(p.write(), err) // what still waits is open
}

// record judges r and writes what is decided by it.
func (p *printer) record(n int32, r eventlog.Record) error {
	got, err := p.fold.Step(r.Offset, r.Key, r.Header, r.Value)
	if err != nil {
		return err
	}
	l := p.line(n, r)
	if p.opened && ends(got) {
		p.settle(fateOf(got, l))
		p.opened, p.fate = false, partition.Result{}
	}
	if got.Verdict == partition.Open {
		p.opened = true
		if p.fate.Verdict != 0 {
			got = p.fate
		}
	}
	l.judge(got)
	p.waiting = append(p.waiting, l)
	if p.opened && p.fate.Verdict == 0 {
		return nil
	}
	return p.write()
}

func (l *line) judge(got partition.Result) {
	l.Verdict, l.Reason = got.Verdict.String(), got.Reason.String()
}

// ends reports whether a record ends an unfinished commit, given that there is
// one.
func ends(got partition.Result) bool { return len(got.Voided) > 0 || got.Verdict == partition.Valid }

// fateOf says what becomes of an unfinished commit by the record that ends it. A
// record that is not its last cuts it off.
func fateOf(got partition.Result, l line) partition.Result {
	last := l.Index != nil && *l.Index > 0
	switch {
	case last && got.Verdict == partition.Valid:
		return partition.Result{Verdict: partition.Valid}
	case last && got.Reason == partition.BadVersion:
		return partition.Result{Verdict: partition.Void, Reason: partition.BadVersion}
	}
	return partition.Result{Verdict: partition.Void, Reason: partition.Incomplete}
}

// settle gives the lines of the unfinished commit their verdict.
func (p *printer) settle(fate partition.Result) {
	for i := range p.waiting {
		if l := &p.waiting[i]; l.Verdict == partition.Open.String() {
			l.judge(fate)
		}
	}
}

// lookAhead reads on until the unfinished commit ends, without keeping what it
// reads, and writes the lines that wait for it. If it has not ended by the
// present end, its lines stay open.
func (p *printer) lookAhead(ctx context.Context, s source) error {
	s.live = false
	fold, err := partition.Restore(p.fold.AppendSnapshot(nil), partition.Memory{})
	if err != nil {
		return fmt.Errorf("partition %d: %w", s.part, err)
	}
	fate := partition.Result{Verdict: partition.Open}
	err = s.each(ctx, p.fold.Next(), func(r eventlog.Record) error {
		got, err := fold.Step(r.Offset, r.Key, r.Header, r.Value)
		if err != nil {
			return errEnough // the printer will meet it too
		}
		if ends(got) {
			fate = fateOf(got, p.line(s.part, r))
			return errEnough
		}
		return nil
	})
	var damaged *eventlog.DamagedError
	if err != nil && !errors.Is(err, errEnough) && !errors.As(err, &damaged) {
		return err
	}
	p.settle(fate)
	p.fate = fate
	return p.write()
}

// write writes the lines that wait.
func (p *printer) write() error {
	defer func() { p.waiting = p.waiting[:0] }()
	for i := range p.waiting {
		if p.waiting[i].Offset < p.from {
			continue
		}
		if err := p.to.put(&p.waiting[i]); err != nil {
			return err
		}
	}
	return nil
}

// line makes a line of a record, without its verdict.
func (p *printer) line(n int32, r eventlog.Record) line {
	l := line{Partition: n, Offset: r.Offset, Kind: "foreign"}
	if utf8.Valid(r.Key) {
		l.Key = string(r.Key)
	} else {
		l.KeyBytes = r.Key
	}
	if json.Valid(r.Value) {
		l.Data = r.Value
	} else {
		l.DataBytes = r.Value
	}
	kind, _ := event.KindOf(r.Header)
	claim, err := partition.DecodeClaim(r.Header)
	switch {
	case kind == event.KindEvent:
		p.event(&l, r.Header)
	case kind == event.KindHeartbeat:
		l.heartbeat(r.Header)
	case err == nil:
		l.Kind = map[event.Kind]string{event.KindClaim: "claim", event.KindProbe: "probe"}[kind]
		l.Epoch, l.Owner = claim.Epoch, &claim.Owner
	default:
		l.Header = r.Header
	}
	return l
}

func (l *line) heartbeat(header []byte) {
	claim, nanoseconds, err := partition.DecodeHeartbeat(header)
	if err != nil {
		l.Header = header
		return
	}
	at := time.Unix(0, nanoseconds).UTC()
	l.Kind, l.Epoch, l.Owner, l.Time = "heartbeat", claim.Epoch, &claim.Owner, &at
}

func (p *printer) event(l *line, header []byte) {
	var e event.Envelope
	if err := p.decoder.Decode(header, &e); err != nil {
		l.Header = header
		return
	}
	l.Kind, l.ID, l.Command, l.Index, l.Time = "event", &e.ID, &e.Command, &e.Index, &e.Time
	l.Type, l.Version, l.Epoch, l.Count, l.Actor = e.Type, e.Version, e.Epoch, e.Count, e.Actor
	if !e.Correlation.IsZero() {
		l.Correlation = &e.Correlation
	}
	if !e.Causation.IsZero() {
		l.Causation = &e.Causation
	}
}

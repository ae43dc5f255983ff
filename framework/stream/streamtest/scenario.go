package streamtest

import (
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// Scenario is a story of one operator: given some elements, when another comes, then
// it emits what is expected.
//
// Its elements have the key "key" and come at noon of 2017-01-01 UTC, until Key, At or
// Advance says otherwise. The watermark is the greatest time so far, as of a source
// with one partition and no Late. Before each step the operator is restarted from a
// snapshot, so that a codec that forgets something is found out.
type Scenario[In, Out any] struct {
	t     T
	run   *Run
	codec stream.Codec[Out]
	sent  []sent[In]
	key   string
	at    time.Time
	seen  int // of the outputs
	late  int // of those that were late
}

// sent is an element of a scenario, or the passing of time.
type sent[In any] struct {
	v    In
	at   time.Time
	tick bool
}

// Operator returns a scenario of a process. What it emits is compared as JSON; give a
// codec for what JSON does not keep.
func Operator[S, In, Out any](t T, p *stream.Process[S, In, Out], codec ...stream.Codec[Out]) *Scenario[In, Out] {
	t.Helper()
	return Through(t, func(in *stream.Stream[In]) (*stream.Stream[Out], *stream.Stream[In]) { return stream.Via(in, p) }, codec...)
}

// Through returns a scenario of what a function makes of a stream, such as a window
// or a join. The second stream is of what was late; nil: there is none.
func Through[In, Out any](t T, f func(in *stream.Stream[In]) (emitted *stream.Stream[Out], late *stream.Stream[In]), codec ...stream.Codec[Out]) *Scenario[In, Out] {
	t.Helper()
	s := &Scenario[In, Out]{t: t, codec: stream.Of[Out](event.JSON), key: "key", at: time.Date(2017, 1, 1, 12, 0, 0, 0, time.UTC)}
	if len(codec) > 0 {
		s.codec = codec[0]
	}
	top := &stream.Topology{Name: "scenario", Partitions: 1, MarkEvery: 1}
	numbers := stream.From(top, &stream.Source[int]{Name: "scenario-in", Topic: "in",
		Decode: func(r *stream.Record, i *int) (err error) { *i, err = strconv.Atoi(string(r.Value)); return err },
		Time:   func(_ *stream.Record, i *int) time.Time { return s.sent[*i].at }})
	elements := stream.Filter(numbers, func(i int) bool { return !s.sent[i].tick })
	emitted, late := f(stream.Map(elements, func(i int) In { return s.sent[i].v }))
	stream.To(emitted, &stream.Publish[Out]{Name: "scenario-out", Topic: "out", Codec: s.codec})
	if late != nil {
		stream.To(late, &stream.Publish[In]{Name: "scenario-late", Topic: "late", Codec: s.byNumber()})
	}
	s.run = New(t, top, Topics{"in": 1, "out": 1, "late": 1})
	return s
}

// byNumber writes an element as the number of the first like it that was sent.
func (s *Scenario[In, Out]) byNumber() stream.Codec[In] {
	return stream.Codec[In]{
		Append: func(b []byte, v *In) ([]byte, error) {
			for i := range s.sent {
				if reflect.DeepEqual(s.sent[i].v, *v) {
					return strconv.AppendInt(b, int64(i), 10), nil
				}
			}
			return b, fmt.Errorf("an element was called late that nobody has sent: %+v", *v)
		},
		Decode: func([]byte, *In) error { return nil }, // nobody reads it
	}
}

// Key sets the key of the elements that follow.
func (s *Scenario[In, Out]) Key(key string) *Scenario[In, Out] {
	s.key = key
	return s
}

// At sets the event time of the elements that follow. It may lie before that of
// others.
func (s *Scenario[In, Out]) At(at time.Time) *Scenario[In, Out] {
	s.at = at
	return s
}

// Given sends elements whose outputs are of no interest.
func (s *Scenario[In, Out]) Given(elements ...In) *Scenario[In, Out] {
	s.t.Helper()
	for _, v := range elements {
		s.send(sent[In]{v: v, at: s.at})
	}
	s.skip()
	return s
}

// When sends an element. What Then expects is what came since the last Given or Then.
func (s *Scenario[In, Out]) When(v In) *Scenario[In, Out] {
	s.t.Helper()
	s.restart()
	s.send(sent[In]{v: v, at: s.at})
	return s
}

// Advance moves the watermark to a time, at which the next elements come: timers
// that are due fire.
func (s *Scenario[In, Out]) Advance(to time.Time) *Scenario[In, Out] {
	s.t.Helper()
	s.restart()
	s.at = to
	s.send(sent[In]{at: to, tick: true})
	return s
}

func (s *Scenario[In, Out]) send(e sent[In]) {
	s.sent = append(s.sent, e)
	s.run.sim.SendTo("in", 0, eventlog.Record{Key: []byte(s.key), Value: strconv.AppendInt(nil, int64(len(s.sent)-1), 10)})
}

// restart kills the operator and lets it go on from a snapshot.
func (s *Scenario[In, Out]) restart() {
	s.t.Helper()
	s.run.Snapshot()
	s.run.Crash()
}

func (s *Scenario[In, Out]) skip() {
	s.t.Helper()
	s.seen, s.late = len(s.run.Published("out")), len(s.run.Published("late"))
}

// Then fails the test unless the operator has emitted just these, in this order, since
// the last Given or Then, and has called nothing late.
func (s *Scenario[In, Out]) Then(want ...Out) *Scenario[In, Out] {
	s.t.Helper()
	out, late := s.run.Published("out")[s.seen:], s.run.Published("late")[s.late:]
	s.skip()
	var lines, wanted []string
	for _, r := range out {
		lines = append(lines, Record{Value: r.Value}.String())
	}
	for _, v := range want {
		wanted = append(wanted, s.encode(v))
	}
	if diff := compare(lines, wanted); diff != "" {
		s.t.Errorf("emitted (- is missing, + was not expected):\n%s", diff)
	}
	for _, r := range late {
		s.t.Errorf("called late, which was not expected: %+v", s.numbered(r))
	}
	return s
}

// ThenLate fails the test unless the operator has called just these elements late, and
// has emitted nothing, since the last Given or Then.
func (s *Scenario[In, Out]) ThenLate(want ...In) *Scenario[In, Out] {
	s.t.Helper()
	out, late := s.run.Published("out")[s.seen:], s.run.Published("late")[s.late:]
	s.skip()
	var got []In
	for _, r := range late {
		got = append(got, s.numbered(r))
	}
	if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
		s.t.Errorf("called late: %+v, want %+v", got, want)
	}
	for _, r := range out {
		s.t.Errorf("emitted, which was not expected: %s", Record{Value: r.Value})
	}
	return s
}

func (s *Scenario[In, Out]) numbered(r Record) In {
	i, err := strconv.Atoi(string(r.Value))
	if err != nil {
		s.t.Fatalf("late record %q: %v", r.Value, err)
	}
	return s.sent[i].v
}

// encode returns the line that an expected output is compared as.
func (s *Scenario[In, Out]) encode(v Out) string {
	s.t.Helper()
	data, err := s.codec.Append(nil, &v)
	var back Out
	if err == nil {
		err = s.codec.Decode(data, &back)
	}
	if err == nil && !reflect.DeepEqual(v, back) {
		err = fmt.Errorf("it comes back as %+v", back)
	}
	if err != nil {
		s.t.Fatalf("%+v cannot be compared by its codec, JSON unless one was given: %v; give Operator a codec that keeps all of it", v, err)
	}
	return Record{Value: data}.String()
}

// State reads the state that an operator has under the scenario's key into v; see
// Run.State.
func (s *Scenario[In, Out]) State(operator string, v any) bool {
	s.t.Helper()
	return s.run.State(operator, s.key, v)
}

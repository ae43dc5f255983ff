package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// SendTo queues a record for one partition of a topic of others, whatever its key.
// It is appended behind those sent before.
func (s *Simulation) SendTo(topic string, part int32, r eventlog.Record) {
	s.need(topic)
	if n := len(s.logs[topic]); part < 0 || int(part) >= n {
		panic(fmt.Errorf("simulate %s: topic %s has %d partitions, and no partition %d", s.topology.Name, topic, n, part))
	}
	s.inputs = append(s.inputs, input{topic, part, r})
}

// Snapshot settles, and stores a snapshot of every task.
func (s *Simulation) Snapshot() error {
	if err := s.Settle(); err != nil {
		return err
	}
	for _, l := range s.lives {
		l.fresh()
		for s.snapshot(l); l.cut != nil && s.err == nil; {
			s.snapshot(l)
		}
	}
	return s.err
}

// Crash kills every process at once. The tasks go on from their newest snapshots,
// those that have none from the beginning.
func (s *Simulation) Crash() {
	for _, l := range s.lives {
		s.end(l)
	}
	s.counts["crash"]++
}

// fresh lets the life's next snapshot begin anew, with everything.
func (l *life) fresh() {
	l.core.abandon()
	l.cut, l.base = nil, nil
}

// states returns all states of a running task. That takes what a cut under way
// and the next delta would have held.
func (l *life) states() (map[string]string, error) {
	defer l.fresh()
	return l.core.states()
}

// Published is a record that a topology has published, as a reader takes it who
// leaves out copies that were written again.
type Published struct {
	eventlog.Record
	Partition int32
}

// Published returns what a topic of others holds, by partition and offset. Of
// records that were written again it returns the first. A copy that differs is an
// error, and so is any copy of what is published Transactional.
func (s *Simulation) Published(topic string) ([]Published, error) {
	s.need(topic)
	first := make(map[string]Published)
	var all []Published
	for part, records := range s.logs[topic] {
		for _, r := range records {
			p, id := Published{r, int32(part)}, eventlog.Header(r.Header, PublishedHeader)
			old, again := first[string(id)]
			switch {
			case id == nil:
				all = append(all, p) // the test's own
			case !again:
				first[string(id)] = p
				all = append(all, p)
			case s.mode(topic, r.Header) == Transactional:
				return nil, fmt.Errorf("%s was published twice, at %d@%d and %d@%d, though it is Transactional", topic, old.Partition, old.Offset, p.Partition, p.Offset)
			case old.Partition != p.Partition || !bytes.Equal(old.Key, p.Key) || !bytes.Equal(old.Value, p.Value):
				return nil, fmt.Errorf("a copy in %s differs from what was written first: %d@%d is %q %q, %d@%d is %q %q", topic,
					old.Partition, old.Offset, old.Key, old.Value, p.Partition, p.Offset, p.Key, p.Value)
			}
		}
	}
	return all, nil
}

// mode returns how the output that a published record's headers name is published.
func (s *Simulation) mode(topic string, headers []byte) Mode {
	origin, err := OriginOf(headers)
	if err != nil {
		return Plain
	}
	for _, st := range s.topology.stages {
		for _, o := range st.outs {
			if o.to == nil && o.topic == topic && o.name == origin.Output {
				return o.mode
			}
		}
	}
	return Plain
}

// State copies the state that an operator has under a key to v, a pointer to a
// value of its type, and reports whether there is one. What v points at must not be
// changed. The entries of a map state are those of the operator "name/map", into a
// *map[string]V; those of a list go into a *[]V.
func (s *Simulation) State(operator, key string, v any) (bool, error) {
	known := false
	for _, l := range s.lives {
		n := slices.Index(l.task.stage.operators, operator)
		if n < 0 || l.ended {
			continue
		}
		known = true
		if found, err := l.core.operators[n].look(key, v); found || err != nil {
			return found, err
		}
	}
	if !known {
		return false, fmt.Errorf("topology %s has no operator %s that runs", s.topology.Name, operator)
	}
	return false, nil
}

func (c *Context[S, Out]) look(key string, v any) (bool, error) {
	to, ok := v.(*S)
	if !ok {
		return false, fmt.Errorf("the states of %s are %T, which does not fit in %T", c.states.name, *new(S), v)
	}
	i := c.states.find([]byte(key))
	if i >= 0 {
		*to = c.states.unit(i).state
	}
	return i >= 0, nil
}

func (e *entries[V]) look(key string, v any) (bool, error) {
	of := e.keys[key]
	if of == nil {
		of = &members{}
	}
	switch to := v.(type) {
	case *map[string]V:
		*to = make(map[string]V)
		for _, i := range of.units {
			_, name := split(e.states.unit(i).key)
			(*to)[name] = e.states.unit(i).state
		}
	case *[]V:
		*to = nil
		for n := of.first; n <= of.last && len(of.units) > 0; n++ {
			if i := e.find([]byte(key), numbered(n)); i >= 0 {
				*to = append(*to, e.states.unit(i).state)
			}
		}
	default:
		return false, fmt.Errorf("the entries of %s are %T or %T, and do not fit in %T", e.states.name, map[string]V{}, []V{}, v)
	}
	return len(of.units) > 0, nil
}

// States returns the encoded states of all tasks of an operator, by key. A key
// that two tasks have is an error, but for the empty one, under which broadcasts
// come: of that it returns the state in the lowest partition.
func (s *Simulation) States(operator string) (map[string]string, error) {
	all := make(map[string]string)
	for _, t := range s.tasks {
		l := t.now
		if l == nil || !slices.Contains(t.stage.operators, operator) {
			continue
		}
		states, err := l.states()
		if err != nil {
			return nil, err
		}
		for name, data := range states {
			key, ok := strings.CutPrefix(name, operator+"\x00")
			_, twice := all[key]
			switch {
			case !ok || twice && (key == "" || key[0] == 0):
			case twice:
				return nil, fmt.Errorf("key %q of %s is in two tasks", key, operator)
			default:
				all[key] = data
			}
		}
	}
	return all, nil
}

// states returns all states of a task, encoded as in a snapshot, by the
// operator's name and the key.
func (c *core) states() (map[string]string, error) {
	c.abandon()
	var buf bytes.Buffer
	f := &frames{to: &buf}
	c.begin(true, f)
	for {
		if done, err := c.encode(1<<20, f); err != nil || done {
			if err != nil {
				return nil, err
			}
			break
		}
	}
	out := make(map[string]string)
	r := &frameReader{r: bytes.NewReader(buf.Bytes())}
	for {
		n, key, unit, err := r.next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		name := "" // of what the judge keeps
		switch {
		case n < len(c.stage.operators):
			name = c.stage.operators[n]
		case c.parking != nil && n == c.parking.keys.number:
			name = "\x00parked"
		}
		out[name+"\x00"+string(key)] = string(unit)
	}
}

// readTable reads a topic that is a table's.
func (s *Simulation) readTable(_ context.Context, topic string, part int32) (eventlog.Reader, error) {
	return &simReader{s, topic, part, 0}, nil
}

// simReader reads what a partition has.
type simReader struct {
	of    *Simulation
	topic string
	part  int32
	next  int
}

// Next implements eventlog.Reader; it does not wait.
func (r *simReader) Next(context.Context) ([]eventlog.Record, error) {
	all := r.of.logs[r.topic][r.part]
	if r.next >= len(all) {
		return nil, eventlog.ErrOffset
	}
	records := all[r.next:min(r.next+100, len(all))]
	r.next += len(records)
	return records, nil
}

// Close implements eventlog.Reader.
func (r *simReader) Close() error { return nil }

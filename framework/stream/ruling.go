package stream

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// Ruling is what an operator has decided about a parked key: to try its events again,
// or to leave out those that fail.
//
// It is an event like any other, in a partition of the application's events topic: of
// the aggregate type RulingsOf, with the type RulingType. A task that reads the topic
// obeys it where it stands in the log; to one behind a shuffle the task before it hands
// it on, as a record of the shuffle. So it is durable, comes at one place in the order
// of its partition, and is obeyed there again by whoever folds the topology's version
// again, from a snapshot or from the beginning: what a task holds, and the numbers of
// what it writes to shuffles, follow from the log alone. Were it kept beside the log
// instead, in the snapshot or in another log, a task that starts anew, or a second one
// that believes to be it, could obey at another place, number what follows otherwise,
// and have it taken for copies.
//
// A ruling names the event that it is about. If the key is not parked there, because it
// was ruled on before or does not fail any more, nothing happens.
type Ruling struct {
	Topology  string `json:"topology"`
	Version   uint64 `json:"version"`  // of the topology
	Operator  string `json:"operator"` // the stage, as of Parked
	Partition int32  `json:"partition"`
	Key       string `json:"key"`
	Offset    int64  `json:"offset"` // as of Parked
	Act       Act    `json:"act"`
	Reason    string `json:"reason,omitempty"`
}

// Act is what is to be done with a parked key.
type Act string

const (
	// Retry folds the key's events in order, from the state before them. The key is free
	// when all succeed; else it stays parked from the one that fails.
	Retry Act = "retry"
	// Discard folds the key's events in order and leaves out those that fail, a failed
	// timer too. The key is free then.
	Discard Act = "discard"
)

// RulingsOf is the aggregate type of rulings, which no application's own has; no source
// hands them to Decode. RulingType is their type.
const (
	RulingsOf  = "views"
	RulingType = "view.ruled"
)

// rulingPort is the port by which a ruling comes out of a shuffle.
const rulingPort = math.MaxUint32

// isRuling reports whether an event is a ruling.
func isRuling(e *partition.Event) bool {
	return e.Type == RulingType && strings.HasPrefix(string(e.Key), RulingsOf+"/")
}

// ruled obeys a ruling that is this task's, and hands on one that is for a task behind
// it. One that cannot be read, or is of another topology or version, is none.
func (c *core) ruled(data []byte) error {
	var r Ruling
	if err := json.Unmarshal(data, &r); err != nil || r.Topology != c.stage.of.Name {
		return nil
	}
	if r.Version != c.stage.of.version() && c.planted != plantAnyVersion {
		return nil
	}
	if r.Operator == c.stage.name {
		if c.parking == nil || r.Partition != c.part {
			return nil
		}
		return c.parking.obey(&r)
	}
	for _, g := range c.outs {
		if to := g.of.to; to != nil && to.leads(r.Operator) {
			c.key = []byte(r.Key)
			part := r.Partition % int32(len(g.boxes))
			if err := emit(c, g, rulingPort, max(part, 0), r.Key, func(b []byte) ([]byte, error) { return append(b, data...), nil }); err != nil {
				return err
			}
			return c.finish()
		}
	}
	return nil
}

// leads reports whether a stage of that name is this one, or lies behind it.
func (s *stage) leads(name string) bool {
	if s.name == name {
		return true
	}
	for _, o := range s.outs {
		if o.to != nil && o.to.leads(name) {
			return true
		}
	}
	return false
}

// obey does what a ruling says, if the key is parked where it says.
func (p *parking) obey(r *Ruling) error {
	key := []byte(r.Key)
	i := p.keys.find(key)
	switch {
	case i < 0 || p.keys.unit(i).state.at != r.Offset && p.core.planted != plantRuledTwice:
		return nil
	case r.Act != Retry && r.Act != Discard:
		return fmt.Errorf("%w: a ruling to %.80q what is parked at offset %d", event.ErrNewer, r.Act, r.Offset)
	}
	held := p.keys.unit(i).state
	again := parkedKey{attempts: held.attempts + 1}
	if held.timer != nil {
		done, err := p.timer(&held, r.Act, &again)
		if err != nil {
			return err
		}
		if !done {
			return p.replace(i, again, held.events.List(0, held.events.Count))
		}
	}
	left, err := p.refold(&held, key, r.Act, &again)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return p.replace(i, again, left)
	}
	return p.free(i, key)
}

// timer calls again the timer that has failed; one that fails is given up if the key
// is discarded.
func (p *parking) timer(held *parkedKey, act Act, again *parkedKey) (done bool, err error) {
	failed, err := p.callTimer(held.timer)
	switch {
	case err != nil || failed == nil:
		return true, err
	case act == Discard:
		return true, p.core.operators[held.timer.operator].cancel(held.timer)
	}
	again.why, again.since, again.at, again.timer = textOf(failed), held.since, held.at, held.timer
	return false, nil
}

// refold folds what is held back, and returns what is left of it: from the first that
// fails on, if these are not to be left out.
func (p *parking) refold(held *parkedKey, key []byte, act Act, again *parkedKey) (left []int64, err error) {
	c := p.core
	list := held.events.List(0, held.events.Count)
	if c.planted == plantNewestFirst && len(list) > 1 {
		list[0], list[len(list)-1] = list[len(list)-1], list[0]
	}
	at, end := p.records()
	defer end()
	for n, offset := range list {
		record, err := at(offset)
		if err != nil {
			return nil, passingError{fmt.Errorf("read what is parked: %w", err)}
		}
		f, time, payload, err := c.judge.(rereader).reread(c, record)
		if err != nil {
			return nil, fmt.Errorf("read what is parked at %d: %w", offset, err)
		}
		c.key, c.time = key, time
		failed, err := p.call(f, payload)
		if err != nil {
			return nil, err
		}
		if failed != nil && act == Retry {
			again.why, again.since, again.at = textOf(failed), c.time, offset
			return list[n:], nil
		}
	}
	return nil, nil
}

// rereader is a judge whose elements can be read again, by their records, which it has
// found to take effect.
type rereader interface {
	reread(c *core, r *eventlog.Record) (f func([]byte) error, time int64, payload []byte, err error)
}

// replace lets a key stay parked, with less of it or for another reason.
func (p *parking) replace(i int32, by parkedKey, left []int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.keys.change(i); err != nil {
		return err
	}
	for _, offset := range left {
		by.events.Add(offset)
	}
	u := p.keys.unit(i)
	p.count += by.events.Count - u.state.events.Count
	u.state = by
	return nil
}

// free lets a key go on: its timers stand again.
func (p *parking) free(i int32, key []byte) error {
	p.mu.Lock()
	p.count -= p.keys.unit(i).state.events.Count
	err := p.keys.remove(i)
	p.mu.Unlock()
	for _, o := range p.core.operators {
		o.rouse(key)
	}
	return err
}

// reread implements rereader.
func (j *commits) reread(_ *core, r *eventlog.Record) (f func([]byte) error, time int64, payload []byte, err error) {
	e := &partition.Event{Offset: r.Offset, Key: r.Key, Data: r.Value}
	if err := j.decoder.Decode(r.Header, &e.Envelope); err != nil {
		return nil, 0, nil, err
	}
	j.event = e
	return j.take, e.Time.UnixNano(), e.Data, nil
}

// reread implements rereader.
func (j *shuffled) reread(_ *core, r *eventlog.Record) (f func([]byte) error, time int64, payload []byte, err error) {
	var d partition.Derived
	if err := d.Decode(r.Header); err != nil {
		return nil, 0, nil, err
	}
	if d.Port == 0 || d.Port > uint64(len(j.ports)) {
		return nil, 0, nil, errMangled
	}
	return j.ports[d.Port-1], d.Time, r.Value, nil
}

// reread implements rereader.
func (j *outside) reread(_ *core, r *eventlog.Record) (f func([]byte) error, time int64, payload []byte, err error) {
	j.show(r)
	return j.take, 0, r.Value, nil
}

// reread implements rereader.
func (j *copied) reread(c *core, r *eventlog.Record) (f func([]byte) error, time int64, payload []byte, err error) {
	var d partition.Derived
	if err := d.Decode(r.Header); err != nil {
		return nil, 0, nil, err
	}
	original := eventlog.Record{Offset: d.Offset, Key: r.Key}
	if err := readCopied(r.Value, &original); err != nil {
		return nil, 0, nil, err
	}
	return j.outside.reread(c, &original)
}

// rouse sets the alarms of a key's timers.
func (c *Context[S, Out]) rouse(key []byte) {
	if i := c.states.find(key); i >= 0 {
		for _, t := range c.states.unit(i).timers {
			c.core.alarms.push(alarm{t.at, c.states.number, string(key), t.name})
		}
	}
}

// cancel takes a timer away.
func (c *Context[S, Out]) cancel(a *alarm) error {
	if i := c.states.find([]byte(a.key)); i >= 0 {
		c.key, c.at = []byte(a.key), i
		c.CancelTimer(a.name)
	}
	return c.core.fault
}

func (e *entries[V]) rouse([]byte)        {} // entries have no timers
func (e *entries[V]) cancel(*alarm) error { return nil }
func (v *view[V]) rouse([]byte)           {} // nor have pins
func (v *view[V]) cancel(*alarm) error    { return nil }

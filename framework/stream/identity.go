package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// A task's offsets, states and numbers hold for one topic: the one that had the name
// when it began. Should the topic be deleted and made anew, or lose records that
// the task has not read, it stops and says so, instead of folding another past
// behind the old one. It looks at the start of each attempt, and when a read fails.

// errRemade says that a topic is not the one it was.
var errRemade = errors.New("it was deleted and made anew")

// identify finds out which topic the task reads now.
func (a *attempt) identify() error {
	id, err := a.topicID()
	switch {
	case err != nil:
		return fmt.Errorf("find out which topic %s is: %w", a.stage.input(), err)
	case a.around.topicID != "" && id != a.around.topicID:
		return a.remade(a.around.topicID, id)
	}
	a.around.topicID = id
	return nil
}

// topicID returns the id of the task's topic, "" where the log has none. A topic that
// is not known may just have been made.
func (a *attempt) topicID() (id string, err error) {
	ids, ok := a.cfg.Log.(eventlog.Identifier)
	if !ok {
		return "", nil
	}
	pause := clock.Backoff{}
	for began := a.cfg.Clock.Now(); ; {
		id, err = ids.TopicID(a.ctx, a.stage.input())
		if !errors.Is(err, eventlog.ErrUnknownTopic) || a.cfg.Clock.Now().Sub(began) > newTopic {
			return id, err
		}
		if err := clock.Sleep(a.ctx, a.cfg.Clock, pause.Next(a.cfg.Clock)); err != nil {
			return "", err
		}
	}
}

// remade is the error of a task whose topic is another one now.
func (a *attempt) remade(was, is string) error {
	return Final(fmt.Errorf("topic %s: %w: its id is %s, what the task has is of %s; restore the topic, or %s",
		a.stage.input(), errRemade, is, was, a.remedy()))
}

// remedy is what remains when a topic, or a snapshot, is not to be had back. Whatever
// the task has written under this version is of the old one.
func (a *attempt) remedy() string {
	if len(a.stage.outs) == 0 && a.stage.topic != "" { // a shuffle may not be whole any more
		return "delete the task's snapshots, below " + a.identity().Prefix() + ", and empty its stores, which folds what there is now from its beginning"
	}
	return "raise Topology.Version (of an intake: give it another Name), which folds what there is now from its beginning"
}

// checkID refuses the snapshot of another topic. One of before snapshots named
// their topic is taken.
func (c *core) checkID(id string) error {
	if id == "" || c.topicID == "" || id == c.topicID {
		return nil
	}
	return fmt.Errorf("topic %s: %w: the snapshot is of the one with id %s, this is %s", c.stage.input(), errRemade, id, c.topicID)
}

// explain says more of a read that failed for good: whether the topic is another one
// now, or what is left of it.
func (a *attempt) explain(err error) error {
	if !errors.Is(err, eventlog.ErrOffset) && !errors.Is(err, eventlog.ErrUnknownTopic) {
		return err
	}
	ctx, cancel := context.WithTimeout(a.ctx, a.cfg.AppendTimeout)
	defer cancel()
	if ids, ok := a.cfg.Log.(eventlog.Identifier); ok {
		if id, e := ids.TopicID(ctx, a.stage.input()); e == nil && id != a.around.topicID {
			return errors.Join(a.remade(a.around.topicID, id), err)
		}
	}
	if errors.Is(err, eventlog.ErrUnknownTopic) {
		return fmt.Errorf("topic %s is gone: %w", a.stage.input(), err)
	}
	return a.gone(fmt.Errorf("topic %s has lost records: the task is at %d@%d: %w", a.stage.input(), a.part, a.core.next, err), "topic")
}

// trimmed begins a task on a topic of others whose first records are gone. What it
// writes to shuffles is numbered from 1, so it must never have written there: its
// readers would take the new for copies of the old. Nor may a later start begin
// elsewhere, so the beginning is stored before anything is written.
func (a *attempt) trimmed() error {
	shuffles := false
	for i, o := range a.stage.outs {
		if o.to == nil || a.stage.timeless {
			continue
		}
		shuffles = true
		for p := range int32(a.around.outs[i]) {
			wrote, err := a.wrote(o, p)
			if err != nil {
				return fmt.Errorf("look for what the task has written to shuffle %s: %w", o.name, err)
			}
			if wrote {
				return Final(fmt.Errorf("no snapshot is left, the records of %s below %d@%d are gone, and shuffle %s holds, or held, what the task made of them: folded anew, its numbers would be taken for copies; restore a snapshot, or %s",
					a.stage.input(), a.part, a.core.next, o.name, a.remedy()))
			}
		}
	}
	if !shuffles || a.snap == nil {
		return nil
	}
	return a.anchor()
}

// wrote reports whether a shuffle's partition holds a record that the task wrote.
func (a *attempt) wrote(o *out, part int32) (bool, error) {
	topic := o.to.shuffleTopic()
	end, err := a.cfg.Log.End(a.ctx, topic, part)
	if err != nil || end == 0 {
		return false, err
	}
	reader, err := a.cfg.Log.Read(topic, part, 0)
	if err != nil {
		return false, err
	}
	defer reader.Close()
	for {
		records, err := reader.Next(a.ctx)
		if errors.Is(err, eventlog.ErrOffset) {
			return true, nil // it was trimmed, and who knows of what
		}
		if err != nil {
			return false, err
		}
		for i := range records {
			var d partition.Derived
			if err := d.Decode(records[i].Header); errors.Is(err, event.ErrNewer) {
				return false, err
			} else if err == nil && d.Fold == a.stage.of.version() && d.Source == (partition.Source{Operator: o.source, Partition: a.part}) {
				return true, nil
			}
		}
		if records[len(records)-1].Offset+1 >= end {
			return false, nil
		}
	}
}

// anchor stores a snapshot of a task that has folded nothing yet.
func (a *attempt) anchor() error {
	w := a.snap.series.Begin(a.ctx, true)
	f := &frames{to: w}
	head := a.core.begin(true, f)
	for done := false; !done; {
		var err error
		if done, err = a.core.encode(slice, f); err != nil {
			return Final(err)
		}
	}
	err := f.err
	if err == nil {
		err = w.Finish(a.ctx)
	}
	if err == nil {
		err = w.Commit(a.ctx, a.core.next, head)
	}
	if err != nil {
		w.Abort()
		return fmt.Errorf("store where the task begins: %w", err)
	}
	a.snap.position = a.core.next
	return nil
}

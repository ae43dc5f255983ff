package stream

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// Intake copies a topic of others, record by record, to one of ours, which never
// expires. A Source that reads the copy sees each record as it was, once, and all
// of them, however short the other topic's retention is: so a topology may be
// changed, and folded again from the beginning.
//
//	clicks := &stream.Intake{Name: "click-intake", Topic: "clicks", Partitions: 12}
//	runner, err := stream.NewRunner(clicks.Topology(), cfg) // copies; run it like any other
//	stream.From(t, &stream.Source[Click]{Name: "clicks", Intake: clicks, Decode: decode})
//
// The copy is made by a topology of its own, whose snapshots say how far it has got:
// give it Config.Snapshots, or it starts only while the topic has all its records.
// It must keep ahead of the retention; a record that is gone before it was copied
// stops it. A record takes some 40 bytes more than it had, and with its key and
// headers at most about 890 KiB.
type Intake struct {
	Name string // of the topology that copies, for ever; the copy is the topic "<Name>.copy.1"
	// Topic is what is copied: partition by partition, each to that of the same
	// number, in its order.
	Topic string
	// Partitions is how many the copy has, for ever: at least as many as Topic, and
	// as many as that may ever get. Default 16. Where it has more, those that have
	// nothing hold up watermarks, as any silent partition does.
	Partitions int
	// Uncommitted is as of Source.
	Uncommitted bool
}

// Topology returns the topology that copies.
func (i *Intake) Topology() *Topology {
	t := &Topology{Name: i.Name, Partitions: i.Partitions}
	in := From(t, &Source[Record]{Name: "in", Topic: i.Topic, Uncommitted: i.Uncommitted,
		Decode: func(r *Record, v *Record) error { *v = *r; return nil }})
	to := NewShuffle(t, copyShuffle)
	port, n, codec := connect(in, to, Codec[Record]{Append: appendCopied, Decode: func([]byte, *Record) error { return nil }}) // nobody reads it here
	in.link(func(c *core) sink[Record] {
		group := c.outs[n]
		v, encode := codec.reused()
		return func(r Record) error {
			if int(c.part) >= len(group.boxes) {
				return fmt.Errorf("%s has a partition %d, its copy only %d partitions; give a new Intake more of them, under another Name", i.Topic, c.part, len(group.boxes))
			}
			*v = r
			return emit(c, group, port, c.part, r.Key, encode)
		}
	})
	return t
}

const copyShuffle = "copy"

// CopyTopic returns the topic in which the copy lies.
func (i *Intake) CopyTopic() string {
	return (&Topology{Name: i.Name}).shuffleTopic(copyShuffle)
}

// Copy returns the record that the copy of a partition holds for r, for a test that
// writes one; see streamtest.Run.Take. A partition's offsets are to be 0, 1, 2 and so
// on.
func (i *Intake) Copy(part int32, r eventlog.Record) (eventlog.Record, error) {
	from := &Record{Headers: r.Header, Value: r.Value}
	if r.At != 0 {
		from.Time = time.UnixMilli(r.At)
	}
	d := partition.Derived{Fold: 1, Source: partition.Source{Partition: part}, Number: uint64(r.Offset) + 1, Offset: r.Offset, Port: 1, Mark: partition.NoMark}
	value, err := appendCopied(nil, from)
	return eventlog.Record{Key: r.Key, Header: d.Append(nil), Value: value}, err
}

// copyFormat is the version of what appendCopied writes.
const copyFormat = 1

// appendCopied writes what the copy's header and key do not say of a record.
func appendCopied(b []byte, r *Record) ([]byte, error) {
	b = append(b, copyFormat)
	at := int64(0)
	if !r.Time.IsZero() {
		at = r.Time.UnixMilli()
	}
	b = binary.AppendVarint(b, at)
	b = packed.AppendBytes(b, r.Headers)
	if r.Value == nil {
		return append(b, 0), nil
	}
	return append(append(b, 1), r.Value...), nil
}

// readCopied is the inverse of appendCopied.
func readCopied(b []byte, to *eventlog.Record) error {
	if len(b) == 0 {
		return errMangled
	}
	if b[0] > copyFormat {
		return fmt.Errorf("%w: a copy of format %d, this program reads up to %d", event.ErrNewer, b[0], copyFormat)
	}
	r := packed.Read(b[1:])
	to.At, to.Header, to.Value = r.Signed(), r.Bytes(), nil
	switch there := r.Take(1); {
	case r.Bad():
		return errMangled
	case there[0] == 1:
		to.Value = r.Rest()
	}
	return nil
}

// copied judges an intake's copy: the next number of each partition takes effect,
// and is what it is a copy of.
type copied struct {
	*outside
	numbers *partition.Numbers
	header  partition.Derived
}

func (j *copied) step(c *core, r *eventlog.Record) error {
	verdict, _, err := j.numbers.Step(r.Header, &j.header)
	if err != nil || verdict != partition.Valid || j.header.Port == 0 {
		return err
	}
	original := eventlog.Record{Offset: j.header.Offset, Key: r.Key}
	if err := readCopied(r.Value, &original); err != nil {
		return fmt.Errorf("the copy of offset %d: %w", original.Offset, err)
	}
	return j.outside.step(c, &original)
}

func (j *copied) appendSnapshot(b []byte) []byte { return j.numbers.AppendSnapshot(b) }

func (j *copied) restore(b []byte) (rest []byte, err error) {
	j.numbers, rest, err = partition.RestoreNumbers(b)
	return rest, err
}

// check returns what is wrong with a source's declaration.
func (src *Source[T]) check() error {
	switch {
	case src.Topic == "" && src.Intake == nil || src.Decode == nil || src.Late < 0:
		return fmt.Errorf("set Topic and Decode; Late is %v, want none below zero", src.Late)
	case src.Topic != "" && src.Intake != nil:
		return errors.New("set Topic, or Intake in its place, not both")
	case src.Intake != nil && src.Uncommitted:
		return errors.New("leave Uncommitted to the Intake")
	}
	return nil
}

// stage returns the source's stage.
func (src *Source[T]) stage(t *Topology) *stage {
	s := &stage{of: t, name: src.Name, topic: src.Topic, group: cmp.Or(src.Group, t.Name), foreign: true, committed: !src.Uncommitted}
	if src.Intake != nil {
		s.topic, s.foreign, s.committed = src.Intake.CopyTopic(), false, false
	}
	return s
}

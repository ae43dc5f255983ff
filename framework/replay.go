package framework

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// ReplayOptions choose what Replay hands on. The zero ReplayOptions choose every
// event that the log has when Replay is called.
type ReplayOptions struct {
	// From is where to begin: partitions that it does not name are left out. Empty: at
	// the beginning of all.
	From eventlog.Positions
	// Until is where to end, with what lies there: partitions that it does not name are
	// left out. Empty, and in any case: at the end that they had at the call.
	Until eventlog.Positions
	// Since and Before leave out events by event time: those before Since, and those
	// at Before or later. Zero: none.
	Since, Before time.Time

	Aggregates []string // the aggregate types wanted; empty: all
	Types      []string // the event types wanted, as recorded; empty: all
	Keys       []string // the aggregates wanted, "type/id"; empty: all

	// Rate is the most events handed on in a second, over all partitions; 0: no bound.
	Rate int
	// Progress is told after each 5000 records that were read, at the end of each
	// partition, and before each pause for Rate. Nil: nobody is.
	Progress func(ReplayProgress)
	Clock    clock.Clock // for Rate; default: the machine's
}

// ReplayProgress says how far a replay is.
type ReplayProgress struct {
	Partition   int32
	Next        int64 // all wanted events of the partition that lie before it were handed on
	Read, Total int64 // records read, and to be read, of all partitions; those before From count too
	Events      int64 // handed on
}

// Replay hands the events of an application's topic to do: those of commits that have
// taken effect, judged as every reader judges them, in the order of each partition, one
// partition after the other. It runs no effect, moves no group's progress and appends
// nothing, so a replay is repeated without harm; from where one was broken off it goes
// on with From.
//
//	err := framework.Replay(ctx, log, eventlog.Topic{Name: "drivetribe.events", Partitions: 16},
//		framework.ReplayOptions{Aggregates: []string{"tribe"}},
//		func(part int32, e *partition.Event) error { … })
//
// An event must not be changed, and is good until do returns. Records before From are
// read all the same, for they decide what later ones mean: a partition whose beginning
// was deleted is refused. Errors: ErrInvalid, do's, the log's, and event.ErrNewer.
func Replay(ctx context.Context, log eventlog.Log, topic eventlog.Topic, o ReplayOptions, do func(part int32, e *partition.Event) error) error {
	r := &replay{log: log, topic: topic, options: o, do: do}
	if err := r.check(); err != nil {
		return err
	}
	ends, err := r.ends(ctx)
	if err != nil {
		return err
	}
	for _, n := range r.wanted() {
		if err := r.partition(ctx, n, ends[n]); err != nil {
			return err
		}
	}
	return nil
}

// replay is a Replay under way.
type replay struct {
	log     eventlog.Log
	topic   eventlog.Topic
	options ReplayOptions

	aggregates, types, keys names

	do       func(int32, *partition.Event) error
	progress ReplayProgress
	open     int64     // offset of the first event of an unfinished commit; negative: there is none
	due      time.Time // of the events after the next pause
	unpaused int       // events since the last
}

func (r *replay) check() error {
	o := &r.options
	o.Clock = cmp.Or(o.Clock, clock.System)
	r.aggregates, r.types, r.keys = namesOf(o.Aggregates), namesOf(o.Types), namesOf(o.Keys)
	if o.Rate < 0 || r.topic.Partitions < 1 || r.do == nil {
		return fmt.Errorf("%w replay: want a topic with partitions, a Rate of at least 0, and a function", ErrInvalid)
	}
	for _, at := range []eventlog.Positions{o.From, o.Until} {
		for n := range at.Offsets {
			if int(n) >= r.topic.Partitions {
				return fmt.Errorf("%w position %s: topic %s has partitions 0 to %d", ErrInvalid, at, r.topic.Name, r.topic.Partitions-1)
			}
		}
	}
	return nil
}

// wanted returns the partitions to replay, in order.
func (r *replay) wanted() (list []int32) {
	for n := range int32(r.topic.Partitions) {
		if named(r.options.From, n) && named(r.options.Until, n) {
			list = append(list, n)
		}
	}
	return list
}

func named(at eventlog.Positions, n int32) bool {
	_, ok := at.Offsets[n]
	return ok || len(at.Offsets) == 0
}

// ends finds where the partitions are to end, all before any is read, and counts
// their records.
func (r *replay) ends(ctx context.Context) (map[int32]int64, error) {
	ends := make(map[int32]int64)
	for _, n := range r.wanted() {
		if s, ok := r.log.(interface {
			Start(ctx context.Context, topic string, partition int32) (int64, error)
		}); ok {
			switch start, err := s.Start(ctx, r.topic.Name, n); {
			case err != nil:
				return nil, err
			case start > 0:
				return nil, &eventlog.TopicError{Topic: r.topic.Name, Problem: fmt.Sprintf("partition %d begins at %d: without the records before it nobody can say which events have taken effect", n, start),
					Remedy: "restore the log from a backup, or leave the partition out"}
			}
		}
		end, err := r.log.End(ctx, r.topic.Name, n)
		if err != nil {
			return nil, err
		}
		if until, ok := r.options.Until.Offsets[n]; ok && until < end {
			end = until + 1
		}
		ends[n] = end
		r.progress.Total += end
	}
	return ends, nil
}

// partition replays the records of a partition below end.
func (r *replay) partition(ctx context.Context, n int32, end int64) error {
	r.progress.Partition, r.progress.Next, r.open = n, 0, -1
	if end == 0 {
		r.tell()
		return nil
	}
	reader, err := r.log.Read(r.topic.Name, n, 0)
	if err != nil {
		return err
	}
	defer reader.Close()
	fold := partition.New(partition.Memory{})
	for next := int64(0); next < end; {
		records, err := reader.Next(ctx)
		if err != nil {
			return fmt.Errorf("replay %s, partition %d, from %d: %w", r.topic.Name, n, next, err)
		}
		for i := range records {
			if records[i].Offset >= end {
				break
			}
			if err := r.record(ctx, fold, &records[i]); err != nil {
				return err
			}
		}
		next = records[len(records)-1].Offset + 1
	}
	r.tell()
	return nil
}

// record judges a record, and hands on the commit that takes effect by it.
func (r *replay) record(ctx context.Context, fold *partition.Fold, rec *eventlog.Record) error {
	n := r.progress.Partition
	got, err := fold.Step(rec.Offset, rec.Key, rec.Header, rec.Value)
	if err != nil {
		return fmt.Errorf("replay %s, partition %d: %w", r.topic.Name, n, err)
	}
	for i := range got.Events {
		if e := &got.Events[i]; r.takes(n, e) {
			if err := r.hand(ctx, n, e); err != nil {
				return err
			}
		}
	}
	if len(got.Voided) > 0 || got.Verdict == partition.Valid {
		r.open = -1
	}
	if got.Verdict == partition.Open && r.open < 0 {
		r.open = rec.Offset
	}
	r.progress.Next = rec.Offset + 1
	if r.open >= 0 {
		r.progress.Next = r.open
	}
	if r.progress.Read++; r.progress.Read%tellEvery == 0 {
		r.tell()
	}
	return ctx.Err()
}

// tellEvery is after how many records Progress is told.
const tellEvery = 5000

func (r *replay) tell() {
	if r.options.Progress != nil {
		r.options.Progress(r.progress)
	}
}

// takes reports whether an event of a partition is wanted.
func (r *replay) takes(n int32, e *partition.Event) bool {
	o := &r.options
	if e.Offset < o.From.Offsets[n] || e.Time.Before(o.Since) || !o.Before.IsZero() && !e.Time.Before(o.Before) {
		return false
	}
	kind, _, _ := bytes.Cut(e.Key, []byte{'/'})
	return r.aggregates.has(kind) && r.types.has([]byte(e.Type)) && r.keys.has(e.Key)
}

// names are those that are wanted; nil: all.
type names map[string]bool

func namesOf(list []string) names {
	if len(list) == 0 {
		return nil
	}
	n := make(names, len(list))
	for _, name := range list {
		n[name] = true
	}
	return n
}

func (n names) has(name []byte) bool { return n == nil || n[string(name)] }

// hand hands an event on when Rate lets it.
func (r *replay) hand(ctx context.Context, n int32, e *partition.Event) error {
	if r.options.Rate > 0 {
		if err := r.pace(ctx); err != nil {
			return err
		}
	}
	if err := r.do(n, e); err != nil {
		return err
	}
	r.progress.Events++
	return nil
}

// pace pauses some twenty times a second. Time that was lost is not made up for.
func (r *replay) pace(ctx context.Context) error {
	rate := r.options.Rate
	if r.unpaused++; r.unpaused < max(1, rate/20) {
		return nil
	}
	step := time.Duration(float64(time.Second) * float64(r.unpaused) / float64(rate))
	r.unpaused = 0
	now := r.options.Clock.Now()
	if r.due = r.due.Add(step); r.due.Before(now) {
		r.due = now
		return nil
	}
	r.tell()
	return clock.Sleep(ctx, r.options.Clock, r.due.Sub(now))
}

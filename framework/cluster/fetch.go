package cluster

import (
	"context"
	"fmt"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// Fetch reads the events at the given ascending offsets, which a fold has found
// valid.
func Fetch(ctx context.Context, log eventlog.Log, topic string, part int32, offsets []int64) (events []partition.Event, err error) {
	f := newFetcher(log, topic, part)
	defer f.Close()
	events = make([]partition.Event, len(offsets))
	for i, offset := range offsets {
		if err := f.fetch(ctx, offset, &events[i]); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// FetchCommits hands to f, in order, the commits that take effect at the given ascending
// offsets, which a fold has found valid. Events are good until f returns.
func FetchCommits(ctx context.Context, log eventlog.Log, topic string, part int32, offsets []int64, f func([]partition.Event) error) error {
	read := newFetcher(log, topic, part)
	defer read.Close()
	for _, offset := range offsets {
		commit := make([]partition.Event, 1)
		if err := read.fetch(ctx, offset, &commit[0]); err != nil {
			return err
		}
		var err error
		if commit[0].Count > 1 {
			commit, err = fetchCommit(ctx, log, topic, part, &commit[0])
		}
		if err == nil {
			err = f(commit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// furtherBack is how many records more are read where a commit's first is not found.
const furtherBack = 1000

// fetchCommit reads the commit whose last event is given. Its others lie right before it,
// as a rule; what lies between was written by others, so it looks further back, and as
// far as it must.
func fetchCommit(ctx context.Context, log eventlog.Log, topic string, part int32, last *partition.Event) ([]partition.Event, error) {
	for back := int64(last.Count) - 1; ; back = 2*back + furtherBack {
		from := max(0, last.Offset-back)
		commit, err := commitFrom(ctx, log, topic, part, from, last)
		if err != nil || commit != nil {
			return commit, err
		}
		if from == 0 {
			return nil, fmt.Errorf("read %s, partition %d: the commit that ends at %d is not whole: %w", topic, part, last.Offset, eventlog.ErrOffset)
		}
	}
}

// commitFrom reads the events of a commit that follow one another from an offset on, nil
// if that is not all of it.
func commitFrom(ctx context.Context, log eventlog.Log, topic string, part int32, from int64, last *partition.Event) ([]partition.Event, error) {
	reader, err := log.Read(topic, part, from)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	var commit []partition.Event
	var decoder event.Decoder
	for {
		run, err := reader.Next(ctx)
		if err != nil {
			return nil, err
		}
		for i := range run {
			r := &run[i]
			e := partition.Event{Offset: r.Offset, Key: r.Key, Data: r.Value}
			if decoder.Decode(r.Header, &e.Envelope) != nil || e.Command != last.Command || e.Epoch != last.Epoch || string(e.Key) != string(last.Key) {
				e.Count = 0 // another's, which ends it or does not matter: the last is known to be valid
			}
			if e.Count > 0 && e.Index == 0 {
				commit = commit[:0] // a copy before it had no effect
			}
			if e.Count > 0 && e.Index == len(commit) {
				commit = append(commit, e)
			}
			if r.Offset >= last.Offset {
				if len(commit) == last.Count {
					return commit, nil
				}
				return nil, nil
			}
		}
	}
}

// fetcher reads events by their offsets, those that ascend in one go.
type fetcher struct {
	eventlog.Fetcher
	decoder event.Decoder
}

func newFetcher(log eventlog.Log, topic string, part int32) *fetcher {
	return &fetcher{Fetcher: eventlog.Fetcher{Log: log, Topic: topic, Partition: part}}
}

// fetch reads one event.
func (f *fetcher) fetch(ctx context.Context, offset int64, e *partition.Event) error {
	r, err := f.At(ctx, offset)
	if err != nil {
		return err
	}
	*e = partition.Event{Offset: offset, Key: r.Key, Data: r.Value}
	if err := f.decoder.Decode(r.Header, &e.Envelope); err != nil {
		return f.foreign(offset, err)
	}
	return nil
}

// fact reads no more of an event than its type and payload.
func (f *fetcher) fact(ctx context.Context, offset int64) (name string, data []byte, err error) {
	r, err := f.At(ctx, offset)
	if err != nil {
		return "", nil, err
	}
	if name, err = f.decoder.TypeOf(r.Header); err != nil {
		return "", nil, f.foreign(offset, err)
	}
	return name, r.Value, nil
}

func (f *fetcher) foreign(offset int64, err error) error {
	return fmt.Errorf("decode %s, partition %d, offset %d: %w", f.Topic, f.Partition, offset, err)
}

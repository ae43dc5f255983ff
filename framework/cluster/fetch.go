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

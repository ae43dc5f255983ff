package cluster

import (
	"context"
	"fmt"
	"sort"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// fetchSkip is how many records Fetch reads past rather than open a new reader.
const fetchSkip = 2048

// Fetch reads the events at the given ascending offsets, which a fold has found
// valid.
func Fetch(ctx context.Context, log eventlog.Log, topic string, part int32, offsets []int64) (events []partition.Event, err error) {
	f := fetcher{log: log, topic: topic, part: part}
	defer f.close()
	events = make([]partition.Event, len(offsets))
	for i, offset := range offsets {
		if err := f.fetch(ctx, offset, &events[i]); err != nil {
			return nil, err
		}
	}
	return events, nil
}

type fetcher struct {
	log     eventlog.Log
	topic   string
	part    int32
	reader  eventlog.Reader
	run     []eventlog.Record
	next    int64 // of the reader
	decoder event.Decoder
}

// fetch reads one event. Offsets that ascend are read in one go.
func (f *fetcher) fetch(ctx context.Context, offset int64, e *partition.Event) error {
	r, err := f.at(ctx, offset)
	if err != nil {
		return fmt.Errorf("read %s, partition %d, offset %d: %w", f.topic, f.part, offset, err)
	}
	*e = partition.Event{Offset: offset, Key: r.Key, Data: r.Value}
	if err := f.decoder.Decode(r.Header, &e.Envelope); err != nil {
		return fmt.Errorf("decode %s, partition %d, offset %d: %w", f.topic, f.part, offset, err)
	}
	return nil
}

func (f *fetcher) at(ctx context.Context, offset int64) (*eventlog.Record, error) {
	for {
		i := sort.Search(len(f.run), func(i int) bool { return f.run[i].Offset >= offset })
		if i < len(f.run) {
			if f.run[i].Offset != offset {
				return nil, eventlog.ErrOffset
			}
			return &f.run[i], nil
		}
		if f.reader == nil || offset < f.next || offset-f.next > fetchSkip {
			f.close()
			reader, err := f.log.Read(f.topic, f.part, offset)
			if err != nil {
				return nil, err
			}
			f.reader, f.next = reader, offset
		}
		run, err := f.reader.Next(ctx)
		if err != nil {
			return nil, err
		}
		f.run, f.next = run, run[len(run)-1].Offset+1
	}
}

func (f *fetcher) close() {
	if f.reader != nil {
		f.reader.Close()
		f.reader = nil
	}
}

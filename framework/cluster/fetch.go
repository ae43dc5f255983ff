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

// FetchCommits hands to f, in order, the commits that take effect at the given ascending
// offsets, which a fold has found valid. Events are good until f returns.
func FetchCommits(ctx context.Context, log eventlog.Log, topic string, part int32, offsets []int64, f func([]partition.Event) error) error {
	read := fetcher{log: log, topic: topic, part: part}
	defer read.close()
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

// fetchCommit reads the commit whose last event is given. Its others lie right before it,
// as a rule; what lies between was written by others, so it looks further back, and as
// far as it must.
func fetchCommit(ctx context.Context, log eventlog.Log, topic string, part int32, last *partition.Event) ([]partition.Event, error) {
	for back := int64(last.Count) - 1; ; back = 2*back + fetchSkip {
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

// fetcher reads records at ascending offsets, each once, in one go.
type fetcher struct {
	log     eventlog.Log
	topic   string
	part    int32
	reader  eventlog.Reader
	run     []eventlog.Record // what the reader has brought, behind the record fetched last
	next    int64             // of the reader
	decoder event.Decoder
}

// fetch reads one event.
func (f *fetcher) fetch(ctx context.Context, offset int64, e *partition.Event) error {
	r, err := f.at(ctx, offset)
	if err != nil {
		return err
	}
	*e = partition.Event{Offset: offset, Key: r.Key, Data: r.Value}
	if err := f.decoder.Decode(r.Header, &e.Envelope); err != nil {
		return f.wrap("decode", offset, err)
	}
	return nil
}

// fact reads no more of an event than its type and payload.
func (f *fetcher) fact(ctx context.Context, offset int64) (name string, data []byte, err error) {
	r, err := f.at(ctx, offset)
	if err != nil {
		return "", nil, err
	}
	if name, err = f.decoder.TypeOf(r.Header); err != nil {
		return "", nil, f.wrap("decode", offset, err)
	}
	return name, r.Value, nil
}

func (f *fetcher) wrap(act string, offset int64, err error) error {
	return fmt.Errorf("%s %s, partition %d, offset %d: %w", act, f.topic, f.part, offset, err)
}

func (f *fetcher) at(ctx context.Context, offset int64) (*eventlog.Record, error) {
	for len(f.run) == 0 || f.run[len(f.run)-1].Offset < offset {
		if err := f.read(ctx, offset); err != nil {
			return nil, f.wrap("read", offset, err)
		}
	}
	i := 0
	if f.run[0].Offset != offset { // most often it is the next one
		i = sort.Search(len(f.run), func(i int) bool { return f.run[i].Offset >= offset })
	}
	r := &f.run[i]
	if r.Offset != offset {
		return nil, f.wrap("read", offset, eventlog.ErrOffset)
	}
	f.run = f.run[i+1:]
	return r, nil
}

// read takes the next run, from offset on if what lies before is too much to be read
// past.
func (f *fetcher) read(ctx context.Context, offset int64) error {
	if f.reader == nil || offset < f.next || offset-f.next > fetchSkip {
		f.close()
		reader, err := f.log.Read(f.topic, f.part, offset)
		if err != nil {
			return err
		}
		f.reader, f.next = reader, offset
	}
	run, err := f.reader.Next(ctx)
	if err != nil {
		return err
	}
	f.run, f.next = run, run[len(run)-1].Offset+1
	return nil
}

func (f *fetcher) close() {
	if f.reader != nil {
		f.reader.Close()
		f.reader = nil
	}
}

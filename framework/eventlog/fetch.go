package eventlog

import (
	"context"
	"fmt"
	"sort"
)

// fetchSkip is how many records a Fetcher reads past rather than open a new reader.
const fetchSkip = 2048

// Fetcher reads single records of a partition by their offsets. Ascending ones are
// read in one go. Log and Topic are required; Close it when done. It is not safe for
// concurrent use.
type Fetcher struct {
	Log interface { // a Log, or what reads it otherwise
		Read(topic string, partition int32, from int64) (Reader, error)
	}
	Topic     string
	Partition int32

	reader Reader
	run    []Record
	next   int64 // of the reader
}

// At returns the record at an offset, good until the next call. Its errors are
// ErrOffset, for one that the log does not hold or not any more, and the reader's,
// wrapped with where it looked.
func (f *Fetcher) At(ctx context.Context, offset int64) (*Record, error) {
	r, err := f.at(ctx, offset)
	if err != nil {
		return nil, fmt.Errorf("read %s, partition %d, offset %d: %w", f.Topic, f.Partition, offset, err)
	}
	return r, nil
}

func (f *Fetcher) at(ctx context.Context, offset int64) (*Record, error) {
	for {
		i := sort.Search(len(f.run), func(i int) bool { return f.run[i].Offset >= offset })
		if i < len(f.run) {
			if f.run[i].Offset != offset {
				return nil, ErrOffset
			}
			return &f.run[i], nil
		}
		if f.reader == nil || offset < f.next || offset-f.next > fetchSkip {
			f.Close()
			reader, err := f.Log.Read(f.Topic, f.Partition, offset)
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

// Close closes the reader. The Fetcher may be used again.
func (f *Fetcher) Close() {
	if f.reader != nil {
		f.reader.Close()
		f.reader, f.run = nil, nil
	}
}

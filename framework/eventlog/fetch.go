package eventlog

import (
	"context"
	"fmt"
	"sort"
)

// fetchSkip is how many records a Fetcher reads past rather than open a new reader.
const fetchSkip = 2048

// Fetcher reads single records of a partition by their offsets. Those that ascend are
// read in one go; for one that lies before the last a new reader is opened. Log and
// Topic are required; Close it when done. It is not safe for concurrent use.
type Fetcher struct {
	Log interface { // a Log, or what reads it otherwise
		Read(topic string, partition int32, from int64) (Reader, error)
	}
	Topic     string
	Partition int32

	reader Reader
	whole  []Record // what the reader has brought
	run    []Record // of it, from the record fetched last on
	last   int64    // offset that was asked for
	next   int64    // of the reader
}

// At returns the record at an offset, good until the next call. Its errors are
// ErrOffset, for one that the log does not hold or not any more, and the reader's,
// wrapped with where it looked.
func (f *Fetcher) At(ctx context.Context, offset int64) (*Record, error) {
	if offset < f.last {
		f.Close()
	}
	f.last = offset
	for len(f.run) == 0 || f.run[len(f.run)-1].Offset < offset {
		if err := f.read(ctx, offset); err != nil {
			return nil, f.wrap(offset, err)
		}
	}
	i := 0
	switch {
	case f.run[0].Offset == offset:
	case len(f.run) > 1 && f.run[1].Offset == offset: // most often it is the next one
		i = 1
	default:
		i = sort.Search(len(f.run), func(i int) bool { return f.run[i].Offset >= offset })
	}
	r := &f.run[i]
	if r.Offset != offset {
		return nil, f.wrap(offset, ErrOffset)
	}
	f.run = f.run[i:]
	return r, nil
}

func (f *Fetcher) wrap(offset int64, err error) error {
	return fmt.Errorf("read %s, partition %d, offset %d: %w", f.Topic, f.Partition, offset, err)
}

// read takes the next run, from offset on if what lies before is too much to be read
// past.
func (f *Fetcher) read(ctx context.Context, offset int64) error {
	if f.reader == nil || offset < f.next || offset-f.next > fetchSkip {
		f.Close()
		reader, err := f.Log.Read(f.Topic, f.Partition, offset)
		if err != nil {
			return err
		}
		f.reader, f.next = reader, offset
	}
	f.recycle()
	run, err := f.reader.Next(ctx)
	if err != nil {
		return err
	}
	f.whole, f.run, f.next = run, run, run[len(run)-1].Offset+1
	return nil
}

// recycle gives the last run back, if the reader takes it.
func (f *Fetcher) recycle() {
	if r, ok := f.reader.(Recycler); ok && f.whole != nil {
		r.Recycle(f.whole)
	}
	f.whole, f.run = nil, nil
}

// Close closes the reader. The Fetcher may be used again.
func (f *Fetcher) Close() {
	if f.reader != nil {
		f.recycle()
		f.reader.Close()
		f.reader = nil
	}
}

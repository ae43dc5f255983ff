package eventlog_test

import (
	"context"
	"errors"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// numbered is a partition whose records lie at these offsets. A reader brings 100 at
// once.
type numbered struct {
	offsets []int64
	readers int
}

func (l *numbered) Read(_ string, _ int32, from int64) (eventlog.Reader, error) {
	l.readers++
	r := &numberedReader{}
	for _, offset := range l.offsets {
		if offset >= from {
			r.left = append(r.left, eventlog.Record{Offset: offset})
		}
	}
	return r, nil
}

type numberedReader struct{ left []eventlog.Record }

func (r *numberedReader) Next(context.Context) ([]eventlog.Record, error) {
	n := min(100, len(r.left))
	run := r.left[:n]
	if r.left = r.left[n:]; n == 0 {
		return nil, eventlog.ErrOffset
	}
	return run, nil
}

func (r *numberedReader) Close() error { return nil }

func TestSingleRecordsAreFetched(t *testing.T) {
	log := &numbered{}
	for n := range int64(5000) {
		log.offsets = append(log.offsets, n)
	}
	for name, row := range map[string]struct {
		offsets []int64
		readers int
	}{
		"in order":            {[]int64{0, 1, 2, 3, 99, 100, 250, 2298}, 1},
		"far apart":           {[]int64{0, 2200}, 2},
		"the same again":      {[]int64{7, 7, 8, 8}, 1},
		"one before the last": {[]int64{4000, 3999, 4001}, 2},
		"back and forth":      {[]int64{4999, 0, 1, 0}, 3},
	} {
		log.readers = 0
		f := eventlog.Fetcher{Log: log, Topic: "t"}
		for _, offset := range row.offsets {
			if r, err := f.At(t.Context(), offset); err != nil || r.Offset != offset {
				t.Errorf("%s: at %d it is %+v, %v", name, offset, r, err)
			}
		}
		f.Close()
		if log.readers != row.readers {
			t.Errorf("%s: %d readers, want %d", name, log.readers, row.readers)
		}
		if r, err := f.At(t.Context(), row.offsets[0]); err != nil || r.Offset != row.offsets[0] {
			t.Errorf("%s: once it was closed, %+v, %v", name, r, err)
		}
		f.Close()
	}
}

func TestARecordThatIsNotThereIsSaidToBeNot(t *testing.T) {
	f := eventlog.Fetcher{Log: &numbered{offsets: []int64{3, 5, 6}}, Topic: "t", Partition: 2}
	defer f.Close()
	for _, row := range []struct {
		offset int64
		there  bool
	}{{1, false}, {2, false}, {3, true}, {4, false}, {5, true}, {4, false}, {3, true}, {6, true}, {7, false}} {
		r, err := f.At(t.Context(), row.offset)
		if row.there != (err == nil) || err == nil && r.Offset != row.offset || err != nil && !errors.Is(err, eventlog.ErrOffset) {
			t.Errorf("at %d: %+v, %v; there: %v", row.offset, r, err, row.there)
		}
	}
}

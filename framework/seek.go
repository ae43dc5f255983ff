package framework

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// bookmark is where a page of an Explanation ends.
type bookmark struct {
	generation int    // 0: it is none
	events     uint64 // that were listed on this page and those before
	next       int64  // record from which on to read
	judge      []byte // as it was there; nil: read from the first record on
	skip       int    // of a shuffle: records behind next that are done with
}

// bookmarkFormat is the version of what bookmark.String writes.
const bookmarkFormat = 1

// String returns the bookmark as a caller passes it back.
func (b bookmark) String() string {
	out := []byte{bookmarkFormat}
	out = binary.AppendUvarint(out, uint64(b.generation))
	out = binary.AppendUvarint(out, b.events)
	out = binary.AppendUvarint(out, uint64(b.next))
	out = binary.AppendUvarint(out, uint64(b.skip))
	return base64.RawURLEncoding.EncodeToString(append(out, b.judge...))
}

func parseBookmark(text string) (b bookmark, err error) {
	if text == "" {
		return b, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(data) == 0 || data[0] != bookmarkFormat {
		return b, fmt.Errorf("%w after %.80q: want the next of the page before", ErrInvalid, text)
	}
	r := packed.Read(data[1:])
	b.generation, b.events, b.next, b.skip = int(r.Number()), r.Number(), int64(r.Number()), int(r.Number())
	b.judge = r.Rest()
	if r.Bad() || b.generation < 1 || b.next < 0 || b.skip < 0 {
		return b, fmt.Errorf("%w after %.80q: want the next of the page before", ErrInvalid, text)
	}
	return b, nil
}

// records reads a partition up to the end that it had.
type records struct {
	ctx    context.Context
	enough context.Context // ends when the log was read for long enough
	reader eventlog.Reader
	run    []eventlog.Record
	next   int64 // record that comes next
	end    int64
	left   int // records that may still be read
	err    error
}

// records begins to read what is looked through.
func (x *explainer) records(ctx context.Context, from int64) (r *records, end func(), err error) {
	looked := &x.out.Looked
	r = &records{next: from, end: looked.End, left: x.asked.Look}
	var stop, cease context.CancelFunc
	r.enough, stop = context.WithTimeout(ctx, explainFor)
	r.ctx, cease = context.WithTimeout(ctx, explainFor+x.a.cfg.ReadWait)
	end = func() {
		stop()
		cease()
		if r.reader != nil {
			r.reader.Close()
		}
	}
	if r.next < r.end {
		if r.reader, err = x.p.Log.Read(looked.Topic, looked.Partition, from); err != nil {
			end()
		}
	}
	return r, end, err
}

// all yields the records that follow, until the end, or until a bound is reached and may
// says that it may stop there. An error is in err.
func (r *records) all(may func() bool) iter.Seq[*eventlog.Record] {
	return func(yield func(*eventlog.Record) bool) {
		for r.next < r.end && !((r.left <= 0 || r.enough.Err() != nil) && may()) {
			if len(r.run) == 0 {
				if r.run, r.err = r.reader.Next(r.ctx); r.err != nil {
					return
				}
			}
			one := &r.run[0]
			r.run, r.next = r.run[1:], one.Offset+1
			r.left--
			if one.Offset >= r.end || !yield(one) {
				return
			}
		}
	}
}

// oneVersion keeps the version of one aggregate. The fold judges its commits rightly
// by it, for those of others need not be known.
type oneVersion struct {
	key     string
	version uint64
}

// Get implements partition.Versions.
func (v *oneVersion) Get(key []byte) uint64 {
	if string(key) == v.key {
		return v.version
	}
	return 0
}

// Set implements partition.Versions.
func (v *oneVersion) Set(key []byte, version uint64) {
	if string(key) == v.key {
		v.version = version
	}
}

// All implements partition.Versions.
func (v *oneVersion) All() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) { yield(v.key, v.version) }
}

// judge returns what a bookmark holds of the fold.
func (v *oneVersion) judge(fold *partition.Fold) []byte {
	return fold.AppendHead(binary.AppendUvarint(nil, v.version))
}

// byKey reads the partition of the events for those of one aggregate.
func (x *explainer) byKey(ctx context.Context, key []byte) error {
	from, version := int64(0), &oneVersion{key: string(key)}
	fold := partition.NewOn(partition.Memory{}, version)
	if x.fold == nil && len(x.from.judge) > 0 {
		r := packed.Read(x.from.judge)
		version.version = r.Number()
		var err error
		if fold, err = partition.Resume(r.Rest(), partition.Memory{}, version); err != nil {
			return fmt.Errorf("%w after: %w", ErrInvalid, err)
		}
		from = x.from.next
	}
	read, end, err := x.records(ctx, from)
	if err != nil {
		return x.a.readError(ctx, err)
	}
	defer end()
	open := false
	for r := range read.all(func() bool { return !open }) {
		got, err := fold.Step(r.Offset, r.Key, r.Header, r.Value)
		if err != nil {
			return x.a.readError(ctx, err)
		}
		open = got.Verdict == partition.Open || open && got.Verdict != partition.Valid && len(got.Voided) == 0
		if got.Verdict != partition.Valid || string(r.Key) != string(key) {
			continue
		}
		left, err := x.takeCommit(got.Events, r.Offset)
		switch x.out.Looked.Next = read.next; {
		case err != nil:
			return x.failed(ctx, err)
		case left > 0: // of this commit, which the next page looks for from the first record on
			return x.next(bookmark{})
		case left == 0:
			return x.next(bookmark{next: read.next, judge: version.judge(fold)})
		}
	}
	if x.out.Looked.Next = min(read.next, read.end); read.err != nil {
		return x.a.readError(ctx, read.err)
	}
	if read.next >= read.end {
		return nil
	}
	return x.next(bookmark{next: read.next, judge: version.judge(fold)})
}

// takeCommit lists the events of a commit. It returns how many had no room, or
// came behind a bound, and -1 if there is room for more.
func (x *explainer) takeCommit(events []partition.Event, offset int64) (left int, err error) {
	for i := range events {
		if x.fold == nil && events[i].Version <= x.from.events {
			continue
		}
		more, err := x.take(&events[i], eventlog.Position{Partition: x.out.Looked.Partition, Offset: offset}, offset)
		if err != nil || !more {
			return len(events) - 1 - i, err
		}
	}
	return -1, nil
}

package eventlogtest

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

func offsetsCountFromZero(f *fixture) {
	topic := f.topic(2)
	f.wantEnd(topic, 0, 0)
	f.wantEnd(topic, 1, 0)
	at := int64(0)
	for i, n := range []int{1, 3, 1, 100, 2} {
		if base := f.append(topic, 1, records(fmt.Sprint(i), n, 20)); base != at {
			f.Fatalf("batch %d has base %d, want %d", i, base, at)
		}
		at += int64(n)
		f.wantEnd(topic, 1, at)
	}
	f.wantEnd(topic, 0, 0)
}

func bytesSurvive(f *fixture) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	batch := []eventlog.Record{
		{Key: []byte("key"), Header: []byte{1, 2}, Value: []byte(`{"a":1}`)},
		{Key: all, Header: all, Value: all},
		{},
		{Key: []byte{}, Header: []byte{}, Value: []byte{}},
		{Key: []byte("only key")},
		{Header: []byte("only header")},
		{Value: []byte("only value")},
		{Key: []byte{0}, Header: []byte{0}, Value: []byte{0}},
		{Key: []byte("\xff\xfe"), Value: bytes.Repeat([]byte{0xff}, 70_000)},
	}
	topic := f.topic(1)
	base := f.append(topic, 0, batch)
	if err := check(f.read(topic, 0, base, len(batch)), batch, base); err != nil {
		f.Error(err)
	}
	alone := []eventlog.Record{{}}
	base = f.append(topic, 0, alone)
	if err := check(f.read(topic, 0, base, 1), alone, base); err != nil {
		f.Errorf("an empty record alone: %v", err)
	}
}

func batchIsLeftAlone(f *fixture) {
	topic := f.topic(1)
	f.append(topic, 0, records("before", 3, 20))
	batch := records("a", 3, 20)
	for i := range batch {
		batch[i].Offset = 77
	}
	base := f.append(topic, 0, batch)
	if base != 3 {
		f.Errorf("base %d, want 3: the offsets given are to be ignored", base)
	}
	for i, want := range records("a", 3, 20) {
		want.Offset = 77
		if got := batch[i]; got.Offset != 77 || check([]eventlog.Record{got}, []eventlog.Record{want}, 77) != nil {
			f.Errorf("append changed record %d of the caller's batch to %s", i, show(got))
		}
	}
	if err := check(f.read(topic, 0, base, 3), batch, base); err != nil {
		f.Error(err)
	}
}

// writer appends batches of 1 to 5 records and keeps where each should lie.
func (f *fixture) writer(topic string, part int32, who, batches int) (map[int64][]eventlog.Record, error) {
	at := make(map[int64][]eventlog.Record, batches)
	last := int64(-1)
	for i := range batches {
		batch := records(fmt.Sprintf("w%d.%d", who, i), 1+(who+i)%5, 30)
		base, err := f.log.Append(f.within(patience), topic, part, batch)
		if err != nil {
			return nil, fmt.Errorf("append %d of writer %d: %w", i, who, err)
		}
		if base <= last {
			return nil, fmt.Errorf("writer %d: base %d after %d", who, base, last)
		}
		last, at[base] = base, batch
	}
	return at, nil
}

// verify checks that a partition holds exactly these batches.
func (f *fixture) verify(topic string, part int32, at map[int64][]eventlog.Record) {
	f.Helper()
	n := 0
	for _, batch := range at {
		n += len(batch)
	}
	f.wantEnd(topic, part, int64(n))
	got := f.read(topic, part, 0, n)
	for base, want := range at {
		if base+int64(len(want)) > int64(n) {
			f.Fatalf("base %d of %d records lies behind the end %d", base, len(want), n)
		}
		if err := check(got[base:base+int64(len(want))], want, base); err != nil {
			f.Fatal(err)
		}
	}
}

func appendersToOne(f *fixture) { f.appenders(1) }

func appendersToMany(f *fixture) { f.appenders(4) }

func (f *fixture) appenders(partitions int) {
	const writers, batches = 12, 20
	topic := f.topic(partitions)
	wrote := make([]map[int64][]eventlog.Record, writers)
	f.each(writers, func(i int) (err error) {
		wrote[i], err = f.writer(topic, int32(i%partitions), i, batches)
		return err
	})
	for part := range partitions {
		at := make(map[int64][]eventlog.Record)
		for i := part; i < writers; i += partitions {
			for base, batch := range wrote[i] {
				if at[base] != nil {
					f.Fatalf("two batches of partition %d were given base %d", part, base)
				}
				at[base] = batch
			}
		}
		f.verify(topic, int32(part), at)
	}
}

// sized makes a batch of n records that counts as exactly size bytes.
func sized(n, size int) []eventlog.Record {
	batch := records("s", n, size/n)
	batch[0].Value = append(batch[0].Value, make([]byte, size-eventlog.Size(batch))...)
	return batch
}

func greatestBatchFits(f *fixture) {
	topic := f.topic(1)
	at := int64(0)
	for _, n := range []int{1, 7, eventlog.MaxRecords} {
		batch := sized(n, eventlog.MaxBatch)
		if base := f.append(topic, 0, batch); base != at {
			f.Fatalf("base %d, want %d", base, at)
		}
		if err := check(f.read(topic, 0, at, n), batch, at); err != nil {
			f.Fatal(err)
		}
		at += int64(n)
	}
}

func refusedBatchLeavesNothing(f *fixture) {
	topic := f.topic(1)
	f.append(topic, 0, records("before", 2, 20))
	for _, c := range []struct {
		name  string
		batch []eventlog.Record
		want  error
	}{
		{"nil", nil, eventlog.ErrInvalid},
		{"empty", []eventlog.Record{}, eventlog.ErrInvalid},
		{"one byte too large", sized(1, eventlog.MaxBatch+1), eventlog.ErrTooLarge},
		{"one byte too large in many", sized(100, eventlog.MaxBatch+1), eventlog.ErrTooLarge},
		{"twice too large", sized(3, 2*eventlog.MaxBatch), eventlog.ErrTooLarge},
		{"one record too many", records("m", eventlog.MaxRecords+1, 20), eventlog.ErrTooLarge},
	} {
		if _, err := f.log.Append(f.within(patience), topic, 0, c.batch); !errors.Is(err, c.want) {
			f.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
		f.wantEnd(topic, 0, 2)
	}
	if base := f.append(topic, 0, records("after", 1, 20)); base != 2 {
		f.Errorf("the next batch has base %d, want 2", base)
	}
}

func unknownTopics(f *fixture) {
	known := f.topic(2)
	for _, c := range []struct {
		topic string
		part  int32
	}{{f.name(), 0}, {known, 2}, {known, -1}, {known, 1 << 20}} {
		if _, err := f.log.Append(f.within(patience), c.topic, c.part, records("a", 1, 20)); !errors.Is(err, eventlog.ErrUnknownTopic) {
			f.Errorf("append to partition %d: %v, want ErrUnknownTopic", c.part, err)
		}
		if _, err := f.log.End(f.within(patience), c.topic, c.part); !errors.Is(err, eventlog.ErrUnknownTopic) {
			f.Errorf("end of partition %d: %v, want ErrUnknownTopic", c.part, err)
		}
		if err := f.firstError(c.topic, c.part); !errors.Is(err, eventlog.ErrUnknownTopic) {
			f.Errorf("read partition %d: %v, want ErrUnknownTopic", c.part, err)
		}
	}
	f.wantEnd(known, 0, 0)
	f.wantEnd(known, 1, 0)
}

// firstError returns the error of Read, or else of the first Next: a driver may
// learn of it at either.
func (f *fixture) firstError(topic string, part int32) error {
	r, err := f.log.Read(topic, part, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.Next(f.within(patience))
	return err
}

func topicsAreApart(f *fixture) {
	topics := [2]string{f.topic(2), f.topic(2)}
	for i, topic := range topics {
		for part := range int32(2) {
			n := 1 + 2*i + int(part)
			if base := f.append(topic, part, records(fmt.Sprint(topic, part), n, 80)); base != 0 {
				f.Errorf("base %d in an empty partition", base)
			}
		}
	}
	for i, topic := range topics {
		for part := range int32(2) {
			want := records(fmt.Sprint(topic, part), 1+2*i+int(part), 80)
			f.wantEnd(topic, part, int64(len(want)))
			if err := check(f.read(topic, part, 0, len(want)), want, 0); err != nil {
				f.Error(err)
			}
		}
	}
}

func endIsBehindAll(f *fixture) {
	const writers, batches = 6, 15
	topic := f.topic(1)
	f.each(writers, func(who int) error {
		for i := range batches {
			batch := records(fmt.Sprint(who), 1+i%3, 20)
			base, err := f.log.Append(f.within(patience), topic, 0, batch)
			if err != nil {
				return fmt.Errorf("append: %w", err)
			}
			end, err := f.log.End(f.within(patience), topic, 0)
			if err != nil {
				return fmt.Errorf("end: %w", err)
			}
			if end < base+int64(len(batch)) {
				return fmt.Errorf("end %d after an append of %d at %d", end, len(batch), base)
			}
		}
		return nil
	})
}

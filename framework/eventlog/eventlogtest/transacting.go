package eventlogtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Transact tests logs that are an [eventlog.Transactor], and an
// [eventlog.Outside], against the contract. Open is called several times for each
// test, once for each process; all of its logs lie on the same server. The suite
// closes them.
func Transact(t *testing.T, open func(t *testing.T) eventlog.Log) {
	for _, c := range []struct {
		name string
		test func(*dealer)
	}{
		{"outputs and the offset are there after a commit", commitIsThere},
		{"commits follow one another", commitsFollow},
		{"many records to many partitions keep their order", manyOutputs},
		{"an offset alone is committed", offsetAlone},
		{"who takes the name over fences", takeoverFences},
		{"names do not fence each other", namesAreApart},
		{"rivals for a name commit each step once", rivalsCommitOnce},
		{"a refused commit leaves nothing", refusedCommitLeavesNothing},
		{"an ended context commits nothing", endedContextCommitsNothing},
		{"what is closed is named so", closedTransactions},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			f := newFixture(t, open(t))
			t.Cleanup(func() { f.log.Close(); goleak.VerifyNone(t, before) })
			c.test(&dealer{fixture: f, open: open, as: f.name(), source: f.topic(1)})
		})
	}
}

// dealer is a log under test with a transactional name, which is a group's too,
// and the topic of its offsets.
type dealer struct {
	*fixture
	open       func(t *testing.T) eventlog.Log
	as, source string
}

func (d *dealer) transact(log eventlog.Log, name string) eventlog.Transactions {
	d.Helper()
	tx, err := log.(eventlog.Transactor).Transact(d.within(patience), name)
	if err != nil {
		d.Fatalf("transact: %v", err)
	}
	d.Cleanup(func() { tx.Close() })
	return tx
}

func (d *dealer) commit(tx eventlog.Transactions, next int64, outputs ...eventlog.Output) {
	d.Helper()
	for i := range outputs {
		outputs[i].Records = slices.Clone(outputs[i].Records)
	}
	if err := tx.Commit(d.within(patience), outputs, d.as, d.source, 0, next); err != nil {
		d.Fatalf("commit %d: %v", next, err)
	}
	for _, o := range outputs {
		clear(o.Records) // the log must not keep them
	}
}

func (d *dealer) wantCommitted(tx eventlog.Transactions, want int64) {
	d.Helper()
	if got, err := tx.Committed(d.within(patience), d.as, d.source, 0); err != nil || got != want {
		d.Fatalf("the offset is %d, %v, want %d", got, err, want)
	}
}

// wantOutside checks the committed records of a partition, whose offsets may have
// gaps where transactions ended.
func (d *dealer) wantOutside(topic string, part int32, want []eventlog.Record) {
	d.Helper()
	got := d.readOutside(topic, part, 0, len(want), true)
	if len(got) != len(want) {
		d.Fatalf("%d records in partition %d, want %d", len(got), part, len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i].Key, want[i].Key) || !bytes.Equal(got[i].Value, want[i].Value) || !bytes.Equal(got[i].Header, want[i].Header) {
			d.Fatalf("record %d of partition %d is %s, want %s", i, part, show(got[i]), show(want[i]))
		}
	}
}

// wantRest checks that nothing but what is wanted is in a partition: a record
// that is published behind follows at once.
func (d *dealer) wantRest(topic string, part int32, want ...eventlog.Record) {
	d.Helper()
	last := lists("last", 1, 20)
	if _, err := d.log.(eventlog.Outside).Publish(d.within(patience), topic, part, last); err != nil {
		d.Fatalf("publish: %v", err)
	}
	d.wantOutside(topic, part, append(want, last...))
}

// lists is records with a list of headers.
func lists(tag string, n, size int) []eventlog.Record {
	batch := records(tag, n, size)
	for i := range batch {
		batch[i].Header = eventlog.AppendHeader(nil, "id", []byte(fmt.Sprint(tag, i)))
	}
	return batch
}

func commitIsThere(d *dealer) {
	topic, other := d.topic(2), d.topic(1)
	tx := d.transact(d.log, d.as)
	d.wantCommitted(tx, -1)
	a, b, c := lists("a", 3, 50), lists("b", 1, 50), lists("c", 2, 50)
	d.commit(tx, 17, eventlog.Output{Topic: topic, Partition: 1, Records: a},
		eventlog.Output{Topic: other, Partition: 0, Records: b}, eventlog.Output{Topic: topic, Partition: 1, Records: c})
	d.wantCommitted(tx, 17)
	d.wantPosition(other, 0)
	d.wantRest(topic, 1, append(a, c...)...)
	d.wantRest(other, 0, b...)
	d.wantRest(topic, 0)
}

// wantPosition checks that a reader comes to the end of a partition, though it may
// be behind the last record.
func (d *dealer) wantPosition(topic string, part int32) {
	d.Helper()
	end, err := d.log.End(d.within(patience), topic, part)
	if err != nil {
		d.Fatalf("end: %v", err)
	}
	r, err := d.log.(eventlog.Outside).ReadOutside(topic, part, 0, true)
	if err != nil {
		d.Fatalf("read: %v", err)
	}
	defer r.Close()
	limit, at := d.within(patience), r.(eventlog.Positioned)
	for at.Position() < end && limit.Err() == nil {
		short, cancel := context.WithTimeout(limit, 100*time.Millisecond)
		if _, err := r.Next(short); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			d.Errorf("next: %v", err)
		}
		cancel()
	}
	if at.Position() < end {
		d.Fatalf("the reader is at %d, want the end %d", at.Position(), end)
	}
}

func commitsFollow(d *dealer) {
	topic := d.topic(2)
	tx := d.transact(d.log, d.as)
	var want [2][]eventlog.Record
	for i := range 20 {
		part := i % 2
		batch := lists(fmt.Sprint(i), 1+i%3, 50)
		want[part] = append(want[part], batch...)
		d.commit(tx, int64(i), eventlog.Output{Topic: topic, Partition: int32(part), Records: batch})
	}
	d.wantCommitted(tx, 19)
	for part := range want {
		d.wantRest(topic, int32(part), want[part]...)
	}
}

func manyOutputs(d *dealer) {
	topic := d.topic(3)
	tx := d.transact(d.log, d.as)
	var want [3][]eventlog.Record
	var outputs []eventlog.Output
	add := func(part int, rs []eventlog.Record) {
		want[part] = append(want[part], rs...)
		outputs = append(outputs, eventlog.Output{Topic: topic, Partition: int32(part), Records: rs})
	}
	add(0, lists("many", 2*eventlog.MaxRecords+1, 20))
	add(1, lists("large", 5, eventlog.MaxBatch/2-100))
	add(2, lists("one", 1, eventlog.MaxBatch-100))
	for i := range 50 {
		add(i%3, lists(fmt.Sprint(i), 10, 100))
	}
	d.commit(tx, 1, outputs...)
	for part := range want {
		d.wantRest(topic, int32(part), want[part]...)
	}
}

func offsetAlone(d *dealer) {
	tx := d.transact(d.log, d.as)
	for _, next := range []int64{5, 6, 3} {
		d.commit(tx, next)
		d.wantCommitted(tx, next)
	}
	d.wantCommitted(d.transact(d.open2(), "another"+d.as), 3)
}

// open2 opens a further process.
func (d *dealer) open2() eventlog.Log {
	log := d.open(d.T)
	d.Cleanup(func() { log.Close() })
	return log
}

func takeoverFences(d *dealer) {
	topic := d.topic(1)
	first := d.transact(d.log, d.as)
	a, b, c := lists("a", 1, 20), lists("b", 1, 20), lists("c", 1, 20)
	d.commit(first, 1, eventlog.Output{Topic: topic, Records: a})
	second := d.transact(d.open2(), d.as)
	d.wantCommitted(second, 1)
	err := first.Commit(d.within(patience), []eventlog.Output{{Topic: topic, Records: b}}, d.as, d.source, 0, 2)
	if !errors.Is(err, eventlog.ErrFenced) || !errors.Is(err, eventlog.ErrNotCommitted) {
		d.Fatalf("the first commits: %v, want ErrFenced and ErrNotCommitted", err)
	}
	d.wantCommitted(second, 1)
	d.commit(second, 3, eventlog.Output{Topic: topic, Records: c})
	if err := first.Commit(d.within(patience), nil, d.as, d.source, 0, 2); !errors.Is(err, eventlog.ErrNotCommitted) {
		d.Fatalf("a producer that has ended: %v, want ErrNotCommitted", err)
	}
	d.wantCommitted(second, 3)
	d.wantRest(topic, 0, append(a, c...)...)
}

func namesAreApart(d *dealer) {
	topic := d.topic(1)
	first, second := d.transact(d.log, d.as), d.transact(d.log, d.as+"-2")
	a, b := lists("a", 1, 20), lists("b", 1, 20)
	d.commit(first, 1, eventlog.Output{Topic: topic, Records: a})
	d.commit(second, 2, eventlog.Output{Topic: topic, Records: b})
	d.commit(first, 3)
	d.wantRest(topic, 0, append(a, b...)...)
}

// rivalsCommitOnce lets processes take one name from each other while each goes
// on from the committed offset: every step is there once, and in order. Who has
// lost it pauses, each for longer than the one before, or nobody would get far.
func rivalsCommitOnce(d *dealer) {
	const rivals, steps = 3, 30
	topic := d.topic(1)
	logs := []eventlog.Log{d.log, d.open2(), d.open2()}
	d.each(rivals, func(i int) error { return d.rival(logs[i], topic, steps, time.Duration(1+2*i)*10*time.Millisecond) })
	var want []eventlog.Record
	for i := range steps {
		want = append(want, lists(fmt.Sprint(i), 1, 20)...)
	}
	d.wantRest(topic, 0, want...)
}

// rival takes the name and commits a few steps, until all are done.
func (d *dealer) rival(log eventlog.Log, topic string, steps int, pause time.Duration) error {
	ctx := d.within(2 * patience)
	for {
		tx, err := log.(eventlog.Transactor).Transact(ctx, d.as)
		if err != nil {
			return err
		}
		next, err := tx.Committed(ctx, d.as, d.source, 0)
		for n := 0; err == nil && n < 5; n++ {
			if next = max(next, 0); next >= int64(steps) {
				return tx.Close()
			}
			out := []eventlog.Output{{Topic: topic, Records: lists(fmt.Sprint(next), 1, 20)}}
			if err = tx.Commit(ctx, out, d.as, d.source, 0, next+1); err == nil {
				next++
			}
		}
		if err != nil && !errors.Is(err, eventlog.ErrFenced) {
			d.Logf("a rival's commit: %v", err)
		}
		if err := errors.Join(ctx.Err(), tx.Close()); err != nil {
			return err
		}
		<-time.After(pause)
	}
}

func refusedCommitLeavesNothing(d *dealer) {
	topic := d.topic(1)
	good := eventlog.Output{Topic: topic, Records: lists("a", 1, 20)}
	huge := make([]eventlog.Record, 80)
	for i := range huge {
		huge[i].Value = make([]byte, eventlog.MaxBatch)
	}
	for _, c := range []struct {
		bad  eventlog.Output
		want error
	}{
		{eventlog.Output{Topic: topic}, eventlog.ErrInvalid},
		{eventlog.Output{Topic: topic, Records: []eventlog.Record{{Header: []byte{9}}}}, eventlog.ErrHeaders},
		{eventlog.Output{Topic: topic, Records: []eventlog.Record{{Value: make([]byte, eventlog.MaxBatch+1)}}}, eventlog.ErrTooLarge},
		{eventlog.Output{Topic: topic, Records: make([]eventlog.Record, eventlog.MaxOutputs)}, eventlog.ErrTooLarge},
		{eventlog.Output{Topic: topic, Records: huge}, eventlog.ErrTooLarge},
		{eventlog.Output{Topic: topic, Partition: 1, Records: good.Records}, eventlog.ErrUnknownTopic},
		{eventlog.Output{Topic: d.name(), Records: good.Records}, eventlog.ErrUnknownTopic},
	} {
		tx := d.transact(d.log, d.as)
		err := tx.Commit(d.within(patience), []eventlog.Output{good, c.bad}, d.as, d.source, 0, 1)
		if !errors.Is(err, c.want) || !errors.Is(err, eventlog.ErrNotCommitted) {
			d.Errorf("commit: %v, want %v and ErrNotCommitted", err, c.want)
		}
	}
	for _, name := range []string{"", string(make([]byte, 201))} {
		if _, err := d.log.(eventlog.Transactor).Transact(d.within(patience), name); err == nil {
			d.Errorf("a name of %d bytes was taken", len(name))
		}
	}
	d.wantCommitted(d.transact(d.log, d.as), -1)
	d.wantRest(topic, 0)
}

func endedContextCommitsNothing(d *dealer) {
	topic := d.topic(1)
	tx := d.transact(d.log, d.as)
	ended, cancel := context.WithCancel(d.Context())
	cancel()
	done := make(chan error, 1)
	go func() {
		done <- tx.Commit(ended, []eventlog.Output{{Topic: topic, Records: lists("a", 1, 20)}}, d.as, d.source, 0, 1)
	}()
	if err := inTime(d.fixture, "commit", soon, done); !errors.Is(err, context.Canceled) || !errors.Is(err, eventlog.ErrNotCommitted) {
		d.Errorf("commit: %v, want the context's error and ErrNotCommitted", err)
	}
	if _, err := d.log.(eventlog.Transactor).Transact(ended, d.as); !errors.Is(err, context.Canceled) {
		d.Errorf("transact: %v, want the context's error", err)
	}
	d.wantCommitted(d.transact(d.log, d.as), -1)
	d.wantRest(topic, 0)
}

func closedTransactions(d *dealer) {
	one, other := d.transact(d.log, d.as), d.transact(d.log, "other"+d.as)
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if err := one.Close(); err != nil {
				d.Errorf("close: %v", err)
			}
		})
	}
	all.Wait()
	wantClosed := func(tx eventlog.Transactions) {
		d.Helper()
		if err := tx.Commit(d.within(patience), nil, d.as, d.source, 0, 1); !errors.Is(err, eventlog.ErrClosed) {
			d.Errorf("commit: %v, want ErrClosed", err)
		}
		if _, err := tx.Committed(d.within(patience), d.as, d.source, 0); !errors.Is(err, eventlog.ErrClosed) {
			d.Errorf("committed: %v, want ErrClosed", err)
		}
	}
	wantClosed(one)
	d.close()
	wantClosed(other)
	if _, err := d.log.(eventlog.Transactor).Transact(d.within(patience), d.as); !errors.Is(err, eventlog.ErrClosed) {
		d.Errorf("transact: %v, want ErrClosed", err)
	}
}

package eventlogtest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// OutsideFeatures says what a log under test can do beyond the contract.
type OutsideFeatures struct {
	// Remake deletes a topic of the log and makes it anew, with as many
	// partitions; nil: the log has no names for a topic's creations, or no way to
	// make one anew.
	Remake func(t *testing.T, log eventlog.Log, topic string)
	// Times says that At of what is published is kept.
	Times bool
}

// Outside tests logs that are an [eventlog.Outside] against the contract, as Run
// does with the rest.
func Outside(t *testing.T, has OutsideFeatures, open func(t *testing.T) eventlog.Log) {
	for _, c := range []struct {
		name string
		test func(*outside)
	}{
		{"partitions are counted", partitionsAreCounted},
		{"headers, missing values and times survive", headersSurvive},
		{"what the log appends is read with its header in a list", ownIsListed},
		{"what is no list of headers is refused", noListIsRefused},
		{"the start moves when records are deleted", startMoves},
		{"a topic made anew has another id", remadeHasAnotherID},
		{"what is unknown or closed is named so", outsideErrors},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, open(t))
			c.test(&outside{f, f.log.(eventlog.Outside), has})
		})
	}
}

// outside is a log under test with its features.
type outside struct {
	*fixture
	eventlog.Outside
	has OutsideFeatures
}

func (o *outside) publish(topic string, part int32, batch []eventlog.Record) int64 {
	o.Helper()
	return o.lent(batch, func(batch []eventlog.Record) (int64, error) { return o.Publish(o.within(patience), topic, part, batch) })
}

// readOutside returns n records of a partition.
func (f *fixture) readOutside(topic string, part int32, from int64, n int, committed bool) []eventlog.Record {
	f.Helper()
	r, err := f.log.(eventlog.Outside).ReadOutside(topic, part, from, committed)
	if err != nil {
		f.Fatalf("read: %v", err)
	}
	defer r.Close()
	var got []eventlog.Record
	for len(got) < n {
		run, err := r.Next(f.within(patience))
		if err != nil {
			f.Fatalf("next behind %d of %d records: %v", len(got), n, err)
		}
		got = append(got, run...)
	}
	return got
}

func partitionsAreCounted(o *outside) {
	for _, want := range []int{1, 5} {
		topic := o.topic(want)
		for range 2 {
			if n, err := o.Partitions(o.within(patience), topic); err != nil || n != want {
				o.Errorf("%d partitions, %v, want %d", n, err, want)
			}
		}
	}
}

func headersSurvive(o *outside) {
	topic := o.topic(2)
	list := eventlog.AppendHeader(nil, "ce_id", []byte("17"))
	list = eventlog.AppendHeader(list, "empty", []byte{})
	list = eventlog.AppendHeader(list, "missing", nil)
	list = eventlog.AppendHeader(list, "ce_id", bytes.Repeat([]byte("x"), 300))
	list = eventlog.AppendHeader(list, "", []byte("no key"))
	many := []byte(nil)
	for i := range 200 {
		many = eventlog.AppendHeader(many, fmt.Sprint("h", i), []byte{byte(i)})
	}
	at := time.Now().Add(-time.Hour).UnixMilli()
	want := []eventlog.Record{
		{Key: []byte("k"), Header: list, Value: []byte("v"), At: at},
		{Key: []byte("tombstone")},
		{Key: []byte("empty"), Value: []byte{}, At: at + 5000},
		{Header: many, Value: bytes.Repeat([]byte{0xff}, 70_000), At: at - 5000},
	}
	o.publish(topic, 1, want[:1])
	if base := o.publish(topic, 1, want); base != 1 {
		o.Fatalf("base %d, want 1", base)
	}
	for _, committed := range []bool{false, true} {
		got := o.readOutside(topic, 1, 1, len(want), committed)
		if err := check(got, want, 1); err != nil {
			o.Fatal(err)
		}
		for i := range want {
			if (got[i].Value == nil) != (want[i].Value == nil) {
				o.Errorf("record %d: missing value %v, want %v", i, got[i].Value == nil, want[i].Value == nil)
			}
			if o.has.Times && want[i].At != 0 && got[i].At != want[i].At {
				o.Errorf("record %d is of %d, want %d", i, got[i].At, want[i].At)
			}
		}
		if o.has.Times && got[1].At < at {
			o.Errorf("a record without a time is of %d, want that of its appending", got[1].At)
		}
	}
}

func ownIsListed(o *outside) {
	topic := o.topic(1)
	o.append(topic, 0, []eventlog.Record{{Header: []byte{1, 2}, Value: []byte("own")}, {Value: []byte("bare")}})
	list := eventlog.AppendHeader(eventlog.AppendHeader(nil, "other", []byte("o")), "e", []byte{3})
	o.publish(topic, 0, []eventlog.Record{{Header: list, Value: []byte("both")}, {Header: list[:8], Value: []byte("other")}})
	got := o.readOutside(topic, 0, 0, 4, false)
	for i, want := range [][]byte{eventlog.AppendHeader(nil, "e", []byte{1, 2}), nil, list, list[:8]} {
		if !bytes.Equal(got[i].Header, want) {
			o.Errorf("record %d has the headers %q, want %q", i, got[i].Header, want)
		}
	}
	for i, r := range o.read(topic, 0, 0, 4) {
		if want := [][]byte{{1, 2}, nil, {3}, nil}[i]; !bytes.Equal(r.Header, want) {
			o.Errorf("record %d has the header %q, want %q", i, r.Header, want)
		}
	}
}

func noListIsRefused(o *outside) {
	topic := o.topic(1)
	whole := eventlog.AppendHeader(nil, "key", []byte("value"))
	for _, bad := range [][]byte{{1}, {7, 'a'}, whole[:len(whole)-1], append(slices.Clone(whole), 2)} {
		batch := []eventlog.Record{{Header: whole}, {Header: bad}}
		if _, err := o.Publish(o.within(patience), topic, 0, batch); !errors.Is(err, eventlog.ErrHeaders) {
			o.Errorf("headers %q: %v, want ErrHeaders", bad, err)
		}
	}
	if _, err := o.Publish(o.within(patience), topic, 0, nil); !errors.Is(err, eventlog.ErrInvalid) {
		o.Errorf("no record: %v, want ErrInvalid", err)
	}
	o.wantEnd(topic, 0, 0)
}

func startMoves(o *outside) {
	topic := o.topic(1)
	wantStart := func(want int64) {
		o.Helper()
		if got, err := o.Start(o.within(patience), topic, 0); err != nil || got != want {
			o.Fatalf("start %d, %v, want %d", got, err, want)
		}
	}
	wantStart(0)
	o.publish(topic, 0, lists("", 5, 20))
	wantStart(0)
	if err := o.log.(eventlog.Trimmer).Trim(o.within(patience), topic, 0, 3); err != nil {
		o.Fatal(err)
	}
	wantStart(3)
	r, err := o.ReadOutside(topic, 0, 2, true)
	if err != nil {
		o.Fatal(err)
	}
	defer r.Close()
	if run, err := r.Next(o.within(patience)); !errors.Is(err, eventlog.ErrOffset) {
		o.Errorf("below the start: %d records, %v, want ErrOffset", len(run), err)
	}
	if got := o.readOutside(topic, 0, 3, 2, true); got[0].Offset != 3 {
		o.Errorf("from the start: offset %d", got[0].Offset)
	}
}

func remadeHasAnotherID(o *outside) {
	topic, other := o.topic(2), o.topic(2)
	id := func(topic string) string {
		o.Helper()
		id, err := o.TopicID(o.within(patience), topic)
		if err != nil {
			o.Fatalf("topic id: %v", err)
		}
		return id
	}
	first := id(topic)
	if again := id(topic); again != first {
		o.Fatalf("the same topic is %q and %q", first, again)
	}
	if first != "" && id(other) == first {
		o.Fatalf("two topics are %q", first)
	}
	if o.has.Remake == nil {
		return
	}
	o.publish(topic, 0, lists("", 3, 20))
	o.has.Remake(o.T, o.log, topic)
	if anew := id(topic); anew == first || anew == "" {
		o.Errorf("made anew it is %q, as before", anew)
	}
	o.wantEnd(topic, 0, 0)
}

func outsideErrors(o *outside) {
	calls := func(topic string, part int32) map[string]error {
		errs := make(map[string]error)
		_, errs["partitions"] = o.Partitions(o.within(patience), topic)
		_, errs["topic id"] = o.TopicID(o.within(patience), topic)
		_, errs["start"] = o.Start(o.within(patience), topic, part)
		_, errs["publish"] = o.Publish(o.within(patience), topic, part, lists("", 1, 9))
		_, errs["read"] = o.ReadOutside(topic, part, 0, true)
		return errs
	}
	topic := o.topic(1)
	for what, err := range calls(o.name(), 0) {
		if !errors.Is(err, eventlog.ErrUnknownTopic) {
			o.Errorf("%s of an unknown topic: %v, want ErrUnknownTopic", what, err)
		}
	}
	for what, err := range calls(topic, 1) {
		if of := what == "partitions" || what == "topic id"; of != (err == nil) || !of && !errors.Is(err, eventlog.ErrUnknownTopic) {
			o.Errorf("%s of an unknown partition: %v", what, err)
		}
	}
	o.close()
	for what, err := range calls(topic, 0) {
		if !errors.Is(err, eventlog.ErrClosed) {
			o.Errorf("%s of a closed log: %v, want ErrClosed", what, err)
		}
	}
}

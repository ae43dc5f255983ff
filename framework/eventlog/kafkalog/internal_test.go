package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

func TestWhatWaitsForAReaderIsBounded(t *testing.T) {
	const readAhead = 256 << 10
	log, err := Open(t.Context(), Config{Brokers: kafkatest.Start(t).ListenAddrs(), ReadAhead: readAhead})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: "a", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := log.Append(t.Context(), "a", 0, []eventlog.Record{{Value: make([]byte, 30_000)}}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := log.Read("a", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	at := int64(0)
	for at < 100 {
		run, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		at += int64(len(run))
		<-time.After(20 * time.Millisecond) // for as much to come as will
		f := r.(*reader).feed
		f.mu.Lock()
		bytes := f.bytes
		f.mu.Unlock()
		if most := readAhead + readAhead/4; bytes > most {
			t.Fatalf("%d bytes wait, want at most %d", bytes, most)
		}
	}
}

// A poll may hold records of a partition whose reader has just left. Until they
// are handed out, to nobody, the place must not go to another reader.
func TestAPlaceIsFreeOnlyOnceNoPollHoldsItsRecords(t *testing.T) {
	cfg, err := Config{Brokers: []string{"127.0.0.1:1"}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(cfg.options(nil)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := &slot{client: client, lines: make(map[place]*line)}
	polling := s.begin() // this test polls itself
	p := place{"a", 0}
	first := s.attach(p, 0, 1<<20)
	left := make(chan struct{})
	go func() { s.detach(first); close(left) }()
	select {
	case <-polling.Done(): // detach wakes the poll
	case <-time.After(10 * time.Second):
		t.Fatal("the poll was not woken")
	}
	if s.attach(p, 5, 1<<20) != nil {
		t.Fatal("the place was given away while a poll may hold its records")
	}
	s.hand(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "a", Partitions: []kgo.FetchPartition{{Records: []*kgo.Record{{}}}}}}}})
	select {
	case <-left:
		t.Fatal("detach returned before the round was over")
	case <-time.After(20 * time.Millisecond):
	}
	s.begin()
	<-left
	second := s.attach(p, 5, 1<<20)
	if second == nil {
		t.Fatal("the place is not free")
	}
	if run, _ := second.take(); len(run.records) != 0 {
		t.Fatal("the second reader was given the first one's records")
	}
}

func TestALogThatLostRecordsIsNotReadOn(t *testing.T) {
	log, err := Open(t.Context(), Config{Brokers: kafkatest.Start(t).ListenAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: "a", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	r, err := log.Read("a", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := r.(*reader).attached(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.put(fetched{}, &kgo.ErrDataLoss{Topic: "a", ConsumedTo: 9, ResetTo: 4}, true)
	if _, err := r.Next(t.Context()); !errors.Is(err, eventlog.ErrOffset) || !strings.Contains(err.Error(), "lost the records from 4 on") {
		t.Fatalf("error %v, want ErrOffset that names 4", err)
	}
}

func TestAGapIsToldFromDeletedRecords(t *testing.T) {
	at := func(offsets ...int64) (rs []*kgo.Record) {
		for _, o := range offsets {
			rs = append(rs, &kgo.Record{Offset: o})
		}
		return rs
	}
	for _, c := range []struct {
		name    string
		got     []*kgo.Record
		start   int64
		want    string
		deleted bool
	}{
		{"follows", at(5, 6), 0, "[5 6]", false},
		{"begins within a batch", at(3, 4, 5), 0, "[5]", false},
		{"all before", at(3, 4), 0, "[]", false},
		{"markers between", at(7, 9), 0, "[7 9]", false},
		{"markers at the start", at(7), 5, "[7]", false},
		{"deleted below", at(7, 8), 7, "[]", true},
	} {
		run, err := (&reader{next: 5, log: &Log{}}).convert(fetched{records: c.got, start: c.start})
		offsets := []int64{}
		for _, r := range run {
			offsets = append(offsets, r.Offset)
		}
		if fmt.Sprint(offsets) != c.want || errors.Is(err, eventlog.ErrOffset) != c.deleted {
			t.Errorf("%s: %v, %v, want %s", c.name, offsets, err, c.want)
		}
	}
}

func TestRunsAreCutAtTheirLimits(t *testing.T) {
	of := func(n, size int) []*kgo.Record {
		rs := make([]*kgo.Record, n)
		for i := range rs {
			rs[i] = &kgo.Record{Value: make([]byte, size)}
		}
		return rs
	}
	for _, c := range []struct{ n, size, want int }{
		{5, 10, 5}, {10_001, 0, 10_000}, {3, maxRunBytes / 2, 2}, {2, 2 * maxRunBytes, 1}, {0, 0, 0},
		{10_000, 10, 10_000}, {4, maxRunBytes / 4, 4}, {5, maxRunBytes / 4, 4}, {1, 2 * maxRunBytes, 1},
	} {
		f := fetched{records: of(c.n, c.size), bytes: c.n * (c.size + overhead)}
		if n, weighs := f.bounded(); n != c.want || weighs != n*(c.size+overhead) {
			t.Errorf("of %d records of %d bytes: %d that weigh %d, want %d", c.n, c.size, n, weighs, c.want)
		}
	}
}

func TestALaneLetsNobodyInAfterTheLogWasClosed(t *testing.T) {
	l := &lane{turn: make(chan struct{}, 1), limit: 1}
	closed := make(chan struct{})
	close(closed)
	for range 100 { // both ways are open: either may be chosen
		if err := l.enter(t.Context(), closed); !errors.Is(err, eventlog.ErrClosed) {
			t.Fatalf("error %v, want ErrClosed", err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if err := l.enter(ended, nil); !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v, want the context's", err)
		}
	}
	if err := l.enter(t.Context(), nil); err != nil {
		t.Fatalf("the lane is taken: %v", err)
	}
}

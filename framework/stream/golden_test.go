package stream

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// The files in testdata/v1 are what format 1 wrote. Logs and snapshots of it
// exist, so it is read for ever. No test writes these files. With format 2 add
// testdata/v2 beside them; never change v1.

func golden(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		all.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(all.String())
	if err != nil || len(b) == 0 {
		t.Fatalf("%s: %v, %d bytes", file, err, len(b))
	}
	return b
}

// goldenCore is a task behind a shuffle, with a state, a map, a list, a timer, a
// time to live and two ways out.
func goldenCore() (c *core, names *MapState[int64], list *ListState[int64]) {
	names, list = NewMapState[int64]("names", simInts), NewListState[int64]("list", simInts)
	t := &Topology{Name: "golden", Version: 3, Partitions: 2}
	in := From(t, &Source[int64]{Name: "in", Topic: "in", Decode: func(*Record, *int64) error { return nil }})
	key := func(int64) string { return "k" }
	byKey := KeyBy(in, "by-key", key, simInts)
	op, _ := Via(byKey, &Process[int64, int64, int64]{Name: "op", State: simInts, TTL: time.Minute, Maps: []Entries{names, list},
		OnEvent: func(c *Context[int64, int64], v int64) error {
			*c.State() += v
			names.Put(c, "a", v)
			list.Append(c, v)
			c.SetTimer("t", time.Unix(50, 0))
			c.Emit(*c.State())
			return nil
		},
		OnTimer: func(*Context[int64, int64], Timer) error { return nil }})
	again := KeyBy(op, "again", key, simInts)
	Via(again, &Process[int64, int64, int64]{Name: "last", TTL: time.Hour, OnEvent: func(*Context[int64, int64], int64) error { return nil }})
	To(op, &Publish[int64]{Name: "out", Topic: "out", Codec: simInts})
	return newCore(t.stages[1], 1, shape{inputs: 2, outs: []int{2, 2}, sources: 1}), names, list
}

func goldenRecords() (all []eventlog.Record) {
	for n := range uint64(3) {
		d := partition.Derived{Fold: 3, Number: n + 1, Offset: int64(n), Port: 1, Time: int64(n+1) * 1e9, Mark: int64(n) * 1e9}
		all = append(all, eventlog.Record{Offset: 300 + int64(n), Key: []byte("k"), Header: d.Append(nil), Value: []byte{'1' + byte(n)}})
	}
	return all
}

func cutOf(t *testing.T, c *core, full bool) (head, blob []byte) {
	t.Helper()
	var buf bytes.Buffer
	f := &frames{to: &buf}
	head = c.begin(full, f)
	for done := false; !done; {
		var err error
		if done, err = c.encode(100, f); err != nil {
			t.Fatal(err)
		}
	}
	return head, buf.Bytes()
}

func TestSnapshotsOfFormat1AreRestored(t *testing.T) {
	head, blob := golden(t, "testdata/v1/head.hex"), golden(t, "testdata/v1/frames.hex")
	c, names, list := goldenCore()
	c.topicID = "any" // the first format does not say of which topic it is
	if err := c.restoreHead(head); err != nil {
		t.Fatal(err)
	}
	if err := c.load(bytes.NewReader(blob)); err != nil {
		t.Fatal(err)
	}
	c.wake()
	at := c.operators[0].(*Context[int64, int64])
	if err := at.enter([]byte("k")); err != nil {
		t.Fatal(err)
	}
	s, ok := at.Peek()
	n, _ := names.Get(at, "a")
	if !ok || *s != 6 || n != 3 || list.Len(at) != 3 || c.next != 303 || c.mark != 2e9 || len(c.alarms) != 2 {
		t.Errorf("state %d, entry %d, %d values, next %d, mark %d, %d timers", *s, n, list.Len(at), c.next, c.mark, len(c.alarms))
	}
	if err := c.load(bytes.NewReader(golden(t, "testdata/v1/bury.hex"))); err != nil || at.enter([]byte("k")) != nil {
		t.Fatal(err)
	}
	if _, ok := at.Peek(); ok {
		t.Error("a buried key has a state")
	}
}

func TestHeadsOfFormat2AreRestoredForTheirOwnTopicOnly(t *testing.T) {
	head := golden(t, "testdata/v2/head.hex")
	for id, ok := range map[string]bool{"topic-7": true, "": true, "topic-8": false} {
		c, _, _ := goldenCore()
		c.topicID = id
		err := c.restoreHead(head)
		if ok && (err != nil || c.next != 303 || c.mark != 2e9) || !ok && !errors.Is(err, errRemade) {
			t.Errorf("topic %q: %v, next %d", id, err, c.next)
		}
	}
}

func TestSnapshotsAreWrittenAsFormat2(t *testing.T) {
	c, _, _ := goldenCore()
	c.topicID = "topic-7"
	if err := c.feed(goldenRecords()); err != nil {
		t.Fatal(err)
	}
	head, blob := cutOf(t, c, true)
	if want := golden(t, "testdata/v2/head.hex"); headFormat == 2 && !bytes.Equal(head, want) {
		t.Errorf("the head is\n%x, was\n%x", head, want)
	}
	if want := golden(t, "testdata/v1/frames.hex"); !bytes.Equal(blob, want) {
		t.Errorf("the frames are\n%x, were\n%x", blob, want)
	}
	at := c.operators[0].(*Context[int64, int64])
	if err := at.enter([]byte("k")); err != nil {
		t.Fatal(err)
	}
	c.keep(at.states.remove(at.at))
	if _, blob := cutOf(t, c, false); !bytes.Equal(blob, golden(t, "testdata/v1/bury.hex")) {
		t.Errorf("a bury is %x", blob)
	}
}

func TestPublishedHeadersOfBothKindsAreRead(t *testing.T) {
	want := Origin{Output: "out", Partition: 1, Offset: 302, Index: 1}
	for file, version := range map[string]uint64{"testdata/v1/published.hex": 0, "testdata/v1/published-version.hex": 3} {
		want.Version = version
		if got, err := OriginOf(golden(t, file)); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", file, got, err, want)
		}
	}
	for _, id := range [][]byte{nil, {1}, {1, 7}, {1, 7, 3, 1, 1}, {1, 4, 3, 1, 1, 1}, {1, 7, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 1, 'a'}} {
		if got, err := OriginOf(eventlog.AppendHeader(nil, PublishedHeader, id)); !errors.Is(err, event.ErrForeign) {
			t.Errorf("%x: %+v, %v", id, got, err)
		}
	}
}

func TestPublishedHeadersAreWritten(t *testing.T) {
	c, _, _ := goldenCore()
	if err := c.feed(goldenRecords()); err != nil {
		t.Fatal(err)
	}
	r := c.outs[1].boxes[1].records[2]
	if want := golden(t, "testdata/v1/published-version.hex"); !bytes.Equal(r.Header, want) {
		t.Errorf("the header is\n%x, was\n%x", r.Header, want)
	}
	if r.At != 3000 || string(r.Key) != "k" || string(r.Value) != "6" {
		t.Errorf("%+v", r)
	}
}

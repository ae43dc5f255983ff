package eventlogtest

import (
	"fmt"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

func (f *fixture) close() {
	f.Helper()
	if err := f.log.Close(); err != nil {
		f.Fatalf("close: %v", err)
	}
}

func reopenFindsAll(t *testing.T, open func(*testing.T, string) eventlog.Log) {
	dir := t.TempDir()
	f := newFixture(t, open(t, dir))
	topics := [2]string{f.topic(3), f.topic(1)}
	empty := f.topic(2)
	want := map[string][]eventlog.Record{}
	for i, topic := range topics {
		for j := range 30 {
			part := int32(j % (3 - 2*i))
			batch := append(records(fmt.Sprint(i, j), 1+j%7, 50), eventlog.Record{})
			f.append(topic, part, batch)
			at := fmt.Sprint(topic, part)
			want[at] = append(want[at], batch...)
		}
	}
	f.close()
	f = newFixture(t, open(t, dir))
	for i, topic := range topics {
		for part := range int32(3 - 2*i) {
			all := want[fmt.Sprint(topic, part)]
			f.wantEnd(topic, part, int64(len(all)))
			for _, from := range []int{0, len(all) / 2} {
				if err := check(f.read(topic, part, int64(from), len(all)-from), all[from:], int64(from)); err != nil {
					t.Error(err)
				}
			}
		}
	}
	f.wantEnd(empty, 1, 0)
	f.wantTopicError(eventlog.Topic{Name: empty, Partitions: 3})
}

func reopenGoesOn(t *testing.T, open func(*testing.T, string) eventlog.Log) {
	dir := t.TempDir()
	f := newFixture(t, open(t, dir))
	topic := f.topic(1)
	var want []eventlog.Record
	for round := range 4 {
		for i := range 5 {
			batch := records(fmt.Sprint(round, i), 1+i, 50)
			if base := f.append(topic, 0, batch); base != int64(len(want)) {
				t.Fatalf("round %d: base %d, want %d", round, base, len(want))
			}
			want = append(want, batch...)
		}
		f.close()
		f = newFixture(t, open(t, dir))
		if err := f.log.Ensure(f.within(patience), eventlog.Topic{Name: topic, Partitions: 1}); err != nil {
			t.Fatalf("round %d: ensure: %v", round, err)
		}
		f.wantEnd(topic, 0, int64(len(want)))
		if err := check(f.read(topic, 0, 0, len(want)), want, 0); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

func reopenEmpty(t *testing.T, open func(*testing.T, string) eventlog.Log) {
	dir := t.TempDir()
	newFixture(t, open(t, dir)).close()
	newFixture(t, open(t, dir)).close()
	f := newFixture(t, open(t, dir))
	f.append(f.topic(1), 0, records("a", 1, 20))
}

func reopenFindsOffsets(t *testing.T, open func(*testing.T, string) eventlog.Log) {
	dir := t.TempDir()
	f := newFixture(t, open(t, dir))
	if _, ok := f.log.(eventlog.Offsets); !ok {
		return
	}
	topic := f.topic(2)
	f.append(topic, 0, records("a", 9, 20))
	f.commit("app.one", topic, 0, 7)
	f.commit("app.one", topic, 0, 9)
	f.commit("app.two", topic, 0, 4)
	f.commit("app.two", topic, 0, 3)
	f.close()
	f = newFixture(t, open(t, dir))
	f.wantCommitted("app.one", topic, 0, 9)
	f.wantCommitted("app.two", topic, 0, 3)
	f.wantCommitted("app.one", topic, 1, -1)
	f.wantEnd(topic, 0, 9)
}

func reopenFindsIDs(t *testing.T, open func(*testing.T, string) eventlog.Log) {
	id := func(dir string) string {
		l := open(t, dir)
		defer l.Close()
		ids, ok := l.(eventlog.Identifier)
		if !ok {
			t.Skip("not an eventlog.Identifier")
		}
		if err := l.Ensure(t.Context(), eventlog.Topic{Name: "a", Partitions: 2}); err != nil {
			t.Fatal(err)
		}
		id, err := ids.TopicID(t.Context(), "a")
		if err != nil || id == "" {
			t.Fatalf("id %q, %v", id, err)
		}
		return id
	}
	dir := t.TempDir()
	first := id(dir)
	if again := id(dir); again != first {
		t.Errorf("the same topic is %s, then %s", first, again)
	}
	if other := id(t.TempDir()); other == first {
		t.Errorf("two topics are %s", first)
	}
}

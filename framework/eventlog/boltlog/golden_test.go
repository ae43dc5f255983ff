package boltlog_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
)

// listing writes a log as text: a line for each record.
func listing(t *testing.T, l *boltlog.Log) string {
	t.Helper()
	topics, err := l.Topics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(topics, func(a, b eventlog.Topic) int { return strings.Compare(a.Name, b.Name) })
	var s strings.Builder
	for _, topic := range topics {
		for part := range int32(topic.Partitions) {
			fmt.Fprintf(&s, "%s/%d\n", topic.Name, part)
			for _, r := range readAll(t, l, topic.Name, part) {
				fmt.Fprintf(&s, "\t%d %q %q %.60q %d\n", r.Offset, r.Key, r.Header, r.Value, len(r.Value))
			}
		}
	}
	return s.String()
}

// goldenLog appends what testdata/v1.db holds.
func goldenLog(t *testing.T, l *boltlog.Log) {
	t.Helper()
	for _, topic := range []eventlog.Topic{{Name: "app.events", Partitions: 3}, {Name: "app.control", Partitions: 1}} {
		if err := l.Ensure(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
	}
	for i, at := range []struct {
		topic string
		part  int32
		batch []eventlog.Record
	}{
		{"app.events", 0, []eventlog.Record{{Key: []byte("tribe/a"), Header: []byte{1, 2, 3}, Value: []byte(`{"name":"hikers"}`)}}},
		{"app.events", 0, []eventlog.Record{{Key: []byte("tribe/b"), Header: []byte{1}}, {}, {Value: []byte{0, 0xff}}}},
		{"app.events", 2, []eventlog.Record{{Key: []byte("tribe/ü"), Value: []byte(strings.Repeat("long ", 1000))}}},
		{"app.control", 0, []eventlog.Record{{Header: []byte("h")}}},
		{"app.events", 2, []eventlog.Record{{Key: []byte("last")}}},
	} {
		if _, err := l.Append(t.Context(), at.topic, at.part, at.batch); err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
	}
}

// TestTheFirstFormatIsReadForEver reads a file that the first version of this
// package wrote. The file and its listing are never written again: a later
// format gets files of its own beside them.
func TestTheFirstFormatIsReadForEver(t *testing.T) {
	want := string(read(t, filepath.Join("testdata", "v1.txt")))
	kept, err := boltlog.OpenReadOnly(filepath.Join("testdata", "v1.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	if got := listing(t, kept); got != want {
		t.Errorf("read only:\n%s\nwant\n%s", got, want)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	write(t, path, read(t, filepath.Join("testdata", "v1.db")))
	l := open(t, path, boltlog.Options{})
	if got := listing(t, l); got != want {
		t.Errorf("for writing:\n%s\nwant\n%s", got, want)
	}
	if base, err := l.Append(t.Context(), "app.events", 2, damageBatch(0, 0)); base != 2 || err != nil {
		t.Errorf("append to it: %d, %v", base, err)
	}
}

// TestTopicsOfBeforeTheyHadIDsGetOnes opens a file without ids: as it is, for
// writing, and again.
func TestTopicsOfBeforeTheyHadIDsGetOnes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "copy.db")
	write(t, path, read(t, filepath.Join("testdata", "v1.db")))
	id := func(l *boltlog.Log, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		id, err := l.TopicID(t.Context(), "app.events")
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	before, first, again := id(boltlog.OpenReadOnly(path)), id(boltlog.Open(path, boltlog.Options{})), id(boltlog.OpenReadOnly(path))
	if before != "" || first == "" || again != first {
		t.Errorf("ids %q, %q, %q", before, first, again)
	}
}

// TestTodaysFormatIsTheFirst fails when what is written today reads otherwise
// than the kept listing says.
func TestTodaysFormatIsTheFirst(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "log.db"), boltlog.Options{TailBytes: -1})
	goldenLog(t, l)
	if got, want := listing(t, l), string(read(t, filepath.Join("testdata", "v1.txt"))); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

package stream

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

// outsideLog is a log in memory with topics of others.
type outsideLog struct{ *memlog.Log }

var _ eventlog.Outside = outsideLog{}

func (l outsideLog) Partitions(_ context.Context, topic string) (int, error) {
	return pricedTopics[topic], nil
}
func (l outsideLog) Start(context.Context, string, int32) (int64, error) { return 0, nil }
func (l outsideLog) TopicID(context.Context, string) (string, error)     { return "", nil }
func (l outsideLog) ReadOutside(topic string, part int32, from int64, _ bool) (eventlog.Reader, error) {
	return l.Read(topic, part, from)
}
func (l outsideLog) Publish(ctx context.Context, topic string, part int32, batch []eventlog.Record) (int64, error) {
	return l.Append(ctx, topic, part, batch)
}

// missing waits until all of want are published, copies or not, and returns what is
// not after 10 s.
func (l outsideLog) missing(want map[string]bool) map[string]bool {
	for range 2000 {
		for part := range int32(2) {
			for _, r := range l.Records("out", part) {
				delete(want, string(r.Value))
			}
		}
		if len(want) == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	return want
}

func TestTasksOfAProcessShareATable(t *testing.T) {
	log := outsideLog{memlog.New()}
	defer log.Close()
	for topic, n := range pricedTopics {
		if err := log.Ensure(t.Context(), eventlog.Topic{Name: topic, Partitions: n}); err != nil {
			t.Fatal(err)
		}
	}
	send := func(topic string, part int32, key, value string) {
		t.Helper()
		if _, err := log.Append(t.Context(), topic, part, []eventlog.Record{{Key: []byte(key), Value: []byte(value)}}); err != nil {
			t.Fatal(err)
		}
	}
	snapshots := snapshot.Memory()
	run := func(price int) {
		runner, err := NewRunner(priced(), Config{Log: log, Snapshots: snapshots, SnapshotEvery: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- runner.Run(ctx) }()
		for i := range 30 {
			send("prices", int32(i%2), fmt.Sprint("item", i), fmt.Sprint(price))
		}
		for !pinned(runner, 0, price) || !pinned(runner, 1, price) {
			time.Sleep(time.Millisecond)
		}
		want := make(map[string]bool)
		for i := range 30 {
			send("orders", int32(i%2), "", fmt.Sprintf(`"item%d"`, i))
			want[fmt.Sprintf(`"item%d %d true"`, i, price)] = true
		}
		if lost := log.missing(want); len(lost) > 0 {
			t.Errorf("not published: %v", lost)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	run(1)
	run(2)
}

// pinned reports whether all that was sent to a partition of the table is pinned.
func pinned(r *Runner, part int32, rounds int) bool {
	for _, s := range r.Status() {
		if s.Operator == "prices" && s.Partition == part {
			return s.Done >= int64(15*rounds)
		}
	}
	return false
}

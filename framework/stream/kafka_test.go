package stream

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

// TestATopicOfKafkaThatIsMadeAnewStopsItsTasks deletes the topic under a running
// task, and again behind a stopped one's snapshots, and lets it grow longer than it
// was.
func TestATopicOfKafkaThatIsMadeAnewStopsItsTasks(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	admin := kadm.NewClient(client)
	t.Cleanup(admin.Close)
	name := fmt.Sprintf("remade-%d", time.Now().UnixNano())
	in, sums := name+"-in", name+"-sums"
	create := func(topics ...string) {
		t.Helper()
		for _, topic := range topics {
			for {
				_, err := admin.CreateTopic(t.Context(), 1, 1, nil, topic)
				if err == nil {
					break
				}
				if !errors.Is(err, kerr.TopicAlreadyExists) { // it is being deleted yet
					t.Fatal(err)
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
	}
	topology := func(version uint64) *Topology {
		top := &Topology{Name: name, Version: version, Partitions: 1}
		from := From(top, &Source[int64]{Name: "in", Topic: in, Decode: func(r *Record, v *int64) error { return simInts.Decode(r.Value, v) }})
		To(KeyBy(from, "all", func(int64) string { return "all" }, simInts), &Publish[int64]{Name: "sums", Topic: sums, Codec: simInts})
		return top
	}
	create(in, sums)
	t.Cleanup(func() {
		_, _ = admin.DeleteTopics(context.Background(), in, sums, name+".all.1", name+".all.2") // what stays, stays on a test's broker
	})
	open := func() *bench {
		log, err := kafkalog.Open(t.Context(), kafkalog.Config{Brokers: brokers})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { log.Close() })
		return &bench{T: t, log: log}
	}
	remake := func() {
		t.Helper()
		if _, err := admin.DeleteTopic(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		create(in)
	}
	b := open()
	b.snapshots = snapshot.Memory()
	reaches := func(n int64, topic string) {
		t.Helper()
		b.until(fmt.Sprint(n, " records in ", topic), func() bool {
			end, err := b.log.End(t.Context(), topic, 0)
			return err == nil && end >= n
		})
	}

	b.send(in, 0, "k", "1", "2")
	r, stop := b.run(topology(1))
	reaches(2, sums)
	b.stored("in", 2)
	remake()
	running := b.stopped(r, "in")
	if !errors.Is(running, errRemade) && !errors.Is(running, eventlog.ErrUnknownTopic) {
		t.Errorf("while it runs it stopped with %v", running)
	}
	stop()

	next := open() // another process
	next.snapshots, b.log = b.snapshots, next.log
	b.send(in, 0, "k", "10", "20", "40", "80")
	r, stop = b.run(topology(1))
	if err := b.stopped(r, "in"); !errors.Is(err, errRemade) {
		t.Errorf("at the next start it stopped with %v", err)
	}
	stop()
	_, stop = b.run(topology(2))
	defer stop()
	reaches(6, sums)
	t.Logf("while it ran: %v", running)
}

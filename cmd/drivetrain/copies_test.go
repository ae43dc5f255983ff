package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

// outsider is a client of another program, on a topic of its own.
type outsider struct {
	*kgo.Client
	t     *testing.T
	topic string
}

func newOutsider(t *testing.T, brokers []string, partitions int32) *outsider {
	t.Helper()
	topic := fmt.Sprintf("told-%d", time.Now().UnixNano())
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DisableClientMetrics(), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if _, err := kadm.NewClient(client).CreateTopics(t.Context(), partitions, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	return &outsider{client, t, topic}
}

// take returns the next n records.
func (o *outsider) take(n int) (all []*kgo.Record) {
	o.t.Helper()
	for len(all) < n {
		fetches := o.PollFetches(o.t.Context())
		for _, e := range fetches.Errors() {
			if e.Err != kerr.UnknownTopicOrPartition { // it was made a moment ago
				o.t.Fatal(e.Err)
			}
		}
		all = append(all, fetches.Records()...)
	}
	return all
}

func headersOf(r *kgo.Record) string {
	var list []string
	for _, h := range r.Headers {
		list = append(list, h.Key+"="+string(h.Value))
	}
	return strings.Join(list, " ")
}

func TestEventsArePublishedAsCloudEventsAndNothingElseHappens(t *testing.T) {
	for name, write := range writers() {
		t.Run(name, func(t *testing.T) {
			brokers := kafkatest.Brokers(t)
			o := newOutsider(t, brokers, 3)
			log := write(t, various(), nil, []eventlog.Record{claim(1), fact("a/2", 1, 1, 9, 0, 1)})
			source := "//app"
			if app := log[len(log)-1]; log[len(log)-2] == "--app" {
				source = "//" + app
			}
			got := drivetrain(t, replayArgs(log, "--to", o.topic, "--to-brokers", strings.Join(brokers, ","))...)
			if got != (result{}) {
				t.Fatalf("%+v", got)
			}
			copies := map[string]*kgo.Record{}
			for _, r := range o.take(7) {
				for _, h := range r.Headers {
					if h.Key == "ce_position" {
						copies[string(h.Value)] = r
					}
				}
				if want := eventlog.PartitionOf(r.Key, 3); r.Partition != want {
					t.Errorf("%s lies in partition %d, want %d", r.Key, r.Partition, want)
				}
			}
			r := copies["0@6"]
			want := "ce_specversion=1.0 ce_id=019ca945-0a7b-7000-8000-000000000068 ce_source=" + source + " ce_type=it.happened ce_subject=1 " +
				"ce_time=2026-03-01T12:00:00.123456789Z ce_aggregate=c ce_version=1 ce_actor=mäya <m> ce_position=0@6 content-type=application/json"
			if r == nil || string(r.Key) != "c/1" || string(r.Value) != string(various()[6].Value) || headersOf(r) != want || len(copies) != 7 {
				t.Errorf("copies of %d events; 0@6 is %q, %q, with\n%s, want\n%s", len(copies), r.Key, r.Value, headersOf(r), want)
			}
			if r := copies["0@7"]; strings.Contains(headersOf(r), "content-type") || string(r.Value) != "\"\xff\"" {
				t.Errorf("what is no JSON: %q, %s", r.Value, headersOf(r))
			}
			groups, err := kadm.NewClient(o.Client).ListGroups(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range groups.Groups() {
				if strings.Contains(g, source[2:]) && source != "//app" {
					t.Errorf("there is a group %s", g)
				}
			}
		})
	}
}

func TestATopicThatIsNotThereIsNamed(t *testing.T) {
	_, brokers := cluster(t)
	got := drivetrain(t, "replay", "--data", folder(t, happened()), "--to", "nowhere", "--to-brokers", brokers)
	wantProblem(t, got, "there is no topic nowhere to publish to; make it first")
}

// Whoever is told from where to go on has all of it in the end, some twice.
func TestAPublishingThatWasBrokenOffSaysFromWhereToGoOn(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	o := newOutsider(t, brokers, 2)
	damaged := append(happened(), eventlog.Record{Header: []byte("hm")}) // a record of format 104
	log := []string{"log", "--data", folder(t, happened(), damaged, happened())}
	to := []string{"--to", o.topic, "--to-brokers", strings.Join(brokers, ",")}
	got := drivetrain(t, replayArgs(log, to...)...)
	wantProblem(t, got, "; go on with --from 0@5,1@0,2@0: replay app.events, partition 1: record 5: written by a newer version")
	if got := drivetrain(t, replayArgs(log, append(to, "--from", "2@0")...)...); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	seen := map[string]bool{}
	for _, r := range o.take(8) {
		seen[headersOf(r)] = true
	}
	if len(seen) != 8 {
		t.Errorf("%d events", len(seen))
	}
}

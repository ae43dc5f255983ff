package kafkalog_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// good are the settings of a topic that fits.
func good() map[string]string {
	return map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
}

func createTopic(t *testing.T, brokers []string, topic string, partitions int32, settings map[string]string) {
	t.Helper()
	configs := map[string]*string{}
	for k, v := range settings {
		configs[k] = &v
	}
	if _, err := kadm.NewClient(client(t, brokers)).CreateTopic(t.Context(), partitions, 1, configs, topic); err != nil {
		t.Fatal(err)
	}
}

func TestEnsureCreatesATopicThatKeepsItsRecords(t *testing.T) {
	for _, c := range []struct {
		brokers, asked, replicas int
		inSync                   string
	}{{1, 0, 1, "1"}, {2, 0, 2, "1"}, {3, 0, 3, "2"}, {5, 0, 3, "2"}, {3, 1, 1, "1"}} {
		cluster := kafkatest.Start(t, kfake.NumBrokers(c.brokers))
		topic := ensure(t, open(t, kafkalog.Config{Brokers: cluster.ListenAddrs(), Replication: c.asked}), 4)
		admin := kadm.NewClient(client(t, cluster.ListenAddrs()))
		m, err := admin.Metadata(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		if n, r := len(m.Topics[topic].Partitions), m.Topics[topic].Partitions.NumReplicas(); n != 4 || r != c.replicas {
			t.Errorf("of %d brokers: %d partitions with %d replicas, want 4 with %d", c.brokers, n, r, c.replicas)
		}
		all, err := admin.DescribeTopicConfigs(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		want := good()
		want["min.insync.replicas"], want["max.message.bytes"] = c.inSync, "2097152"
		for _, is := range all[0].Configs {
			if w, ok := want[is.Key]; ok && is.MaybeValue() != w {
				t.Errorf("of %d brokers: %s=%s, want %s", c.brokers, is.Key, is.MaybeValue(), w)
			}
		}
	}
}

func TestEnsureAsksForCleanElections(t *testing.T) {
	c, err := kfake.NewCluster()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	asked := map[string]string{}
	c.ControlKey(int16(kmsg.CreateTopics), func(req kmsg.Request) (kmsg.Response, error, bool) {
		for _, config := range req.(*kmsg.CreateTopicsRequest).Topics[0].Configs {
			asked[config.Name] = *config.Value
		}
		return nil, nil, false
	})
	log := open(t, kafkalog.Config{Brokers: c.ListenAddrs()})
	_ = log.Ensure(t.Context(), eventlog.Topic{Name: "a", Partitions: 1}) // the fake refuses a setting that it does not know
	if v := asked["unclean.leader.election.enable"]; v != "false" {
		t.Fatalf("asked for unclean.leader.election.enable=%q, want false", v)
	}
}

func TestEnsureRefusesATopicThatDoesNotFit(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings map[string]string
		problem  string
		remedy   string
	}{
		{"compacted", map[string]string{"cleanup.policy": "compact"}, "cleanup.policy=compact)", "--add-config cleanup.policy=delete"},
		{"compacted-and-deleted", map[string]string{"cleanup.policy": "compact,delete"}, "cleanup.policy=compact,delete)", "--add-config cleanup.policy=delete"},
		{"expires", map[string]string{"retention.ms": "604800000"}, "expire (retention.ms=604800000)", "--add-config retention.ms=-1"},
		{"bounded", map[string]string{"retention.bytes": "1000000"}, "retention.bytes=1000000", "--add-config retention.bytes=-1"},
		{"small", map[string]string{"max.message.bytes": "100000"}, "max.message.bytes=100000", "--add-config max.message.bytes=2097152"},
		{"all", map[string]string{"cleanup.policy": "compact", "retention.ms": "1", "retention.bytes": "2"},
			"cleanup.policy=compact); its records expire (retention.ms=1); its oldest records are deleted when it grows (retention.bytes=2)",
			"--add-config cleanup.policy=delete,retention.ms=-1,retention.bytes=-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster, log, _ := onFake(t, 1, kafkalog.Config{})
			settings := good()
			for k, v := range c.settings {
				settings[k] = v
			}
			createTopic(t, cluster.ListenAddrs(), c.name, 2, settings)
			err := wantTopicError(t, log, eventlog.Topic{Name: c.name, Partitions: 2}, c.problem)
			want := "kafka-configs.sh --bootstrap-server " + strings.Join(cluster.ListenAddrs(), ",") +
				" --alter --entity-type topics --entity-name " + c.name + " " + c.remedy
			if err.Remedy != "run "+want {
				t.Fatalf("remedy %q, want %q", err.Remedy, want)
			}
		})
	}
}

func wantTopicError(t *testing.T, log eventlog.Log, topic eventlog.Topic, problem string) *eventlog.TopicError {
	t.Helper()
	err := log.Ensure(t.Context(), topic)
	var unfit *eventlog.TopicError
	if !errors.As(err, &unfit) || !strings.Contains(unfit.Problem, problem) {
		t.Fatalf("error %v, want a *TopicError that names %q", err, problem)
	}
	return unfit
}

func TestEnsureNamesAnotherPartitionCountBesideTheRest(t *testing.T) {
	cluster, log, _ := onFake(t, 1, kafkalog.Config{})
	settings := good()
	settings["retention.ms"] = "5"
	createTopic(t, cluster.ListenAddrs(), "wrong", 3, settings)
	err := wantTopicError(t, log, eventlog.Topic{Name: "wrong", Partitions: 16}, "(retention.ms=5); it has 3 partitions, not 16")
	if !strings.Contains(err.Remedy, "retention.ms=-1; ask for 3 partitions") || !strings.Contains(err.Remedy, "--delete --topic wrong") {
		t.Fatalf("remedy %q", err.Remedy)
	}
}

func TestEnsureRefusesUncleanElections(t *testing.T) {
	cluster, log, topic := onFake(t, 1, kafkalog.Config{})
	cluster.ControlKey(int16(kmsg.DescribeConfigs), func(req kmsg.Request) (kmsg.Response, error, bool) {
		asked := req.(*kmsg.DescribeConfigsRequest)
		resp := asked.ResponseKind().(*kmsg.DescribeConfigsResponse)
		for _, r := range asked.Resources {
			config := kmsg.NewDescribeConfigsResponseResourceConfig()
			config.Name, config.Value = "unclean.leader.election.enable", kmsg.StringPtr("true")
			found := kmsg.NewDescribeConfigsResponseResource()
			found.ResourceType, found.ResourceName = r.ResourceType, r.ResourceName
			found.Configs = []kmsg.DescribeConfigsResponseResourceConfig{config}
			resp.Resources = append(resp.Resources, found)
		}
		return resp, nil, true
	})
	err := wantTopicError(t, log, eventlog.Topic{Name: topic, Partitions: 1}, "unclean.leader.election.enable=true")
	if !strings.HasSuffix(err.Remedy, "--add-config unclean.leader.election.enable=false") {
		t.Fatalf("remedy %q", err.Remedy)
	}
}

func TestEnsureWaitsUntilANewTopicIsUsable(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.Metadata, kmsg.ListOffsets} {
		t.Run(key.Name(), func(t *testing.T) { waitsFor(t, key) })
	}
}

func waitsFor(t *testing.T, key kmsg.Key) {
	cluster, log, _ := onFake(t, 1, kafkalog.Config{})
	var created atomic.Bool
	cluster.ControlKey(int16(kmsg.CreateTopics), func(kmsg.Request) (kmsg.Response, error, bool) {
		created.Store(true)
		return nil, nil, false
	})
	fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: "fresh", Err: kerr.LeaderNotAvailable, Count: 6,
		When: func(kmsg.Request) bool { return created.Load() }})
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: "fresh", Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	if n := fault.Hits(); n != 6 {
		t.Errorf("ensure returned after %d of 6 refusals of %v", n, key)
	}
	if _, err := log.Append(t.Context(), "fresh", 1, batch("x")); err != nil {
		t.Errorf("the first append: %v", err)
	}
}

// A broker answers for a topic as soon as it knows it; the one that is asked next
// may not know it yet.
func TestEnsureWaitsForBrokersThatDoNotKnowATopicOfAnotherProcessYet(t *testing.T) {
	cluster, log, _ := onFake(t, 1, kafkalog.Config{})
	createTopic(t, cluster.ListenAddrs(), "theirs", 2, good())
	settings := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Resource: "theirs", Err: kerr.UnknownTopicOrPartition})
	known := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "theirs", Err: kerr.UnknownTopicOrPartition, Count: 6,
		When: func(kmsg.Request) bool { return settings.Hits() > 0 }})
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: "theirs", Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	if s, k := settings.Hits(), known.Hits(); s != 1 || k != 6 {
		t.Errorf("ensure returned after %d of 1 refusals to tell settings, and %d of 6 to know the topic", s, k)
	}
	if _, err := log.Append(t.Context(), "theirs", 1, batch("x")); err != nil {
		t.Errorf("the first append: %v", err)
	}
}

func TestEnsureEndsWhereABrokerGoesOnNotKnowingATopic(t *testing.T) {
	cluster, log, topic := onFake(t, 1, kafkalog.Config{})
	fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Resource: topic, Err: kerr.UnknownTopicOrPartition, Count: -1})
	err := log.Ensure(t.Context(), eventlog.Topic{Name: topic, Partitions: 1})
	if !errors.Is(err, kerr.UnknownTopicOrPartition) || !strings.Contains(err.Error(), "ensure topic "+topic+": read its settings") {
		t.Fatalf("error %v", err)
	}
	if n := fault.Hits(); n != 2 {
		t.Errorf("asked %d times for the settings, want twice", n)
	}
}

func TestEnsureTellsWhyACreationFails(t *testing.T) {
	cluster, log, _ := onFake(t, 1, kafkalog.Config{})
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.PolicyViolation})
	err := log.Ensure(t.Context(), eventlog.Topic{Name: "denied", Partitions: 1})
	if !errors.Is(err, kerr.PolicyViolation) || !strings.Contains(err.Error(), "ensure topic denied: create with 1 partitions and 3 replicas") {
		t.Fatalf("error %v", err)
	}
}

func TestATopicMadeByAnotherProcessIsFound(t *testing.T) {
	cluster, log, _ := onFake(t, 1, kafkalog.Config{})
	createTopic(t, cluster.ListenAddrs(), "theirs", 3, good())
	if base, err := log.Append(t.Context(), "theirs", 2, batch("x")); err != nil || base != 0 {
		t.Fatalf("base %d, %v", base, err)
	}
	wantEnd(t, log, "theirs", 2, 1)
}

func TestPartitionsAddedLaterAreFound(t *testing.T) {
	cluster, log, topic := onFake(t, 1, kafkalog.Config{})
	if _, err := log.Append(t.Context(), topic, 1, batch("x")); !errors.Is(err, eventlog.ErrUnknownTopic) {
		t.Fatalf("error %v, want ErrUnknownTopic", err)
	}
	resp, err := kadm.NewClient(client(t, cluster.ListenAddrs())).UpdatePartitions(t.Context(), 2, topic)
	if err != nil || resp.Error() != nil {
		t.Fatal(err, resp.Error())
	}
	if base, err := log.Append(t.Context(), topic, 1, batch("x")); err != nil || base != 0 {
		t.Fatalf("base %d, %v", base, err)
	}
}

package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// movedWithin is how long a cluster may take to give a dead node's partitions to
// others, or to let it in again, and the program to go on.
const movedWithin = 60 * time.Second

// clusters returns servers to kill whose Kafka has three nodes or more: one set
// or none.
func clusters(t *testing.T) (found []*servers) {
	t.Helper()
	for _, s := range killable(t) {
		if s.nodes >= 3 {
			found = append(found, s)
		}
	}
	return found
}

// TestEachBrokerIsKilledUnderLoad kills the nodes of a cluster one after the
// other, each while it leads partitions. Once two processes have gone on without
// the node, it is started again; the next one dies when all replicas are in sync.
func TestEachBrokerIsKilledUnderLoad(t *testing.T) {
	for _, servers := range clusters(t) {
		t.Run("servers", func(t *testing.T) {
			c, total := newCluster(t, servers), int64(number(t, "E2E_COMMANDS", 3000))
			share := total / int64(2*servers.nodes+1)
			c.begin()
			for node := range servers.nodes {
				c.reach(c.settled.Load() + share)
				c.without(int32(node+1), func() {
					c.moved(int32(node + 1))
					shared(t, c.one, c.two)
					c.reach(c.settled.Load() + share)
				})
			}
			c.reach(max(total, c.settled.Load()+share))
			c.audit()
		})
	}
}

// cluster is an application of two processes, under load, on several nodes of
// Kafka.
type cluster struct {
	*run
	servers  *servers
	one, two *program
	admin    *kadm.Client // the test's own
}

// newCluster starts the application, whose topic is to survive each node.
func newCluster(t *testing.T, servers *servers) *cluster {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(servers.brokers...), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := servers.up("kafka"); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, servers.backend())
	c := &cluster{servers: servers, admin: kadm.NewClient(client)}
	c.one, c.two = s.startPair(t)
	c.run = s.newRun(t, 1<<30, c.one, c.two)
	c.rest = 100 * time.Millisecond
	c.replicated()
	c.inSync()
	return c
}

func (c *cluster) topic() string { return c.site.app + ".events" }

// replicated sees that each partition is on three nodes, and that two must have
// what is acknowledged.
func (c *cluster) replicated() {
	c.t.Helper()
	topics, err := c.admin.ListTopics(c.t.Context(), c.topic())
	if err != nil {
		c.t.Fatal(err)
	}
	partitions := topics[c.topic()].Partitions
	for _, p := range partitions {
		if len(p.Replicas) != 3 {
			c.t.Errorf("partition %d has the replicas %v, want 3", p.Partition, p.Replicas)
		}
	}
	least, err := setting(c.t.Context(), c.admin, c.topic(), "min.insync.replicas")
	if err != nil || least != "2" {
		c.t.Errorf("min.insync.replicas is %q, want 2; %v", least, err)
	}
	c.t.Logf("%d partitions, replication factor 3, min.insync.replicas %s", len(partitions), least)
}

// setting reads one of a topic's settings.
func setting(ctx context.Context, admin *kadm.Client, topic, key string) (string, error) {
	all, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return "", err
	}
	found, err := all.On(topic, nil)
	for _, s := range found.Configs {
		if s.Key == key {
			return s.MaybeValue(), err
		}
	}
	return "", errors.Join(err, fmt.Errorf("%s has no %s", topic, key))
}

// without kills a node, lets happen what is to happen, and starts it again.
func (c *cluster) without(node int32, happen func()) {
	c.t.Helper()
	c.t.Logf("killing node %d: %s", node, c.duties(node))
	settled, began := c.settled.Load(), time.Now()
	if err := c.servers.killNode(node); err != nil {
		c.t.Fatal(err)
	}
	happen()
	c.t.Logf("%d commands were answered in %v without node %d", c.settled.Load()-settled, time.Since(began).Round(time.Millisecond), node)
	if err := c.servers.up("kafka"); err != nil {
		c.t.Fatal(err)
	}
	started := time.Since(began)
	c.inSync()
	c.t.Logf("node %d runs again %v after the kill, and all replicas are in sync after %v", node,
		started.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	shared(c.t, c.one, c.two)
}

// duties says what a node does for the application. It must lead partitions, or
// its death would try little.
func (c *cluster) duties(node int32) string {
	c.t.Helper()
	topics, err := c.admin.ListTopics(c.t.Context(), c.topic())
	if err != nil {
		c.t.Fatal(err)
	}
	leads := 0
	for _, p := range topics[c.topic()].Partitions {
		if p.Leader == node {
			leads++
		}
	}
	if leads == 0 {
		c.t.Errorf("node %d leads no partition", node)
	}
	said := fmt.Sprintf("it leads %d of %d partitions", leads, len(topics[c.topic()].Partitions))
	if group := c.admin.FindGroupCoordinators(c.t.Context(), c.site.app)[c.site.app]; group.NodeID == node {
		said += ", and coordinates the group"
	}
	return said
}

// moved waits until a node leads nothing any more.
func (c *cluster) moved(node int32) {
	c.t.Helper()
	c.wait(fmt.Sprintf("no partition has node %d for its leader", node), func(p kadm.PartitionDetail) bool {
		return p.Err == nil && p.Leader >= 0 && p.Leader != node
	})
}

// inSync waits until each partition, those of the cluster's own topics too, is
// on all its nodes.
func (c *cluster) inSync() {
	c.t.Helper()
	c.wait("all replicas are in sync", func(p kadm.PartitionDetail) bool {
		return p.Err == nil && p.Leader >= 0 && len(p.ISR) == len(p.Replicas)
	})
}

// wait waits until something holds for each partition of the cluster.
func (c *cluster) wait(what string, holds func(kadm.PartitionDetail) bool) {
	c.t.Helper()
	var last string
	for began := time.Now(); time.Since(began) < movedWithin; time.Sleep(50 * time.Millisecond) {
		topics, err := c.admin.ListTopicsWithInternal(c.t.Context())
		last = fmt.Sprint(err)
		left := 0
		topics.EachPartition(func(p kadm.PartitionDetail) {
			if !holds(p) {
				left++
				last = fmt.Sprintf("%s/%d has leader %d, and %v of %v in sync; %v", p.Topic, p.Partition, p.Leader, p.ISR, p.Replicas, p.Err)
			}
		})
		if err == nil && left == 0 {
			return
		}
	}
	c.t.Fatalf("not within %v: %s: %s", movedWithin, what, last)
}

// audit ends the load. Each command must have been answered, at once or after
// answers of 503 with Retry-After, and all must be there.
func (c *cluster) audit() {
	c.t.Helper()
	c.over.Store(true)
	c.end("503", "answered by process 0", "answered by process 1")
	if n := c.kinds["no answer"]; n > 0 {
		c.t.Errorf("%d requests had no answer, though no process was killed", n)
	}
	c.inspect([]*program{c.one, c.two})
}

// Package kafkatest gives tests a Kafka cluster: a fake one in the process, or
// the real one that the environment names.
//
//	func TestOnKafka(t *testing.T) {
//		log, err := kafkalog.Open(t.Context(), kafkalog.Config{Brokers: kafkatest.Brokers(t)})
//		...
//	}
package kafkatest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Variable of the environment that names real brokers, as host:port joined by
// commas.
const Variable = "KAFKA_BROKERS"

// Brokers returns the real brokers that the environment names, or else those of
// a fake cluster that ends with the test.
func Brokers(tb testing.TB) []string {
	tb.Helper()
	if real := os.Getenv(Variable); real != "" {
		return strings.Split(real, ",")
	}
	return Start(tb).ListenAddrs()
}

// Start starts a fake cluster, of three brokers unless an option says otherwise,
// that ends with the test.
func Start(tb testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	tb.Helper()
	c, err := New(opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// New is Start for where there is no test; the caller closes the cluster.
func New(opts ...kfake.Opt) (*kfake.Cluster, error) {
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(3)}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("start a fake cluster: %w", err)
	}
	c.ControlKey(int16(kmsg.CreateTopics), func(req kmsg.Request) (kmsg.Response, error, bool) {
		dropUnclean(req.(*kmsg.CreateTopicsRequest))
		return nil, nil, false
	})
	return c, nil
}

// dropUnclean takes out the one setting of a log's topics that the fake does not
// know, and refuses: its elections are always clean.
func dropUnclean(req *kmsg.CreateTopicsRequest) {
	for i := range req.Topics {
		req.Topics[i].Configs = slices.DeleteFunc(req.Topics[i].Configs, func(c kmsg.CreateTopicsRequestTopicConfig) bool {
			return c.Name == "unclean.leader.election.enable"
		})
	}
}

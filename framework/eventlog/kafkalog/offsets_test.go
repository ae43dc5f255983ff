package kafkalog_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

// uncoordinated lets a cluster find no coordinator until the channel is closed, as
// a new one does while it makes the topic for offsets.
func uncoordinated(c *kfake.Cluster, until <-chan time.Time) *atomic.Int32 {
	var asked atomic.Int32
	c.ControlKey(int16(kmsg.FindCoordinator), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		select {
		case <-until:
			return nil, nil, false
		default:
		}
		asked.Add(1)
		resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
		resp.ErrorCode = kerr.CoordinatorNotAvailable.Code
		for _, key := range req.(*kmsg.FindCoordinatorRequest).CoordinatorKeys {
			resp.Coordinators = append(resp.Coordinators, kmsg.FindCoordinatorResponseCoordinator{Key: key, NodeID: -1, Port: -1, ErrorCode: kerr.CoordinatorNotAvailable.Code})
		}
		return resp, nil, true
	})
	return &asked
}

func TestOffsetsWaitForTheGroupsCoordinator(t *testing.T) {
	c := kafkatest.Start(t)
	log := open(t, kafkalog.Config{Brokers: c.ListenAddrs()})
	topic := ensure(t, log, 1)
	ready := make(chan time.Time)
	asked := uncoordinated(c, ready)
	time.AfterFunc(2*time.Second, func() { close(ready) })
	if next, known, err := log.Committed(t.Context(), "g", topic, 0); known || err != nil {
		t.Errorf("committed: %d, %v, %v", next, known, err)
	}
	if err := log.Commit(t.Context(), "g", topic, 0, 3); err != nil {
		t.Errorf("commit: %v", err)
	}
	if asked.Load() == 0 {
		t.Error("no coordinator was missed, so nothing was tested")
	}
}

// Whoever looks after Kafka sees the progress with its own tools.
func TestOffsetsAreAGroupsAsToolsShowThem(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	log := open(t, kafkalog.Config{Brokers: brokers})
	topic, group := ensure(t, log, 2), "tools-"+time.Now().Format("150405.000000")
	if _, err := log.Append(t.Context(), topic, 1, batch("a", "b", "c")); err != nil {
		t.Fatal(err)
	}
	if err := log.Commit(t.Context(), group, topic, 1, 1); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	lags, err := kadm.NewClient(client).Lag(t.Context(), group)
	if err = errors.Join(err, lags.Error()); err != nil {
		t.Fatal(err)
	}
	if got := lags[group].Lag[topic][1]; got.Lag != 2 || got.Commit.At != 1 || got.Member != nil {
		t.Errorf("lag %+v, want 2 records behind 1, and no member", got)
	}
}

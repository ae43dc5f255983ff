package kafkalog_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/eventlogtest"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

func TestOutside(t *testing.T) {
	var brokers []string
	eventlogtest.Outside(t, eventlogtest.OutsideFeatures{
		Remake: func(t *testing.T, log eventlog.Log, topic string) {
			n, err := log.(eventlog.Outside).Partitions(t.Context(), topic)
			if err != nil {
				t.Fatal(err)
			}
			remake(t, brokers, topic, n)
			for ctx := patient(t); ; { // the broker that is asked may hear of it later
				if _, err = log.End(ctx, topic, 0); err == nil {
					return
				}
				if ctx.Err() != nil {
					t.Fatal(err)
				}
			}
		},
		Times: true,
	}, func(t *testing.T) eventlog.Log {
		brokers = kafkatest.Brokers(t)
		return open(t, kafkalog.Config{Brokers: brokers})
	})
}

// remake deletes a topic and creates it again, once the cluster lets it.
func remake(t *testing.T, brokers []string, topic string, partitions int) {
	t.Helper()
	deleteTopic(t, brokers, topic)
	adm, ctx := kadm.NewClient(client(t, brokers)), patient(t)
	for {
		_, err := adm.CreateTopic(ctx, int32(partitions), 1, nil, topic)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

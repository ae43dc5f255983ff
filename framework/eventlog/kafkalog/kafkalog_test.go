package kafkalog_test

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/eventlogtest"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	eventlogtest.Run(t, func(t *testing.T) eventlog.Log { return open(t, kafkalog.Config{Brokers: kafkatest.Brokers(t)}) })
}

func TestWhatTheClusterHoldsIsListed(t *testing.T) {
	eventlogtest.List(t, func(t *testing.T) eventlog.Log { return open(t, kafkalog.Config{Brokers: kafkatest.Brokers(t)}) })
}

func TestTopicsAreDeleted(t *testing.T) {
	eventlogtest.Delete(t, func(t *testing.T) eventlog.Log { return open(t, kafkalog.Config{Brokers: kafkatest.Brokers(t)}) })
}

func TestPartitionsAreTrimmed(t *testing.T) {
	eventlogtest.Trim(t, func(t *testing.T) eventlog.Log { return open(t, kafkalog.Config{Brokers: kafkatest.Brokers(t)}) })
}

func TestOffsets(t *testing.T) {
	eventlogtest.Offsets(t, func(t *testing.T) eventlog.Log { return open(t, kafkalog.Config{Brokers: kafkatest.Brokers(t)}) })
}

// open opens a log that is closed with the test.
func open(tb testing.TB, cfg kafkalog.Config) *kafkalog.Log {
	tb.Helper()
	log, err := kafkalog.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { log.Close() })
	return log
}

// ensure creates a topic whose name no other test uses.
func ensure(tb testing.TB, log eventlog.Log, partitions int) string {
	tb.Helper()
	name := fmt.Sprintf("kafkalog-%d", time.Now().UnixNano())
	if err := log.Ensure(tb.Context(), eventlog.Topic{Name: name, Partitions: partitions}); err != nil {
		tb.Fatal(err)
	}
	return name
}

func batch(values ...string) []eventlog.Record {
	var b []eventlog.Record
	for _, v := range values {
		b = append(b, eventlog.Record{Key: []byte("k"), Header: []byte{1}, Value: []byte(v)})
	}
	return b
}

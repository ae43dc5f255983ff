package kafkalog_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/eventlogtest"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

func TestTransact(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	eventlogtest.Transact(t, func(t *testing.T) eventlog.Log { return open(t, kafkalog.Config{Brokers: brokers}) })
}

// generations are the two protocols of transactions: with and without the second
// part of KIP-890.
var generations = map[string][]kfake.Opt{
	"4.1": nil,
	"3.9": {kfake.MaxVersions(kversion.V3_9_0())},
}

func TestTransactBeforeKafka4(t *testing.T) {
	brokers := kafkatest.Start(t, generations["3.9"]...).ListenAddrs()
	eventlogtest.Transact(t, func(t *testing.T) eventlog.Log { return open(t, kafkalog.Config{Brokers: brokers}) })
}

// outputs are records to two partitions.
func outputs(topic, tag string) []eventlog.Output {
	return []eventlog.Output{
		{Topic: topic, Partition: 0, Records: []eventlog.Record{{Value: []byte(tag + "0")}}},
		{Topic: topic, Partition: 1, Records: []eventlog.Record{{Value: []byte(tag + "1")}, {Value: []byte(tag + "2")}}},
	}
}

func transact(t *testing.T, log *kafkalog.Log, name string) eventlog.Transactions {
	t.Helper()
	tx, err := log.Transact(patient(t), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Close() })
	return tx
}

// wantSettled makes a producer under the name and checks that the commit of 7 with
// the tag has happened, or has not, and that a further one works.
func wantSettled(t *testing.T, log *kafkalog.Log, topic, tag string, happened bool) {
	t.Helper()
	tx := transact(t, log, "name")
	want, next := []string{"after0"}, int64(-1)
	if happened {
		want, next = []string{tag + "0", "after0"}, 7
	}
	if got, err := tx.Committed(patient(t), "group", topic, 1); err != nil || got != next {
		t.Fatalf("the offset is %d, %v, want %d", got, err, next)
	}
	if err := tx.Commit(patient(t), outputs(topic, "after"), "group", topic, 1, 8); err != nil {
		t.Fatalf("the next commit: %v", err)
	}
	wantValues(t, log, topic, 0, true, want...)
	if want = []string{"after1", "after2"}; happened {
		want = []string{tag + "1", tag + "2", "after1", "after2"}
	}
	wantValues(t, log, topic, 1, true, want...)
}

// wantValues reads exactly the values of a partition from its start; the last one
// is its last record.
func wantValues(t *testing.T, log *kafkalog.Log, topic string, part int32, committed bool, want ...string) {
	t.Helper()
	r, err := log.ReadOutside(topic, part, 0, committed)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for len(got) < len(want) {
		run, err := r.Next(patient(t))
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		for _, r := range run {
			got = append(got, string(r.Value))
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("partition %d holds %q, want %q", part, got, want)
	}
}

// onEach runs a test with each protocol.
func onEach(t *testing.T, test func(t *testing.T, c *kfake.Cluster, log *kafkalog.Log, topic string), opts ...kfake.Opt) {
	t.Helper()
	for name, of := range generations {
		t.Run(name, func(t *testing.T) {
			c, log, topic := onFake(t, 2, kafkalog.Config{}, append(of, opts...)...)
			test(t, c, log, topic)
		})
	}
}

func TestOutcomesOfATransactionThatABrokerRefuses(t *testing.T) {
	for _, c := range []struct {
		key  kmsg.Key
		err  *kerr.Error
		want error // nil: it is tried again
	}{
		{kmsg.Produce, kerr.ConcurrentTransactions, nil},
		{kmsg.Produce, kerr.InvalidProducerEpoch, eventlog.ErrFenced},
		{kmsg.Produce, kerr.ProducerFenced, eventlog.ErrFenced},
		{kmsg.Produce, kerr.MessageTooLarge, eventlog.ErrTooLarge},
		{kmsg.Produce, kerr.UnknownTopicOrPartition, eventlog.ErrUnknownTopic},
		{kmsg.Produce, kerr.NotLeaderForPartition, kerr.NotLeaderForPartition},
		{kmsg.Produce, kerr.NotEnoughReplicasAfterAppend, kerr.NotEnoughReplicasAfterAppend},
		{kmsg.TxnOffsetCommit, kerr.ConcurrentTransactions, nil},
		{kmsg.TxnOffsetCommit, kerr.NotCoordinator, nil},
		{kmsg.TxnOffsetCommit, kerr.InvalidProducerEpoch, eventlog.ErrFenced},
		{kmsg.TxnOffsetCommit, kerr.UnknownMemberID, kerr.UnknownMemberID},
		{kmsg.AddPartitionsToTxn, kerr.ConcurrentTransactions, nil},
		{kmsg.AddPartitionsToTxn, kerr.ProducerFenced, eventlog.ErrFenced},
		{kmsg.AddOffsetsToTxn, kerr.CoordinatorLoadInProgress, nil},
		{kmsg.AddOffsetsToTxn, kerr.ProducerFenced, eventlog.ErrFenced},
		{kmsg.EndTxn, kerr.ConcurrentTransactions, nil},
		{kmsg.EndTxn, kerr.CoordinatorLoadInProgress, nil},
		{kmsg.EndTxn, kerr.ProducerFenced, eventlog.ErrFenced},
		{kmsg.EndTxn, kerr.InvalidProducerEpoch, eventlog.ErrFenced},
		{kmsg.EndTxn, kerr.InvalidTxnState, eventlog.ErrFenced},
	} {
		t.Run(c.key.Name()+" "+c.err.Message, func(t *testing.T) {
			onEach(t, func(t *testing.T, cluster *kfake.Cluster, log *kafkalog.Log, topic string) {
				tx := transact(t, log, "name")
				fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{c.key}, Err: c.err, TopLevel: c.key == kmsg.AddOffsetsToTxn || c.key == kmsg.EndTxn})
				err := tx.Commit(patient(t), outputs(topic, "x"), "group", topic, 1, 7)
				if fault.Hits() == 0 { // the second protocol does not add
					if err != nil {
						t.Fatal(err)
					}
					fault.Remove()
					return
				}
				if !errors.Is(err, c.want) || c.want != nil && !errors.Is(err, eventlog.ErrNotCommitted) {
					t.Fatalf("error %v, want %v and ErrNotCommitted", err, c.want)
				}
				wantSettled(t, log, topic, "x", err == nil)
			})
		})
	}
}

func TestACommitThatIsNotCertainSaysSoAndIsSentOnce(t *testing.T) {
	for _, e := range []*kerr.Error{kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.UnknownServerError} {
		t.Run(e.Message, func(t *testing.T) {
			onEach(t, func(t *testing.T, cluster *kfake.Cluster, log *kafkalog.Log, topic string) {
				tx := transact(t, log, "name")
				fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: e, TopLevel: true, Count: -1})
				err := tx.Commit(patient(t), outputs(topic, "x"), "group", topic, 1, 7)
				if err == nil || errors.Is(err, eventlog.ErrNotCommitted) {
					t.Fatalf("error %v, want one that leaves it open", err)
				}
				if n := fault.Hits(); n != 1 {
					t.Fatalf("the commit was sent %d times, want once", n)
				}
				fault.Remove()
				wantSettled(t, log, topic, "x", false)
			})
		})
	}
}

func TestACommitWhoseAnswerIsLostIsSettledByTheNextProducer(t *testing.T) {
	for name, arrives := range map[string]bool{"it arrived": true, "it did not": false} {
		t.Run(name, func(t *testing.T) {
			var cut cutter
			onEach(t, func(t *testing.T, cluster *kfake.Cluster, log *kafkalog.Log, topic string) {
				tx := transact(t, log, "name")
				var sent atomic.Int32
				cluster.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
					if sent.Add(1) > 1 {
						return nil, nil, false
					}
					if !arrives {
						return nil, errors.New("broken"), true
					}
					cut.on.Store(true)
					return nil, nil, false
				})
				err := tx.Commit(patient(t), outputs(topic, "x"), "group", topic, 1, 7)
				cut.on.Store(false)
				if err == nil || errors.Is(err, eventlog.ErrNotCommitted) || sent.Load() != 1 {
					t.Fatalf("sent %d times, %v, want once and an error that leaves it open", sent.Load(), err)
				}
				wantSettled(t, log, topic, "x", arrives)
			}, kfake.ListenFn(cut.listen))
		})
	}
}

func TestATransactionThatIsOverTakenCommitsNothing(t *testing.T) {
	for _, at := range []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn} {
		t.Run(at.Name(), func(t *testing.T) {
			onEach(t, func(t *testing.T, cluster *kfake.Cluster, log *kafkalog.Log, topic string) {
				tx := transact(t, log, "name")
				var taken bool
				cluster.ControlKey(int16(at), func(kmsg.Request) (kmsg.Response, error, bool) {
					if !taken {
						taken = true
						cluster.SleepControl(func() { transact(t, log, "name") })
					}
					return nil, nil, false
				})
				err := tx.Commit(patient(t), outputs(topic, "x"), "group", topic, 1, 7)
				if !errors.Is(err, eventlog.ErrFenced) || !errors.Is(err, eventlog.ErrNotCommitted) {
					t.Fatalf("error %v, want ErrFenced and ErrNotCommitted", err)
				}
				wantSettled(t, log, topic, "x", false)
			}, kfake.SleepOutOfOrder())
		})
	}
}

func TestOthersAbortedRecordsAreNotDelivered(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	log := open(t, kafkalog.Config{Brokers: brokers})
	topic := ensure(t, log, 1)
	other := client(t, brokers, kgo.TransactionalID(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	produce := func(value string) {
		t.Helper()
		if err := other.ProduceSync(patient(t), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		value  string
		commit kgo.TransactionEndTry
	}{{"a", kgo.TryCommit}, {"aborted", kgo.TryAbort}, {"b", kgo.TryCommit}, {"open", kgo.TryCommit}} {
		if err := other.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(step.value)
		if step.value == "open" {
			break
		}
		if err := other.EndTransaction(patient(t), step.commit); err != nil {
			t.Fatal(err)
		}
	}
	wantValues(t, log, topic, 0, true, "a", "b")
	wantValues(t, log, topic, 0, false, "a", "aborted", "b", "open")
	r, err := log.ReadOutside(topic, 0, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for n := 0; n < 2; {
		run, err := r.Next(patient(t))
		if err != nil {
			t.Fatal(err)
		}
		n += len(run)
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if run, err := r.Next(short); err == nil {
		t.Fatalf("%q was delivered while its transaction is open", run[0].Value)
	}
	if err := other.EndTransaction(patient(t), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if run, err := r.Next(patient(t)); err != nil || string(run[0].Value) != "open" {
		t.Fatalf("%d records, %v, want the one that was open", len(run), err)
	}
	wantAtEnd(t, log, topic, r)
}

// wantAtEnd checks that a reader comes to the end, where a mark may be.
func wantAtEnd(t *testing.T, log *kafkalog.Log, topic string, r eventlog.Reader) {
	t.Helper()
	end, err := log.End(patient(t), topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := r.(eventlog.Positioned)
	for range 100 {
		if at.Position() >= end {
			return
		}
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		run, err := r.Next(short)
		cancel()
		if err == nil {
			t.Fatalf("%q is behind the last record", run[0].Value)
		}
	}
	t.Fatalf("the reader is at %d, want the end %d", at.Position(), end)
}

func TestAnOpenTransactionIsEndedByWhoTakesTheNameOver(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	log := open(t, kafkalog.Config{Brokers: brokers})
	topic := ensure(t, log, 2)
	dead := client(t, brokers, kgo.TransactionalID(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := dead.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := dead.ProduceSync(patient(t), &kgo.Record{Topic: topic, Value: []byte("left open")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	tx := transact(t, log, topic)
	if err := dead.ProduceSync(patient(t), &kgo.Record{Topic: topic, Value: []byte("late")}).FirstErr(); err == nil {
		t.Fatal("the holder before goes on")
	}
	if err := tx.Commit(patient(t), outputs(topic, "x"), topic, topic, 0, 1); err != nil {
		t.Fatal(err)
	}
	wantValues(t, log, topic, 0, true, "x0")
	wantValues(t, log, topic, 0, false, "left open", "x0")
}

func TestProducersAreLimited(t *testing.T) {
	_, log, _ := onFake(t, 1, kafkalog.Config{MaxProducers: 2})
	first := transact(t, log, "a")
	transact(t, log, "b")
	if _, err := log.Transact(patient(t), "c"); err == nil || !strings.Contains(err.Error(), "MaxProducers") {
		t.Fatalf("a third: %v, want the limit named", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	transact(t, log, "c")
}

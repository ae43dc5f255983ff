package kafkalog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

var fetch = []kmsg.Key{kmsg.Fetch}

// client is another program's client.
func client(t *testing.T, brokers []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers...), kgo.DisableClientMetrics())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func deleteTopic(t *testing.T, brokers []string, topic string) {
	t.Helper()
	if _, err := kadm.NewClient(client(t, brokers)).DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
}

// deleteRecords deletes those of partition 0 below an offset.
func deleteRecords(t *testing.T, brokers []string, topic string, below int64) {
	t.Helper()
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, 0, below, -1)
	if _, err := kadm.NewClient(client(t, brokers)).DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
}

func reader(t *testing.T, log eventlog.Log, topic string, part int32, from int64) eventlog.Reader {
	t.Helper()
	r, err := log.Read(topic, part, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// fill appends n records of size bytes to a partition, each with its offset as
// its key.
func fill(t testing.TB, log eventlog.Log, topic string, part int32, n, size int) {
	t.Helper()
	value := make([]byte, size)
	for at := 0; at < n; {
		var b []eventlog.Record
		for range min(n-at, 1000, max(1, 800<<10/size)) {
			b = append(b, eventlog.Record{Key: []byte(fmt.Sprint(at + len(b))), Header: value[:min(size, 120)], Value: value})
		}
		if _, err := log.Append(t.Context(), topic, part, b); err != nil {
			t.Fatal(err)
		}
		at += len(b)
	}
}

// follow reads to an offset and checks that nothing is missing or double.
func follow(ctx context.Context, r eventlog.Reader, from, to int64) error {
	for from < to {
		run, err := r.Next(ctx)
		if err != nil {
			return err
		}
		for _, got := range run {
			if got.Offset != from || string(got.Key) != fmt.Sprint(from) {
				return fmt.Errorf("record %d with key %s where %d follows", got.Offset, got.Key, from)
			}
			from++
		}
	}
	return nil
}

func TestAReaderThatTakesNothingDoesNotHoldUpOthers(t *testing.T) {
	_, log, topic := onFake(t, 3, kafkalog.Config{ReadAhead: 256 << 10})
	const n = 3000
	for part := range int32(3) {
		fill(t, log, topic, part, n, 1000)
	}
	slow := reader(t, log, topic, 0, 0)
	first, err := slow.Next(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	for part := int32(1); part < 3; part++ { // both share the slow one's client
		if err := follow(patient(t), reader(t, log, topic, part, 0), 0, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := follow(patient(t), slow, int64(len(first)), n); err != nil {
		t.Fatalf("the slow reader: %v", err)
	}
}

func TestRecordsThatWereDeletedAreNamed(t *testing.T) {
	c, log, topic := onFake(t, 1, kafkalog.Config{})
	fill(t, log, topic, 0, 20, 10)
	deleteRecords(t, c.ListenAddrs(), topic, 7)
	r := reader(t, log, topic, 0, 3)
	for range 2 {
		_, err := r.Next(patient(t))
		if !errors.Is(err, eventlog.ErrOffset) || !strings.Contains(err.Error(), "from 3 to 6 were deleted") {
			t.Fatalf("error %v, want ErrOffset that names 3 to 6", err)
		}
	}
	if err := follow(patient(t), reader(t, log, topic, 0, 7), 7, 20); err != nil {
		t.Fatal(err)
	}
}

func TestATopicStartsAtTheFirstRecordThatIsKept(t *testing.T) {
	c, log, topic := onFake(t, 1, kafkalog.Config{})
	fill(t, log, topic, 0, 20, 10)
	for _, below := range []int64{7, 20} { // some, then all
		deleteRecords(t, c.ListenAddrs(), topic, below)
		if at, err := log.Start(t.Context(), topic, 0); err != nil || at != below {
			t.Errorf("it starts at %d, %v, want %d", at, err, below)
		}
	}
}

func TestRecordsDeletedUnderAReaderAreNamed(t *testing.T) {
	c, log, topic := onFake(t, 1, kafkalog.Config{})
	fill(t, log, topic, 0, 20, 10)
	fault := c.Fault(kfake.Fault{Keys: fetch, Topic: topic, Err: kerr.NotLeaderForPartition, Count: -1})
	r := reader(t, log, topic, 0, 0)
	failed := make(chan error, 1)
	go func() { _, err := r.Next(patient(t)); failed <- err }()
	if err := fault.Wait(patient(t), 1); err != nil {
		t.Fatal(err)
	}
	deleteRecords(t, c.ListenAddrs(), topic, 7)
	fault.Remove()
	if err := <-failed; !errors.Is(err, eventlog.ErrOffset) || !strings.Contains(err.Error(), "from 0 to 6 were deleted") {
		t.Fatalf("error %v, want ErrOffset that names 0 to 6", err)
	}
}

func TestAReaderComesThroughPassingErrors(t *testing.T) {
	for _, c := range []struct {
		err *kerr.Error
		n   int
	}{
		{kerr.NotLeaderForPartition, 2}, {kerr.FencedLeaderEpoch, 1}, {kerr.UnknownLeaderEpoch, 1},
		{kerr.KafkaStorageError, 1}, {kerr.OffsetOutOfRange, 1}, {kerr.TopicAuthorizationFailed, 2},
		{kerr.UnknownServerError, 2}, {kerr.UnknownTopicOrPartition, 2},
	} {
		t.Run(c.err.Message, func(t *testing.T) {
			cluster, log, topic := onFake(t, 1, kafkalog.Config{})
			fill(t, log, topic, 0, 20, 10)
			fault := cluster.Fault(kfake.Fault{Keys: fetch, Topic: topic, Err: c.err, Count: c.n})
			r := reader(t, log, topic, 0, 5)
			err := follow(patient(t), r, 5, 20)
			for tries := 0; err != nil && tries < c.n; tries++ {
				if errors.Is(err, eventlog.ErrOffset) || errors.Is(err, eventlog.ErrClosed) {
					t.Fatalf("%v, want one that passes", err)
				}
				err = follow(patient(t), r, 5, 20)
			}
			if err != nil || fault.Hits() == 0 {
				t.Fatalf("%v after %d faults", err, fault.Hits())
			}
		})
	}
}

func TestAReaderOfATopicThatIsDeletedIsTold(t *testing.T) {
	c, log, topic := onFake(t, 1, kafkalog.Config{})
	r := reader(t, log, topic, 0, 0)
	failed := make(chan error, 1)
	go func() { _, err := r.Next(patient(t)); failed <- err }()
	<-time.After(50 * time.Millisecond)
	deleteTopic(t, c.ListenAddrs(), topic)
	if err := <-failed; !errors.Is(err, eventlog.ErrUnknownTopic) {
		t.Fatalf("error %v, want ErrUnknownTopic", err)
	}
}

func TestAReaderOfATopicThatIsMadeAnewIsTold(t *testing.T) {
	c, log, topic := onFake(t, 2, kafkalog.Config{})
	failed := make(chan error, 2)
	for part := range int32(2) {
		fill(t, log, topic, part, 3, 10)
		r := reader(t, log, topic, part, 3)
		go func() {
			for {
				if _, err := r.Next(patient(t)); err == nil || errors.Is(err, eventlog.ErrOffset) || errors.Is(err, context.DeadlineExceeded) {
					failed <- err
					return
				}
				<-time.After(5 * time.Millisecond)
			}
		}()
	}
	<-time.After(50 * time.Millisecond)
	deleteTopic(t, c.ListenAddrs(), topic)
	createTopic(t, c.ListenAddrs(), topic, 2, good())
	for range 2 {
		if err := <-failed; !errors.Is(err, eventlog.ErrOffset) {
			t.Errorf("error %v, want ErrOffset: 3 is beyond the end of the new topic", err)
		}
	}
	_, _ = log.Append(t.Context(), topic, 0, batch("x")) // may go to the old leader
	if err := roundtrip(t, log, topic); err != nil {
		t.Fatalf("the new topic: %v", err)
	}
}

func TestReadersFollowLeadersThatMove(t *testing.T) {
	c, log, topic := onFake(t, 2, kafkalog.Config{})
	const n = 300
	done := make(chan error, 2)
	for part := range int32(2) {
		r := reader(t, log, topic, part, 0)
		go func() {
			ctx := patient(t)
			at, err := int64(0), error(nil)
			for at < n && ctx.Err() == nil {
				run, failed := r.Next(ctx)
				if err = failed; err == nil {
					if run[0].Offset != at {
						err = fmt.Errorf("offset %d where %d follows", run[0].Offset, at)
						break
					}
					at += int64(len(run))
				}
			}
			done <- err
		}()
	}
	for i := range n * 2 {
		if i%60 == 0 {
			c.ShufflePartitionLeaders()
		}
		for {
			end, err := log.End(t.Context(), topic, int32(i%2))
			if err == nil && end > int64(i/2) {
				break
			}
			_, _ = log.Append(t.Context(), topic, int32(i%2), batch("x"))
		}
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Readers come and go in the same slot: none may be given what was fetched for
// the one before it.
func TestAReaderIsGivenNothingOfItsPredecessor(t *testing.T) {
	_, log, topic := onFake(t, 1, kafkalog.Config{ReadAhead: 64 << 10})
	const n = 20_000
	fill(t, log, topic, 0, n, 20)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 150 {
		from := rng.Int64N(n)
		r := reader(t, log, topic, 0, from)
		if err := follow(patient(t), r, from, min(n, from+rng.Int64N(1500))); err != nil {
			t.Fatalf("from %d: %v", from, err)
		}
		r.Close()
	}
}

func TestRecordsOfOtherProgramsAreDelivered(t *testing.T) {
	const ours = "4 ours 01" // behind a record and a marker, twice
	for want, markers := range map[string]bool{"0 committed ,2 aborted ," + ours: false, "0 committed ,1 marker ,2 aborted ,3 marker ," + ours: true} {
		t.Run(fmt.Sprint("markers ", markers), func(t *testing.T) {
			if got := mixed(t, kafkalog.Config{Markers: markers}); got != want {
				t.Errorf("read %q, want %q", got, want)
			}
		})
	}
}

// mixed returns what is read of a topic to which others write in transactions.
func mixed(t *testing.T, cfg kafkalog.Config) string {
	t.Helper()
	c, log, topic := onFake(t, 1, cfg)
	cl := client(t, c.ListenAddrs(), kgo.TransactionalID("other"), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	send := func(value string, commit kgo.TransactionEndTry) {
		t.Helper()
		record := &kgo.Record{Topic: topic, Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("1")}}}
		err := errors.Join(cl.BeginTransaction(), cl.ProduceSync(t.Context(), record).FirstErr(), cl.EndTransaction(t.Context(), commit))
		if err != nil {
			t.Fatal(err)
		}
	}
	send("committed", kgo.TryCommit) // offset 0, its marker 1
	send("aborted", kgo.TryAbort)    // 2, 3
	if _, err := log.Append(t.Context(), topic, 0, batch("ours")); err != nil {
		t.Fatal(err)
	}
	r := reader(t, log, topic, 0, 0)
	var got []string
	for len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "4 ") {
		run, err := r.Next(patient(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range run {
			value := string(rec.Value)
			if len(rec.Key) == 4 { // Kafka's own: version and kind
				value = "marker"
			}
			got = append(got, fmt.Sprintf("%d %s %x", rec.Offset, value, rec.Header))
		}
	}
	return strings.Join(got, ",")
}

func TestTooManyReadersOfOnePartitionAreRefused(t *testing.T) {
	_, log, topic := onFake(t, 1, kafkalog.Config{MaxReaders: 2})
	fill(t, log, topic, 0, 1, 10)
	for range 2 {
		if err := follow(patient(t), reader(t, log, topic, 0, 0), 0, 1); err != nil {
			t.Fatal(err)
		}
	}
	third := reader(t, log, topic, 0, 0)
	if _, err := third.Next(patient(t)); err == nil || !strings.Contains(err.Error(), "MaxReaders") {
		t.Fatalf("a third reader: %v, want the limit named", err)
	}
}

func TestNextWakesWithinMilliseconds(t *testing.T) {
	_, log, topic := onFake(t, 2, kafkalog.Config{})
	r := reader(t, log, topic, 0, 0)
	var took []time.Duration
	for i := range 50 {
		woken := make(chan time.Time, 1)
		go func() {
			if _, err := r.Next(patient(t)); err != nil {
				t.Error(err)
			}
			woken <- time.Now()
		}()
		<-time.After(5 * time.Millisecond)
		if _, err := log.Append(t.Context(), topic, 0, batch(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		took = append(took, (<-woken).Sub(began))
	}
	if m := median(took); m > 10*time.Millisecond {
		t.Fatalf("a reader wakes %v after an append was acknowledged, want less than 10ms", m)
	}
}

// TestRunsThatAreGivenBackSpoilNothing keeps what records hold, not the records.
func TestRunsThatAreGivenBackSpoilNothing(t *testing.T) {
	log, topic := open(t, kafkalog.Config{Brokers: kafkatest.Brokers(t)}), fmt.Sprintf("again-%d", time.Now().UnixNano())
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	const batches, size = 40, 500
	for n := range batches {
		var batch []eventlog.Record
		for i := range size {
			batch = append(batch, eventlog.Record{Key: fmt.Appendf(nil, "k%d", n*size+i), Header: fmt.Appendf(nil, "h%d", n*size+i), Value: fmt.Appendf(nil, "v%d", n*size+i)})
		}
		if _, err := log.Append(t.Context(), topic, 0, batch); err != nil {
			t.Fatal(err)
		}
	}
	r := reader(t, log, topic, 0, 0)
	var keys, headers, values [][]byte
	for len(keys) < batches*size {
		run, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range run {
			keys, headers, values = append(keys, run[i].Key), append(headers, run[i].Header), append(values, run[i].Value)
		}
		r.(eventlog.Recycler).Recycle(run)
	}
	for n := range keys {
		if got, want := fmt.Sprintf("%s %s %s", keys[n], headers[n], values[n]), fmt.Sprintf("k%d h%d v%d", n, n, n); got != want {
			t.Fatalf("record %d is %s, want %s", n, got, want)
		}
	}
}

package kafkalog_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

// onFake opens a log with a topic on a fake cluster and looks for goroutines
// left behind.
func onFake(t *testing.T, partitions int, cfg kafkalog.Config, opts ...kfake.Opt) (*kfake.Cluster, *kafkalog.Log, string) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	c := kafkatest.Start(t, opts...)
	cfg.Brokers = c.ListenAddrs()
	log := open(t, cfg)
	return c, log, ensure(t, log, partitions)
}

var produce = []kmsg.Key{kmsg.Produce}

// nothingAppended reports whether err promises that.
func nothingAppended(err error) bool {
	for _, is := range []error{eventlog.ErrTooLarge, eventlog.ErrInvalid, eventlog.ErrUnknownTopic, eventlog.ErrClosed} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

func wantEnd(t *testing.T, log eventlog.Log, topic string, part int32, want int64) {
	t.Helper()
	if end, err := log.End(t.Context(), topic, part); err != nil || end != want {
		t.Fatalf("end %d, %v, want %d", end, err, want)
	}
}

// wantAppend appends until it is acknowledged, which must be soon: an owner that
// met an unknown outcome reads on and claims, and needs no restart.
func wantAppend(t *testing.T, log eventlog.Log, topic string, want int64) {
	t.Helper()
	base, err := log.Append(t.Context(), topic, 0, batch("after"))
	if err != nil || base != want {
		t.Fatalf("the next append: base %d, %v, want %d", base, err, want)
	}
}

func TestAppendIsOneRecordBatchAcknowledgedByAll(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	c, log, topic := onFake(t, 1, kafkalog.Config{Now: func() time.Time { return at }})
	var seen []*kmsg.ProduceRequest
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		seen = append(seen, req.(*kmsg.ProduceRequest))
		return nil, nil, false
	})
	want := append(batch("a", "b", "c"), eventlog.Record{Value: []byte("bare")})
	if _, err := log.Append(t.Context(), topic, 0, want); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 || len(seen[0].Topics) != 1 || len(seen[0].Topics[0].Partitions) != 1 || seen[0].Acks != -1 {
		t.Fatalf("%d requests, want one for one partition with acks of all", len(seen))
	}
	raw := seen[0].Topics[0].Partitions[0].Records
	var b kmsg.RecordBatch
	if err := b.ReadFrom(raw); err != nil || int(b.Length)+12 != len(raw) {
		t.Fatalf("%d bytes hold more than one batch of %d: %v", len(raw), b.Length+12, err)
	}
	if b.NumRecords != 4 || b.Attributes != 0 || b.ProducerID != -1 || b.FirstTimestamp != at.UnixMilli() || b.MaxTimestamp != at.UnixMilli() {
		t.Fatalf("batch %+v: want 4 records, plain, stamped %d", b, at.UnixMilli())
	}
	records, err := kfake.BatchRecords(b)
	if err != nil || len(records) != 4 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	if h := records[0].Headers; len(h) != 1 || h[0].Key != "e" || string(h[0].Value) != "\x01" || string(records[0].Key) != "k" {
		t.Fatalf("first record %+v: want key k and the one header e", records[0])
	}
	if r := records[3]; len(r.Headers) != 0 || r.Key != nil || string(r.Value) != "bare" {
		t.Fatalf("bare record %+v: want no key and no header", r)
	}
}

func TestOutcomesOfAnAppendThatABrokerAnswersWithAnError(t *testing.T) {
	for _, c := range []struct {
		err      *kerr.Error
		refused  bool // the error promises that nothing was appended
		appended bool // the fake has it all the same
	}{
		{kerr.NotLeaderForPartition, false, false},
		{kerr.UnknownTopicOrPartition, false, false},
		{kerr.LeaderNotAvailable, false, false},
		{kerr.BrokerNotAvailable, false, false},
		{kerr.NotEnoughReplicas, false, false},
		{kerr.NotEnoughReplicasAfterAppend, false, true},
		{kerr.RequestTimedOut, false, true},
		{kerr.KafkaStorageError, false, false},
		{kerr.TopicAuthorizationFailed, false, false},
		{kerr.MessageTooLarge, true, false},
		{kerr.RecordListTooLarge, true, false},
	} {
		t.Run(c.err.Message, func(t *testing.T) {
			cluster, log, topic := onFake(t, 1, kafkalog.Config{})
			wantAppend(t, log, topic, 0)
			fault := cluster.Fault(kfake.Fault{Keys: produce, Topic: topic, Err: c.err})
			_, err := log.Append(t.Context(), topic, 0, batch("x", "y"))
			if err == nil || nothingAppended(err) != c.refused || c.refused != errors.Is(err, eventlog.ErrTooLarge) {
				t.Fatalf("error %v, want one that promises nothing: %v", err, !c.refused)
			}
			if n := fault.Hits(); n != 1 {
				t.Fatalf("the batch was sent %d times, want once", n)
			}
			end := int64(1)
			if c.appended {
				end = 3
			}
			wantEnd(t, log, topic, 0, end)
			wantAppend(t, log, topic, end)
		})
	}
}

func TestAnAppendThatNoLeaderWasKnownForIsSentOnceThereIsOne(t *testing.T) {
	cluster, log, topic := onFake(t, 1, kafkalog.Config{})
	for _, err := range []*kerr.Error{kerr.UnknownTopicOrPartition, kerr.LeaderNotAvailable} {
		_, err1 := log.Append(t.Context(), topic, 0, batch("x"))
		cluster.Fault(kfake.Fault{Keys: produce, Topic: topic, Err: kerr.NotLeaderForPartition}) // so that it asks anew
		_, err2 := log.Append(t.Context(), topic, 0, batch("lost"))
		if err1 != nil || err2 == nil {
			t.Fatalf("%v, %v: want the second to fail", err1, err2)
		}
		fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: topic, Err: err})
		if _, err := log.Append(t.Context(), topic, 0, batch("y")); err != nil {
			t.Fatalf("%s: %v", err, err)
		}
		if fault.Hits() == 0 {
			t.Fatal("the append never met the fault")
		}
	}
	wantEnd(t, log, topic, 0, 4)
}

// cutter makes the answers of a cluster be lost while it is on: the connection
// that should carry one is closed.
type cutter struct{ on atomic.Bool }

func (c *cutter) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	return cutListener{l, c}, err
}

type cutListener struct {
	net.Listener
	*cutter
}

func (l cutListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return cutConn{conn, l.cutter}, nil
}

type cutConn struct {
	net.Conn
	*cutter
}

func (c cutConn) Write(b []byte) (int, error) {
	if c.on.Load() {
		return 0, errors.Join(net.ErrClosed, c.Close())
	}
	return c.Conn.Write(b)
}

func TestAnAppendWhoseAnswerIsLostHasAnUnknownOutcome(t *testing.T) {
	var cut cutter
	cluster, log, topic := onFake(t, 1, kafkalog.Config{}, kfake.ListenFn(cut.listen))
	wantAppend(t, log, topic, 0)
	var sent int
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		sent++
		cut.on.Store(sent == 1)
		return nil, nil, false
	})
	_, err := log.Append(t.Context(), topic, 0, batch("x", "y"))
	cut.on.Store(false)
	if err == nil || nothingAppended(err) {
		t.Fatalf("error %v, want one that promises nothing", err)
	}
	wantEnd(t, log, topic, 0, 3) // it was appended
	wantAppend(t, log, topic, 3) // and was not sent again
}

func TestAnAppendWhoseConnectionBreaksBeforeItArrives(t *testing.T) {
	cluster, log, topic := onFake(t, 1, kafkalog.Config{})
	wantAppend(t, log, topic, 0)
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		return nil, errors.New("broken"), true
	})
	if _, err := log.Append(t.Context(), topic, 0, batch("x")); err == nil || nothingAppended(err) {
		t.Fatalf("error %v, want one that promises nothing", err)
	}
	wantEnd(t, log, topic, 0, 1)
	wantAppend(t, log, topic, 1)
}

// hold makes the cluster keep produce requests back until the returned function
// is called; held tells of each.
func hold(c *kfake.Cluster) (held chan struct{}, release func()) {
	held, released := make(chan struct{}, 1024), make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		held <- struct{}{}
		c.SleepControl(func() { <-released })
		return nil, nil, false
	})
	return held, sync.OnceFunc(func() { close(released) })
}

func TestAnAppendThatNobodyAnswersEndsWithItsTimeout(t *testing.T) {
	cluster, log, topic := onFake(t, 1, kafkalog.Config{AppendTimeout: 300 * time.Millisecond})
	wantAppend(t, log, topic, 0)
	_, release := hold(cluster)
	defer release()
	began := time.Now()
	_, err := log.Append(t.Context(), topic, 0, batch("x"))
	if took := time.Since(began); err == nil || nothingAppended(err) || took > 2*time.Second {
		t.Fatalf("error %v after %v, want one that promises nothing after 300ms", err, took)
	}
	release()
	base, err := log.Append(t.Context(), topic, 0, batch("after"))
	if err != nil || base < 1 || base > 2 {
		t.Fatalf("the next append: base %d, %v, want 1, or 2 behind the late one", base, err)
	}
}

func TestAppendsToOnePartitionTakeTurns(t *testing.T) {
	cluster, log, topic := onFake(t, 2, kafkalog.Config{})
	var under, most [2]atomic.Int32
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		part := req.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Partition
		most[part].Store(max(most[part].Load(), under[part].Add(1)))
		cluster.SleepControl(func() { <-time.After(time.Millisecond) })
		under[part].Add(-1)
		return nil, nil, false
	})
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for range 5 {
				if _, err := log.Append(t.Context(), topic, int32(i%2), batch("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantEnd(t, log, topic, 0, 80)
	wantEnd(t, log, topic, 1, 80)
	if most[0].Load() != 1 || most[1].Load() != 1 {
		t.Fatalf("%d and %d batches in flight at once, want 1 for each partition", most[0].Load(), most[1].Load())
	}
}

func TestWaitingForATurnEndsWithContextLimitAndLog(t *testing.T) {
	cluster, log, topic := onFake(t, 1, kafkalog.Config{MaxWaiting: 2})
	held, release := hold(cluster)
	defer release()
	outcomes := map[string]chan error{}
	start := func(who string, ctx context.Context) {
		c := make(chan error, 1)
		outcomes[who] = c
		go func() { _, err := log.Append(ctx, topic, 0, batch(who)); c <- err }()
	}
	start("under way", t.Context())
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	start("cancelled", ctx)
	start("waiting", t.Context())
	<-time.After(50 * time.Millisecond)
	start("one too many", t.Context())
	if err := <-outcomes["one too many"]; err == nil || !strings.Contains(err.Error(), "MaxWaiting") {
		t.Errorf("one too many: %v, want the limit named", err)
	}
	cancel()
	if err := <-outcomes["cancelled"]; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	log.Close()
	if err := <-outcomes["waiting"]; !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("waiting when the log was closed: %v, want ErrClosed", err)
	}
	if err := <-outcomes["under way"]; err == nil || nothingAppended(err) {
		t.Errorf("under way when the log was closed: %v, want an error that promises nothing", err)
	}
}

func TestAppendsGoOnWhenLeadersMove(t *testing.T) {
	cluster, log, topic := onFake(t, 1, kafkalog.Config{})
	acknowledged := 0
	for i := range 30 {
		if i%5 == 0 {
			if err := cluster.MoveTopicPartition(topic, 0, int32(i/5%3)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := log.Append(t.Context(), topic, 0, batch(fmt.Sprint(i)))
		if err == nil {
			acknowledged++
		} else if nothingAppended(err) {
			t.Fatalf("append %d: %v", i, err)
		}
	}
	if acknowledged < 24 { // each of six moves may cost the one append that meets it
		t.Fatalf("%d of 30 appends were acknowledged", acknowledged)
	}
}

func TestAppendToATopicThatWasDeletedSaysSo(t *testing.T) {
	cluster, log, topic := onFake(t, 1, kafkalog.Config{})
	wantAppend(t, log, topic, 0)
	deleteTopic(t, cluster.ListenAddrs(), topic)
	var err error
	for range 3 { // the first may still reach a broker, whose answer proves nothing
		if _, err = log.Append(t.Context(), topic, 0, batch("x")); errors.Is(err, eventlog.ErrUnknownTopic) {
			return
		}
	}
	t.Fatalf("error %v, want ErrUnknownTopic", err)
}

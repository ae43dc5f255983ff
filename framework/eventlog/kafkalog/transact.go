package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Transactions are spoken request by request, without franz-go's producer, so
// that two rules hold that make Kafka's protocol safe in each of its versions.
// No request that may have arrived is sent again: a broker might take the late
// copy of a commit for that of the next transaction, which is the same epoch's
// before KIP-890. And nothing is ever aborted by request: after whatever went
// wrong the producer ends, and the next one's InitProducerId raises the epoch,
// by which the coordinator aborts what is open and all brokers refuse what comes
// late.

const (
	// transactionTimeout is after which the coordinator aborts a transaction that
	// nobody ends, and bounds a Commit. Until then readers with committed wait.
	transactionTimeout = 30 * time.Second
	maxName            = 200
)

// transactions is a transactional producer.
type transactions struct {
	log    *Log
	name   string
	client *kgo.Client
	admin  *kadm.Client
	second bool // the cluster has the second part of KIP-890

	who          producer        // its id and epoch
	next         map[place]int32 // sequence of the next record
	leaders      map[place]int
	coordinators map[coordinator]int
	ended        bool // by an error

	once sync.Once
	gone chan struct{} // closed by Close
}

var _ eventlog.Transactions = (*transactions)(nil)

// coordinator names what has one.
type coordinator struct {
	group bool // else a transactional name
	name  string
}

// Transact implements [eventlog.Transactor]. Close of the log closes the producer
// too.
func (l *Log) Transact(ctx context.Context, name string) (eventlog.Transactions, error) {
	t, err := l.transact(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("transact as %.80q: %w", name, l.closed(err))
	}
	return t, nil
}

func (l *Log) transact(ctx context.Context, name string) (*transactions, error) {
	if name == "" || len(name) > maxName {
		return nil, fmt.Errorf("its name has %d bytes, want 1 to %d", len(name), maxName)
	}
	ctx, cancel := l.bound(ctx)
	defer cancel()
	second, err := l.second(ctx)
	if err != nil {
		return nil, err
	}
	t, err := l.newTransactions(name, second)
	if err != nil {
		return nil, err
	}
	if err := t.init(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// second reports whether transactions are those of KIP-890's second part: an
// epoch for each, and partitions that join by being written to.
func (l *Log) second(ctx context.Context) (bool, error) {
	if l.ctx.Err() != nil {
		return false, eventlog.ErrClosed
	}
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "drivetrain", "1"
	resp, err := req.RequestWith(ctx, l.client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return false, fmt.Errorf("ask for features: %w", err)
	}
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" {
			return f.MaxVersionLevel >= 2, nil
		}
	}
	return false, nil
}

// versions are the requests' that belong together. Beyond those of the first
// part a broker would expect the second; beyond those of the second come topic
// ids too.
func versions(second bool) *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(int16(kmsg.AddPartitionsToTxn), 3) // 4 is for brokers
	v.SetMaxKeyVersion(int16(kmsg.InitProducerID), 5)     // 6 has two-phase commits
	v.SetMaxKeyVersion(int16(kmsg.OffsetFetch), 9)        // 10 has topic ids in place of names
	part := int16(0)
	if second {
		part = 1
	}
	v.SetMaxKeyVersion(int16(kmsg.Produce), 11+part)
	v.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), 4+part)
	v.SetMaxKeyVersion(int16(kmsg.EndTxn), 4+part)
	return v
}

func (l *Log) newTransactions(name string, second bool) (*transactions, error) {
	client, err := kgo.NewClient(append(l.cfg.options(l.sender.auth), kgo.MaxVersions(versions(second)))...)
	if err != nil {
		return nil, err
	}
	t := &transactions{log: l, name: name, client: client, admin: kadm.NewClient(client), second: second,
		next: make(map[place]int32), leaders: make(map[place]int), coordinators: make(map[coordinator]int), gone: make(chan struct{})}
	l.mu.Lock()
	n, closed := len(l.txns), l.ctx.Err() != nil
	if !closed && n < l.cfg.MaxProducers {
		l.txns[t] = struct{}{}
		l.mu.Unlock()
		return t, nil
	}
	l.mu.Unlock()
	client.Close()
	if closed {
		return nil, eventlog.ErrClosed
	}
	return nil, fmt.Errorf("%d transactional producers are open already; close one or raise Config.MaxProducers", n)
}

// init takes the name over. The coordinator first ends what is open, and says
// meanwhile that transactions are concurrent.
func (t *transactions) init(ctx context.Context) error {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = &t.name, int32(transactionTimeout.Milliseconds())
	req.ProducerID, req.ProducerEpoch = -1, -1
	err := t.call(ctx, coordinator{name: t.name}, req, passing, func(r kmsg.Response) error {
		resp := r.(*kmsg.InitProducerIDResponse)
		t.who = producer{id: resp.ProducerID, epoch: resp.ProducerEpoch, open: true}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
	if err != nil {
		return fmt.Errorf("take over the name: %w", err)
	}
	return nil
}

// call sends a request to a coordinator, again only while it is refused for a
// reason that passes, until ctx ends. answer returns what the answer says.
func (t *transactions) call(ctx context.Context, of coordinator, req kmsg.Request, passes func(error) bool, answer func(kmsg.Response) error) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := t.try(ctx, of, req, answer)
		if err == nil || !passes(err) {
			return t.closed(err)
		}
		if wait(ctx, pause) != nil {
			return t.closed(fmt.Errorf("%w: %w", ctx.Err(), err))
		}
	}
}

func (t *transactions) try(ctx context.Context, of coordinator, req kmsg.Request, answer func(kmsg.Response) error) error {
	node, err := t.find(ctx, of)
	if err != nil {
		return err
	}
	resp, err := t.client.Broker(node).Request(ctx, req)
	if err == nil {
		err = answer(resp)
	}
	if err != nil && !errors.Is(err, kerr.ConcurrentTransactions) {
		delete(t.coordinators, of)
	}
	return err
}

// find returns the broker that coordinates.
func (t *transactions) find(ctx context.Context, of coordinator) (int, error) {
	if node, ok := t.coordinators[of]; ok {
		return node, nil
	}
	ask := t.admin.FindTxnCoordinators
	if of.group {
		ask = t.admin.FindGroupCoordinators
	}
	found, ok := ask(ctx, of.name)[of.name]
	switch {
	case !ok:
		return 0, errors.New("the answer names no coordinator")
	case found.Err != nil:
		return 0, fmt.Errorf("find the coordinator: %w", found.Err)
	}
	t.coordinators[of] = int(found.NodeID)
	return int(found.NodeID), nil
}

// busy reports whether a coordinator refused a request because it is at work on
// the transaction before, or is itself starting. Nothing came of the request.
func busy(err error) bool {
	return errors.Is(err, kerr.ConcurrentTransactions) || errors.Is(err, kerr.CoordinatorLoadInProgress)
}

// passing is busy, or that a coordinator is another or has not got its record
// onto its replicas: then something may come of the request all the same.
func passing(err error) bool {
	return busy(err) || errors.Is(err, kerr.NotCoordinator) || errors.Is(err, kerr.CoordinatorNotAvailable)
}

// closed turns what franz-go says of a producer being closed into ErrClosed.
func (t *transactions) closed(err error) error {
	select {
	case <-t.gone:
		if err != nil {
			return eventlog.ErrClosed
		}
	default:
	}
	return t.log.closed(err)
}

// Committed implements [eventlog.Transactions].
func (t *transactions) Committed(ctx context.Context, group, topic string, part int32) (int64, error) {
	ctx, cancel := t.log.bound(ctx)
	defer cancel()
	next, err := t.committed(ctx, group, place{topic, part})
	if err != nil {
		return 0, fmt.Errorf("offset of group %s in %s/%d: %w", group, topic, part, t.closed(err))
	}
	return next, nil
}

func (t *transactions) committed(ctx context.Context, group string, p place) (int64, error) {
	rt := kmsg.NewOffsetFetchRequestTopic()
	rt.Topic, rt.Partitions = p.topic, []int32{p.part}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group, req.Topics, req.RequireStable = group, []kmsg.OffsetFetchRequestTopic{rt}, true
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		resp, err := req.RequestWith(ctx, t.client)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		switch {
		case errors.Is(err, kerr.GroupIDNotFound):
			return -1, nil
		case err == nil && (len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1):
			return 0, errors.New("the answer names other partitions")
		case err == nil:
			err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
		}
		switch {
		case err == nil:
			return resp.Topics[0].Partitions[0].Offset, nil
		case !errors.Is(err, kerr.UnstableOffsetCommit) && !passing(err):
			return 0, err
		case wait(ctx, pause) != nil:
			return 0, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// Close implements [eventlog.Transactions]. Closing it again does nothing; a
// transaction that is open is left to the next producer.
func (t *transactions) Close() error {
	t.once.Do(func() {
		close(t.gone)
		t.log.mu.Lock()
		delete(t.log.txns, t)
		t.log.mu.Unlock()
		t.client.Close()
	})
	return nil
}

// endTransactions closes all producers.
func (l *Log) endTransactions() {
	l.mu.Lock()
	txns := l.txns
	l.txns = nil
	l.mu.Unlock()
	var all sync.WaitGroup
	for t := range txns {
		all.Go(func() { _ = t.Close() })
	}
	all.Wait()
}

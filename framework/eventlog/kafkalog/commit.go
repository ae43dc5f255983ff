package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Commit implements [eventlog.Transactions]. It takes 30 s at most.
func (t *transactions) Commit(ctx context.Context, outputs []eventlog.Output, group, topic string, part int32, next int64) error {
	ctx, cancel := t.log.bound(ctx)
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, transactionTimeout)
	defer stop()
	err := t.commit(ctx, outputs, group, place{topic, part}, next)
	if err != nil {
		t.ended = true
		return fmt.Errorf("commit %d outputs as %s: %w", len(outputs), t.name, t.closed(err))
	}
	return nil
}

func (t *transactions) commit(ctx context.Context, outputs []eventlog.Output, group string, at place, next int64) error {
	if t.ended {
		return notCommitted(errors.New("the producer ended with an error; make a new one"))
	}
	if err := t.fill(ctx, outputs, group, at, next); err != nil {
		return notCommitted(t.closed(err))
	}
	return t.end(ctx)
}

// fill does all but ending the transaction: until then it is not committed,
// whatever goes wrong.
func (t *transactions) fill(ctx context.Context, outputs []eventlog.Output, group string, at place, next int64) error {
	if err := eventlog.CheckOutputs(outputs); err != nil {
		return err
	}
	if err := t.locate(ctx, outputs); err != nil {
		return err
	}
	if !t.second {
		if err := t.announce(ctx, outputs, group); err != nil {
			return err
		}
	}
	for _, round := range rounds(outputs) {
		if err := t.produce(ctx, round); err != nil {
			return err
		}
	}
	return t.offset(ctx, group, at, next)
}

// notCommitted makes the error of a transaction that surely was not committed.
func notCommitted(cause error) error {
	switch {
	case overtaken(cause):
		cause = fmt.Errorf("%w, or the transaction took more than %v: %w", eventlog.ErrFenced, transactionTimeout, cause)
	case errors.Is(cause, kerr.MessageTooLarge), errors.Is(cause, kerr.RecordListTooLarge):
		cause = fmt.Errorf("%w for the topic; raise its max.message.bytes: %w", eventlog.ErrTooLarge, cause)
	case missing(cause):
		cause = fmt.Errorf("%w: %w", eventlog.ErrUnknownTopic, cause)
	}
	return fmt.Errorf("%w: %w", eventlog.ErrNotCommitted, cause)
}

// overtaken reports whether a broker knows the epoch for an old one, or the
// transaction for one that is not open any more.
func overtaken(err error) bool {
	return errors.Is(err, kerr.InvalidProducerEpoch) || errors.Is(err, kerr.ProducerFenced) ||
		errors.Is(err, kerr.InvalidTxnState) || errors.Is(err, kerr.InvalidProducerIDMapping)
}

// locate finds the leaders of all partitions.
func (t *transactions) locate(ctx context.Context, outputs []eventlog.Output) error {
	for i := range outputs {
		p := place{outputs[i].Topic, outputs[i].Partition}
		if _, known := t.leaders[p]; known {
			continue
		}
		found, err := metadata(ctx, t.client, p.topic)
		switch {
		case missing(err):
			return errNoTopic(p.topic)
		case err != nil:
			return fmt.Errorf("look up topic %s: %w", p.topic, err)
		}
		for _, f := range found.Partitions {
			if err := kerr.ErrorForCode(f.ErrorCode); err == nil {
				t.leaders[place{p.topic, f.Partition}] = int(f.Leader)
			} else if f.Partition == p.part {
				return fmt.Errorf("find the leader of %s/%d: %w", p.topic, p.part, err)
			}
		}
		if _, known := t.leaders[p]; !known {
			return errNoPartition(p.topic, p.part, int32(len(found.Partitions)))
		}
	}
	return nil
}

// announce tells the coordinator what will be in the transaction, as it has to be
// told before the second part of KIP-890.
func (t *transactions) announce(ctx context.Context, outputs []eventlog.Output, group string) error {
	if len(outputs) > 0 {
		req := kmsg.NewPtrAddPartitionsToTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch = t.name, t.who.id, t.who.epoch
		req.Topics = topicsOf(outputs)
		err := t.call(ctx, coordinator{name: t.name}, req, passing, func(r kmsg.Response) error {
			return added(r.(*kmsg.AddPartitionsToTxnResponse))
		})
		if err != nil {
			return fmt.Errorf("add partitions: %w", err)
		}
	}
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = t.name, t.who.id, t.who.epoch, group
	err := t.call(ctx, coordinator{name: t.name}, req, passing, func(r kmsg.Response) error {
		return kerr.ErrorForCode(r.(*kmsg.AddOffsetsToTxnResponse).ErrorCode)
	})
	if err != nil {
		return fmt.Errorf("add the group's offsets: %w", err)
	}
	return nil
}

// topicsOf lists each partition once.
func topicsOf(outputs []eventlog.Output) []kmsg.AddPartitionsToTxnRequestTopic {
	var topics []kmsg.AddPartitionsToTxnRequestTopic
	at := make(map[string]int)
	seen := make(map[place]bool)
	for i := range outputs {
		p := place{outputs[i].Topic, outputs[i].Partition}
		if seen[p] {
			continue
		}
		seen[p] = true
		n, ok := at[p.topic]
		if !ok {
			n = len(topics)
			at[p.topic] = n
			topic := kmsg.NewAddPartitionsToTxnRequestTopic()
			topic.Topic = p.topic
			topics = append(topics, topic)
		}
		topics[n].Partitions = append(topics[n].Partitions, p.part)
	}
	return topics
}

// added returns the first error, since either all partitions are added or none.
func added(resp *kmsg.AddPartitionsToTxnResponse) error {
	var first error
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			err := kerr.ErrorForCode(p.ErrorCode)
			if first == nil || errors.Is(first, kerr.OperationNotAttempted) {
				first = err
			}
		}
	}
	return first
}

// piece is a record batch on its way to a partition.
type piece struct {
	place
	records []eventlog.Record
	set     []byte // encoded, as a buffer of the sender
	done    bool
}

// rounds cuts outputs into batches that a topic takes, and puts those of the same
// partition into different rounds: a request has one batch for each.
func rounds(outputs []eventlog.Output) [][]*piece {
	var rounds [][]*piece
	used := make(map[place]int)
	for i := range outputs {
		o := &outputs[i]
		p := place{o.Topic, o.Partition}
		for rest := o.Records; len(rest) > 0; {
			n := fits(rest)
			if used[p] == len(rounds) {
				rounds = append(rounds, nil)
			}
			rounds[used[p]] = append(rounds[used[p]], &piece{place: p, records: rest[:n]})
			used[p]++
			rest = rest[n:]
		}
	}
	return rounds
}

// fits returns how many records from the front are within a batch's limits, at
// least one.
func fits(rs []eventlog.Record) int {
	size := 0
	for i := range rs {
		size += eventlog.Size(rs[i : i+1])
		if i > 0 && size > eventlog.MaxBatch || i == eventlog.MaxRecords {
			return i
		}
	}
	return len(rs)
}

// produce sends one round. A broker refuses a batch without writing it while the
// coordinator is at work on the transaction before; such a batch alone is sent
// again.
func (t *transactions) produce(ctx context.Context, round []*piece) error {
	now := t.log.cfg.Now().UnixMilli()
	for _, p := range round {
		by := t.who
		by.sequence = t.next[p.place]
		t.next[p.place] = int32(int64(by.sequence)+int64(len(p.records))) & (1<<31 - 1)
		p.set = t.log.sender.buffer(recordSetStart + batchSize(len(p.records), eventlog.Size(p.records)))
		p.set = appendBatch(p.set, p.records, others, now, by)
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := t.send(ctx, round)
		if err == nil || !busy(err) {
			return err
		}
		if wait(ctx, pause) != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// send sends what is not done to its leaders, all at once, and returns the worst
// error: one that passes only if all do.
func (t *transactions) send(ctx context.Context, round []*piece) error {
	requests := t.requests(round)
	errs := make([]error, len(requests))
	var all sync.WaitGroup
	for i, r := range requests {
		all.Go(func() { errs[i] = r.send(ctx, t) })
	}
	all.Wait()
	var passes error
	for _, err := range errs {
		if err != nil && !busy(err) {
			return err
		}
		if err != nil {
			passes = err
		}
	}
	return passes
}

// request is what one broker gets at once.
type request struct {
	leader int
	size   int
	parts  []*piece
}

// maxRequest bounds a request, unless it has one batch.
const maxRequest = 16 << 20

func (t *transactions) requests(round []*piece) []*request {
	var all []*request
	filling := make(map[int]*request)
	for _, p := range round {
		if p.done {
			continue
		}
		leader := t.leaders[p.place]
		r := filling[leader]
		if r == nil || r.size+len(p.set) > maxRequest {
			r = &request{leader: leader}
			filling[leader] = r
			all = append(all, r)
		}
		r.size += len(p.set)
		r.parts = append(r.parts, p)
	}
	return all
}

// send sends the request once and marks what was written.
func (r *request) send(ctx context.Context, t *transactions) error {
	req := kmsg.NewPtrProduceRequest()
	req.TransactionID, req.Acks, req.TimeoutMillis = &t.name, -1, int32(t.log.cfg.AppendTimeout.Milliseconds())
	at := make(map[place]*piece, len(r.parts))
	topics := make(map[string]int)
	for _, p := range r.parts {
		at[p.place] = p
		n, ok := topics[p.topic]
		if !ok {
			n = len(req.Topics)
			topics[p.topic] = n
			topic := kmsg.NewProduceRequestTopic()
			topic.Topic = p.topic
			req.Topics = append(req.Topics, topic)
		}
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition, rp.Records = p.part, p.set[recordSetStart:]
		req.Topics[n].Partitions = append(req.Topics[n].Partitions, rp)
	}
	resp, err := t.client.Broker(r.leader).Request(ctx, req)
	if err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	return r.answered(t, resp.(*kmsg.ProduceResponse), at)
}

// answered takes in what a broker says of each batch.
func (r *request) answered(t *transactions, resp *kmsg.ProduceResponse, at map[place]*piece) error {
	var passes error
	for _, topic := range resp.Topics {
		for _, answer := range topic.Partitions {
			where := place{topic.Topic, answer.Partition}
			p := at[where]
			err := kerr.ErrorForCode(answer.ErrorCode)
			switch {
			case p == nil:
				return fmt.Errorf("the answer names %s/%d", where.topic, where.part)
			case err == nil:
				p.done = true
				t.log.sender.buffers.Put(&p.set)
				delete(at, where)
			case busy(err):
				passes = fmt.Errorf("produce to %s/%d: %w", where.topic, where.part, err)
				delete(at, where)
			default:
				return fmt.Errorf("produce to %s/%d: %w", where.topic, where.part, err)
			}
		}
	}
	if len(at) > 0 {
		return fmt.Errorf("the answer leaves out %d partitions", len(at))
	}
	return passes
}

// offset sets the group's offset within the transaction.
func (t *transactions) offset(ctx context.Context, group string, at place, next int64) error {
	rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	rp.Partition, rp.Offset, rp.LeaderEpoch = at.part, next, -1
	rt := kmsg.NewTxnOffsetCommitRequestTopic()
	rt.Topic, rt.Partitions = at.topic, []kmsg.TxnOffsetCommitRequestTopicPartition{rp}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = t.name, group, t.who.id, t.who.epoch
	req.Generation, req.Topics = -1, []kmsg.TxnOffsetCommitRequestTopic{rt}
	err := t.call(ctx, coordinator{group: true, name: group}, req, passing, func(r kmsg.Response) error {
		resp := r.(*kmsg.TxnOffsetCommitResponse)
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			return errors.New("the answer names other partitions")
		}
		return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	})
	if err != nil {
		return fmt.Errorf("offset of group %s: %w", group, err)
	}
	return nil
}

// end commits. The request is sent again only if nothing came of it, so that a
// refusal for the transaction's state or epoch, which a coordinator checks first,
// is certain. After any other error nothing is.
func (t *transactions) end(ctx context.Context) error {
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = t.name, t.who.id, t.who.epoch, true
	err := t.call(ctx, coordinator{name: t.name}, req, busy, func(r kmsg.Response) error {
		resp := r.(*kmsg.EndTxnResponse)
		err := kerr.ErrorForCode(resp.ErrorCode)
		if err == nil && resp.Version >= 5 && resp.ProducerID >= 0 {
			t.who.id, t.who.epoch = resp.ProducerID, resp.ProducerEpoch
			clear(t.next)
		}
		return err
	})
	switch {
	case err == nil:
		return nil
	case overtaken(err):
		return notCommitted(err)
	}
	return unknown(err)
}

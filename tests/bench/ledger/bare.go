package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	json "github.com/goccy/go-json"
	"github.com/twmb/franz-go/pkg/kgo"
)

// loop is a bare loop: state in a map, which a crash takes with it.
type loop struct {
	client   *kgo.Client
	session  *kgo.GroupTransactSession // nil: no transactions
	every    time.Duration             // between commits
	accounts map[string]*Account
	entry    Entry
	failed   error // of a record that was produced
	begun    bool  // something is to be committed
	last     time.Time
}

// bare runs a bare loop until ctx ends.
func bare(ctx context.Context, transactions bool, brokers []string, group string) (err error) {
	l := &loop{every: time.Second, accounts: make(map[string]*Account), last: time.Now()}
	opts := []kgo.Opt{kgo.SeedBrokers(brokers...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(inTopic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.DefaultProduceTopic(outTopic),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(200_000)}
	if transactions {
		l.every = 100 * time.Millisecond
		l.session, err = kgo.NewGroupTransactSession(append(opts, kgo.TransactionalID(group),
			kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
		if err != nil {
			return err
		}
		l.client = l.session.Client()
	} else if l.client, err = kgo.NewClient(opts...); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := l.turn(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// turn folds what the client has fetched, and commits when that is due.
func (l *loop) turn(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, min(max(l.every-time.Since(l.last), time.Millisecond), 100*time.Millisecond))
	fetches := l.poll(patience)
	cancel()
	if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	n := fetches.NumRecords()
	if n > 0 && !l.begun {
		l.begun = true
		if l.session != nil {
			if err := l.session.Begin(); err != nil {
				return err
			}
			l.last = time.Now()
		}
	}
	for records := fetches.RecordIter(); !records.Done(); {
		if err := l.fold(ctx, records.Next()); err != nil {
			return err
		}
	}
	if l.begun && (n == 0 || time.Since(l.last) >= l.every) {
		return l.commit(ctx)
	}
	return nil
}

func (l *loop) poll(ctx context.Context) kgo.Fetches {
	if l.session != nil {
		return l.session.PollRecords(ctx, 20_000)
	}
	return l.client.PollRecords(ctx, 20_000)
}

func (l *loop) fold(ctx context.Context, r *kgo.Record) error {
	if err := json.Unmarshal(r.Value, &l.entry); err != nil {
		return err
	}
	a := l.accounts[l.entry.Account]
	if a == nil {
		a = &Account{}
		l.accounts[l.entry.Account] = a
	}
	a.add(&l.entry)
	value, err := json.Marshal(a)
	if err != nil {
		return err
	}
	l.client.Produce(ctx, &kgo.Record{Key: r.Key, Value: value, Timestamp: r.Timestamp}, l.produced)
	return nil
}

func (l *loop) produced(_ *kgo.Record, err error) {
	if err != nil {
		l.failed = err
	}
}

func (l *loop) commit(ctx context.Context) error {
	if l.session != nil {
		if done, err := l.session.End(ctx, kgo.TryCommit); err != nil || !done {
			return fmt.Errorf("the transaction was not committed: %w", err)
		}
	} else {
		if err := l.client.Flush(ctx); err != nil {
			return err
		}
		if err := l.client.CommitUncommittedOffsets(ctx); err != nil {
			return err
		}
	}
	l.begun, l.last = false, time.Now()
	return l.failed
}

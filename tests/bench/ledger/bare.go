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
	window   int64                     // milliseconds; 0: balances
	accounts map[string]*Account
	open     map[int32]*counts // the window under way, of each partition
	entry    Entry
	failed   error // of a record that was produced
	begun    bool  // something is to be committed
	last     time.Time
}

// counts are the counts of a window.
type counts struct {
	start int64 // Unix milliseconds
	of    map[string]int64
}

// bare runs a bare loop until ctx ends.
func bare(ctx context.Context, j job, transactions bool, brokers []string, group string) (err error) {
	l := &loop{every: time.Second, window: j.window.Milliseconds(), accounts: make(map[string]*Account), open: make(map[int32]*counts), last: time.Now()}
	opts := []kgo.Opt{kgo.SeedBrokers(brokers...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(j.entries),
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
	if l.window > 0 {
		return l.count(ctx, r)
	}
	a := l.accounts[l.entry.Account]
	if a == nil {
		a = &Account{}
		l.accounts[l.entry.Account] = a
	}
	a.add(&l.entry)
	return l.write(ctx, r.Key, a, r.Timestamp)
}

// count counts an entry, and writes a window's counts out when one comes that is
// past it: a partition's entries are in the order of their time.
func (l *loop) count(ctx context.Context, r *kgo.Record) error {
	start := l.entry.At - l.entry.At%l.window
	w := l.open[r.Partition]
	if w == nil {
		w = &counts{start: start, of: make(map[string]int64)}
		l.open[r.Partition] = w
	}
	if start > w.start {
		for account, n := range w.of {
			if err := l.write(ctx, []byte(account), &Count{w.start, n}, time.UnixMilli(w.start+l.window)); err != nil {
				return err
			}
		}
		w.start = start
		clear(w.of)
	}
	w.of[l.entry.Account]++
	return nil
}

func (l *loop) write(ctx context.Context, key []byte, v any, at time.Time) error {
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	l.client.Produce(ctx, &kgo.Record{Key: key, Value: value, Timestamp: at}, l.produced)
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

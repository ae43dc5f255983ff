package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// input is a topic of entries, and what is to come of them.
type input struct {
	topic, named string
	account      func() int // draws the account of the next entry
	balances     map[string]Account
	counts       map[place]int64 // of the windows of size
	size         int64           // milliseconds
	kept         []kept
	latest       [parts]int64 // the last entry's time in each partition
}

// kept is what the windows are counted from.
type kept struct {
	account int32
	at      int64
}

// place is an account's window.
type place struct {
	account string
	start   int64
}

func name(account int) string { return fmt.Sprintf("acct-%08d", account) }

func (in *input) load(t *testing.T, client *kgo.Client, r *rand.Rand, entries int) {
	in.balances = make(map[string]Account)
	var failed error
	for i := range entries {
		account := in.account()
		e := Entry{Type: "Deposited", Account: name(account), Amount: 1 + r.Int64N(1000), At: 1_700_000_000_000 + int64(i)*step.Milliseconds(), ID: fmt.Sprintf("%016x", r.Uint64())}
		if r.IntN(10) >= 6 {
			e.Type = "Withdrawn"
		}
		a := in.balances[e.Account]
		if e.Type == "Deposited" { // not by add, which is what is checked
			a.Balance += e.Amount
		} else {
			a.Balance -= e.Amount
		}
		a.Count, a.LastAt = a.Count+1, e.At
		in.balances[e.Account] = a
		in.kept = append(in.kept, kept{int32(account), e.At})
		in.latest[eventlog.PartitionOf([]byte(e.Account), parts)] = e.At
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		client.Produce(t.Context(), &kgo.Record{Topic: in.topic, Key: []byte(e.Account), Value: data}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	if err := errors.Join(client.Flush(t.Context()), failed); err != nil {
		t.Fatal(err)
	}
}

// windows returns the counts of all windows that have ended in their account's
// partition.
func (in *input) windows(size time.Duration) map[place]int64 {
	if ms := size.Milliseconds(); in.size != ms {
		in.size, in.counts = ms, make(map[place]int64)
		for _, k := range in.kept {
			account, start := name(int(k.account)), k.at/ms*ms
			if start+ms <= in.latest[eventlog.PartitionOf([]byte(account), parts)] {
				in.counts[place{account, start}]++
			}
		}
	}
	return in.counts
}

// check compares what a program has written with what is to come of its input.
func (b *bench) check(t *testing.T, r *row) {
	t.Helper()
	if r.window > 0 {
		b.checkWindows(t, r)
		return
	}
	got := make(map[string]Account)
	b.read(t, r, b.entries, func(record *kgo.Record) { // one output for each entry, in order
		var a Account
		if err := json.Unmarshal(record.Value, &a); err != nil {
			t.Fatal(err)
		}
		if before := got[string(record.Key)]; a.Count != before.Count+1 {
			t.Fatalf("%s: %s jumps from %d to %d", r.name, record.Key, before.Count, a.Count)
		}
		got[string(record.Key)] = a
	})
	for account, want := range r.in.balances {
		if got[account] != want {
			t.Fatalf("%s: %s is %+v, want %+v", r.name, account, got[account], want)
		}
	}
}

func (b *bench) checkWindows(t *testing.T, r *row) {
	t.Helper()
	want, got := r.in.windows(r.window), make(map[place]int64)
	b.read(t, r, len(want), func(record *kgo.Record) {
		var c Count
		if err := json.Unmarshal(record.Value, &c); err != nil {
			t.Fatal(err)
		}
		at := place{string(record.Key), c.Start}
		if _, twice := got[at]; twice {
			t.Fatalf("%s: the window of %v is written twice", r.name, at)
		}
		got[at] = c.Count
	})
	for at, n := range want {
		if got[at] != n {
			t.Fatalf("%s: %v has %d entries, want %d", r.name, at, got[at], n)
		}
	}
}

// read hands over the outputs, of which there are to be n.
func (b *bench) read(t *testing.T, r *row, n int, take func(*kgo.Record)) {
	t.Helper()
	opts := []kgo.Opt{kgo.SeedBrokers(b.addrs...), kgo.ConsumeTopics(outTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	if r.committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for found := 0; found < n; {
		fetched := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%s: %d outputs, want %d", r.name, found, n)
		}
		fetched.EachRecord(func(record *kgo.Record) {
			take(record)
			found++
		})
	}
}

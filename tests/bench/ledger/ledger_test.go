package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestLedgerBesideBareLoops folds the same entries by ours and by bare loops, in
// turns, checks every balance, and prints the rates and their ratios. Where the
// environment names no broker by KAFKA_BROKERS, nothing is run. BENCH_LEDGER says
// how many entries (20,000), BENCH_REPEAT how many rounds (1).
func TestLedgerBesideBareLoops(t *testing.T) {
	if os.Getenv("KAFKA_BROKERS") == "" {
		return
	}
	b := newBench(t, amount(t, "BENCH_LEDGER", 20_000))
	rows := []row{
		{name: "bare loop", args: []string{"fold"}},
		{name: "ours, plain", mode: "plain", floor: "bare loop"},
		{name: "bare loop in transactions", args: []string{"txn"}, committed: true},
		{name: "ours, transactional", mode: "transactional", floor: "bare loop in transactions", committed: true},
	}
	for round := range amount(t, "BENCH_REPEAT", 1) {
		for i := range rows {
			rows[i].measured = append(rows[i].measured, b.measure(t, rows[i], round))
		}
	}
	t.Log(table(rows, b.entries))
}

func amount(t *testing.T, name string, otherwise int) int {
	text := cmp.Or(os.Getenv(name), strconv.Itoa(otherwise))
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, want a number of 1 or more", name, text)
	}
	return n
}

// row is one program in the table.
type row struct {
	name      string
	args      []string // of a bare loop
	mode      string   // of ours
	floor     string   // the row that it is compared with
	committed bool     // its output is read as committed
	measured  []figure
}

// figure is one run.
type figure struct {
	wall, cpu time.Duration
	memory    int64 // KiB
}

const (
	parts    = 4
	accounts = 100_000
)

type bench struct {
	addrs   []string
	admin   *kadm.Client
	program string
	folder  string
	entries int
	want    map[string]Account
}

func newBench(t *testing.T, entries int) *bench {
	b := &bench{addrs: strings.Split(os.Getenv("KAFKA_BROKERS"), ","), folder: t.TempDir(), entries: entries, want: make(map[string]Account)}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addrs...), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	b.admin = kadm.NewClient(client)
	b.program = filepath.Join(b.folder, "ledger")
	if out, err := exec.Command("go", "build", "-o", b.program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	b.create(t, inTopic)
	b.load(t, client)
	return b
}

// create makes a topic anew, and deletes it at the end.
func (b *bench) create(t *testing.T, topic string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, _ = b.admin.DeleteTopic(ctx, topic) // it need not be there
	for {
		_, err := b.admin.CreateTopic(ctx, parts, 1, nil, topic)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("create %s: %v", topic, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Cleanup(func() { _, _ = b.admin.DeleteTopic(context.Background(), topic) })
}

func (b *bench) load(t *testing.T, client *kgo.Client) {
	r := rand.New(rand.NewPCG(1, 7))
	var failed error
	for i := range b.entries {
		e := Entry{Type: "Deposited", Account: fmt.Sprintf("acct-%08d", r.IntN(accounts)), Amount: 1 + r.Int64N(1000), At: 1_700_000_000_000 + int64(i)*2, ID: fmt.Sprintf("%016x", r.Uint64())}
		if r.IntN(10) >= 6 {
			e.Type = "Withdrawn"
		}
		a := b.want[e.Account]
		if e.Type == "Deposited" { // not by add, which is what is checked
			a.Balance += e.Amount
		} else {
			a.Balance -= e.Amount
		}
		a.Count, a.LastAt = a.Count+1, e.At
		b.want[e.Account] = a
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		client.Produce(t.Context(), &kgo.Record{Topic: inTopic, Key: []byte(e.Account), Value: data}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	if err := errors.Join(client.Flush(t.Context()), failed); err != nil {
		t.Fatal(err)
	}
}

// measure runs a program until its group has committed the end of the entries, and
// checks what it wrote.
func (b *bench) measure(t *testing.T, r row, round int) figure {
	t.Helper()
	b.create(t, outTopic)
	group := fmt.Sprintf("ledger-%d-%d-%s", os.Getpid(), round, strings.ReplaceAll(cmp.Or(r.mode, strings.Join(r.args, "")), " ", ""))
	args := append(slices.Clone(r.args), strings.Join(b.addrs, ","), group)
	if r.args == nil {
		args = append(args, filepath.Join(b.folder, group))
	}
	cmd := exec.Command(b.program, args...)
	cmd.Env = append(os.Environ(), "MODE="+r.mode)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	done := b.waitFor(t, group, ended)
	f := figure{wall: time.Since(began)}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	<-ended
	if !done {
		t.Fatalf("%s has not got through within %v; it wrote:\n%s", r.name, limit, said.String())
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	f.cpu, f.memory = cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime(), usage.Maxrss
	b.check(t, r)
	return f
}

const limit = 5 * time.Minute

// waitFor reports whether a group has committed all, before its program has ended.
func (b *bench) waitFor(t *testing.T, group string, ended <-chan struct{}) bool {
	ends, err := b.admin.ListEndOffsets(t.Context(), inTopic)
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < limit; time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			return false
		default:
		}
		offsets, err := b.admin.FetchOffsets(t.Context(), group)
		if err != nil {
			continue
		}
		all := true
		ends.Each(func(o kadm.ListedOffset) {
			at, ok := offsets.Lookup(inTopic, o.Partition)
			all = all && (o.Offset == 0 || ok && at.At >= o.Offset)
		})
		if all {
			return true
		}
	}
	return false
}

// check compares each account's outputs with the entries: one each, in order.
func (b *bench) check(t *testing.T, r row) {
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
	got := make(map[string]Account)
	for n := 0; n < b.entries; {
		fetched := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%s: %d outputs for %d entries", r.name, n, b.entries)
		}
		fetched.EachRecord(func(record *kgo.Record) {
			var a Account
			if err := json.Unmarshal(record.Value, &a); err != nil {
				t.Fatal(err)
			}
			if before := got[string(record.Key)]; a.Count != before.Count+1 {
				t.Fatalf("%s: %s jumps from %d to %d", r.name, record.Key, before.Count, a.Count)
			}
			got[string(record.Key)] = a
			n++
		})
	}
	for account, want := range b.want {
		if got[account] != want {
			t.Fatalf("%s: %s is %+v, want %+v", r.name, account, got[account], want)
		}
	}
}

// table prints medians, and the median of the rounds' ratios.
func table(rows []row, entries int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d entries, %d rounds\n| | records/s | CPU µs a record | MiB | of its floor |\n|---|--:|--:|--:|--:|\n", entries, len(rows[0].measured))
	for _, r := range rows {
		var rates, cpus, memory, ratios []float64
		for i, f := range r.measured {
			rates = append(rates, float64(entries)/f.wall.Seconds())
			cpus = append(cpus, float64(f.cpu.Microseconds())/float64(entries))
			memory = append(memory, float64(f.memory)/1024)
			for _, floor := range rows {
				if floor.name == r.floor {
					ratios = append(ratios, floor.measured[i].wall.Seconds()/f.wall.Seconds())
				}
			}
		}
		ratio := ""
		if len(ratios) > 0 {
			ratio = fmt.Sprintf("%.2f", median(ratios))
		}
		fmt.Fprintf(&b, "| %s | %.0f | %.1f | %.0f | %s |\n", r.name, median(rates), median(cpus), median(memory), ratio)
	}
	return b.String()
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

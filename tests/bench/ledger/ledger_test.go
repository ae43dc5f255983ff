package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
// turns, checks all that they write, and prints the rates and their ratios: into
// balances, of accounts that are met alike and of some that are met far more often
// than others, and into counts by tumbling windows. Where the environment names no
// broker by KAFKA_BROKERS, nothing is run. BENCH_LEDGER says how many entries
// (20,000), BENCH_REPEAT how many rounds (1), ZIPF how skewed the accounts of the
// skewed entries are (1.1), and BENCH_ROWS, an expression, which rows are run.
func TestLedgerBesideBareLoops(t *testing.T) {
	if os.Getenv("KAFKA_BROKERS") == "" {
		return
	}
	chosen, err := regexp.Compile(os.Getenv("BENCH_ROWS"))
	if err != nil {
		t.Fatalf("BENCH_ROWS: %v", err)
	}
	b := newBench(t, amount(t, "BENCH_LEDGER", 20_000), skew(t))
	rows := slices.DeleteFunc(b.rows(), func(r row) bool { return !chosen.MatchString(r.name) })
	for round := range amount(t, "BENCH_REPEAT", 1) {
		for i := range rows {
			rows[i].measured = append(rows[i].measured, b.measure(t, rows[i], fmt.Sprintf("%d-%d", round, i)))
		}
	}
	t.Log(table(rows, b.entries))
}

// rows are what is measured: four programs on two inputs, and two that count by
// windows.
func (b *bench) rows() (rows []row) {
	for _, in := range b.inputs {
		rows = append(rows,
			row{name: "bare loop" + in.named, in: in, args: []string{"fold"}},
			row{name: "ours, plain" + in.named, in: in, mode: "plain", floor: "bare loop" + in.named},
			row{name: "bare loop in transactions" + in.named, in: in, args: []string{"txn"}, committed: true},
			row{name: "ours, transactional" + in.named, in: in, mode: "transactional", floor: "bare loop in transactions" + in.named, committed: true})
	}
	return append(rows,
		row{name: "bare loop, windows", in: b.inputs[0], window: b.window(), args: []string{"fold"}},
		row{name: "ours, plain, windows", in: b.inputs[0], window: b.window(), mode: "plain", floor: "bare loop, windows"})
}

// window is a size in whole milliseconds of which the entries fill six, and a half.
func (b *bench) window() time.Duration {
	return (time.Duration(b.entries) * step * 2 / 13).Truncate(time.Millisecond)
}

func skew(t *testing.T) float64 {
	text := cmp.Or(os.Getenv("ZIPF"), "1.1")
	s, err := strconv.ParseFloat(text, 64)
	if err != nil || s <= 1 {
		t.Fatalf("ZIPF is %q, want a number above 1", text)
	}
	return s
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
	in        *input
	window    time.Duration // 0: balances
	args      []string      // of a bare loop
	mode      string        // of ours
	floor     string        // the row that it is compared with
	committed bool          // its output is read as committed
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
	step     = 2 * time.Millisecond // from one entry's time to the next one's
)

type bench struct {
	addrs   []string
	admin   *kadm.Client
	program string
	folder  string
	entries int
	inputs  []*input
}

func newBench(t *testing.T, entries int, skew float64) *bench {
	b := &bench{addrs: strings.Split(os.Getenv("KAFKA_BROKERS"), ","), folder: t.TempDir(), entries: entries}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addrs...), kgo.MaxBufferedRecords(100_000),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	b.admin = kadm.NewClient(client)
	b.program = filepath.Join(b.folder, "ledger")
	if out, err := exec.Command("go", "build", "-o", b.program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	r := rand.New(rand.NewPCG(1, 7))
	zipf := rand.NewZipf(r, skew, 1, accounts-1)
	b.inputs = []*input{
		{topic: inTopic, account: func() int { return r.IntN(accounts) }},
		{topic: inTopic + "-skewed", named: fmt.Sprintf(", ZIPF=%v", skew), account: func() int { return int(zipf.Uint64()) }},
	}
	for _, in := range b.inputs {
		b.create(t, in.topic)
		in.load(t, client, r, entries)
	}
	return b
}

var forever = "-1"

// create makes a topic anew, and deletes it at the end.
func (b *bench) create(t *testing.T, topic string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, _ = b.admin.DeleteTopic(ctx, topic) // it need not be there
	for {
		_, err := b.admin.CreateTopic(ctx, parts, 1, map[string]*string{"retention.ms": &forever}, topic) // entries are old
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

// measure runs a program until its group has committed the end of the entries, and
// checks what it wrote.
func (b *bench) measure(t *testing.T, r row, turn string) figure {
	t.Helper()
	b.create(t, outTopic)
	group := fmt.Sprintf("ledger-%d-%s", os.Getpid(), turn)
	args := append(slices.Clone(r.args), strings.Join(b.addrs, ","), group)
	if r.args == nil {
		args = append(args, filepath.Join(b.folder, group))
	}
	cmd := exec.Command(b.program, args...)
	cmd.Env = append(os.Environ(), "MODE="+r.mode, "ENTRIES="+r.in.topic)
	if r.window > 0 {
		cmd.Env = append(cmd.Env, "WINDOW="+r.window.String())
	}
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
	done := b.waitFor(t, r.in.topic, group, ended)
	f := figure{wall: time.Since(began), memory: peak(t, cmd.Process.Pid)}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	<-ended
	if !done {
		t.Fatalf("%s has not got through within %v; it wrote:\n%s", r.name, limit, said.String())
	}
	f.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	b.check(t, &r)
	return f
}

// peak returns the most memory that a process has had resident, in KiB; 0 where
// the machine does not say. What wait4 says of a child begins with the memory of
// its parent, and this test has much.
func peak(t *testing.T, pid int) (kib int64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, found := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(rest, &kib); !found || err != nil {
		t.Fatalf("no peak in the status of process %d: %v", pid, err)
	}
	return kib
}

const limit = 5 * time.Minute

// waitFor reports whether a group has committed all, before its program has ended.
func (b *bench) waitFor(t *testing.T, topic, group string, ended <-chan struct{}) bool {
	ends, err := b.admin.ListEndOffsets(t.Context(), topic)
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
			at, ok := offsets.Lookup(topic, o.Partition)
			all = all && (o.Offset == 0 || ok && at.At >= o.Offset)
		})
		if all {
			return true
		}
	}
	return false
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
				if floor.name == r.floor && floor.name != "" {
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

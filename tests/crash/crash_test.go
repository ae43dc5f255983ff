package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/tests/crash/shop"
)

const processes = 4

// number returns a number that the environment may set.
func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s is %q, want a number", name, text)
	}
	return n
}

// brokers returns the clusters to run on: one or none.
func brokers(t *testing.T) []*broker {
	if os.Getenv("KAFKA_BROKERS") == "" {
		return nil
	}
	return []*broker{newBroker(t)}
}

func TestNothingIsLostOrDoubledWhateverIsKilled(t *testing.T) {
	for _, b := range brokers(t) {
		seed := uint64(number(t, "CRASH_SEED", 1))
		r := newRun(t, b, newWorld(seed, number(t, "CRASH_INPUTS", 100_000)))
		r.rng = rand.New(rand.NewPCG(seed, 5))
		r.start()
		r.kill(number(t, "CRASH_KILLS", 3))
		r.killNodes()
		r.finish()
		r.compare()
	}
}

// run is one run of the test.
type run struct {
	*testing.T
	b       *broker
	w       *world
	rng     *rand.Rand
	prefix  string
	program string
	folder  string
	workers [processes]*process
	total   int // priced orders, as the oracle counts them
}

type process struct {
	cmd  *exec.Cmd
	out  *os.File
	done chan struct{}
}

func newRun(t *testing.T, b *broker, w *world) *run {
	r := &run{T: t, b: b, w: w, folder: t.TempDir(), prefix: fmt.Sprintf("crash-%d", time.Now().UnixNano()%1e12)}
	r.program = filepath.Join(r.folder, "worker")
	if out, err := exec.Command("go", "build", "-o", r.program, "./worker").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, s := range w.spent() {
		r.total += s.n
	}
	b.create(t, r.prefix)
	began := time.Now()
	b.load(t, r.prefix, w)
	t.Logf("%d orders and %d prices, written in %v; %d priced orders are to come of them", len(w.orders), len(w.prices), time.Since(began).Round(time.Millisecond), r.total)
	t.Cleanup(r.end)
	return r
}

func (r *run) start() {
	for n := range r.workers {
		r.launch(n)
	}
}

func (r *run) launch(n int) {
	out, err := os.OpenFile(filepath.Join(r.folder, fmt.Sprintf("worker-%d.out", n)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.Fatal(err)
	}
	p := &process{cmd: exec.Command(r.program, strings.Join(r.b.addrs, ","), r.prefix, filepath.Join(r.folder, "snapshots"), fmt.Sprintf("worker-%d", n)), out: out, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		r.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // killed, as a rule
		_ = out.Close()
	}()
	r.workers[n] = p
}

// end ends all processes.
func (r *run) end() {
	var all sync.WaitGroup
	for _, p := range r.workers {
		if p == nil {
			continue
		}
		all.Go(func() {
			_ = p.cmd.Process.Kill()
			<-p.done
		})
	}
	all.Wait()
}

// kill kills processes, spread over the work, and starts each again a moment
// later. What the others of its group do meanwhile is theirs to do.
func (r *run) kill(times int) {
	for k := range times {
		goal := int64(r.total) * int64(k+1) / int64(times+2)
		r.wait("priced orders", func(ctx context.Context) (bool, error) {
			n, err := r.b.size(ctx, r.prefix+".spent")
			return n >= goal, err
		})
		n := r.rng.IntN(processes)
		p := r.workers[n]
		if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			r.Fatalf("kill worker %d: %v", n, err)
		}
		<-p.done
		r.Logf("worker %d killed after about %d of %d priced orders", n, goal, r.total)
		time.Sleep(time.Duration(r.rng.IntN(8_000)) * time.Millisecond) // within its session or beyond
		r.launch(n)
	}
}

// killNodes kills each node of a broker that has several, and starts it again, one
// after the other, if the environment says how.
func (r *run) killNodes() {
	scripts := os.Getenv("SERVERS_DIR")
	if r.b.nodes < 2 || scripts == "" {
		return
	}
	script := func(act string, env ...string) {
		cmd := exec.Command(filepath.Join(scripts, "kafka", act))
		cmd.Env = append(append(os.Environ(), "DATA="+filepath.Join(os.Getenv("SERVERS_DATA"), "kafka")), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			r.Fatalf("kafka/%s: %v\n%s", act, err, out)
		}
	}
	for n := range r.b.nodes {
		script("down", fmt.Sprint("NODE=", n+1), "SIGNAL=KILL")
		r.Logf("node %d of %d killed", n+1, r.b.nodes)
		time.Sleep(5 * time.Second)
		script("up")
		r.wait("all replicas in sync", func(ctx context.Context) (bool, error) { return r.b.inSync(ctx, r.prefix) })
	}
}

// wait waits until something is so.
func (r *run) wait(what string, f func(context.Context) (bool, error)) {
	r.Helper()
	limit := 5 * time.Minute
	var last error
	for began := time.Now(); time.Since(began) < limit; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
		done, err := f(ctx)
		cancel()
		if done && err == nil {
			return
		}
		last = err
	}
	r.Fatalf("waiting for %s: not there after %v (%v)\n%s", what, limit, last, r.said())
}

// said returns what the processes wrote last.
func (r *run) said() string {
	var b strings.Builder
	for n := range r.workers {
		data, _ := os.ReadFile(filepath.Join(r.folder, fmt.Sprintf("worker-%d.out", n)))
		fmt.Fprintf(&b, "-- worker %d\n%s\n", n, data[max(0, len(data)-3000):])
	}
	return b.String()
}

// finish waits until all has come, and a little longer for what should not.
func (r *run) finish() {
	began := time.Now()
	sprees := r.w.sprees()
	r.wait("the last results", func(ctx context.Context) (bool, error) {
		spent, err := r.b.read(ctx, r.prefix+".spent", true)
		if err != nil || len(spent) < r.total {
			return false, err
		}
		got, err := r.b.read(ctx, r.prefix+".sprees", false)
		return len(distinct(got)) >= len(sprees), err
	})
	r.Logf("all is there %v after the last kill", time.Since(began).Round(10*time.Millisecond))
	time.Sleep(3 * time.Second)
	r.end()
}

// distinct drops what a reader knows as a copy.
func distinct(all []published) (once []published) {
	seen := make(map[string]bool)
	for _, p := range all {
		if id := p.id; !seen[id] {
			seen[id] = true
			once = append(once, p)
		}
	}
	return once
}

func (r *run) topic(name string, committed bool) []published {
	all, err := r.b.read(r.Context(), r.prefix+"."+name, committed)
	if err != nil {
		r.Fatal(err)
	}
	return all
}

func decode[T any](t *testing.T, p published) (v T) {
	if err := json.Unmarshal([]byte(p.value), &v); err != nil {
		t.Fatalf("%q: %v", p.value, err)
	}
	return v
}

// compare compares all that was published with the oracle.
func (r *run) compare() {
	r.compareSpent(r.topic("spent", true))
	soldAll := r.topic("sold", false)
	sold := make(map[string]int64)
	for _, p := range distinct(soldAll) {
		s := decode[shop.Sold](r.T, p)
		key := fmt.Sprintf("%s %d", s.Item, s.Start)
		if _, twice := sold[key]; twice {
			r.Errorf("window %s has two results under different ids", key)
		}
		sold[key] = s.Count
	}
	same(r.T, "sold", sold, r.w.sold())
	spreesAll := r.topic("sprees", false)
	sprees := make(map[string]int)
	for _, p := range distinct(spreesAll) {
		s := decode[shop.Spree](r.T, p)
		sprees[fmt.Sprintf("%s %d %d %d %d", s.Account, s.Start, s.End, s.N, s.Amount)]++
	}
	same(r.T, "sprees", sprees, r.w.sprees())
	r.Logf("compared: %d sums, %d windows (%d copies), %d sprees (%d copies)", r.total, len(sold), len(soldAll)-len(sold), len(sprees), len(spreesAll)-len(sprees))
	if r.Failed() {
		r.Log(r.said())
	}
}

// compareSpent finds each account's sums one after the other, once each.
func (r *run) compareSpent(all []published) {
	got := make(map[string]spent)
	for _, p := range all {
		s := decode[shop.Spent](r.T, p)
		if before := got[s.Account]; s.N != before.n+1 {
			r.Errorf("%s jumps from %d to %d", s.Account, before.n, s.N)
		}
		if p.key != s.Account {
			r.Errorf("a sum of %s lies under key %s", s.Account, p.key)
		}
		got[s.Account] = spent{s.N, s.Total}
	}
	same(r.T, "spent", got, r.w.spent())
}

// same compares two maps, and names some differences.
func same[V comparable](t *testing.T, what string, got, want map[string]V) {
	t.Helper()
	shown := 0
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[key]; (!ok || v != want[key]) && shown < 10 {
			shown++
			t.Errorf("%s %s: %v (there: %v), want %v", what, key, v, ok, want[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok && !strings.Contains(key, closing) && shown < 10 {
			shown++
			t.Errorf("%s %s: %v, which nothing leads to", what, key, got[key])
		}
	}
	if len(want) == 0 {
		t.Errorf("%s: the oracle has nothing, so nothing was compared", what)
	}
}

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
	writer  *writer
	scripts string // that stop and start the nodes of a cluster; empty: none is to be killed
}

// beforeNodes is the share of the inputs that is written before nodes are killed.
// The rest comes little by little meanwhile.
const beforeNodes = 0.5

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
	r.writer = b.writer(t, r.prefix, w)
	began, share := time.Now(), 1.0
	if b.nodes > 1 {
		r.scripts = os.Getenv("SERVERS_DIR")
	}
	if r.scripts != "" {
		share = beforeNodes
	}
	r.write(share)
	if share == 1 {
		b.end(t, r.prefix, w)
	}
	t.Logf("%d orders and %d prices, written in %v; %d priced orders are to come of all", r.writer.orders, r.writer.prices, time.Since(began).Round(time.Millisecond), r.total)
	t.Cleanup(r.end)
	return r
}

// write writes a share of all inputs, those included that are written already.
func (r *run) write(share float64) {
	r.Helper()
	if err := r.writer.write(r.Context(), share); err != nil {
		r.Fatal(err)
	}
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
	total := int64(r.total)
	if r.scripts != "" {
		total = int64(beforeNodes * float64(total))
	}
	for k := range times {
		goal := total * int64(k+1) / int64(times+2)
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

// killNodes kills each node of a broker that has several, one after the other, if the
// environment says how. Meanwhile inputs come, and what is made of them must go on:
// the node is started again only once it has.
func (r *run) killNodes() {
	if r.scripts == "" {
		return
	}
	end := r.trickle()
	for n := range int32(r.b.nodes) {
		leads, _, err := r.b.leads(r.Context(), r.prefix, n+1)
		if err != nil || leads == 0 {
			r.Errorf("node %d leads %d partitions, so its death tries little; %v", n+1, leads, err)
		}
		began, before := time.Now(), r.size("spent")
		r.script("down", fmt.Sprint("NODE=", n+1), "SIGNAL=KILL")
		r.wait("others to lead what the node has led", func(ctx context.Context) (bool, error) {
			its, none, err := r.b.leads(ctx, r.prefix, n+1)
			return its+none == 0, err
		})
		moved, at := time.Since(began), r.size("spent")
		r.wait("results without the node", func(ctx context.Context) (bool, error) {
			now, err := r.b.size(ctx, r.prefix+".spent")
			return now >= at+int64(r.total)/100, err
		})
		gone := r.size("spent") - before
		r.script("up")
		r.wait("all replicas in sync", func(ctx context.Context) (bool, error) { return r.b.inSync(ctx, r.prefix) })
		r.Logf("node %d of %d killed, which led %d partitions: others led them after %v, about %d sums came without it, and it was in sync again after %v",
			n+1, r.b.nodes, leads, moved.Round(time.Millisecond), gone, time.Since(began).Round(time.Millisecond))
	}
	end()
	r.write(1)
	r.b.end(r.T, r.prefix, r.w)
}

// trickle writes the rest of the inputs little by little, until end is called.
func (r *run) trickle() (end func()) {
	ctx, cancel := context.WithCancel(r.Context())
	stop, ended := make(chan struct{}), make(chan struct{})
	const step, steps = 100 * time.Millisecond, 1200
	go func() {
		defer close(ended)
		for n := 1; n <= steps; n++ {
			if err := r.writer.write(ctx, beforeNodes+(1-beforeNodes)*float64(n)/steps); err != nil {
				r.Errorf("write inputs: %v", err)
				return
			}
			select {
			case <-stop:
				return
			case <-ctx.Done():
				return
			case <-time.After(step):
			}
		}
	}()
	r.Cleanup(func() {
		cancel()
		<-ended
	})
	return func() {
		close(stop)
		<-ended
	}
}

// script runs one of those that stop and start the broker's nodes.
func (r *run) script(act string, env ...string) {
	cmd := exec.Command(filepath.Join(r.scripts, "kafka", act))
	cmd.Env = append(append(os.Environ(), "DATA="+filepath.Join(os.Getenv("SERVERS_DATA"), "kafka")), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.Fatalf("kafka/%s: %v\n%s", act, err, out)
	}
}

// size returns how many records lie in a topic of the run.
func (r *run) size(topic string) (n int64) {
	r.wait("the size of "+topic, func(ctx context.Context) (_ bool, err error) {
		n, err = r.b.size(ctx, r.prefix+"."+topic)
		return err == nil, err
	})
	return n
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
	r.trimmed()
	if r.Failed() {
		r.Log(r.said())
	}
}

// trimmed finds that the shuffles, all that is not one of the shop's topics, have
// forgotten something: so that the processes that took over did without that.
func (r *run) trimmed() {
	there, written, err := r.b.records(r.Context(), r.prefix, shop.Topics(r.prefix))
	switch {
	case err != nil:
		r.Error(err)
	case there >= written:
		r.Errorf("the shuffles hold all %d records that were written to them", written)
	}
	r.Logf("the shuffles hold %d of %d records", there, written)
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

package bench

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/servers"
)

func TestMain(m *testing.M) {
	if os.Getenv(clientRole) != "" {
		serveOrders(os.Stdin, os.Stdout)
		return
	}
	goleak.VerifyTestMain(m)
}

// calm is the share of a processor that others may take before the figures are
// in doubt.
const calm = 0.10

// plan is what the environment asks for.
type plan struct {
	cell    time.Duration
	rounds  int
	callers []int
	rows    *regexp.Regexp
	dir     string // empty: a temporary one
}

func planned(t *testing.T) (p plan) {
	t.Helper()
	value := func(name, otherwise string) string {
		if v := os.Getenv(name); v != "" {
			return v
		}
		return otherwise
	}
	var err error
	if p.cell, err = time.ParseDuration(value("BENCH_CELL", "60ms")); err != nil || p.cell <= 0 {
		t.Fatalf("BENCH_CELL %q: want a duration such as 3s", os.Getenv("BENCH_CELL"))
	}
	if p.rounds, err = strconv.Atoi(value("BENCH_REPEAT", "1")); err != nil || p.rounds < 1 {
		t.Fatalf("BENCH_REPEAT %q: want a number from 1 on", os.Getenv("BENCH_REPEAT"))
	}
	for _, text := range strings.Split(value("BENCH_CALLERS", "1,64,1024"), ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1024 {
			t.Fatalf("BENCH_CALLERS %q: want numbers from 1 to 1024, joined by commas", os.Getenv("BENCH_CALLERS"))
		}
		p.callers = append(p.callers, n)
	}
	if p.rows, err = regexp.Compile(value("BENCH_ROWS", ".")); err != nil {
		t.Fatalf("BENCH_ROWS: %v", err)
	}
	if p.dir = os.Getenv("BENCH_DIR"); p.dir == "" {
		p.dir = t.TempDir()
	}
	return p
}

// TestBesideFloors measures, and prints tables in Markdown.
func TestBesideFloors(t *testing.T) {
	p := planned(t)
	c, err := startClients()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.stop(); err != nil {
			t.Error("the clients' process:", err)
		}
	}()
	if took, err := syncTime(p.dir); err != nil {
		t.Error(err)
	} else {
		fmt.Printf("%s, %d processors; the disk makes 4 KiB durable in %.2f ms; cells of %v, medians of %d\n\n",
			runtime.Version(), runtime.NumCPU(), float64(took.Microseconds())/1000, p.cell, p.rounds)
	}
	p.run(t, "Embedded", c, embedded.Config)
	if os.Getenv("KAFKA_BROKERS") != "" {
		p.run(t, "Kafka", c, servers.FromEnv)
	}
	if os.Getenv("REDIS_ADDR") != "" {
		all := p.run(t, "Redis", c, withRedis)
		for _, line := range all.dear(p.callers) {
			if t.Log(line); os.Getenv("BENCH_CELL") != "" {
				t.Fail()
			}
		}
	}
}

// chosen reports whether a row is run on a log.
func (p plan) chosen(r row, log string) bool {
	return p.rows.MatchString(r.name) && r.queries == (log == "Redis")
}

// run measures on one log, and prints.
func (p plan) run(t *testing.T, log string, c *clients, config func(dir string) framework.Config) figures {
	t.Helper()
	all := make(figures)
	if !slices.ContainsFunc(rows, func(r row) bool { return p.chosen(r, log) }) {
		return all
	}
	var restless []float64 // what others took in the cells where it was much
	for range p.rounds {
		restless = append(restless, p.round(t, log, c, config, all)...)
	}
	fmt.Println(all.table(log, p.callers))
	for _, line := range all.below(p.callers) {
		fmt.Println("Below half of its floor:", line)
	}
	if len(restless) > 0 {
		fmt.Printf("NOT CALM: others took up to %.2f processors, and more than %.2f in %d cells of %d; measure again when the machine is calm\n",
			slices.Max(restless), calm, len(restless), p.rounds*len(all))
	}
	fmt.Println()
	return all
}

// round measures each cell once, on an empty log. It returns what others took in
// the cells that they disturbed.
func (p plan) round(t *testing.T, log string, c *clients, config func(dir string) framework.Config, all figures) (restless []float64) {
	t.Helper()
	dir, err := os.MkdirTemp(p.dir, "round-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b, stop, err := start(config(dir), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error("stop the application:", err)
		}
		if log == "Kafka" {
			forget(t, b.topics[:]...)
		}
	}()
	for _, n := range p.callers {
		for _, r := range rows {
			if !p.chosen(r, log) {
				continue
			}
			runtime.GC() // of the cell before
			others := idle(min(p.cell, 300*time.Millisecond))
			got, err := b.measure(t.Context(), r, n, p.cell)
			if err != nil {
				t.Fatal(err)
			}
			if log == "Embedded" { // else it is the servers that are busy
				others = max(others, got.others)
			}
			if others > calm {
				restless = append(restless, others)
			}
			all[place{r.name, n}] = append(all[place{r.name, n}], got)
			t.Logf("%s, %s, %d callers: %v; others took %.2f processors", log, r.name, n, got, others)
		}
	}
	return restless
}

// forget deletes topics, as well as it can.
func forget(t *testing.T, topics ...string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(os.Getenv("KAFKA_BROKERS"), ",")...))
	if err != nil {
		t.Log("topics are left behind:", err)
		return
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	answers, err := kadm.NewClient(client).DeleteTopics(ctx, topics...)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		t.Logf("topics %s are left behind: %v", slices.Sorted(slices.Values(topics)), err)
	}
}

package main

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
)

// printed returns what a printer with a window writes, and the most lines that
// waited in it.
func printed(t *testing.T, records []eventlog.Record, window int) string {
	t.Helper()
	log := memlog.New()
	defer log.Close()
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: "t", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(t.Context(), "t", 0, records); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p := newPrinter(newSink(&out, 0))
	p.window = window
	if err := p.partition(t.Context(), source{log: log, topic: "t"}, 0); err != nil {
		t.Fatal(err)
	}
	if cap(p.waiting) > 2*window+8 {
		t.Errorf("with a window of %d, %d lines waited", window, cap(p.waiting))
	}
	return out.String()
}

func TestAnUnfinishedCommitNeedsNoMoreMemoryThanTheWindow(t *testing.T) {
	var records []eventlog.Record
	records = append(records, claim(2), fact("a/1", 1, 2, 1, 0, 2))
	for range 1000 {
		records = append(records, probe(1), fact("a/1", 1, 1, 9, 0, 1)) // an earlier owner's
	}
	records = append(records, fact("a/1", 2, 2, 1, 1, 2), fact("a/1", 3, 2, 2, 0, 3), probe(2), probe(2), probe(2))
	got := brief(parse(t, printed(t, records, 3)))
	if want := "0@1 event a/1: valid\n"; !strings.Contains(got, want) {
		t.Errorf("the commit's first event is not printed as valid:\n%.200s", got)
	}
	if !strings.Contains(got, "0@2003 event a/1: open\n") {
		t.Error("the last commit, which nothing ends, is not open")
	}
	if got != brief(parse(t, printed(t, records, 10_000))) {
		t.Error("another window gives other verdicts")
	}
}

func TestTheWindowDoesNotChangeWhatIsPrinted(t *testing.T) {
	for seed := range uint64(300) {
		records := chaos(rand.New(rand.NewPCG(seed, 1)), 60)
		want := printed(t, records, 1000)
		for window := 1; window <= 4; window++ {
			if got := printed(t, records, window); got != want {
				t.Fatalf("seed %d, window %d: got\n%s\nwant\n%s", seed, window, brief(parse(t, got)), brief(parse(t, want)))
			}
		}
	}
}

// chaos makes records of whole, torn and interleaved commits, claims and probes.
func chaos(r *rand.Rand, n int) []eventlog.Record {
	var out []eventlog.Record
	epoch, versions := uint64(1), map[string]uint64{}
	for command := byte(1); len(out) < n; command++ {
		switch r.IntN(6) {
		case 0:
			epoch += uint64(r.IntN(2))
			out = append(out, claim(epoch))
		case 1:
			out = append(out, probe(epoch))
		default:
			key := []string{"a/1", "b/1"}[r.IntN(2)]
			count := 1 + r.IntN(4)
			start := versions[key] + uint64(r.IntN(5)/4)
			whole := true
			for i := range count {
				if r.IntN(6) == 0 {
					whole = false
					continue
				}
				out = append(out, fact(key, start+uint64(i)+1, epoch, command, i, count))
				if r.IntN(4) == 0 {
					out = append(out, probe(epoch), fact("c/1", 1, epoch-1, 250, 0, 1))
				}
			}
			if whole && start == versions[key] {
				versions[key] += uint64(count)
			}
		}
	}
	return out
}

func TestALimitHoldsForAllPrintersTogether(t *testing.T) {
	var out bytes.Buffer
	to := newSink(&out, 2)
	for n, want := range []error{nil, errEnough, errEnough, errEnough} {
		if err := to.put(&line{}); err != want {
			t.Errorf("line %d: %v, want %v", n, err, want)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("%d lines are written", n)
	}
}

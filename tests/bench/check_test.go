package bench

import (
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestAQuantileIsWithinThreePercent(t *testing.T) {
	var h histogram
	for i := 1; i <= 100_000; i++ {
		h.add(time.Duration(i) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0.001: 100 * time.Microsecond, 0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond, 1: 100 * time.Millisecond} {
		if got := h.quantile(q); math.Abs(float64(got-want)) > 0.03*float64(want) {
			t.Errorf("quantile %v is %v, want about %v", q, got, want)
		}
	}
	for _, d := range []time.Duration{-1, 0, 63, 64, 65, 1000, math.MaxInt64} {
		h.add(d)
	}
}

func TestALoadCountsWhatIsAnsweredInItsTime(t *testing.T) {
	slow := func() error { time.Sleep(2 * time.Millisecond); return nil }
	marks := 0
	got, err := load([]ask{slow, slow}, 200*time.Millisecond, func() { marks++ })
	if err != nil || marks != 2 {
		t.Fatalf("%d marks, %v", marks, err)
	}
	most := 2 * int(got.Elapsed/(2*time.Millisecond)+1)
	if got.Commands < most/10 || got.Commands > most {
		t.Errorf("counted %d in %v, want up to %d", got.Commands, got.Elapsed, most)
	}
	if got.Answered <= got.Commands {
		t.Errorf("%d answers in all, %d counted: none while warming up", got.Answered, got.Commands)
	}
	if p50 := got.Latencies.quantile(0.5); p50 < 1900*time.Microsecond {
		t.Errorf("p50 is %v, want 2 ms or more", p50)
	}
}

func TestALoadEndsWithTheFirstFailure(t *testing.T) {
	broken := errors.New("broken")
	var asked atomic.Int32
	fails := func() error {
		if asked.Add(1) > 10 {
			return broken
		}
		return nil
	}
	began := time.Now()
	if _, err := load([]ask{fails, fails}, time.Minute, func() {}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it went on for %v", took)
	}
}

func TestProcessorTimeIsReadFromStat(t *testing.T) {
	got, ok := busy("cpu  100 20 30 9999 9999 4 5 6 7 8\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
	if want := 1650 * time.Millisecond; !ok || got != want {
		t.Errorf("got %v, %v, want %v", got, ok, want)
	}
	for _, bad := range []string{"", "cpu 1 2", "cpu  a b c d e f g h", "intr 1 2 3 4 5 6 7 8"} {
		if _, ok := busy(bad); ok {
			t.Errorf("%q was read", bad)
		}
	}
	at := time.Now()
	since := usage{at: at, ok: true}
	after := usage{at: at.Add(time.Second), own: time.Second, machine: 2 * time.Second, ok: true}
	if got := after.others(since, 600*time.Millisecond); math.Abs(got-0.4) > 0.001 {
		t.Errorf("others took %v, want 0.4", got)
	}
}

func TestATableShowsMediansAndRatiosOfRounds(t *testing.T) {
	f := make(figures)
	put := func(row string, commands int, cpu time.Duration) {
		f[place{row, 64}] = append(f[place{row, 64}], cell{measured: measured{Commands: commands, Elapsed: time.Second}, server: cpu})
	}
	for _, n := range []int{1000, 4000, 9000} { // a machine that changes from round to round
		put("bare log", n, time.Duration(n)*10*time.Microsecond)
		put("App.Execute", n/4, time.Duration(n)*10*time.Microsecond)
	}
	text := f.table("Embedded", []int{1, 64})
	if want := "| App.Execute | 64 | 1,000 | 0.00 | 0.00 | 40.0 | 0.25 of bare log, CPU × 4.0 |\n"; !strings.HasSuffix(text, want) {
		t.Errorf("got\n%swant the end\n%s", text, want)
	}
	if below := f.below([]int{1, 64}); len(below) != 1 || below[0] != "App.Execute at 64: 0.25 of bare log" {
		t.Errorf("below half: %q", below)
	}
}

func TestAnAnswerThatIsNoneIsAFailure(t *testing.T) {
	for text, fine := range map[string]bool{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}":                  true,
		"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}": false,
		"HTTP/1.1 200 OK\r\n\r\n{}":                                       false,
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}":                  false,
		"": false,
	} {
		if err := newConnection(wire{strings.NewReader(text)}, aCommand).ask(); (err == nil) != fine {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// wire takes every request and answers what is in it.
type wire struct{ *strings.Reader }

func (wire) Write(b []byte) (int, error) { return len(b), nil }

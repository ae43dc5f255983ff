package stream

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// priced joins orders with a table of prices, and counts them by the minute so that
// watermarks matter too.
func priced() *Topology {
	t := &Topology{Name: "priced", Partitions: 3}
	prices := FromTable(t, &Table[int]{Name: "prices", Topic: "prices", Decode: func(r *Record, v *int) error { return json.Unmarshal(r.Value, v) }})
	orders := From(t, &Source[string]{Name: "orders", Topic: "orders", Decode: func(r *Record, v *string) error { return json.Unmarshal(r.Value, v) }})
	shuffled := KeyBy(orders, "by-item", func(item string) string { return item }, Codec[string]{})
	out := LookUp(shuffled, prices, func(item string) string { return item }, func(item string, price int, known bool) string {
		return fmt.Sprint(item, " ", price, " ", known)
	})
	To(out, &Publish[string]{Name: "out", Topic: "out"})
	counts, _ := Windowed(shuffled, &Window[string, int, int]{Name: "minutes", Size: time.Minute,
		Fold: func(n int, _ string) int { return n + 1 }, Result: func(_ Span, n int) int { return n }})
	To(counts, &Publish[int]{Name: "counts", Topic: "counts"})
	return t
}

var pricedTopics = map[string]int{"prices": 2, "orders": 2, "out": 2, "counts": 2}

func send(s *Simulation, topic, key string, v any, at int64) {
	r := eventlog.Record{Key: []byte(key), At: at * 1000}
	if v != nil {
		r.Value, _ = json.Marshal(v)
	}
	s.Send(topic, r)
}

func published(t *testing.T, s *Simulation, topic string) []string {
	t.Helper()
	if err := s.Settle(); err != nil {
		t.Fatal(err)
	}
	all, err := s.Published(topic)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range all {
		out = append(out, string(r.Value))
	}
	return out
}

func TestAnElementSeesTheTableAsItWasPinnedBeforeIt(t *testing.T) {
	s := Simulate(priced(), SimulationConfig{Topics: pricedTopics})
	var want []string
	sell := func(expected string) {
		t.Helper()
		send(s, "orders", "x", "shoe", 1)
		want = append(want, `"`+expected+`"`)
		if got := published(t, s, "out"); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	price := func(v any) {
		t.Helper()
		send(s, "prices", "shoe", v, 1)
		published(t, s, "out")
	}
	sell("shoe 0 false")
	price(10)
	sell("shoe 10 true")
	price(11)
	price(12)
	sell("shoe 12 true")
	price(nil)
	sell("shoe 0 false")
	price(13)
	sell("shoe 13 true")
}

func TestAQuietTableHoldsNoWindowOpen(t *testing.T) {
	s := Simulate(priced(), SimulationConfig{Topics: pricedTopics})
	send(s, "prices", "shoe", 10, 1) // one of its partitions has nothing
	for _, at := range []int64{1, 2, 1000} {
		for part := range int32(2) {
			s.SendTo("orders", part, eventlog.Record{Value: []byte(`"shoe"`), At: at * 1000})
		}
	}
	if got := published(t, s, "counts"); fmt.Sprint(got) != "[4]" {
		t.Errorf("counted %v, want [4]", got)
	}
}

// What is published must be what a reader of the shuffle makes of it anew, however
// the table was pruned, forgotten and folded again meanwhile.
func TestWhatComesOfALookFollowsFromThePartitionAlone(t *testing.T) {
	values := 0
	for seed := range uint64(60) {
		s := Simulate(priced(), SimulationConfig{Seed: seed, Topics: pricedTopics, Faults: 1})
		r := rand.New(rand.NewPCG(seed, 3))
		for i := range 200 {
			item := fmt.Sprint("item", r.IntN(6))
			switch n := r.IntN(10); {
			case n < 5:
				send(s, "orders", fmt.Sprint(i), item, int64(i))
			case n < 9:
				send(s, "prices", item, i, int64(i))
			default:
				send(s, "prices", item, nil, int64(i))
			}
		}
		for !s.Done() {
			s.Step()
		}
		for range 1000 {
			s.Step()
		}
		got := map[string]int{}
		for _, v := range published(t, s, "out") {
			got[v]++
			if strings.HasSuffix(v, `true"`) {
				values++
			}
		}
		again := map[string]int{}
		for _, task := range s.tasks {
			if task.stage.topic != "" {
				continue
			}
			c := s.core(task)
			if err := c.feed(s.logs[task.stage.input()][task.part]); err != nil {
				t.Fatal(err)
			}
			c.leave()
			for _, b := range c.outs[0].boxes {
				for _, record := range b.records {
					again[string(record.Value)]++
				}
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(again) {
			t.Fatalf("seed %d: published %v, which made anew is %v", seed, got, again)
		}
	}
	if values < 1000 {
		t.Errorf("only %d looks found something", values)
	}
}

func TestATableKeepsNoVersionsThatNobodySees(t *testing.T) {
	s := Simulate(priced(), SimulationConfig{Topics: pricedTopics})
	for i := range 500 {
		send(s, "prices", fmt.Sprint("item", i%3), i, 1)
		if i%5 == 0 {
			send(s, "orders", fmt.Sprint(i), fmt.Sprint("item", i%3), 1)
			for !s.Done() {
				s.Step()
			}
		}
	}
	s.cfg.Faults = 0
	for range 5000 {
		s.Step()
	}
	for _, any := range s.tables.all {
		r := any.(*rows[int])
		kept := 0
		for _, all := range r.byKey {
			kept += len(all)
		}
		if kept > 6 || len(r.byKey) != 3 {
			t.Errorf("%d versions of %d keys are kept: %v", kept, len(r.byKey), r.byKey)
		}
	}
	if len(s.tables.all) != 1 {
		t.Errorf("%d tables", len(s.tables.all))
	}
}

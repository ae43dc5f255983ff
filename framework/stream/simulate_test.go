package stream

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

type click struct {
	User string `json:"user"`
	Page string `json:"page"`
	At   int64  `json:"at"`
}

type count struct {
	Key string `json:"key"`
	N   int    `json:"n"`
}

func sanity() *Topology {
	t := &Topology{Name: "sanity", Partitions: 3}
	clicks := From(t, &Source[click]{Name: "clicks", Topic: "clicks", Late: time.Second,
		Decode: func(r *Record, v *click) error { return json.Unmarshal(r.Value, v) },
		Time:   func(_ *Record, v *click) time.Time { return time.Unix(v.At, 0) }})
	byUser, _ := Via(clicks, &Process[count, click, click]{Name: "by-user", OnEvent: func(c *Context[count, click], v click) error {
		c.State().N++
		c.Emit(v)
		return nil
	}})
	pages := KeyBy(byUser, "pages", func(c click) string { return c.Page }, Codec[click]{})
	perPage, _ := Via(pages, &Process[count, click, count]{Name: "per-page", OnEvent: func(c *Context[count, count], v click) error {
		s := c.State()
		s.N++
		c.Emit(count{c.Key(), s.N})
		return nil
	}})
	To(perPage, &Publish[count]{Name: "out", Topic: "counts", Mode: Transactional})
	windows, _ := Windowed(pages, &Window[click, int, count]{Name: "minutes", Size: time.Minute,
		Fold: func(n int, _ click) int { return n + 1 }, Result: func(s Span, n int) count { return count{s.Start.Format("15:04"), n} }})
	To(windows, &Publish[count]{Name: "minutes-out", Topic: "minutes"})
	return t
}

func TestSanity(t *testing.T) {
	for seed := range uint64(20) {
		sanitySeed(t, seed, plantNothing)
	}
}

func sanitySeed(t *testing.T, seed uint64, p planted) {
	{
		s := Simulate(sanity(), SimulationConfig{Seed: seed, Topics: map[string]int{"clicks": 2, "counts": 2, "minutes": 2}, Faults: 1})
		s.planted = p
		r := rand.New(rand.NewPCG(seed, 9))
		want, minutes := map[string]int{}, map[string]int{}
		const n = 300
		for i := range n {
			c := click{fmt.Sprint("u", r.IntN(9)), fmt.Sprint("p", r.IntN(7)), int64(i)}
			want[c.Page]++
			minutes[fmt.Sprint(c.Page, " ", time.Unix(c.At, 0).UTC().Format("15:04"))]++
			data, _ := json.Marshal(c)
			s.Send("clicks", eventlog.Record{Key: []byte(c.User), Value: data})
		}
		for u := range 9 { // closes all windows
			data, _ := json.Marshal(click{fmt.Sprint("u", u), "end", 100000})
			s.Send("clicks", eventlog.Record{Key: []byte(fmt.Sprint("u", u)), Value: data})
			want["end"]++
		}
		for !s.Done() {
			s.Step()
		}
		for range 2000 {
			s.Step()
		}
		if err := s.Settle(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		got := map[string]int{}
		for _, p := range s.Records("counts") {
			for _, r := range p {
				var c count
				if err := json.Unmarshal(r.Value, &c); err != nil {
					t.Fatal(err)
				}
				if c.N != got[c.Key]+1 {
					t.Fatalf("seed %d: %s jumps from %d to %d; %v", seed, c.Key, got[c.Key], c.N, s.Counts())
				}
				got[c.Key] = c.N
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("seed %d: %v, want %v; %v", seed, got, want, s.Counts())
		}
		closed, ids := map[string]int{}, map[string]bool{}
		for _, p := range s.Records("minutes") {
			for _, r := range p {
				if ids[string(r.Header)] {
					continue
				}
				ids[string(r.Header)] = true
				var c count
				json.Unmarshal(r.Value, &c)
				closed[string(r.Key)+" "+c.Key] += c.N
			}
		}
		if fmt.Sprint(closed) != fmt.Sprint(minutes) {
			t.Fatalf("seed %d: %v, want %v", seed, closed, minutes)
		}
		if seed == 199 {
			t.Log(s.Counts())
		}
	}
}

package stream

import (
	"encoding/json"
	"fmt"
	"maps"
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

// sanity is a topology of two stages.
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

// stepped runs the topology of sanity without faults, though with snapshots, looks
// at it now and then, crashes it in the end, and returns what its pages have.
func stepped(t *testing.T, seed uint64, look func(*Simulation)) map[string]string {
	t.Helper()
	s := Simulate(sanity(), SimulationConfig{Seed: seed, Topics: map[string]int{"clicks": 2, "counts": 2, "minutes": 2}})
	for i := range 60 {
		data, err := json.Marshal(click{fmt.Sprint("u", i%5), fmt.Sprint("p", i%7), int64(i)})
		if err != nil {
			t.Fatal(err)
		}
		s.Send("clicks", eventlog.Record{Key: []byte(fmt.Sprint("u", i%5)), Value: data})
	}
	for i := range 1500 {
		s.Step()
		if i%50 == 0 {
			look(s)
		}
	}
	s.Crash()
	if err := s.Settle(); err != nil {
		t.Fatal(err)
	}
	states, err := s.States("per-page")
	if err != nil {
		t.Fatal(err)
	}
	return states
}

func TestLookingAtStatesTakesNothingFromASnapshot(t *testing.T) {
	for seed := range uint64(30) {
		want := stepped(t, seed, func(*Simulation) {})
		got := stepped(t, seed, func(s *Simulation) {
			if _, err := s.States("per-page"); err != nil {
				t.Fatal(err)
			}
		})
		if !maps.Equal(got, want) {
			t.Fatalf("seed %d: %q, want %q", seed, got, want)
		}
	}
}

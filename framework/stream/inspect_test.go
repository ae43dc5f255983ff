package stream

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

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

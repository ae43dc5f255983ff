package stream

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestAMistakeInADeclarationPanicsWithTheFix(t *testing.T) {
	source := func(t *Topology, name string) *Stream[int64] {
		return From(t, &Source[int64]{Name: name, Topic: "in", Decode: func(*Record, *int64) error { return nil }})
	}
	topology := func() (*Topology, *Stream[int64]) {
		t := &Topology{Name: "t"}
		return t, source(t, "in")
	}
	process := func(name string, maps ...Entries) *Process[int64, int64, int64] {
		return &Process[int64, int64, int64]{Name: name, Maps: maps, OnEvent: func(*Context[int64, int64], int64) error { return nil }}
	}
	half := Codec[int64]{Decode: simInts.Decode}
	fold, result := func(a, _ int64) int64 { return a }, func(Span, int64) int64 { return 0 }
	names := NewMapState[int64]("names")
	key := func(int64) string { return "" }
	for what, mistake := range map[string]func(){
		"topology \"T\": Name must match":                func() { source(&Topology{Name: "T"}, "in") },
		"Partitions is -1, want 1":                       func() { source(&Topology{Name: "t", Partitions: -1}, "in") },
		"the name is taken; give each":                   func() { t, _ := topology(); source(t, "in") },
		"set Topic and Decode":                           func() { From(&Topology{Name: "t"}, &Source[int64]{Name: "s"}) },
		"want none below zero":                           func() { From(&Topology{Name: "t"}, &Source[int64]{Name: "s", Topic: "x", Late: -1}) },
		"set OnEvent":                                    func() { _, in := topology(); Via(in, &Process[int64, int64, int64]{Name: "p"}) },
		"TTL is -1ns":                                    func() { _, in := topology(); p := process("p"); p.TTL = -1; Via(in, p) },
		"set both functions of its Codec":                func() { _, in := topology(); p := process("p"); p.State = half; Via(in, p) },
		"Maps[0]: map \"N\": a name must match":          func() { _, in := topology(); Via(in, process("p", NewMapState[int64]("N"))) },
		"two of its Maps have the name names":            func() { _, in := topology(); Via(in, process("p", names, NewListState[int64]("names"))) },
		"the map names is also that of process p":        func() { _, in := topology(); Via(in, process("p", names)); Via(in, process("q", names)) },
		"stream.Merge of nothing":                        func() { Merge[int64]() },
		"lie in different logs; shuffle both with KeyBy": func() { t, in := topology(); Merge(in, source(t, "other")) },
		"belong to different topologies":                 func() { _, in := topology(); u, _ := topology(); Into(in, NewShuffle(u, "s"), key, simInts) },
		"a topology has no circles": func() {
			t, in := topology()
			s := NewShuffle(t, "s")
			Into(Into(in, s, key, simInts), s, key, simInts)
		},
		"set Topic; Mode is 0": func() { _, in := topology(); To(in, &Publish[int64]{Name: "p"}) },
		"Mode is 7":            func() { _, in := topology(); To(in, &Publish[int64]{Name: "p", Topic: "x", Mode: 7}) },
		"set Fold and Result":  func() { _, in := topology(); Windowed(in, &Window[int64, int64, int64]{Name: "w"}) },
		"want Size above zero": func() {
			_, in := topology()
			Windowed(in, &Window[int64, int64, int64]{Name: "w", Fold: fold, Result: result})
		},
		"sessions have Gap and Merge": func() {
			_, in := topology()
			Windowed(in, &Window[int64, int64, int64]{Name: "w", Fold: fold, Result: result, Gap: 1})
		},
		"so many windows each element is in": func() {
			_, in := topology()
			Windowed(in, &Window[int64, int64, int64]{Name: "w", Fold: fold, Result: result, Size: time.Hour, Slide: 1})
		},
		"so nothing ever meets": func() {
			_, in := topology()
			JoinInterval(in, in, &IntervalJoin[int64, int64, int64]{Name: "j", Before: -1, Join: func(string, int64, int64) int64 { return 0 }})
		},
		"write both to one shuffle with stream.Into": func() {
			t, in := topology()
			JoinInterval(in, source(t, "other"), &IntervalJoin[int64, int64, int64]{Name: "j", Join: func(string, int64, int64) int64 { return 0 }})
		},
		"join \"j\": set Join":             func() { _, in := topology(); JoinLatest(in, in, &LatestJoin[int64, int64, int64]{Name: "j"}) },
		"in SimulationConfig.Topics":       func() { t, _ := topology(); Simulate(t, SimulationConfig{}) },
		"name it in its Process.Maps":      func() { g := newCutRig(); names.Len(g.enter("k")) },
		"source e: set Topic and Decode; ": func() { FromEvents(&Topology{Name: "t"}, &Events[int64]{Name: "e"}) },
	} {
		t.Run(what, func(t *testing.T) {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.Contains(text, what) {
					t.Errorf("panicked with %q", text)
				}
			}()
			mistake()
		})
	}
}

package stream

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"
)

// cutRig is a task with one operator that has a state, a map, a list and timers,
// changed by hand.
type cutRig struct {
	core  *core
	at    *Context[int64, int64]
	names *MapState[int64]
	list  *ListState[int64]
}

func newCutRig() *cutRig {
	g := &cutRig{names: NewMapState[int64]("names", simInts), list: NewListState[int64]("list", simInts)}
	t := &Topology{Name: "cuts"}
	in := From(t, &Source[int64]{Name: "in", Topic: "in", Decode: func(*Record, *int64) error { return nil }})
	p := &Process[int64, int64, int64]{Name: "op", State: simInts, Maps: []Entries{g.names, g.list},
		OnEvent: func(*Context[int64, int64], int64) error { return nil }, OnTimer: func(*Context[int64, int64], Timer) error { return nil }}
	Via(in, p)
	g.core = newCore(t.stages[0], 0, shape{inputs: 1})
	g.at = g.core.operators[0].(*Context[int64, int64])
	return g
}

func (g *cutRig) enter(key string) *Context[int64, int64] {
	if err := g.at.enter([]byte(key)); err != nil {
		panic(err)
	}
	return g.at
}

// cutModel is what the rig must hold, by key.
type cutModel struct {
	states, timers map[string]int64
	names          map[string]map[string]int64
	lists          map[string][]int64
}

func newCutModel() *cutModel {
	return &cutModel{map[string]int64{}, map[string]int64{}, map[string]map[string]int64{}, map[string][]int64{}}
}

func (m *cutModel) String() string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(m.states)) {
		all = append(all, fmt.Sprintf("%s: %d timer %d", k, m.states[k], m.timers[k]))
	}
	for _, k := range slices.Sorted(maps.Keys(m.names)) {
		if len(m.names[k]) > 0 {
			all = append(all, fmt.Sprintf("%s: %v", k, m.names[k]))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(m.lists)) {
		if len(m.lists[k]) > 0 {
			all = append(all, fmt.Sprintf("%s: %v", k, m.lists[k]))
		}
	}
	return fmt.Sprint(all)
}

// change does something at random to both.
func (g *cutRig) change(r *rand.Rand, m *cutModel) {
	key, n := "k"+strconv.Itoa(r.IntN(6)), r.Int64N(1000)
	name := "n" + strconv.Itoa(r.IntN(4))
	c := g.enter(key)
	switch r.IntN(12) {
	case 0, 1, 2:
		*c.State() = n
		m.states[key] = n
	case 3:
		c.Clear()
		delete(m.states, key)
		delete(m.timers, key)
		delete(m.names, key)
		delete(m.lists, key)
	case 4, 5:
		g.names.Put(c, name, n)
		if m.names[key] == nil {
			m.names[key] = map[string]int64{}
		}
		m.names[key][name] = n
	case 6:
		g.names.Delete(c, name)
		delete(m.names[key], name)
	case 7, 8:
		g.list.Append(c, n)
		m.lists[key] = append(m.lists[key], n)
	case 9:
		drop := r.IntN(4)
		g.list.Drop(c, drop)
		m.lists[key] = m.lists[key][min(drop, len(m.lists[key])):]
	case 10:
		c.SetTimer("t", time.Unix(0, n+1))
		m.timers[key] = n + 1
		m.states[key] += 0 // it is there from now on
	default:
		c.CancelTimer("t")
		delete(m.timers, key)
	}
}

// told is what the rig holds, as the model says it.
func (g *cutRig) told() *cutModel {
	m := newCutModel()
	for i := range 6 {
		key := "k" + strconv.Itoa(i)
		c := g.enter(key)
		if s, ok := c.Peek(); ok {
			m.states[key] = *s
			for _, t := range c.states.unit(c.at).timers {
				m.timers[key] = t.at
			}
		}
		m.names[key] = maps.Collect(g.names.All(c))
		m.lists[key] = slices.Collect(g.list.All(c))
		if g.names.Len(c) != len(m.names[key]) || g.list.Len(c) != len(m.lists[key]) {
			panic(fmt.Sprintf("%s: Len and All differ: %d of %v, %d of %v", key, g.names.Len(c), m.names[key], g.list.Len(c), m.lists[key]))
		}
	}
	return m
}

func restored(t *testing.T, blobs [][]byte) *cutRig {
	g := newCutRig()
	for _, b := range blobs {
		if err := g.core.load(bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	g.core.wake()
	return g
}

func TestABaseAndItsDeltasHoldTheStateOfTheCut(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 0))
		g, m := newCutRig(), newCutModel()
		var blobs [][]byte
		for range 1 + r.IntN(5) {
			for range r.IntN(30) {
				g.change(r, m)
			}
			var buf bytes.Buffer
			f := &frames{to: &buf}
			g.core.begin(len(blobs) == 0, f)
			want := m.String()
			if r.IntN(8) == 0 { // given up half-way: the next one is full
				g.core.encode(r.IntN(3), f)
				g.core.abandon()
				blobs = nil
				continue
			}
			for done := false; !done; {
				var err error
				if done, err = g.core.encode(1+r.IntN(4), f); err != nil {
					t.Fatal(err)
				}
				for range r.IntN(4) {
					g.change(r, m)
				}
			}
			blobs = append(blobs, buf.Bytes())
			back := restored(t, blobs)
			if got := back.told().String(); got != want {
				t.Fatalf("seed %d, after %d cuts: restored\n%s, want\n%s", seed, len(blobs), got, want)
			}
			if r.IntN(3) == 0 { // goes on as a task that was restored
				g, m = back, back.told()
			}
		}
		if got, want := g.told().String(), m.String(); got != want {
			t.Fatalf("seed %d: in memory\n%s, want\n%s", seed, got, want)
		}
	}
}

func TestAlarmsAreRungInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0))
	for range 300 {
		var heap alarms
		var all []alarm
		for range r.IntN(60) {
			if len(all) > 0 && r.IntN(4) == 0 {
				if got := heap.pop(); got != all[0] {
					t.Fatalf("%v is rung, want %v", got, all[0])
				}
				all = all[1:]
				continue
			}
			a := alarm{r.Int64N(5) - 2, r.IntN(2), "k" + strconv.Itoa(r.IntN(3)), "n" + strconv.Itoa(r.IntN(3))}
			heap.push(a)
			all = append(all, a)
			slices.SortFunc(all, func(a, b alarm) int {
				switch {
				case a.before(&b):
					return -1
				case b.before(&a):
					return 1
				}
				return 0
			})
		}
		for len(all) > 0 {
			if got := heap.pop(); got != all[0] {
				t.Fatalf("%v is rung, want %v", got, all[0])
			}
			all = all[1:]
		}
	}
}

func TestTimersFireByTimeThenOperatorThenKeyThenName(t *testing.T) {
	want := []alarm{{-1, 9, "z", "z"}, {0, 0, "z", "z"}, {0, 1, "a", "z"}, {0, 1, "b", "a"}, {0, 1, "b", "b"}, {1, 0, "", ""}}
	for i := range want[1:] {
		if a, b := want[i], want[i+1]; !a.before(&b) || b.before(&a) {
			t.Errorf("%v is not before %v", a, b)
		}
	}
}

// FuzzFrames loads any bytes as the blob of a snapshot: no panic, and an error that
// says mangled or decode.
func FuzzFrames(f *testing.F) {
	g, m := newCutRig(), newCutModel()
	r := rand.New(rand.NewPCG(1, 0))
	for range 40 {
		g.change(r, m)
	}
	var buf bytes.Buffer
	to := &frames{to: &buf}
	g.core.begin(true, to)
	if _, err := g.core.encode(1000, to); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Add(buf.Bytes()[:buf.Len()/2])
	f.Add([]byte{0, frameBury, 1, 'k'})
	f.Add([]byte{1, framePut, 2, 9, 9, 2, 0, 0})
	f.Add([]byte{0, framePut, 0, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, data []byte) {
		g := newCutRig()
		if err := g.core.load(bytes.NewReader(data)); err != nil {
			if err.Error() == "" {
				t.Fatal("an error that says nothing")
			}
			return
		}
		g.core.wake()
		g.told()
		var buf bytes.Buffer
		to := &frames{to: &buf}
		g.core.begin(true, to)
		if _, err := g.core.encode(1<<30, to); err != nil {
			t.Fatal(err)
		}
		want := g.told().String()
		if got := restored(t, [][]byte{buf.Bytes()}).told().String(); got != want {
			t.Fatalf("written again it is\n%s, was\n%s", got, want)
		}
	})
}

func TestAMangledHeadIsRefused(t *testing.T) {
	rig := newCutRig()
	whole := rig.core.head()
	for n := range whole {
		if err := newCutRig().core.restoreHead(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes were taken", n, len(whole))
		}
	}
	if err := newCutRig().core.restoreHead(append(slices.Clone(whole), 0)); err == nil {
		t.Error("one byte more was taken")
	}
	if err := newCutRig().core.restoreHead(append([]byte{headFormat + 1}, whole[1:]...)); err == nil {
		t.Error("a later format was taken")
	}
	if err := newCutRig().core.restoreHead(whole); err != nil {
		t.Error(err)
	}
}

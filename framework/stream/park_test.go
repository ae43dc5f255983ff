package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// parkRig is a task that sums numbers of a topic of others under its keys: "bad" cannot
// be decoded, and numbers below zero fail when they have been added.
type parkRig struct {
	core    *core
	records []eventlog.Record
	sum     *Process[int64, int64, int64]
}

func newParkRig(limits Park) *parkRig {
	g := &parkRig{}
	t := &Topology{Name: "rig", Version: 3, Partitions: 1, Park: &limits}
	in := From(t, &Source[int64]{Name: "in", Topic: "in", Decode: func(r *Record, n *int64) error {
		if simFields(r.Value, n) != nil {
			return errors.New("it is no number")
		}
		return nil
	}})
	g.sum = &Process[int64, int64, int64]{Name: "sum", State: simInts, Timed: true,
		OnEvent: func(c *Context[int64, int64], n int64) error {
			if *c.State() += n; n < 0 {
				return errors.New("it is below zero")
			}
			if n == 1000 {
				c.SetTimer("fails", time.Unix(0, 0))
			}
			return nil
		},
		OnTimer: func(*Context[int64, int64], Timer) error { return errors.New("the timer fails") }}
	Via(in, g.sum)
	g.core = newCore(t.stages[0], 0, shape{inputs: 1, careful: true})
	g.core.parking.records = func() (func(int64) (*eventlog.Record, error), func()) {
		return func(offset int64) (*eventlog.Record, error) { return &g.records[offset], nil }, func() {}
	}
	return g
}

// feed folds records as "key value".
func (g *parkRig) feed(all ...string) error {
	for _, text := range all {
		key, value, _ := strings.Cut(text, " ")
		g.records = append(g.records, eventlog.Record{Offset: int64(len(g.records)), Key: []byte(key), Value: []byte(value), At: 1000})
		if err := g.core.feed(g.records[len(g.records)-1:]); err != nil {
			return err
		}
	}
	return nil
}

// sums returns the keys' sums, and what is held back, as "a=3 b=4; c@7: 7 9".
func (g *parkRig) sums() string {
	var sums, held []string
	for _, u := range g.core.operators[0].(*Context[int64, int64]).states.all() {
		sums = append(sums, fmt.Sprintf("%s=%d", u.key, u.state))
	}
	for _, u := range g.core.parking.keys.all() {
		text := fmt.Sprintf("%s@%d:", u.key, u.state.at)
		for _, at := range u.state.events.List(0, u.state.events.Count) {
			text += fmt.Sprint(" ", at)
		}
		held = append(held, text)
	}
	slices.Sort(sums)
	slices.Sort(held)
	return strings.Join(sums, " ") + "; " + strings.Join(held, ", ")
}

func (g *parkRig) rule(act Act, key string, offset int64) error {
	return g.core.parking.obey(&Ruling{Act: act, Key: key, Offset: offset})
}

// refused checks that err is final and names all of parts.
func refused(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !permanent(err) || !strings.Contains(err.Error(), part) {
			t.Errorf("%v; want a final error with %q", err, part)
		}
	}
}

func TestNoMoreKeysAreParkedThanMayBe(t *testing.T) {
	g := newParkRig(Park{MaxKeys: 2})
	if err := g.feed("a 1", "a bad", "b -5", "c 3", "a 2", "c 4"); err != nil {
		t.Fatal(err)
	}
	const before = "a=1 c=7; a@1: 1 4, b@2: 2"
	if got := g.sums(); got != before {
		t.Errorf("there is %s, want %s", got, before)
	}
	refused(t, g.feed("c bad"), "Park.MaxKeys", "2 keys are parked", "at offset 6 ")
	g.records = g.records[:6]
	if err := g.rule(Discard, "a", 1); err != nil {
		t.Fatal(err)
	}
	if err := g.feed("c bad"); err != nil {
		t.Errorf("with room for one again: %v", err)
	}
	if got, want := g.sums(), "a=3 c=7; b@2: 2, c@6: 6"; got != want {
		t.Errorf("there is %s, want %s", got, want)
	}
}

func TestNoMoreEventsAreParkedThanMayBe(t *testing.T) {
	g := newParkRig(Park{MaxEvents: 3})
	if err := g.feed("a bad", "a 1", "b 1", "a 2", "b 2"); err != nil {
		t.Fatal(err)
	}
	for _, one := range []string{"a 3", "b bad"} {
		refused(t, g.feed(one), "Park.MaxEvents", "3 events are parked", "offset 5 ")
		g.records = g.records[:5]
	}
	if got, want := g.sums(), "b=3; a@0: 0 1 3"; got != want {
		t.Errorf("there is %s, want %s", got, want)
	}
	if err := g.rule(Retry, "a", 0); err != nil { // it fails again, and takes no room
		t.Fatal(err)
	}
	if err := g.rule(Discard, "a", 0); err != nil {
		t.Fatal(err)
	}
	if err := g.feed("a -1", "a 1", "a 1"); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if got, want := g.sums(), "a=3 b=3; a@5: 5 6 7"; got != want || g.core.parking.count != 3 {
		t.Errorf("there is %s, want %s; it counts %d events", got, want, g.core.parking.count)
	}
}

// A text of an error is cut, whatever it is.
func TestTheTextOfAnErrorIsBounded(t *testing.T) {
	for _, text := range []string{strings.Repeat("é", 5000), strings.Repeat("x\xff", 5000), ""} {
		if got := textOf(errors.New(text)); len(got) > maxWhy+len("…") || strings.ToValidUTF8(got, "") != got {
			t.Errorf("%d bytes: %.20q…", len(got), got)
		}
	}
}

// goldenParked is the rig whose snapshot is kept: a key parked by an event with what
// follows on it, and one by a timer.
func goldenParked(t *testing.T) *parkRig {
	g := newParkRig(Park{})
	if err := g.feed("a 1", "a bad", "b 1000", "a 2", "b 7", "c 3"); err != nil {
		t.Fatal(err)
	}
	if err := g.rule(Retry, "a", 1); err != nil {
		t.Fatal(err)
	}
	return g
}

const goldenHeld = "a=1 b=1000 c=3; a@1: 1 3, b@2: 4"

// testdata/v1/parked.hex is what the first format wrote, and is read for ever.
func TestParkedKeysOfFormat1AreRestored(t *testing.T) {
	g := newParkRig(Park{})
	if err := g.core.load(bytes.NewReader(golden(t, "testdata/v1/parked.hex"))); err != nil {
		t.Fatal(err)
	}
	g.core.wake()
	if got := g.sums(); got != goldenHeld {
		t.Errorf("restored is %s, want %s", got, goldenHeld)
	}
	i := g.core.parking.keys.index["b"]
	b := g.core.parking.keys.unit(i).state
	if b.timer == nil || b.timer.name != "fails" || b.timer.key != "b" || !strings.HasSuffix(b.why, "the timer fails") || b.since != 0 {
		t.Errorf("the key that a timer has parked is %+v, %+v", b, b.timer)
	}
	a := g.core.parking.keys.unit(g.core.parking.keys.index["a"]).state
	if a.attempts != 1 || a.timer != nil || a.why == "" {
		t.Errorf("the key that an event has parked is %+v", a)
	}
	if g.core.parking.count != 3 {
		t.Errorf("it counts %d events, want 3", g.core.parking.count)
	}
}

func TestParkedKeysAreWrittenAsFormat1(t *testing.T) {
	_, blob := cutOf(t, goldenParked(t).core, true)
	if want := golden(t, "testdata/v1/parked.hex"); parkedFormat == 1 && !bytes.Equal(blob, want) {
		t.Errorf("the frames are\n%x, were\n%x", blob, want)
	}
}

// testdata/v1/ruling.json is how rulings lie in logs, for ever.
func TestRulingsAreReadAndWrittenAsTheyWereFirst(t *testing.T) {
	text, err := os.ReadFile("testdata/v1/ruling.json")
	if err != nil {
		t.Fatal(err)
	}
	want := Ruling{Topology: "app.cards", Version: 3, Operator: "events", Partition: 2, Key: "post/7", Offset: 81, Act: Discard, Reason: "typed twice"}
	var got Ruling
	if err := json.Unmarshal(text, &got); err != nil || got != want {
		t.Errorf("read is %+v, %v", got, err)
	}
	if data, err := json.Marshal(want); err != nil || string(data) != strings.TrimSpace(string(text)) {
		t.Errorf("written is %s, %v", data, err)
	}
}

// A parked key that cannot have been written is refused: what is read could not be
// worked with.
func TestAParkedKeyThatCannotBeIsRefused(t *testing.T) {
	whole := parkedKey{why: "why", since: 5, at: 7, attempts: 1, timer: &alarm{operator: 0, at: 3, name: "n", key: "k"}}
	for _, at := range []int64{2, 3, 9} {
		whole.events.Add(at)
	}
	data := appendParked(nil, &whole)
	var back parkedKey
	if err := decodeParked(data, &back, 1); err != nil || !bytes.Equal(appendParked(nil, &back), data) {
		t.Fatalf("what was written is read as %+v, %v", back, err)
	}
	for n := range data {
		if err := decodeParked(data[:n], &back, 1); err == nil {
			t.Errorf("%d of %d bytes were taken", n, len(data))
		}
	}
	for name, spoil := range map[string]func(*parkedKey){
		"a count too many":           func(k *parkedKey) { k.events.Count++ },
		"another last":               func(k *parkedKey) { k.events.Last++ },
		"offsets that go back":       func(k *parkedKey) { k.events.Add(4) },
		"one offset twice":           func(k *parkedKey) { k.events.Add(9) },
		"half an offset":             func(k *parkedKey) { k.events.Deltas = append(k.events.Deltas, 0x80) },
		"a timer of no operator":     func(k *parkedKey) { k.timer = &alarm{operator: 1} },
		"an operator below zero":     func(k *parkedKey) { k.timer = &alarm{operator: -1} },
		"attempts that are too many": func(k *parkedKey) { k.attempts = -1 },
	} {
		k := whole
		k.events.Deltas = slices.Clone(whole.events.Deltas)
		spoil(&k)
		if err := decodeParked(appendParked(nil, &k), &back, 1); !errors.Is(err, errMangled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := decodeParked(append([]byte{parkedFormat + 1}, data[1:]...), &back, 1); err == nil {
		t.Error("a later format was taken")
	}
}

// FuzzParked reads any bytes as a parked key: it is refused, or can be worked with and
// is the same when written and read again.
func FuzzParked(f *testing.F) {
	k := parkedKey{why: "why", since: 5, at: 7, attempts: 1}
	f.Add(appendParked(nil, &k))
	for _, at := range []int64{0, 1, 900, 1 << 40} {
		k.events.Add(at)
	}
	f.Add(appendParked(nil, &k))
	k.timer = &alarm{operator: 2, at: -3, name: "n", key: "k"}
	f.Add(appendParked(nil, &k))
	f.Add([]byte{parkedFormat, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var k, back parkedKey
		if err := decodeParked(data, &k, 3); err != nil {
			if err.Error() == "" {
				t.Fatal("an error that says nothing")
			}
			return
		}
		list := k.events.List(0, k.events.Count)
		if len(list) != k.events.Count || !slices.IsSorted(list) {
			t.Fatalf("%d offsets, of %d: %d", len(list), k.events.Count, list)
		}
		again := appendParked(nil, &k)
		if err := decodeParked(again, &back, 3); err != nil || !bytes.Equal(appendParked(nil, &back), again) {
			t.Fatalf("written again it is read as %+v, %v; was %+v", back, err, k)
		}
	})
}

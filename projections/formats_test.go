package projections

import (
	"encoding/hex"
	"math"
	"math/rand"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/view"
)

// golden reads a format's file: bytes in hexadecimal digits, with comments.
func golden(t *testing.T, name string, is []byte) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/v1/" + name + ".txt")
	if err != nil {
		t.Fatalf("%v; a new one would begin with\n%x", err, is)
	}
	var all strings.Builder
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		all.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(all.String())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b, is) {
		t.Errorf("%s is written as\n%x, want\n%x", name, is, b)
	}
	return b
}

func TestAnEventOfAKeyStaysReadable(t *testing.T) {
	e := partition.Event{Key: []byte("tribe/hikers"), Data: []byte(`{"member":"ann"}`), Envelope: event.Envelope{
		ID: event.ID{1, 2, 3, 15: 16}, Type: "tribe.joined", Version: 300, Time: time.Unix(1_700_000_000, 5).UTC(), Actor: "ann"}}
	var got partition.Event
	data := golden(t, "routed", appendRouted(nil, &e))
	if err := decodeRouted(data, &got); err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("%+v, %v", got, err)
	}
	for n := range len(data) - len(e.Data) {
		if err := decodeRouted(data[:n], &got); err == nil {
			t.Errorf("%d bytes of it are read", n)
		}
	}
	if err := decodeRouted([]byte{2}, &got); err == nil || !strings.Contains(err.Error(), "reads format 1") {
		t.Errorf("a later format: %v", err)
	}
}

func TestPlacingsStayReadable(t *testing.T) {
	for name, p := range map[string]placing{
		"place":  {op: opPlace, set: "all", member: "ann", order: orderOf(2.5)},
		"add":    {op: opAdd, set: "all", member: "ann", amount: -1},
		"remove": {op: opRemove, set: "all", member: "ann"},
	} {
		written, err := appendPlacing(nil, &p)
		if err != nil {
			t.Fatal(err)
		}
		data := golden(t, name, written)
		var got placing
		if err := decodePlacing(data, &got); err != nil || got != p {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		for n := range data {
			if err := decodePlacing(data[:n], &got); err == nil {
				t.Errorf("%s: %d bytes of it are read", name, n)
			}
		}
		if err := decodePlacing(append(data, 0), &got); err == nil {
			t.Errorf("%s: more than it is read", name)
		}
	}
	entry, err := appendEntry(nil, &view.Entry{Set: "all", Sort: "1", Member: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if err := decodePlacing(entry, new(placing)); err == nil || !strings.Contains(err.Error(), "raise the Version") {
		t.Errorf("an entry of a feed with Place: %v", err)
	}
}

func TestScoresOrderAsTheirEntriesDo(t *testing.T) {
	scores := []float64{-math.MaxFloat64, -1e300, -7, -1.5, -math.SmallestNonzeroFloat64, 0, math.SmallestNonzeroFloat64, 0.1, 0.3, 1, 7, 1 << 53, math.MaxFloat64}
	random := rand.New(rand.NewSource(1))
	for range 2000 {
		scores = append(scores, math.Float64frombits(random.Uint64()&^(1<<62)), float64(random.Intn(100)-50))
	}
	slices.Sort(scores)
	last := ""
	for _, s := range scores {
		sort := standsAt(orderOf(s)).entry("s", "m").Sort
		if back, err := scoreAt(sort); err != nil || back != s || sort < last {
			t.Fatalf("%v is written %s, behind %s, and read %v, %v", s, sort, last, back, err)
		}
		last = sort
	}
	if orderOf(math.Copysign(0, -1)) != orderOf(0) {
		t.Error("0 and -0 are two scores")
	}
	if _, err := scoreAt("12"); err == nil {
		t.Error("12 is read as the order of a score")
	}
}

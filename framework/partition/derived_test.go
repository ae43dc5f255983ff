package partition_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

func anyDerived(r *rand.Rand) partition.Derived {
	n := func() uint64 { return r.Uint64() >> r.IntN(64) }
	return partition.Derived{Fold: n(), Source: partition.Source{Operator: uint32(n()), Partition: int32(n() & math.MaxInt32)},
		Number: n() | 1, Offset: int64(n() & math.MaxInt64), Index: n(), Port: n(), Time: int64(r.Uint64()), Mark: int64(r.Uint64())}
}

func TestADerivedHeaderReadsAsItWasWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0))
	for range 5000 {
		want := anyDerived(r)
		header := want.Append(nil)
		var got partition.Derived
		if err := got.Decode(header); err != nil || got != want {
			t.Fatalf("%+v, %v; want %+v", got, err, want)
		}
		for n := range header {
			if err := got.Decode(header[:n]); !errors.Is(err, event.ErrForeign) {
				t.Fatalf("%d of %d bytes: %v", n, len(header), err)
			}
		}
	}
}

func FuzzDerived(f *testing.F) {
	d := partition.Derived{Fold: 1, Number: 1, Mark: partition.NoMark}
	f.Add(d.Append(nil))
	f.Add([]byte{1, 4})
	f.Fuzz(func(t *testing.T, data []byte) {
		var d, again partition.Derived
		if err := d.Decode(data); err != nil {
			if !errors.Is(err, event.ErrForeign) && !errors.Is(err, event.ErrNewer) {
				t.Fatal(err)
			}
			return
		}
		if err := again.Decode(d.Append(nil)); err != nil || again != d {
			t.Fatalf("%+v, %v; want %+v", again, err, d)
		}
	})
}

func FuzzRestoreNumbers(f *testing.F) {
	n := partition.NewNumbers(3)
	var d partition.Derived
	for i := range uint64(4) {
		h := partition.Derived{Fold: 3, Source: partition.Source{Operator: uint32(i % 2)}, Number: i/2 + 1, Mark: int64(i)}
		if _, _, err := n.Step(h.Append(nil), &d); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(n.AppendSnapshot(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, _, err := partition.RestoreNumbers(data)
		if err != nil {
			return
		}
		b := n.AppendSnapshot(nil)
		again, rest, err := partition.RestoreNumbers(b)
		if err != nil || len(rest) > 0 || !bytes.Equal(again.AppendSnapshot(nil), b) {
			t.Fatalf("restored it is another: %x, %v", b, err)
		}
	})
}

// numbersModel is the rule of numbers by whole lists.
type numbersModel struct{ taken []partition.Derived }

func (m *numbersModel) step(d partition.Derived, fold uint64) partition.Reason {
	next := uint64(1)
	for _, t := range m.taken {
		if t.Source == d.Source {
			next++
		}
	}
	switch {
	case d.Fold != fold:
		return partition.OtherFold
	case d.Number < next:
		return partition.Duplicate
	case d.Number > next:
		return partition.Gap
	}
	m.taken = append(m.taken, d)
	return partition.NoReason
}

func (m *numbersModel) mark(sources int) int64 {
	marks := map[partition.Source]int64{}
	for _, t := range m.taken {
		if old, ok := marks[t.Source]; !ok || t.Mark > old {
			marks[t.Source] = t.Mark
		}
	}
	if len(marks) < sources {
		return partition.NoMark
	}
	least := int64(math.MaxInt64)
	for _, mark := range marks {
		least = min(least, mark)
	}
	return least
}

func TestOfEachSourceExactlyTheNextNumberTakesEffect(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 0))
		n, m, sources := partition.NewNumbers(2), &numbersModel{}, 1+r.IntN(3)
		for i := range 60 {
			d := partition.Derived{Fold: 2, Source: partition.Source{Operator: uint32(r.IntN(sources))}, Number: 1 + uint64(r.IntN(12)), Mark: r.Int64N(20) - 10}
			if r.IntN(10) == 0 {
				d.Fold = 1 + 2*uint64(r.IntN(2))
			}
			if r.IntN(15) == 0 {
				d.Mark = partition.NoMark
			}
			before := n.AppendSnapshot(nil)
			var got partition.Derived
			verdict, reason, err := n.Step(d.Append(nil), &got)
			want := m.step(d, 2)
			if err != nil || reason != want || (verdict == partition.Valid) != (want == partition.NoReason) || got != d {
				t.Fatalf("seed %d, record %d: %v %v %v, want %v", seed, i, verdict, reason, err, want)
			}
			if verdict == partition.Void && !bytes.Equal(n.AppendSnapshot(nil), before) {
				t.Fatalf("seed %d, record %d is void, and yet it left a trace", seed, i)
			}
			if got, want := n.Mark(sources), m.mark(sources); got != want {
				t.Fatalf("seed %d, record %d: watermark %d, want %d", seed, i, got, want)
			}
			if r.IntN(5) == 0 {
				rest := []byte(nil)
				if n, rest, err = partition.RestoreNumbers(append(n.AppendSnapshot(nil), "rest"...)); err != nil || string(rest) != "rest" {
					t.Fatalf("restore: %v, and %q is left", err, rest)
				}
			}
		}
	}
}

func TestForeignHeadersAreVoidAndNewerOnesStopTheReader(t *testing.T) {
	n := partition.NewNumbers(1)
	var d partition.Derived
	whole := (&partition.Derived{Fold: 1, Number: 1}).Append(nil)
	for _, header := range [][]byte{nil, {0}, {1}, whole[:20], append(bytes.Clone(whole), 0), partition.ProbeHeader(partition.Claim{Epoch: 1})} {
		if verdict, reason, err := n.Step(header, &d); verdict != partition.Void || reason != partition.Foreign || err != nil {
			t.Errorf("%x: %v %v %v", header, verdict, reason, err)
		}
	}
	if _, _, err := n.Step([]byte{event.Format + 1, 4}, &d); !errors.Is(err, event.ErrNewer) {
		t.Errorf("a newer format: %v", err)
	}
}

func TestDerivedHeadersOfFormat1AreRead(t *testing.T) {
	const file = "testdata/v1/derived.hex"
	lines, _ := golden(t, file)
	for _, line := range lines {
		words := strings.Fields(line)
		var want partition.Derived
		if _, err := fmt.Sscan(strings.Join(words[1:], " "), &want.Fold, &want.Source.Operator, &want.Source.Partition, &want.Number,
			&want.Offset, &want.Index, &want.Port, &want.Time, &want.Mark); err != nil {
			t.Fatal(err)
		}
		header := unhex(t, words[0])
		var got partition.Derived
		if err := got.Decode(header); err != nil || got != want {
			t.Errorf("%x reads as %+v, %v; want %+v", header, got, err, want)
		}
		if event.Format == 1 && !bytes.Equal(want.Append(nil), header) {
			t.Errorf("%+v is written as %x, was %x", want, want.Append(nil), header)
		}
	}
}

func TestNumbersOfFormat1AreRestored(t *testing.T) {
	const file = "testdata/v1/numbers.hex"
	lines, _ := golden(t, file)
	b := unhex(t, strings.Join(lines, ""))
	n, rest, err := partition.RestoreNumbers(b)
	if err != nil || len(rest) > 0 || !bytes.Equal(n.AppendSnapshot(nil), b) {
		t.Fatalf("%v, %x left", err, rest)
	}
	if n.Mark(2) != -5 || n.Mark(3) != partition.NoMark {
		t.Errorf("watermarks %d and %d", n.Mark(2), n.Mark(3))
	}
	var d partition.Derived
	h := partition.Derived{Fold: 3, Source: partition.Source{Operator: 1, Partition: 2}, Number: 8}
	if _, reason, err := n.Step(h.Append(nil), &d); reason != partition.NoReason || err != nil {
		t.Errorf("the next number is %v, %v", reason, err)
	}
}

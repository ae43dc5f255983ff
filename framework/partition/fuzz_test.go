package partition_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// FuzzStep folds records of arbitrary bytes: five bytes say how long the next
// one's key, header and value are and how many offsets lie before it. The corpus
// in testdata/fuzz holds whole histories.
func FuzzStep(f *testing.F) {
	f.Add(packed(sample()))
	f.Fuzz(func(t *testing.T, data []byte) {
		fold, view := partition.New(two), partition.New(partition.Memory{})
		for offset := int64(0); len(data) >= 5; offset++ {
			var r record
			offset += int64(data[4])
			r, data = unpack(data, offset)
			got, want := fuzzStep(t, fold, r), fuzzStep(t, view, r)
			if told(got) != told(want) {
				t.Fatalf("record %d: %s to an owner, %s to a view", offset, told(got), told(want))
			}
			fold = sameAfterRestore(t, fold)
		}
		sameAfterRestore(t, view)
	})
}

// fuzzStep steps and checks what holds for any record.
func fuzzStep(t *testing.T, f *partition.Fold, r record) partition.Result {
	before := f.AppendSnapshot(nil)
	got, err := f.Step(r.offset, r.key, r.header, r.value)
	if errors.Is(err, event.ErrNewer) {
		if !bytes.Equal(f.AppendSnapshot(nil), before) {
			t.Fatalf("record %d: refused, and yet the fold changed", r.offset)
		}
		return got
	}
	if err != nil || f.Next() != r.offset+1 || got.Verdict == 0 || (got.Reason != partition.NoReason) != (got.Verdict == partition.Void) {
		t.Fatalf("record %d: %s, %v; next is %d", r.offset, told(got), err, f.Next())
	}
	for i, e := range got.Events {
		if e.Version != f.Version(e.Key)-uint64(len(got.Events)-1-i) {
			t.Fatalf("record %d: event %d has version %d, its aggregate %d", r.offset, i, e.Version, f.Version(e.Key))
		}
	}
	return got
}

// sameAfterRestore returns the fold restored from its snapshot, which must be
// that snapshot's state and no other.
func sameAfterRestore(t *testing.T, f *partition.Fold) *partition.Fold {
	b := f.AppendSnapshot(nil)
	g, err := partition.Restore(b, two)
	if err != nil {
		t.Fatalf("%v: %x", err, b)
	}
	if again := g.AppendSnapshot(nil); !bytes.Equal(again, b) {
		t.Fatalf("restored it is another:\n%x\n%x", again, b)
	}
	return g
}

func packed(log []fact) (b []byte) {
	for i, l := range log {
		r := l.record(int64(i))
		b = append(b, byte(len(r.key)), byte(len(r.header)), byte(len(r.header)>>8), byte(len(r.value)), 0)
		b = append(append(append(b, r.key...), r.header...), r.value...)
	}
	return b
}

func unpack(b []byte, offset int64) (record, []byte) {
	lengths := [3]int{int(b[0]), int(binary.LittleEndian.Uint16(b[1:])), int(b[3])}
	b = b[5:]
	var parts [3][]byte
	for i, n := range lengths {
		n = min(n, len(b))
		parts[i], b = b[:n:n], b[n:]
	}
	return record{offset, parts[0], parts[1], parts[2]}, b
}

// FuzzRestore restores from arbitrary bytes. What is taken must work as a fold,
// and its own snapshot is restored as the same.
func FuzzRestore(f *testing.F) {
	whole := folded(f, two, sample()).AppendSnapshot(nil)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(partition.New(two).AppendSnapshot(nil))
	f.Add(binary.AppendUvarint(bytes.Clone(whole[:19]), 1<<60))
	next := fact{kind: 'e', epoch: 3, key: "tribe/a", command: sample()[5].command, version: 5, index: 2, count: 3, at: base}
	f.Fuzz(func(t *testing.T, data []byte) {
		fold, err := partition.Restore(data, two)
		if err != nil {
			return
		}
		fold = sameAfterRestore(t, fold)
		if r := next.record(fold.Next()); r.offset >= 0 {
			fold.Step(r.offset, r.key, r.header, r.value)
		}
		fold.TooLate(next.command)
		fold.AppendSnapshot(nil)
	})
}

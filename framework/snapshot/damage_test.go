package snapshot_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

// chained returns a store with a full snapshot, a second full one, and two deltas
// after that; so that the last has a chain of its own. It keeps all of them.
func chained(t *testing.T) (store *snapshot.MemoryStore, old, last string) {
	t.Helper()
	store, clock := snapshot.Memory(), newClock(1)
	k := &task{T: t, Series: snapshot.NewSeries(store, identity, 10), clock: clock}
	k.Clock = clock
	k.grow("the old one", true)
	old = k.text
	k.grow(", a second", true)
	k.grow("-delta", false)
	k.grow("-another", false)
	return store, old, k.text
}

// newestOf returns the names of the newest manifest and of all blobs that the
// newest snapshot alone needs.
func newestOf(t *testing.T, store snapshot.BlobStore) (manifest string, blobs []string) {
	t.Helper()
	all := names(t, store, "")
	manifests := ending(all, ".manifest")
	return manifests[len(manifests)-1], append(ending(all, ".full")[1:], ending(all, ".delta")...)
}

// damages returns what may become of a blob, with a name for each: every bit
// of every byte flipped, cut off everywhere, added to, emptied.
func damages(b []byte) map[string][]byte {
	all := map[string][]byte{
		"a byte more":  append(slices.Clone(b), 0),
		"twice":        append(slices.Clone(b), b...),
		"zeros":        make([]byte, len(b)),
		"first lost":   b[1:],
		"a byte ahead": append([]byte{0}, b...),
	}
	for i := range b {
		for bit := range 8 {
			flipped := slices.Clone(b)
			flipped[i] ^= 1 << bit
			all[fmt.Sprintf("bit %d of byte %d flipped", bit, i)] = flipped
		}
		all[fmt.Sprintf("cut off at %d", i)] = b[:i]
	}
	return all
}

// wantOlder restores a store in which the newest snapshot is not right.
func wantOlder(t *testing.T, store snapshot.BlobStore, what, last string, older ...string) {
	t.Helper()
	r := restore(t, newTask(t, store, identity, newClock(2)).Series, last)
	if !r.found || !slices.Contains(older, r.text) {
		t.Fatalf("%s: restored %q, found %v, %v", what, r.text, r.found, r.problems)
	}
	if len(r.problems) == 0 {
		t.Fatalf("%s: no problem", what)
	}
	for _, p := range r.problems {
		if !errors.Is(p, snapshot.ErrDamaged) && !errors.Is(p, snapshot.ErrFormat) && !errors.Is(p, snapshot.ErrForeign) {
			t.Fatalf("%s: %v", what, p)
		}
		if !strings.Contains(p.Error(), ".manifest") {
			t.Fatalf("%s: which snapshot has it? %v", what, p)
		}
	}
}

func TestADamagedManifestIsNamedAndTheOlderSnapshotUsed(t *testing.T) {
	store, _, last := chained(t)
	name, _ := newestOf(t, store)
	right := read(t, store, name)
	for what, b := range damages(right) {
		write(t, store, name, b)
		wantOlder(t, store, what, last, strings.TrimSuffix(last, "-another"))
	}
	write(t, store, name, right)
	if r := restore(t, newTask(t, store, identity, newClock(2)).Series, last); r.text != last || r.problems != nil {
		t.Fatalf("undamaged: %q %v", r.text, r.problems)
	}
}

func TestADamagedBlobIsNamedAndTheOlderSnapshotUsed(t *testing.T) {
	store, old, last := chained(t)
	older := []string{old, "the old one, a second", "the old one, a second-delta"}
	_, blobs := newestOf(t, store)
	if len(blobs) != 3 {
		t.Fatalf("blobs %q", blobs)
	}
	for i, name := range blobs {
		right := read(t, store, name)
		for what, b := range damages(right) {
			write(t, store, name, b)
			wantOlder(t, store, name+": "+what, last, older...)
		}
		other := blobs[(i+1)%3]
		write(t, store, name, read(t, store, other))
		wantOlder(t, store, name+" is another blob", last, older...)
		if err := store.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		wantOlder(t, store, name+" is missing", last, older...)
		write(t, store, name, right)
	}
}

// TestDamageBetweenFramesIsFound moves, doubles and leaves out whole frames, which
// are right by themselves.
func TestDamageBetweenFramesIsFound(t *testing.T) {
	store := snapshot.Memory()
	k := newTask(t, store, identity, newClock(1))
	k.grow("old", true)
	for i := range 4 {
		k.text += strings.Repeat(fmt.Sprint(i), 256<<10)
	}
	k.grow("end", true)
	name := ending(names(t, store, ""), ".full")[1]
	b := read(t, store, name)
	const head, frame = 21, 8 + 256<<10
	if len(b) < head+4*frame {
		t.Fatalf("%d bytes", len(b))
	}
	at := func(i int) []byte { return b[head+i*frame : head+(i+1)*frame] }
	rest := b[head+4*frame:]
	for what, frames := range map[string][][]byte{
		"swapped":        {b[:head], at(0), at(2), at(1), at(3), rest},
		"doubled":        {b[:head], at(0), at(0), at(1), at(2), at(3), rest},
		"left out":       {b[:head], at(0), at(1), at(3), rest},
		"last left out":  {b[:head], at(0), at(1), at(2), at(3), rest[len(rest)-8:]},
		"ended early":    {b[:head], at(0), rest[len(rest)-8:]},
		"never ended":    {b[:head], at(0), at(1), at(2), at(3), rest[:len(rest)-8]},
		"only the head":  {b[:head]},
		"a large length": {b[:head], {0, 0, 32, 0}, b[head+4:]},
	} {
		write(t, store, name, bytes.Join(frames, nil))
		wantOlder(t, store, what, k.text, "old")
	}
}

// TestDamageThatLoadOverlooksIsFound has a load that reads nothing, and one that
// takes an error for the end.
func TestDamageThatLoadOverlooksIsFound(t *testing.T) {
	for what, load := range map[string]func([]byte, []io.Reader) error{
		"reads nothing": func([]byte, []io.Reader) error { return nil },
		"overlooks errors": func(_ []byte, blobs []io.Reader) error {
			for _, b := range blobs {
				_, _ = io.ReadAll(b)
			}
			return nil
		},
		"has other worries": func(_ []byte, blobs []io.Reader) error {
			if _, err := io.ReadAll(blobs[len(blobs)-1]); err != nil {
				return errors.New("cannot decode order 17")
			}
			return nil
		},
	} {
		store, _, last := chained(t)
		_, blobs := newestOf(t, store)
		b := read(t, store, blobs[2])
		b[len(b)-10] ^= 1
		write(t, store, blobs[2], b)
		position, found, problems, err := newTask(t, store, identity, newClock(2)).Restore(t.Context(), nil, load)
		if !found || err != nil || position != int64(len(last)-len("-another")) {
			t.Errorf("%s: restored %d, %v, %v", what, position, found, err)
		}
		if len(problems) != 1 || !errors.Is(problems[0], snapshot.ErrDamaged) {
			t.Errorf("%s: %v", what, problems)
		}
	}
}

func TestWhatIsNotAManifestIsNamed(t *testing.T) {
	store, _, last := chained(t)
	name, _ := newestOf(t, store)
	for _, other := range []string{"extra.manifest", "00.manifest", strings.Repeat("9", 19) + "-018f3c2e-7b1a-7c3d-9e4f-0123456789ab.manifest"} {
		write(t, store, identity.Prefix()+other, read(t, store, name))
		r := restore(t, newTask(t, store, identity, newClock(2)).Series, last)
		if r.text != last || len(r.problems) > 1 || len(r.problems) == 1 && !errors.Is(r.problems[0], snapshot.ErrDamaged) {
			t.Errorf("%s: restored %q, %v", other, r.text, r.problems)
		}
		if err := store.Delete(t.Context(), identity.Prefix()+other); err != nil {
			t.Fatal(err)
		}
	}
}

func TestANewerFormatIsSaidAndKept(t *testing.T) {
	store, _, last := chained(t)
	manifest, blobs := newestOf(t, store)
	for _, name := range []string{manifest, blobs[2]} {
		right := read(t, store, name)
		newer := slices.Clone(right)
		newer[4]++
		write(t, store, name, newer)
		r := restore(t, newTask(t, store, identity, newClock(2)).Series, last)
		if r.text != strings.TrimSuffix(last, "-another") || len(r.problems) != 1 || !errors.Is(r.problems[0], snapshot.ErrFormat) ||
			!strings.Contains(r.problems[0].Error(), "format 2, this program reads 1") {
			t.Errorf("%s: restored %q, %v", name, r.text, r.problems)
		}
		write(t, store, name, right)
	}
	b := read(t, store, manifest)
	b[4]++
	write(t, store, manifest, b)
	k := newTask(t, store, identity, newClock(2))
	k.text = strings.Repeat("new", 20) // ahead of what is there
	k.clock.move(2 * time.Hour)
	for range 3 {
		k.grow("er", true)
	}
	if !slices.Contains(names(t, store, ""), manifest) || len(ending(names(t, store, ""), ".delta")) != 2 {
		t.Errorf("a snapshot of a newer program, or what it may need, is gone: %q", names(t, store, ""))
	}
	k.clock.move(25 * time.Hour)
	k.grow("er", true)
	k.grow("er", true)
	if all := names(t, store, ""); len(all) != 4 {
		t.Errorf("a day later there are %q, want two snapshots", all)
	}
}

package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

// goldenID is the task whose snapshots testdata/v1 holds.
var goldenID = Identity{App: "Shop", Operator: "orders/by day", Topic: "shop.events", Partition: 7, Version: 2, State: "order{lines}"}

// copied returns a store with the files of testdata/v1.
func copied(t *testing.T) *MemoryStore {
	t.Helper()
	kept, err := Dir(filepath.Join(t.TempDir(), "copy"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(kept.root, os.DirFS(filepath.Join("testdata", "v1"))); err != nil {
		t.Fatal(err)
	}
	names, err := kept.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	m := Memory()
	for _, name := range names {
		r, err := kept.Get(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(m.Put(t.Context(), name, r), r.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// listing writes the newest snapshot as text.
func listing(t *testing.T, store BlobStore) string {
	t.Helper()
	var text strings.Builder
	position, found, problems, err := NewSeries(store, goldenID, 0).Restore(t.Context(), nil, func(head []byte, blobs []io.Reader) error {
		fmt.Fprintf(&text, "head %q\n", head)
		for _, b := range blobs {
			read, err := io.ReadAll(b)
			if err != nil {
				return err
			}
			fmt.Fprintf(&text, "blob %d bytes, sum %08x, %.20q\n", len(read), crc32.ChecksumIEEE(read), read)
		}
		return nil
	})
	fmt.Fprintf(&text, "position %d, found %v, problems %v, error %v\n", position, found, problems, err)
	return text.String()
}

// still is a clock that stands, and draws what it drew.
type still struct{ n byte }

func (*still) Now() time.Time                       { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC) }
func (*still) After(time.Duration) <-chan time.Time { return nil }
func (c *still) Entropy() [10]byte                  { c.n++; return [10]byte{c.n, 9: c.n} }

// goldenStore writes what testdata/v1 holds.
func goldenStore(t *testing.T, store BlobStore) {
	t.Helper()
	s := NewSeries(store, goldenID, 0)
	s.Clock = &still{}
	for i, text := range []string{strings.Repeat("long ", 60_000), "delta", ""} {
		w := s.Begin(t.Context(), i == 0)
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(t.Context(), 1000*int64(i+1), []byte{0, 1, byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTheFirstFormatIsReadForEver reads files that the first version of this
// package wrote. They and their listing are never written again: a later format
// gets files of its own beside them.
func TestTheFirstFormatIsReadForEver(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("testdata", "v1.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if got := listing(t, copied(t)); got != string(want) {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestTodaysFormatIsTheFirst fails when other bytes are written than those kept,
// or under other names.
func TestTodaysFormatIsTheFirst(t *testing.T) {
	today, kept := Memory(), copied(t)
	goldenStore(t, today)
	if len(kept.blobs) == 0 || !reflect.DeepEqual(today.blobs, kept.blobs) {
		t.Error("the bytes or names written are not those of testdata/v1")
		for name, b := range today.blobs {
			t.Logf("%s: %d bytes, kept %d", name, len(b), len(kept.blobs[name]))
		}
	}
}

func sampleManifest() *manifest {
	id := func(n byte) event.ID { return event.NewID(time.UnixMilli(1e12), [10]byte{n}) }
	return &manifest{series: id(1), at: time.UnixMilli(1e12).UTC(), id: goldenID, position: 1 << 40, head: []byte("head"),
		chain: []blobRef{{id: id(2), full: true, size: 1 << 33, sum: 5}, {id: id(3), size: 29}}}
}

// sealed puts a manifest's head and checksum around a body.
func sealed(body []byte) []byte {
	b := append([]byte(manifestMagic), manifestFormat)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(body)))
	b = append(b, body...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func TestManifestsComeBack(t *testing.T) {
	m := sampleManifest()
	b, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeManifest(b)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("%+v, %v, want %+v", got, err, m)
	}
	m.id.State = strings.Repeat("x", manifestMost)
	if _, err := m.encode(); err == nil {
		t.Error("a manifest of more than it may have was made")
	}
}

// FuzzManifest decodes arbitrary bytes, as they are, and as a body with the right
// checksum. What is taken comes back the same.
func FuzzManifest(f *testing.F) {
	b, err := sampleManifest().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[manifestHead : len(b)-4])
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, b := range [][]byte{data, sealed(data)} {
			m, err := decodeManifest(b)
			if err != nil {
				if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
					t.Fatal(err)
				}
				continue
			}
			again, err := m.encode()
			if err != nil || len(m.chain) == 0 || m.position < 0 {
				t.Fatalf("taken: %+v, %v", m, err)
			}
			twice, err := decodeManifest(again)
			if err != nil || !reflect.DeepEqual(m, twice) {
				t.Fatalf("%+v, then %+v, %v", m, twice, err)
			}
		}
	})
}

// TestABlobThatIsRightByItselfIsNotTakenForAnother puts a blob with the same id
// and other content in the place of one: each of its frames is right.
func TestABlobThatIsRightByItselfIsNotTakenForAnother(t *testing.T) {
	store := Memory()
	goldenStore(t, store)
	for name := range store.blobs {
		id, ok := parseBlobName(name[len(goldenID.Prefix()):])
		if !ok {
			continue
		}
		queue, free := make(chan []byte, 1), make(chan []byte, 1)
		queue <- append(make([]byte, frameHead), "DELTA"...)
		close(queue)
		b, err := io.ReadAll(newFramer(t.Context(), blobRef{id: id}, queue, free))
		if err != nil {
			t.Fatal(err)
		}
		right := store.blobs[name]
		store.blobs[name] = b
		_, found, problems, err := NewSeries(store, goldenID, 0).Restore(t.Context(), func(p int64) bool { return p == 3000 },
			func([]byte, []io.Reader) error { return nil })
		if found || err != nil || len(problems) != 1 || !errors.Is(problems[0], ErrDamaged) {
			t.Errorf("%s: found %v, %v, %v", name, found, problems, err)
		}
		store.blobs[name] = right
	}
}

func TestAFolderWhoseSyncFailsTakesNothing(t *testing.T) {
	d, err := Dir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Put(t.Context(), "a/b", strings.NewReader("before")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("input/output error")
	for n := range 2 { // the file's, the folder's
		calls := 0
		d.sync = func(f *os.File) error {
			if calls++; calls == n+1 {
				return broken
			}
			return f.Sync()
		}
		if err := d.Put(t.Context(), "a/b", strings.NewReader("after")); !errors.Is(err, broken) {
			t.Errorf("sync %d fails: %v", n, err)
		}
		if left, err := os.ReadDir(filepath.Join(d.root, newFolder)); err != nil || len(left) != 0 {
			t.Errorf("left over: %v, %v", left, err)
		}
		r, err := d.Get(t.Context(), "a/b")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		r.Close()
		if want := []string{"before", "after"}[n]; err != nil || !bytes.Equal(b, []byte(want)) {
			t.Errorf("%q, %v, want %q", b, err, want)
		}
	}
}

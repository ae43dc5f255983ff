package snapshot_test

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

// benchChunk is what a task writes at once: some encoded keys.
const benchChunk = 4 << 10

// forgetful takes blobs and keeps none, so that a Writer's own cost shows.
type forgetful struct{ *snapshot.MemoryStore }

func (forgetful) Put(_ context.Context, _ string, body io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, body, make([]byte, 256<<10))
	return err
}

// BenchmarkWriter writes full snapshots of 64 MiB in pieces of 4 KiB, to a folder
// with its fsyncs, to memory, and to nowhere.
func BenchmarkWriter(b *testing.B) {
	const size = 64 << 20
	stores := benchStores(b)
	stores["nowhere"] = forgetful{snapshot.Memory()}
	for name, store := range stores {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			s := snapshot.NewSeries(store, identity, 1)
			for i := range b.N {
				benchSnap(b, s, size, int64(i))
			}
		})
	}
}

func benchStores(b *testing.B) map[string]snapshot.BlobStore {
	d, err := snapshot.Dir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	return map[string]snapshot.BlobStore{"dir": d, "memory": snapshot.Memory()}
}

func benchSnap(b *testing.B, s *snapshot.Series, size int, position int64) {
	b.Helper()
	chunk := make([]byte, benchChunk)
	w := s.Begin(b.Context(), true)
	for range size / benchChunk {
		if _, err := w.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Commit(b.Context(), position, nil); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRestore reads a full snapshot of 64 MiB and discards it.
func BenchmarkRestore(b *testing.B) {
	const size = 64 << 20
	for name, store := range benchStores(b) {
		b.Run(name, func(b *testing.B) {
			s := snapshot.NewSeries(store, identity, 1)
			benchSnap(b, s, size, 1)
			b.SetBytes(size)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if _, found, problems, err := s.Restore(b.Context(), nil, discard); !found || err != nil {
					b.Fatal(found, problems, err)
				}
			}
		})
	}
}

func discard(_ []byte, blobs []io.Reader) error {
	for i, r := range blobs {
		if _, err := io.Copy(io.Discard, r); err != nil {
			return fmt.Errorf("blob %d: %w", i, err)
		}
	}
	return nil
}

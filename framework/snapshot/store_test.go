package snapshot_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/framework/snapshot/snapshottest"
)

func TestBlobStores(t *testing.T) {
	t.Run("dir", func(t *testing.T) {
		snapshottest.Blobs(t, func(t *testing.T) snapshot.BlobStore { return dir(t, t.TempDir()) })
	})
	t.Run("memory", func(t *testing.T) {
		snapshottest.Blobs(t, func(*testing.T) snapshot.BlobStore { return snapshot.Memory() })
	})
}

func dir(t *testing.T, path string) *snapshot.DirStore {
	t.Helper()
	d, err := snapshot.Dir(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAFolderIsMadeAndMayBeALink(t *testing.T) {
	at := t.TempDir()
	link := filepath.Join(at, "link")
	if err := os.Symlink(filepath.Join(at, "real"), link); err != nil {
		t.Fatal(err)
	}
	real := dir(t, filepath.Join(at, "real", "deep"))
	if err := real.Put(t.Context(), "a/b", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	got, err := dir(t, filepath.Join(link, "deep")).List(t.Context(), "a")
	if err != nil || !slices.Equal(got, []string{"a/b"}) {
		t.Fatalf("through a link: %q, %v", got, err)
	}
	file := filepath.Join(at, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := snapshot.Dir(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Fatalf("a file in the place of the folder: %v", err)
	}
}

func TestLeftoversAreNeverListedAndOnlyOldOnesAreSwept(t *testing.T) {
	at := t.TempDir()
	dir(t, at)
	age := map[string]time.Duration{"young": 0, "old": 2 * time.Hour, "older": 1000 * time.Hour}
	for name, d := range age {
		path := filepath.Join(at, "+new", name)
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if when := time.Now().Add(-d); d > 0 {
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := dir(t, at)
	if names, err := d.List(t.Context(), ""); err != nil || len(names) != 0 {
		t.Errorf("listed: %q, %v", names, err)
	}
	left, err := filepath.Glob(filepath.Join(at, "+new", "*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "young" {
		t.Errorf("left are %q, %v; want the young one", left, err)
	}
}

func TestTwoStoresShareAFolder(t *testing.T) {
	at := t.TempDir()
	a, b := dir(t, at), dir(t, at)
	if err := a.Put(t.Context(), "x/1", strings.NewReader("one")); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), "x/1"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Get(t.Context(), "x/1"); !errors.Is(err, snapshot.ErrNotFound) {
		t.Fatalf("deleted by another: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(at, "x")); err != nil {
		t.Fatal(err)
	}
	_ = a.Put(t.Context(), "x/1", strings.NewReader("may fail")) // the folder is gone
	if err := a.Put(t.Context(), "x/1", strings.NewReader("one")); err != nil {
		t.Fatalf("once it noticed that the folder is gone: %v", err)
	}
}

package boltlog

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// bbolt's branch pages, as its format 2 has them.
const (
	pageHeader    = 16 // number of eight bytes, flags and count of two each, overflow
	branchFlag    = 1
	branchElement = 16 // offset and size of the key, four bytes each, then the page
)

// Each branch page of a file leads to itself. Whoever opens it is told, and the
// walk that does not end is left behind with the test's process.
func TestAFileWhosePagesLeadInACircleIsGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	l, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Ensure(t.Context(), eventlog.Topic{Name: "events", Partitions: 200}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	bent := bendBranches(t, path)
	f, err := openFile(path, true)
	if err != nil {
		t.Fatal(err)
	}
	l = &Log{path: path, file: f, topics: make(map[string][]*partition)}
	err = f.within(200*time.Millisecond, l.load)
	if damaged := (*eventlog.DamagedError)(nil); !errors.As(err, &damaged) || damaged.Where != path || !strings.Contains(err.Error(), "in a circle") {
		t.Errorf("%d pages lead to themselves, and it says: %v", bent, err)
	}
	if err := f.close(); err != nil {
		t.Errorf("it does not close: %v", err)
	}
}

func bendBranches(t *testing.T, path string) (bent int) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size := os.Getpagesize()
	for n := 2; (n+1)*size <= len(data); n++ {
		page := data[n*size : (n+1)*size]
		if binary.NativeEndian.Uint64(page) != uint64(n) || binary.NativeEndian.Uint16(page[8:]) != branchFlag {
			continue
		}
		bent++
		for i := range int(binary.NativeEndian.Uint16(page[10:])) {
			binary.NativeEndian.PutUint64(page[pageHeader+i*branchElement+8:], uint64(n))
		}
	}
	if bent == 0 {
		t.Fatal("the file has no branch page: give it more partitions")
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return bent
}

package boltlog_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
)

func TestAFileInUseIsRefusedByName(t *testing.T) {
	path := sound(t)
	l := open(t, path, boltlog.Options{})
	for name, again := range map[string]func() (*boltlog.Log, error){
		"for writing": func() (*boltlog.Log, error) { return boltlog.Open(path, boltlog.Options{}) },
		"for reading": func() (*boltlog.Log, error) { return boltlog.OpenReadOnly(path) },
	} {
		_, err := again()
		var in *boltlog.InUseError
		if !errors.As(err, &in) || in.Path != path || !strings.Contains(err.Error(), "stop") {
			t.Errorf("open %s: %v, want an *InUseError with a remedy", name, err)
		}
	}
	if n, err := readUntil(t, l, 0); n != 100 || err != nil {
		t.Errorf("the log in use: %d records, %v", n, err)
	}
}

func TestAReadOnlyLogIsSharedAndChangesNothing(t *testing.T) {
	path := sound(t)
	before := read(t, path)
	for range 2 {
		l, err := boltlog.OpenReadOnly(path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if n, err := readUntil(t, l, 1); n != 100 || err != nil {
			t.Errorf("%d records, %v", n, err)
		}
		if _, err := l.Append(t.Context(), damageTopic, 0, damageBatch(0, 50)); !errors.Is(err, boltlog.ErrReadOnly) {
			t.Errorf("append: %v", err)
		}
		if err := l.Ensure(t.Context(), eventlog.Topic{Name: damageTopic, Partitions: 2}); err != nil {
			t.Errorf("ensure what there is: %v", err)
		}
		var te *eventlog.TopicError
		if err := l.Ensure(t.Context(), eventlog.Topic{Name: "new", Partitions: 2}); !errors.As(err, &te) {
			t.Errorf("ensure what is missing: %v", err)
		}
		if got, err := l.Topics(t.Context()); err != nil || len(got) != 1 || got[0] != (eventlog.Topic{Name: damageTopic, Partitions: 2}) {
			t.Errorf("topics %v, %v", got, err)
		}
	}
	if string(before) != string(read(t, path)) {
		t.Error("the file was changed")
	}
}

func TestOpenLeavesOneFile(t *testing.T) {
	dir := t.TempDir()
	open(t, filepath.Join(dir, "log.db"), boltlog.Options{})
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 || files[0].Name() != "log.db" {
		t.Errorf("files %v, %v", files, err)
	}
	if _, err := boltlog.Open(filepath.Join(dir, "missing", "log.db"), boltlog.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open in a missing folder: %v", err)
	}
	if _, err := boltlog.OpenReadOnly(filepath.Join(dir, "missing.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open a missing file for reading: %v", err)
	}
}

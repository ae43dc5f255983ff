package boltlog

import (
	"errors"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// A first reading that does not end, as on pages that lead in a circle, is left
// behind, and closing the file does not wait for it.
func TestAFileThatCannotBeReadInTimeIsGivenUp(t *testing.T) {
	path := t.TempDir() + "/log.db"
	l, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := openFile(path, true)
	if err != nil {
		t.Fatal(err)
	}
	walks, walked := make(chan struct{}), make(chan struct{})
	err = f.within(10*time.Millisecond, func() error {
		defer close(walked)
		<-walks
		return nil
	})
	if damaged := (*eventlog.DamagedError)(nil); !errors.As(err, &damaged) || damaged.Where != path {
		t.Errorf("it says: %v", err)
	}
	if err := f.close(); err != nil {
		t.Errorf("it does not close: %v", err)
	}
	close(walks)
	<-walked
}

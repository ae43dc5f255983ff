package boltlog_test

import (
	"path/filepath"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/eventlogtest"
)

func TestConformance(t *testing.T) {
	for name, o := range map[string]boltlog.Options{
		"by default":     {},
		"without tails":  {TailBytes: -1},
		"with tiny ones": {TailBytes: 3000, Queue: 1},
	} {
		t.Run(name, func(t *testing.T) {
			eventlogtest.Run(t, func(t *testing.T) eventlog.Log { return open(t, filepath.Join(t.TempDir(), "log.db"), o) })
		})
	}
}

func TestReopen(t *testing.T) {
	eventlogtest.Reopen(t, func(t *testing.T, dir string) eventlog.Log {
		return open(t, filepath.Join(dir, "log.db"), boltlog.Options{})
	})
}

func TestOffsets(t *testing.T) {
	eventlogtest.Offsets(t, func(t *testing.T) eventlog.Log {
		return open(t, filepath.Join(t.TempDir(), "log.db"), boltlog.Options{})
	})
}

func TestWhatTheFileHoldsIsListed(t *testing.T) {
	eventlogtest.List(t, func(t *testing.T) eventlog.Log {
		return open(t, filepath.Join(t.TempDir(), "log.db"), boltlog.Options{})
	})
}

func open(t *testing.T, path string, o boltlog.Options) *boltlog.Log {
	t.Helper()
	l, err := boltlog.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

//go:build unix

package boltlog_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
	"github.com/drivetrain-go/drivetrain/internal/children"
)

const fullBatches = 400

func fullBatch(i int) []eventlog.Record {
	return []eventlog.Record{{Key: fmt.Append(nil, i), Value: []byte(strings.Repeat("x", 3000))}}
}

// fillAndGoOn appends under a limit on the file's size until that fails, reads
// everything back, raises the limit and goes on with the same log. It prints
// the ids of the appends that failed.
func fillAndGoOn(path string) error {
	signal.Ignore(syscall.SIGXFSZ)
	l, err := boltlog.Open(path, boltlog.Options{})
	if err != nil {
		return err
	}
	defer l.Close()
	ctx := context.Background()
	if err := l.Ensure(ctx, eventlog.Topic{Name: "full", Partitions: 1}); err != nil {
		return err
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 300 << 10, Max: was.Max}); err != nil {
		return err
	}
	failures, acked := 0, 0
	for i := range fullBatches {
		_, err := l.Append(ctx, "full", 0, fullBatch(i))
		if err == nil {
			acked++
			continue
		}
		fmt.Println(i)
		if failures++; failures == 5 {
			if err := readsStill(l, acked); err != nil {
				return err
			}
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
				return err
			}
		}
		if failures > 5 {
			return fmt.Errorf("append %d, after there was space again: %w", i, err)
		}
	}
	if failures != 5 {
		return fmt.Errorf("%d appends failed, want 5", failures)
	}
	return nil
}

// readsStill reads all that was acknowledged while nothing can be written.
func readsStill(l *boltlog.Log, acked int) error {
	r, err := l.Read("full", 0, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	for got := 0; got < acked; {
		run, err := r.Next(context.Background())
		if err != nil {
			return fmt.Errorf("read %d of %d with a full disk: %w", got, acked, err)
		}
		got += len(run)
	}
	return nil
}

func TestAFullDiskFailsAppendsAndNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	out, err := children.Command("fill", path).Output()
	if err != nil {
		var e *exec.ExitError
		errors.As(err, &e)
		t.Fatalf("child: %v\n%s%s", err, out, e.Stderr)
	}
	failed := map[string]bool{}
	for _, id := range strings.Fields(string(out)) {
		failed[id] = true
	}
	seen := map[string]bool{}
	for _, rec := range readAll(t, open(t, path, boltlog.Options{}), "full", 0) {
		if seen[string(rec.Key)] {
			t.Errorf("append %s is there twice", rec.Key)
		}
		seen[string(rec.Key)] = true
	}
	for i := range fullBatches {
		if id := fmt.Sprint(i); !failed[id] && !seen[id] {
			t.Errorf("append %s was acknowledged and is lost", id)
		}
	}
}

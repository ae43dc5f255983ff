//go:build unix

package snapshot_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/internal/children"
)

// killText is what the n-th snapshot of a series holds beyond the one before.
func killText(n int64) string {
	return fmt.Sprintf("%d:%s;", n, strings.Repeat("x", int(n*7919%200_000)))
}

// snapForEver restores, goes on from there, and prints each position that was
// committed. The one who reads shares the folder with those before it.
func snapForEver(path string) error {
	store, err := snapshot.Dir(path)
	if err != nil {
		return err
	}
	ctx := context.Background()
	s := snapshot.NewSeries(store, identity, 0)
	position, _, problems, err := s.Restore(ctx, nil, loadKilled)
	if err != nil || len(problems) > 0 {
		return fmt.Errorf("restore: %v, %v", problems, err)
	}
	for {
		w := s.Begin(ctx, s.NextFull())
		from := position
		if w.Full() {
			from = 0
		}
		position++
		for n := from + 1; n <= position; n++ {
			if _, err := io.WriteString(w, killText(n)); err != nil {
				return err
			}
		}
		if err := w.Commit(ctx, position, fmt.Append(nil, position)); err != nil {
			return err
		}
		// One write of a line is one system call: a kill cannot tear it.
		os.Stdout.WriteString(fmt.Sprintf("%d\n", position))
	}
}

// loadKilled checks that a snapshot is what snapForEver wrote.
func loadKilled(head []byte, blobs []io.Reader) error {
	var last int64
	if _, err := fmt.Sscan(string(head), &last); err != nil {
		return err
	}
	next := int64(1)
	for i, b := range blobs {
		r := bufio.NewReader(b)
		for {
			text, err := r.ReadString(';')
			if err == io.EOF && text == "" {
				break
			}
			if err != nil {
				return err
			}
			if text != killText(next) {
				return fmt.Errorf("blob %d: %.40q is not part %d", i, text, next)
			}
			next++
		}
	}
	if next != last+1 {
		return fmt.Errorf("%d parts, the head says %d", next-1, last)
	}
	return nil
}

func TestWhatWasCommittedSurvivesKill(t *testing.T) {
	path := t.TempDir()
	var committed int64
	for round := range 6 {
		before := committed
		children.Kill(t, "snap", path, time.Duration(20+rand.IntN(150))*time.Millisecond, func(line string) {
			if _, err := fmt.Sscan(line, &committed); err != nil {
				t.Fatal(err)
			}
		})
		if committed == before {
			t.Fatalf("round %d: nothing was committed", round)
		}
		store := dir(t, path)
		position, found, problems, err := snapshot.NewSeries(store, identity, 0).Restore(t.Context(), nil, loadKilled)
		if err != nil || !found || len(problems) > 0 || position < committed {
			t.Fatalf("round %d: restored %d, found %v, %v, %v; %d was committed", round, position, found, problems, err, committed)
		}
		for _, name := range names(t, store, "") {
			if !strings.HasPrefix(name, identity.Prefix()) {
				t.Fatalf("round %d: a leftover is listed: %s", round, name)
			}
		}
		committed = position
	}
	t.Logf("%d snapshots committed", committed)
}

// fillAndGoOn takes a snapshot, one that does not fit under a limit on a file's
// size, and one after the limit was raised.
func fillAndGoOn(path string) error {
	signal.Ignore(syscall.SIGXFSZ)
	store, err := snapshot.Dir(path)
	if err != nil {
		return err
	}
	s := snapshot.NewSeries(store, identity, 0)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	for _, c := range []struct {
		position int64
		limit    uint64
		fails    bool
	}{{5, 10 << 20, false}, {6, 300 << 10, true}, {7, 10 << 20, false}} {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: c.limit, Max: was.Max}); err != nil {
			return err
		}
		w := s.Begin(context.Background(), true)
		for n := range 20 * c.position {
			if _, err := io.WriteString(w, killText(1+n%c.position)); err != nil {
				break // Commit says it
			}
		}
		err := w.Commit(context.Background(), c.position, nil)
		if c.fails != errors.Is(err, syscall.EFBIG) || !c.fails && err != nil {
			return fmt.Errorf("snapshot %d: %w", c.position, err)
		}
		left, err := filepath.Glob(filepath.Join(path, "+new", "*"))
		if err != nil || len(left) > 0 {
			return fmt.Errorf("snapshot %d: left over are %q, %w", c.position, left, err)
		}
	}
	return nil
}

func TestAFullDiskFailsASnapshotAndNothingElse(t *testing.T) {
	path := t.TempDir()
	if out, err := children.Command("fill", path).CombinedOutput(); err != nil {
		t.Fatalf("child: %v\n%s", err, out)
	}
	all := names(t, dir(t, path), "")
	if len(ending(all, ".manifest")) != 2 || len(all) != 4 {
		t.Errorf("kept are %q, want two snapshots", all)
	}
}

//go:build unix

package boltlog_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
)

// commitForEver commits ever greater offsets beside appends, and prints each that
// was acknowledged.
func commitForEver(path string) error {
	l, err := boltlog.Open(path, boltlog.Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := l.Ensure(ctx, eventlog.Topic{Name: killTopic, Partitions: killPartitions}); err != nil {
		return err
	}
	failed := make(chan error)
	for part := range int32(killPartitions) {
		go func() {
			for {
				base, err := l.Append(ctx, killTopic, part, killBatch("x", 1))
				if err == nil {
					err = l.Commit(ctx, "app.out", killTopic, part, base+1)
				}
				if err != nil {
					failed <- err
					return
				}
				os.Stdout.WriteString(fmt.Sprintf("%d 0 0 %d\n", part, base+1))
			}
		}()
	}
	return <-failed
}

func TestACommittedOffsetSurvivesKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	var least [killPartitions]int64 // that each partition's offset must have
	for round := range 5 {
		acked := map[string]string{} // offset to its partition
		killedAs(t, "commit", path, time.Duration(50*round+30)*time.Millisecond, func(f []string) {
			part, _ := strconv.Atoi(f[0])
			next, _ := strconv.ParseInt(f[3], 10, 64)
			least[part] = max(least[part], next)
			acked[f[3]] = f[0]
		})
		if len(acked) == 0 {
			t.Fatalf("round %d: nothing was committed", round)
		}
		l := open(t, path, boltlog.Options{})
		for part, want := range least {
			next, known, err := l.Committed(t.Context(), "app.out", killTopic, int32(part))
			end, endErr := l.End(t.Context(), killTopic, int32(part))
			if err != nil || endErr != nil || !known && want > 0 || next < want || next > end {
				t.Fatalf("round %d, partition %d: %d, %v, %v, want %d or what came after; the end is %d, %v",
					round, part, next, known, err, want, end, endErr)
			}
		}
		l.Close()
	}
}

// committed writes a log with a committed offset, and returns where its value
// lies in the file.
func committed(t *testing.T) (path string, at int) {
	t.Helper()
	path = sound(t)
	l := open(t, path, boltlog.Options{})
	if err := l.Commit(t.Context(), "app.out", damageTopic, 1, 0x1234567); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	value := binary.BigEndian.AppendUint64([]byte{1}, 0x1234567)
	data := read(t, path)
	if at = bytes.LastIndex(data, value); at < 0 {
		t.Fatal("the offset is not in the file")
	}
	return path, at
}

func TestAMangledOffsetIsNoticedAndNothingElseFails(t *testing.T) {
	path, at := committed(t)
	data := read(t, path)
	for off := range 13 {
		changed := bytes.Clone(data)
		for i := 0; ; i++ { // bbolt leaves older pages in the file
			n := bytes.Index(data[i:], data[at:at+13])
			if n < 0 {
				break
			}
			i += n
			changed[i+off] ^= 0x10
		}
		write(t, path, changed)
		l := open(t, path, boltlog.Options{})
		next, known, err := l.Committed(t.Context(), "app.out", damageTopic, 1)
		var d *eventlog.DamagedError
		if !errors.As(err, &d) || d.Where != path {
			t.Errorf("byte %d: %d, %v, %v, want a *DamagedError", off, next, known, err)
		}
		if n, err := readUntil(t, l, 1); n != 100 || err != nil {
			t.Errorf("byte %d: %d records, %v", off, n, err)
		}
		if err := l.Commit(t.Context(), "app.out", damageTopic, 1, 7); err != nil {
			t.Errorf("byte %d: commit anew: %v", off, err)
		}
		l.Close()
	}
}

func TestAnOffsetUnderAnotherKeyIsNoticed(t *testing.T) {
	path, _ := committed(t)
	edit(t, path, func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("offsets"))
		key, value := b.Cursor().First()
		other := bytes.Clone(key)
		other[len(other)-1] = 0
		return b.Put(other, bytes.Clone(value))
	})
	l := open(t, path, boltlog.Options{})
	if next, known, err := l.Committed(t.Context(), "app.out", damageTopic, 0); err == nil {
		t.Errorf("got %d, %v", next, known)
	}
}

func TestAReadOnlyLogTellsOffsetsAndTakesNone(t *testing.T) {
	path, _ := committed(t)
	l, err := boltlog.OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if next, known, err := l.Committed(t.Context(), "app.out", damageTopic, 1); next != 0x1234567 || !known || err != nil {
		t.Errorf("got %d, %v, %v", next, known, err)
	}
	if err := l.Commit(t.Context(), "app.out", damageTopic, 1, 1); !errors.Is(err, boltlog.ErrReadOnly) {
		t.Errorf("commit: %v", err)
	}
}

// TestAFileOfBeforeOffsetsHasNone opens the kept file of the first version, which
// has no bucket for them: for reading it stays as it is.
func TestAFileOfBeforeOffsetsHasNone(t *testing.T) {
	l, err := boltlog.OpenReadOnly(filepath.Join("testdata", "v1.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if next, known, err := l.Committed(t.Context(), "app.out", "app.events", 2); known || err != nil {
		t.Errorf("read only: %d, %v, %v", next, known, err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	write(t, path, read(t, filepath.Join("testdata", "v1.db")))
	for _, want := range []int64{2, 1} {
		l := open(t, path, boltlog.Options{})
		if err := l.Commit(t.Context(), "app.out", "app.events", 2, want); err != nil {
			t.Fatal(err)
		}
		l.Close()
		l = open(t, path, boltlog.Options{})
		if next, known, err := l.Committed(t.Context(), "app.out", "app.events", 2); next != want || !known || err != nil {
			t.Errorf("got %d, %v, %v, want %d", next, known, err, want)
		}
		if got := listing(t, l); got != string(read(t, filepath.Join("testdata", "v1.txt"))) {
			t.Errorf("the log has become\n%s", got)
		}
		l.Close()
	}
}

// TestOffsetsOfTheFirstFormatAreReadForEver reads a file that the first version
// with offsets wrote; it is never written again.
func TestOffsetsOfTheFirstFormatAreReadForEver(t *testing.T) {
	l, err := boltlog.OpenReadOnly(filepath.Join("testdata", "v1-offsets.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for at, want := range map[string]int64{"app.out 0": 4, "app.out 2": 1 << 40, "app.other 2": 0, "app.other 0": -1} {
		group, part, _ := strings.Cut(at, " ")
		n, _ := strconv.Atoi(part)
		next, known, err := l.Committed(t.Context(), group, "app.events", int32(n))
		if err != nil || known != (want >= 0) || known && next != want {
			t.Errorf("%s: %d, %v, %v, want %d", at, next, known, err, want)
		}
	}
}

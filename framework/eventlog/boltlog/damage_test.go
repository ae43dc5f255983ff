package boltlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
)

const damageTopic = "damage"

func damageBatch(part, i int) []eventlog.Record {
	return []eventlog.Record{
		{Key: fmt.Appendf(nil, "p%d-b%d-first", part, i), Value: []byte(strings.Repeat("v", 500))},
		{Key: fmt.Appendf(nil, "p%d-b%d-second", part, i), Value: []byte(strings.Repeat("w", 700))},
	}
}

// sound writes a log of 2 partitions of 50 batches of 2 records.
func sound(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log.db")
	l := open(t, path, boltlog.Options{})
	if err := l.Ensure(t.Context(), eventlog.Topic{Name: damageTopic, Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		for part := range 2 {
			if _, err := l.Append(t.Context(), damageTopic, int32(part), damageBatch(part, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// readUntil reads a partition up to an error, or to its end, and checks that
// what it got is an unbroken front part of what was written.
func readUntil(t *testing.T, l eventlog.Log, part int) (n int, err error) {
	t.Helper()
	r, err := l.Read(damageTopic, int32(part), 0)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	for n < 100 {
		run, err := r.Next(t.Context())
		if err != nil {
			return n, err
		}
		for _, rec := range run {
			want := damageBatch(part, n/2)[n%2]
			if rec.Offset != int64(n) || !bytes.Equal(rec.Key, want.Key) || !bytes.Equal(rec.Value, want.Value) {
				t.Fatalf("partition %d: record %d is not what was written", part, n)
			}
			n++
		}
	}
	return n, nil
}

func wantDamage(t *testing.T, err error, path string) *eventlog.DamagedError {
	t.Helper()
	var d *eventlog.DamagedError
	if !errors.As(err, &d) || d.Where != path || d.Reason == "" || !strings.Contains(err.Error(), path) {
		t.Fatalf("error %v, want a *DamagedError that names %s", err, path)
	}
	return d
}

func TestAFlippedByteIsFoundWhereItIs(t *testing.T) {
	path := sound(t)
	data := read(t, path)
	at := bytes.LastIndex(data, []byte("p1-b20-second"))
	for _, off := range []int{at, at + 100} {
		changed := slices.Clone(data)
		changed[off] ^= 0x40
		write(t, path, changed)
		l := open(t, path, boltlog.Options{})
		if n, err := readUntil(t, l, 0); n != 100 || err != nil {
			t.Errorf("the other partition: %d records, %v", n, err)
		}
		for range 2 {
			n, err := readUntil(t, l, 1)
			d := wantDamage(t, err, path)
			if n != 40 || d.Topic != damageTopic || d.Part != 1 || d.Offset != 40 {
				t.Errorf("%d records and %v, want 40 and damage from there", n, err)
			}
		}
		r, err := l.Read(damageTopic, 1, 42)
		if err != nil {
			t.Fatal(err)
		}
		if run, err := r.Next(t.Context()); err != nil || run[0].Offset != 42 {
			t.Errorf("behind the damage: %v", err)
		}
		r.Close()
		l.Close()
	}
}

func TestADamagedLastBatchStopsItsPartitionOnly(t *testing.T) {
	path := sound(t)
	data := read(t, path)
	data[bytes.LastIndex(data, []byte("p1-b49-second"))] ^= 1
	write(t, path, data)
	l := open(t, path, boltlog.Options{})
	n, err := readUntil(t, l, 1)
	if d := wantDamage(t, err, path); n != 98 || d.Offset != 98 {
		t.Errorf("%d records, damage at %d, want 98", n, d.Offset)
	}
	_, err = l.End(t.Context(), damageTopic, 1)
	wantDamage(t, err, path)
	_, err = l.Append(t.Context(), damageTopic, 1, damageBatch(1, 50))
	wantDamage(t, err, path)
	if base, err := l.Append(t.Context(), damageTopic, 0, damageBatch(0, 50)); base != 100 || err != nil {
		t.Errorf("append to the other partition: %d, %v", base, err)
	}
}

// TestNoDamageIsReadOver mangles the file in many places: each time all that is
// read is what was written, and what is missing is reported.
func TestNoDamageIsReadOver(t *testing.T) {
	path := sound(t)
	data := read(t, path)
	noticed := 0
	for off := 0; off < len(data); off += 509 {
		changed := slices.Clone(data)
		for i := off; i < min(off+16, len(data)); i++ {
			changed[i] ^= 0xa5
		}
		write(t, path, changed)
		if noticesDamage(t, path) {
			noticed++
		}
	}
	if noticed == 0 {
		t.Error("no damage was noticed")
	}
	t.Logf("%d of %d noticed; the others lie in pages not in use", noticed, len(data)/509+1)
}

// noticesDamage opens a mangled file and reads and writes what can be.
func noticesDamage(t *testing.T, path string) bool {
	t.Helper()
	l, err := boltlog.Open(path, boltlog.Options{})
	if err != nil {
		var d *eventlog.DamagedError
		if !errors.As(err, &d) && !errors.Is(err, boltlog.ErrForeign) && !errors.Is(err, boltlog.ErrNewer) {
			t.Fatalf("open: %v, want damage", err)
		}
		return true
	}
	defer l.Close()
	noticed := false
	for part := range 2 {
		n, err := readUntil(t, l, part)
		if n < 100 && err == nil {
			t.Fatalf("partition %d: %d records and no error", part, n)
		}
		if err != nil {
			var d *eventlog.DamagedError
			if !errors.As(err, &d) && !errors.Is(err, eventlog.ErrUnknownTopic) {
				t.Fatalf("partition %d: %v, want damage", part, err)
			}
			noticed = true
		}
		// An append may fail on damage; it must not panic.
		if _, err := l.Append(t.Context(), damageTopic, int32(part), damageBatch(part, 50)); err != nil {
			noticed = true
		}
	}
	return noticed
}

func TestACutOffFileIsRefused(t *testing.T) {
	path := sound(t)
	data := read(t, path)
	for _, n := range []int{len(data) / 4, 3 * 4096, 2 * 4096, 4096, 5000, 100, 1} {
		write(t, path, data[:n])
		for _, open := range []func() (*boltlog.Log, error){
			func() (*boltlog.Log, error) { return boltlog.Open(path, boltlog.Options{}) },
			func() (*boltlog.Log, error) { return boltlog.OpenReadOnly(path) },
		} {
			l, err := open()
			if err == nil {
				l.Close()
				t.Fatalf("a file cut to %d of %d bytes was opened", n, len(data))
			}
			if n >= 100 {
				wantDamage(t, err, path)
			}
		}
		if now := read(t, path); !bytes.Equal(now, data[:n]) {
			t.Fatalf("a refused file of %d bytes was changed", n)
		}
	}
}

func TestAFileWithoutItsLastPagesIsRefused(t *testing.T) {
	path := sound(t)
	data := read(t, path)
	size := int64(0)
	edit(t, path, func(tx *bbolt.Tx) error {
		size = tx.Size()
		return errors.New("only looking")
	})
	for n := int64(2 * 4096); n < size; n += 4096 {
		write(t, path, data[:n])
		l, err := boltlog.Open(path, boltlog.Options{})
		if err == nil {
			l.Close()
			t.Fatalf("a file of %d bytes of %d was opened", n, size)
		}
		wantDamage(t, err, path)
	}
}

func TestADamagedMetaPageIsNotPassedOver(t *testing.T) {
	path := sound(t)
	data := read(t, path)
	for _, off := range []int{16, 20, 40, 64, 72, 4096 + 16, 4096 + 20, 4096 + 40, 4096 + 64, 4096 + 72} {
		changed := slices.Clone(data)
		changed[off] ^= 1
		write(t, path, changed)
		l, err := boltlog.Open(path, boltlog.Options{})
		if err == nil {
			l.Close()
			t.Fatalf("byte %d was changed, and the log opened", off)
		}
		if off != 16 { // without its magic number the first page is anybody's
			wantDamage(t, err, path)
		}
	}
}

func TestALostLastBatchIsNoticed(t *testing.T) {
	path := sound(t)
	edit(t, path, func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("log")).Bucket([]byte(damageTopic + "\x00\x00\x00\x00\x01"))
		key, _ := b.Cursor().Last()
		return b.Delete(key)
	})
	l := open(t, path, boltlog.Options{})
	n, err := readUntil(t, l, 1)
	if d := wantDamage(t, err, path); n != 98 || d.Offset != 98 {
		t.Errorf("%d records, damage at %d, want 98", n, d.Offset)
	}
}

// edit changes a file behind the log's back.
func edit(t *testing.T, path string, change func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = db.Update(change)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAFileCutOffWhileOpenIsDamageNotACrash(t *testing.T) {
	path := sound(t)
	l := open(t, path, boltlog.Options{})
	if err := os.Truncate(path, 2*4096); err != nil {
		t.Fatal(err)
	}
	_, err := readUntil(t, l, 0)
	wantDamage(t, err, path)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := l.Append(ctx, damageTopic, 0, damageBatch(0, 50)); err == nil {
		t.Error("append went well")
	}
}

func TestForeignFilesAreRefusedAndLeftAlone(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other.db")
	db, err := bbolt.Open(other, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
	db.Close()
	text := filepath.Join(dir, "text")
	write(t, text, []byte(strings.Repeat("not a log\n", 3000)))
	empty := filepath.Join(dir, "empty")
	write(t, empty, nil)
	for path, check := range map[string]func(error) bool{
		other: func(err error) bool { return errors.Is(err, boltlog.ErrForeign) },
		text:  func(err error) bool { return errors.Is(err, boltlog.ErrForeign) },
		empty: func(err error) bool { var d *eventlog.DamagedError; return errors.As(err, &d) },
		dir:   func(err error) bool { return err != nil },
	} {
		var before []byte
		if path != dir {
			before = read(t, path)
		}
		l, err := boltlog.Open(path, boltlog.Options{})
		if err == nil {
			l.Close()
		}
		if !check(err) || !strings.Contains(err.Error(), path) {
			t.Errorf("open %s: %v", filepath.Base(path), err)
		}
		if path != dir && !bytes.Equal(before, read(t, path)) {
			t.Errorf("%s was changed", filepath.Base(path))
		}
	}
}

func TestANewerFormatIsRefusedByName(t *testing.T) {
	path := sound(t)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("drivetrain.log")).Put([]byte("format"), []byte{2}) })
	db.Close()
	_, err = boltlog.Open(path, boltlog.Options{})
	if !errors.Is(err, boltlog.ErrNewer) || !strings.Contains(err.Error(), "format 2") || !strings.Contains(err.Error(), path) {
		t.Fatalf("open: %v", err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

package boltlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// The buckets of a file. A partition's bucket lies in logBucket under the
// topic's name, a zero byte and the partition as a big-endian number; its
// sequence is its end, so that a lost tail is noticed.
var (
	metaBucket   = []byte("drivetrain.log")
	topicsBucket = []byte("topics") // name → number of partitions, big-endian
	logBucket    = []byte("log")
	idsBucket    = []byte("ids")    // name → id of this creation, see Log.TopicID
	formatKey    = []byte("format") // one byte
)

const (
	fileFormat  = 1
	lockTimeout = time.Second
)

// file is an open bbolt database. bbolt trusts its pages: on damaged ones it
// panics, or reads beyond the file, which is a fault; every access goes through
// guard, which makes errors of both.
type file struct {
	path    string
	db      *bbolt.DB
	os      *os.File
	crashed atomic.Bool // a write panicked: bbolt's locks may be held for ever
}

// mangled is what guard makes of a panic.
type mangled struct{ cause any }

func (m *mangled) Error() string { return fmt.Sprintf("its pages are mangled: %v", m.cause) }

func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = &mangled{cause}
		}
	}()
	return f()
}

// openLimit is how long it may take to find where each partition of a file ends.
const openLimit = 10 * time.Second

// within reads a file for the first time. Where damaged pages lead in a circle bbolt
// walks them for ever: after limit it is left at that, and the file given up.
func (f *file) within(limit time.Duration, read func() error) error {
	done := make(chan error, 1)
	go func() { done <- read() }()
	select {
	case err := <-done:
		return err
	case <-clock.System.After(limit):
		f.crashed.Store(true)
		return &eventlog.DamagedError{Where: f.path, Reason: fmt.Sprintf("its partitions were not found within %v: pages lead in a circle", limit)}
	}
}

// create makes a new file under another name and links it to path, so that a
// file there is always complete. It leaves what exists alone.
func create(path string) (err error) {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	tmp.Close()
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	db, err := bbolt.Open(tmp.Name(), 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	if err := errors.Join(db.Update(setUp), db.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func setUp(tx *bbolt.Tx) error {
	meta, err := tx.CreateBucket(metaBucket)
	if err != nil {
		return err
	}
	for _, name := range [][]byte{topicsBucket, logBucket} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return meta.Put(formatKey, []byte{fileFormat})
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openFile opens an existing file and checks what can be checked quickly.
func openFile(path string, readOnly bool) (*file, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if info.Size() == 0 {
		return nil, &eventlog.DamagedError{Where: path, Reason: "the file is empty"}
	}
	f := &file{path: path}
	err := guard(func() (err error) {
		f.db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, ReadOnly: readOnly, NoStatistics: true,
			FreelistType: bbolt.FreelistMapType, OpenFile: f.openOS})
		return err
	})
	if err != nil {
		f.release()
		return nil, f.openError(err)
	}
	for _, check := range []func() error{f.checkMetas, f.checkSize, f.checkFormat} {
		if err := check(); err != nil {
			f.close()
			return nil, err
		}
	}
	return f, nil
}

// openOS keeps the file that bbolt uses, and never lets bbolt create one.
func (f *file) openOS(path string, flag int, mode os.FileMode) (*os.File, error) {
	var err error
	f.os, err = os.OpenFile(path, flag&^os.O_CREATE, mode)
	return f.os, err
}

// release gives up the file of a database that cannot be closed. Doing it again
// does no harm; an error changes nothing, as the file is not used any more.
func (f *file) release() {
	if f.os != nil {
		_ = unlock(f.os)
		_ = f.os.Close()
	}
}

func (f *file) openError(err error) error {
	var m *mangled
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return &InUseError{f.path}
	case errors.As(err, &m):
		return f.damaged(err.Error())
	case f.os == nil || errors.As(err, new(*fs.PathError)) || errors.As(err, new(syscall.Errno)):
		return err // the system's: no word about what is in the file
	}
	if head := f.head(); head == magic {
		return f.damaged(err.Error())
	}
	return fmt.Errorf("%s: %w (%v); name another file", f.path, ErrForeign, err)
}

func (f *file) damaged(reason string) error {
	return &eventlog.DamagedError{Where: f.path, Reason: reason}
}

// Where bbolt keeps its two meta pages' fields, behind a page header of 16.
const (
	magic      = 0xED0CDAED
	metaAt     = 16
	metaSummed = 56
	metaLen    = metaSummed + 8
)

// head returns the file's magic number, or 0.
func (f *file) head() uint32 {
	var b [metaAt + 4]byte
	r, err := os.Open(f.path)
	if err != nil {
		return 0
	}
	defer r.Close()
	if _, err := r.ReadAt(b[:], 0); err != nil {
		return 0
	}
	return binary.NativeEndian.Uint32(b[metaAt:])
}

// checkMetas refuses a file with a damaged meta page. bbolt would take the
// other one, and with it silently go back behind the last commit. No crash
// leaves such a page, as what counts of it fits in a disk's sector.
func (f *file) checkMetas() error {
	for i := range int64(2) {
		var b [metaLen]byte
		if _, err := f.os.ReadAt(b[:], i*int64(f.db.Info().PageSize)+metaAt); err != nil {
			return f.damaged(err.Error())
		}
		h := fnv.New64a()
		h.Write(b[:metaSummed])
		if binary.NativeEndian.Uint32(b[:]) != magic || binary.NativeEndian.Uint64(b[metaSummed:]) != h.Sum64() {
			return f.damaged(fmt.Sprintf("meta page %d is mangled, so the last commit may be lost", i))
		}
	}
	return nil
}

func (f *file) checkSize() error {
	info, err := f.os.Stat()
	if err != nil {
		return err
	}
	return f.view(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return f.damaged(fmt.Sprintf("it has %d bytes of at least %d: it was cut off", info.Size(), tx.Size()))
		}
		return nil
	})
}

func (f *file) checkFormat() error {
	return f.view(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta == nil || tx.Bucket(topicsBucket) == nil || tx.Bucket(logBucket) == nil {
			return fmt.Errorf("%s: %w but another program's bbolt file; name another file", f.path, ErrForeign)
		}
		switch v := meta.Get(formatKey); {
		case len(v) != 1 || v[0] == 0:
			return f.damaged("its format is not to be read")
		case v[0] > fileFormat:
			return fmt.Errorf("%s: %w: format %d, this program reads up to %d; use that version", f.path, ErrNewer, v[0], fileFormat)
		}
		return nil
	})
}

// view looks into the file. A panic becomes a *DamagedError of the whole file.
func (f *file) view(look func(*bbolt.Tx) error) error {
	return f.named(guard(func() error { return f.db.View(look) }))
}

// update writes and syncs. After an error the outcome is unknown.
func (f *file) update(write func(*bbolt.Tx) error) error {
	err := guard(func() error { return f.db.Update(write) })
	var m *mangled
	if errors.As(err, &m) {
		f.crashed.Store(true)
	}
	return f.named(err)
}

func (f *file) named(err error) error {
	var m *mangled
	if errors.As(err, &m) {
		return f.damaged(m.Error())
	}
	return err
}

func (f *file) close() error {
	if f.crashed.Load() {
		f.release()
		return nil
	}
	err := guard(f.db.Close)
	f.release()
	return err
}

func bucketKey(topic string, part int32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(topic), 0), uint32(part))
}

func readTopics(tx *bbolt.Tx) (map[string]int, error) {
	topics := make(map[string]int)
	err := tx.Bucket(topicsBucket).ForEach(func(k, v []byte) error {
		if len(v) != 4 {
			return fmt.Errorf("the entry of topic %.80q is mangled", k)
		}
		t := eventlog.Topic{Name: string(k), Partitions: int(binary.BigEndian.Uint32(v))}
		if err := t.Check(); err != nil {
			return fmt.Errorf("the entry of topic %.80q is mangled: %w", k, err)
		}
		topics[t.Name] = t.Partitions
		return nil
	})
	return topics, err
}

func writeTopic(tx *bbolt.Tx, t eventlog.Topic) error {
	for part := range int32(t.Partitions) {
		if _, err := tx.Bucket(logBucket).CreateBucketIfNotExists(bucketKey(t.Name, part)); err != nil {
			return err
		}
	}
	if err := tx.Bucket(topicsBucket).Put([]byte(t.Name), binary.BigEndian.AppendUint32(nil, uint32(t.Partitions))); err != nil {
		return err
	}
	return drawID(tx, []byte(t.Name))
}

// drawID gives a topic an id, unless it has one.
func drawID(tx *bbolt.Tx, topic []byte) error {
	ids, err := tx.CreateBucketIfNotExists(idsBucket)
	if err != nil || ids.Get(topic) != nil {
		return err
	}
	id := clock.NewID(clock.System)
	return ids.Put(topic, id[:])
}

// drawIDs gives ids to the topics of a file that was written before they had them.
// With nothing to give it is an empty commit.
func drawIDs(tx *bbolt.Tx) error {
	return tx.Bucket(topicsBucket).ForEach(func(topic, _ []byte) error { return drawID(tx, topic) })
}

// readID returns a topic's id, "" if it has none.
func readID(tx *bbolt.Tx, topic string) (string, error) {
	ids := tx.Bucket(idsBucket)
	if ids == nil {
		return "", nil
	}
	var id event.ID
	switch value := ids.Get([]byte(topic)); {
	case value == nil:
		return "", nil
	case len(value) != len(id):
		return "", fmt.Errorf("the id of topic %.80q is mangled", topic)
	default:
		return event.ID(value).String(), nil
	}
}

// findEnd returns where a partition ends. If that is damaged, the error says
// so, and no record from end on can be read.
func (l *Log) findEnd(tx *bbolt.Tx, p *partition) (end int64, err error) {
	b := tx.Bucket(logBucket).Bucket(p.key)
	if b == nil {
		return 0, l.lost(p, 0, errors.New("its bucket is missing"))
	}
	want := max(0, int64(b.Sequence()))
	key, value := b.Cursor().Last()
	if key != nil {
		n, err := verify(key, value)
		if err != nil {
			end = want
			if len(key) == 8 {
				end = int64(min(binary.BigEndian.Uint64(key), uint64(want)))
			}
			return end, l.lost(p, end, err)
		}
		end = int64(binary.BigEndian.Uint64(key)) + int64(n)
	}
	if end != want {
		end = min(end, want)
		return end, l.lost(p, end, fmt.Errorf("its last batch does not end at %d", want))
	}
	return end, nil
}

// Package boltlog is an event log in one file, for a process that needs no
// broker. The file is bbolt's: it survives kill -9 and power loss with all that
// was acknowledged.
//
//	log, err := boltlog.Open("data/events.db", boltlog.Options{})
//	err = log.Ensure(ctx, eventlog.Topic{Name: "app.events", Partitions: 16})
//	base, err := log.Append(ctx, "app.events", 0, batch)
//
// Appends of all callers and partitions that wait at the same time share one
// transaction and its two syncs: many callers are served at once, a single one
// waits for the disk each time.
//
// File map: batch.go is the format of a value, file.go the only door to bbolt,
// write.go the one goroutine that writes, read.go the readers, offsets.go how far
// groups have got. Locks are taken in the order Log.filemu, Log.mu, partition.mu.
package boltlog

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Options of Open. The zero value is the default.
type Options struct {
	// Queue is the number of appends that may wait for the writer; further
	// ones wait in Append. Default 1024, at least 1.
	Queue int
	// TailBytes bounds the latest batches kept in memory, of all partitions
	// together, for readers that follow closely. Default 16 MiB; negative: none.
	TailBytes int
}

// Errors of opening a file and of using it.
var (
	ErrForeign  = errors.New("not a boltlog file")
	ErrNewer    = errors.New("written by a newer version of drivetrain")
	ErrReadOnly = errors.New("the log is open for reading only")
)

// InUseError says that another process, or another Log of this one, has the
// file open.
type InUseError struct{ Path string }

func (e *InUseError) Error() string {
	return fmt.Sprintf("%s is in use by another process; stop that process, or give this one a data folder of its own", e.Path)
}

// Log is a file of topics. Make it with Open or OpenReadOnly.
type Log struct {
	path     string
	readOnly bool
	queue    chan *request
	done     chan struct{} // closed by Close
	stopped  chan struct{} // closed when the writer has ended
	closing  sync.Once
	closed   error // what Close returned

	filemu sync.RWMutex // read-held by whoever looks into file, held to replace it
	file   *file        // nil while it could not be opened again

	mu     sync.RWMutex
	topics map[string][]*partition

	writer writer // belongs to the writing goroutine
}

var (
	_ eventlog.Log        = (*Log)(nil)
	_ eventlog.Lister     = (*Log)(nil)
	_ eventlog.Identifier = (*Log)(nil)
)

// partition is what is known of a partition without looking into the file.
type partition struct {
	topic string
	part  int32
	key   []byte // of its bucket

	mu      sync.Mutex
	end     int64         // all before it is synced, and readers see it
	tail    []batch       // the last batches before end, without a gap
	changed chan struct{} // closed when end moves; nil while nobody waits
	damaged error         // end is where the damage begins; nothing can be appended

	// The rest belongs to the writing goroutine.
	next   int64 // end with what is being written
	bucket *bbolt.Bucket
	tx     *bbolt.Tx // in which bucket is valid
}

// Open opens the log in the file at path and creates the file if there is none;
// its folder must exist. It waits one second at most for another process to let
// go of it. Its errors are *InUseError, ErrForeign, ErrNewer,
// *eventlog.DamagedError, or the system's. An empty file is damaged, since no
// crash leaves one.
func Open(path string, o Options) (*Log, error) {
	if err := create(path); err != nil {
		return nil, fmt.Errorf("create log %s: %w", path, err)
	}
	if o.Queue <= 0 {
		o.Queue = 1024
	}
	if o.TailBytes == 0 {
		o.TailBytes = 16 << 20
	}
	l, err := open(path, false, o)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	go l.run()
	return l, nil
}

// OpenReadOnly opens an existing log for tools that look at it. Several may do
// so at once, but not while it is open for writing. Append is refused with
// ErrReadOnly, Ensure only checks.
func OpenReadOnly(path string) (*Log, error) {
	l, err := open(path, true, Options{})
	if err != nil {
		return nil, fmt.Errorf("open log for reading: %w", err)
	}
	close(l.stopped)
	return l, nil
}

func open(path string, readOnly bool, o Options) (*Log, error) {
	f, err := openFile(path, readOnly)
	if err != nil {
		return nil, err
	}
	l := &Log{path: path, readOnly: readOnly, file: f, topics: make(map[string][]*partition),
		queue: make(chan *request, o.Queue), done: make(chan struct{}), stopped: make(chan struct{})}
	l.writer.tailBytes = o.TailBytes
	err = f.within(openLimit, func() error {
		if err := l.load(); err != nil || readOnly {
			return err
		}
		// A killed process may have written without syncing: a commit makes all
		// that was found durable before anybody sees it.
		return f.update(drawIDs)
	})
	if err != nil {
		f.close()
		return nil, err
	}
	return l, nil
}

// load reads the topics and where each partition ends.
func (l *Log) load() error {
	return l.file.view(func(tx *bbolt.Tx) error {
		topics, err := readTopics(tx)
		if err != nil {
			return l.damaged(err)
		}
		for name, n := range topics {
			ps := newPartitions(name, n)
			for _, p := range ps {
				p.end, p.damaged = l.findEnd(tx, p)
				p.next = p.end
			}
			l.topics[name] = ps
		}
		return nil
	})
}

func newPartitions(topic string, n int) []*partition {
	ps := make([]*partition, n)
	for i := range ps {
		ps[i] = &partition{topic: topic, part: int32(i), key: bucketKey(topic, int32(i))}
	}
	return ps
}

func (l *Log) damaged(reason error) error {
	return &eventlog.DamagedError{Where: l.path, Reason: reason.Error()}
}

// lost says from where on a partition is damaged.
func (l *Log) lost(p *partition, from int64, reason error) error {
	return &eventlog.DamagedError{Where: l.path, Topic: p.topic, Part: p.part, Offset: from, Reason: reason.Error()}
}

// find returns a partition.
func (l *Log) find(topic string, part int32) (*partition, error) {
	select {
	case <-l.done:
		return nil, eventlog.ErrClosed
	default:
	}
	l.mu.RLock()
	ps := l.topics[topic]
	l.mu.RUnlock()
	if part < 0 || int(part) >= len(ps) {
		return nil, fmt.Errorf("%w; create it with Ensure", eventlog.ErrUnknownTopic)
	}
	return ps[part], nil
}

// End implements [eventlog.Log]. It counts only what is synced.
func (l *Log) End(ctx context.Context, topic string, part int32) (int64, error) {
	p, err := l.find(topic, part)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("end of %s/%d: %w", topic, part, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.damaged != nil {
		return 0, fmt.Errorf("end of %s/%d: %w", topic, part, p.damaged)
	}
	return p.end, nil
}

// Ensure implements [eventlog.Log].
func (l *Log) Ensure(ctx context.Context, t eventlog.Topic) error {
	if err := t.Check(); err != nil {
		return err
	}
	err := ctx.Err()
	if err == nil {
		err = l.has(t)
	}
	if errors.Is(err, eventlog.ErrUnknownTopic) {
		if l.readOnly {
			return &eventlog.TopicError{Topic: t.Name, Problem: "it does not exist and the log is open for reading only",
				Remedy: "open the log for writing once"}
		}
		_, err = l.send(ctx, &request{topic: t, done: make(chan answer, 1)})
	}
	if te, ok := errors.AsType[*eventlog.TopicError](err); ok {
		return te
	}
	if err != nil {
		return fmt.Errorf("ensure topic %s: %w", t.Name, err)
	}
	return nil
}

// has checks a topic that is known.
func (l *Log) has(t eventlog.Topic) error {
	if _, err := l.find(t.Name, 0); err != nil {
		return err
	}
	l.mu.RLock()
	have := len(l.topics[t.Name])
	l.mu.RUnlock()
	if have != t.Partitions {
		return &eventlog.TopicError{Topic: t.Name,
			Problem: fmt.Sprintf("it has %d partitions, not %d", have, t.Partitions),
			Remedy:  fmt.Sprintf("ask for %d partitions, or use another name", have)}
	}
	return nil
}

// Topics implements [eventlog.Lister].
func (l *Log) Topics(ctx context.Context) ([]eventlog.Topic, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-l.done:
		return nil, eventlog.ErrClosed
	default:
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	ts := make([]eventlog.Topic, 0, len(l.topics))
	for name, ps := range l.topics {
		ts = append(ts, eventlog.Topic{Name: name, Partitions: len(ps)})
	}
	return ts, nil
}

// Start implements [eventlog.Lister]. It is 0: the file keeps every record.
func (l *Log) Start(ctx context.Context, topic string, part int32) (int64, error) {
	_, err := l.find(topic, part)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		err = fmt.Errorf("start of %s/%d: %w", topic, part, err)
	}
	return 0, err
}

// TopicID implements [eventlog.Identifier]: a UUID that was drawn when the topic was
// made. A file of before topics had ids gets them when it is opened for writing;
// until then it is "".
func (l *Log) TopicID(ctx context.Context, topic string) (id string, err error) {
	_, err = l.find(topic, 0)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = l.look(func(tx *bbolt.Tx) (err error) { id, err = readID(tx, topic); return err })
	}
	if err != nil {
		return "", fmt.Errorf("id of %s: %w", topic, err)
	}
	return id, nil
}

// look looks into the file as it is now. What f finds mangled is damage.
func (l *Log) look(f func(*bbolt.Tx) error) error {
	l.filemu.RLock()
	defer l.filemu.RUnlock()
	select {
	case <-l.done:
		return eventlog.ErrClosed
	default:
	}
	if l.file == nil {
		return fmt.Errorf("%s could not be opened again after a failed write", l.path)
	}
	return l.file.view(func(tx *bbolt.Tx) error {
		if err := f(tx); err != nil {
			return l.damaged(err)
		}
		return nil
	})
}

// Close implements [eventlog.Log]. An append being written is finished and
// answered, one still waiting gets ErrClosed. Closing again returns the same.
func (l *Log) Close() error {
	l.closing.Do(func() {
		close(l.done)
		<-l.stopped
		l.filemu.Lock()
		defer l.filemu.Unlock()
		if l.file == nil {
			return
		}
		if err := l.file.close(); err != nil {
			l.closed = fmt.Errorf("close log %s: %w", l.path, err)
		}
	})
	return l.closed
}

package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

var identity = snapshot.Identity{App: "shop", Operator: "orders", Topic: "shop.events", Partition: 3, Version: 1, State: "order{lines}"}

// testClock stands still until it is moved, and draws by a seed.
type testClock struct {
	mu   sync.Mutex
	now  time.Time
	rand *rand.Rand
}

func newClock(seed uint64) *testClock {
	return &testClock{now: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), rand: rand.New(rand.NewPCG(seed, 0))}
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) After(time.Duration) <-chan time.Time { return nil }

func (c *testClock) Entropy() (b [10]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range b {
		b[i] = byte(c.rand.Uint32())
	}
	return b
}

// move moves the time; a millisecond at least, so that ids are ordered.
func (c *testClock) move(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

// task is a series whose state is a text: a full snapshot is all of it, a delta
// what came to it.
type task struct {
	*testing.T
	*snapshot.Series
	clock   *testClock
	text    string
	written int // bytes of text that are in snapshots
}

func newTask(t *testing.T, store snapshot.BlobStore, id snapshot.Identity, clock *testClock) *task {
	s := snapshot.NewSeries(store, id, 0)
	s.Clock = clock
	return &task{T: t, Series: s, clock: clock}
}

// snap takes a snapshot at the text's length.
func (k *task) snap(full bool) error {
	k.clock.move(time.Millisecond)
	w := k.Begin(k.Context(), full)
	defer w.Abort()
	from := k.written
	if w.Full() {
		from = 0
	}
	if _, err := io.WriteString(w, k.text[from:]); err != nil {
		return err
	}
	if err := w.Finish(k.Context()); err != nil {
		return err
	}
	err := w.Commit(k.Context(), int64(len(k.text)), []byte(head(k.text)))
	if err == nil {
		k.written = len(k.text)
	}
	return err
}

func head(text string) string { return fmt.Sprintf("head of %d", len(text)) }

// grow adds to the text and takes a snapshot.
func (k *task) grow(s string, full bool) {
	k.Helper()
	k.text += s
	if err := k.snap(full); err != nil {
		k.Fatalf("snapshot at %d: %v", len(k.text), err)
	}
	if err := k.Untidied(); err != nil {
		k.Fatalf("after the snapshot at %d: %v", len(k.text), err)
	}
}

// restored is what Restore gave back.
type restored struct {
	text     string
	found    bool
	problems []error
}

// restore restores, and fails if anything comes that is not a beginning of want.
func restore(t *testing.T, s *snapshot.Series, want string) restored {
	t.Helper()
	var r restored
	position, found, problems, err := s.Restore(t.Context(), nil, func(h []byte, blobs []io.Reader) error {
		r.text = ""
		for _, b := range blobs {
			read, err := io.ReadAll(b)
			r.text += string(read)
			if !strings.HasPrefix(want, r.text) {
				t.Fatalf("load got %.80q, which was never written", r.text)
			}
			if err != nil {
				return err
			}
		}
		if string(h) != head(r.text) {
			t.Fatalf("load got head %.80q with a text of %d", h, len(r.text))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	if found && position != int64(len(r.text)) {
		t.Fatalf("restored %d bytes at position %d", len(r.text), position)
	}
	r.found, r.problems = found, problems
	return r
}

// resume makes of what a successor restored its text.
func (k *task) resume(want string) restored {
	k.Helper()
	r := restore(k.T, k.Series, want)
	k.text, k.written = r.text, len(r.text)
	return r
}

func names(t *testing.T, store snapshot.BlobStore, prefix string) []string {
	t.Helper()
	all, err := store.List(context.WithoutCancel(t.Context()), prefix)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// ending returns those of names that end so.
func ending(names []string, end string) []string {
	var some []string
	for _, n := range names {
		if strings.HasSuffix(n, end) {
			some = append(some, n)
		}
	}
	return some
}

func read(t *testing.T, store snapshot.BlobStore, name string) []byte {
	t.Helper()
	r, err := store.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, store snapshot.BlobStore, name string, b []byte) {
	t.Helper()
	if err := store.Put(t.Context(), name, strings.NewReader(string(b))); err != nil {
		t.Fatal(err)
	}
}

package snapshot_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

var errDisk = errors.New("no space left on device")

// failing returns a hook under which calls of an operation on names that end so
// meet a fault.
func failing(op snapshot.Op, end string, f snapshot.Fault) snapshot.Hook {
	return func(_ context.Context, o snapshot.Op, name string) snapshot.Fault {
		if o == op && strings.HasSuffix(name, end) {
			return f
		}
		return snapshot.Fault{}
	}
}

func TestAStoreThatFailsFailsTheSnapshotAndTheNextIsFull(t *testing.T) {
	for what, hook := range map[string]snapshot.Hook{
		"blob":                failing(snapshot.OpPut, ".delta", snapshot.Fault{Err: errDisk}),
		"blob, lands":         failing(snapshot.OpPut, ".delta", snapshot.Fault{Err: errDisk, Lands: true}),
		"manifest":            failing(snapshot.OpPut, ".manifest", snapshot.Fault{Err: errDisk}),
		"manifest, lands":     failing(snapshot.OpPut, ".manifest", snapshot.Fault{Err: errDisk, Lands: true}),
		"look for what it is": failing(snapshot.OpList, "/", snapshot.Fault{Err: errDisk}),
	} {
		store := snapshot.Memory()
		k := newTask(t, store, identity, newClock(1))
		k.grow("base base base", true)
		store.Inject(hook)
		k.text += "-more"
		if err := k.snap(false); !errors.Is(err, errDisk) {
			t.Errorf("%s: %v, want the store's error", what, err)
		}
		store.Inject(nil)
		want := "base base base"
		if what == "manifest, lands" {
			want = k.text
		}
		if r := restore(t, newTask(t, store, identity, newClock(2)).Series, k.text); r.text != want || r.problems != nil {
			t.Errorf("%s: restored %q, %v, want %q", what, r.text, r.problems, want)
		}
		if w := k.Begin(t.Context(), false); !w.Full() {
			t.Errorf("%s: a delta on what is not known", what)
		} else {
			w.Abort()
		}
		k.grow("-again", false)
		if r := restore(t, k.Series, k.text); r.text != k.text || r.problems != nil {
			t.Errorf("%s: afterwards %q, %v", what, r.text, r.problems)
		}
	}
}

func TestAStoreThatStoresWronglyIsFoundOut(t *testing.T) {
	mangles := map[string]func([]byte) []byte{
		"truncated": func(b []byte) []byte { return b[:len(b)-1] },
		"halved":    func(b []byte) []byte { return b[:len(b)/2] },
		"emptied":   func([]byte) []byte { return nil },
		"flipped": func(b []byte) []byte {
			b = slices.Clone(b)
			b[len(b)/2] ^= 0x10
			return b
		},
	}
	for what, mangle := range mangles {
		for _, op := range []snapshot.Op{snapshot.OpPut, snapshot.OpGet} {
			for _, end := range []string{".delta", ".manifest"} {
				store := snapshot.Memory()
				k := newTask(t, store, identity, newClock(1))
				k.grow("base base base", true)
				manifest := ending(names(t, store, ""), ".manifest")[0]
				hook := failing(op, end, snapshot.Fault{Mangle: mangle})
				store.Inject(func(ctx context.Context, o snapshot.Op, name string) snapshot.Fault {
					if name == manifest {
						return snapshot.Fault{}
					}
					return hook(ctx, o, name)
				})
				k.grow("-more", false)
				wantOlder(t, store, what+" in "+string(op)+" of "+end, k.text, "base base base")
			}
		}
	}
}

func TestAStoreThatCannotBeReadIsAProblemAndNoDamage(t *testing.T) {
	store, old, last := chained(t)
	_, blobs := newestOf(t, store)
	store.Inject(failing(snapshot.OpGet, blobs[0], snapshot.Fault{Err: errDisk}))
	r := restore(t, newTask(t, store, identity, newClock(2)).Series, last)
	if r.text != old || len(r.problems) != 3 || !errors.Is(r.problems[0], errDisk) || errors.Is(r.problems[0], snapshot.ErrDamaged) {
		t.Errorf("restored %q, %v", r.text, r.problems)
	}
	store.Inject(failing(snapshot.OpList, "", snapshot.Fault{Err: errDisk}))
	if _, found, _, err := newTask(t, store, identity, newClock(2)).Restore(t.Context(), nil, nil); found || !errors.Is(err, errDisk) {
		t.Errorf("a store that lists nothing: %v, %v", found, err)
	}
}

func TestRetentionThatFailsIsSaidAndTriedAgain(t *testing.T) {
	store := snapshot.Memory()
	k := newTask(t, store, identity, newClock(1))
	for range 3 {
		k.grow("x", true)
	}
	store.Inject(failing(snapshot.OpDelete, "", snapshot.Fault{Err: errDisk}))
	k.text += "y"
	if err := k.snap(true); err != nil {
		t.Fatalf("the snapshot is stored, and yet: %v", err)
	}
	if err := k.Untidied(); !errors.Is(err, errDisk) {
		t.Errorf("untidied: %v", err)
	}
	store.Inject(nil)
	k.grow("z", true)
	if all := names(t, store, ""); len(all) != 4 {
		t.Errorf("left are %q", all)
	}
}

func TestASlowStoreHoldsAWriterBackAtSomeMebibytes(t *testing.T) {
	store := snapshot.Memory()
	goOn := make(chan struct{})
	store.Inject(func(ctx context.Context, op snapshot.Op, _ string) snapshot.Fault {
		if op == snapshot.OpPut {
			select {
			case <-goOn:
			case <-ctx.Done():
			}
		}
		return snapshot.Fault{}
	})
	k := newTask(t, store, identity, newClock(1))
	ctx, cancel := context.WithCancel(t.Context())
	w := k.Begin(ctx, true)
	for range 32 { // 4 MiB
		if _, err := w.Write(make([]byte, 128<<10)); err != nil {
			t.Fatal(err)
		}
	}
	blocked := make(chan error)
	go func() {
		_, err := w.Write(make([]byte, 4<<20))
		blocked <- err
	}()
	select {
	case err := <-blocked:
		t.Fatalf("8 MiB were taken: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	if err := <-blocked; !errors.Is(err, context.Canceled) {
		t.Errorf("write: %v", err)
	}
	w.Abort()

	w = k.Begin(t.Context(), true)
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	hasty, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if err := w.Finish(hasty); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("finish: %v", err)
	}
	if _, err := w.Write([]byte("y")); err == nil {
		t.Error("a finished snapshot takes more")
	}
	close(goOn)
	if err := errors.Join(w.Finish(t.Context()), w.Finish(t.Context()), w.Commit(t.Context(), 1, []byte(head("x")))); err != nil {
		t.Error(err)
	}
	if r := restore(t, k.Series, "x"); r.text != "x" {
		t.Errorf("restored %q", r.text)
	}
}

// lazyStore says of each blob that it is stored, and reads little of it.
type lazyStore struct{ *snapshot.MemoryStore }

func (lazyStore) Put(_ context.Context, _ string, body io.Reader) error {
	_, err := io.CopyN(io.Discard, body, 10)
	return err
}

func TestAStoreThatDoesNotTakeAllIsFoundOut(t *testing.T) {
	k := newTask(t, lazyStore{snapshot.Memory()}, identity, newClock(1))
	k.text = strings.Repeat("x", 10<<20)
	if err := k.snap(true); err == nil || !strings.Contains(err.Error(), "took only 10 bytes") {
		t.Errorf("%v", err)
	}
}

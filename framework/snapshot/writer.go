package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// queued is how many chunks of frameBytes wait for the store, so that a Writer
// holds some 4 MiB.
const queued = 16

// Writer writes one snapshot. It is used by one goroutine at a time; whoever wants
// to end it from elsewhere ends Begin's context.
type Writer struct {
	s     *Series
	full  bool
	chain []blobRef // what a delta builds on

	chunk  []byte // being filled, behind frameHead bytes of room
	queue  chan []byte
	free   chan []byte
	cancel context.CancelFunc
	ctx    context.Context
	blob   blobRef       // its size and sum once it is stored
	stored chan struct{} // closed once the store has the blob, or not
	err    error         // then: why not

	closed bool  // the queue
	ended  error // what all methods return: it is committed, aborted, or was never begun
}

// start hands the blob to the store, in a goroutine that ends with the blob or
// with ctx.
func (w *Writer) start(ctx context.Context, ref blobRef) {
	w.blob = ref
	w.ctx, w.cancel = context.WithCancel(ctx)
	w.queue, w.free = make(chan []byte, queued), make(chan []byte, queued+3)
	w.stored = make(chan struct{})
	go func() {
		defer close(w.stored)
		body := newFramer(w.ctx, ref, w.queue, w.free)
		err := w.s.store.Put(w.ctx, w.s.prefix+ref.name(), body)
		if err == nil && !body.ended {
			err = fmt.Errorf("the store says that it has blob %s, but took only %d bytes of it", ref.name(), body.ref.size)
		}
		w.blob, w.err = body.ref, err
	}()
}

// Full reports whether the snapshot is to hold everything; else it holds what has
// changed since the series' last one.
func (w *Writer) Full() bool { return w.full }

// Write adds p, of which it keeps nothing. The store reads in the background: a
// call blocks only while some 4 MiB wait for it. An error is the store's, or that
// of Begin's context; only Abort makes sense then.
func (w *Writer) Write(p []byte) (n int, err error) {
	if err := w.usable(); err != nil {
		return 0, err
	}
	for n < len(p) {
		if w.chunk == nil {
			w.chunk = w.newChunk()
		}
		took := min(len(p)-n, frameHead+frameBytes-len(w.chunk))
		w.chunk = append(w.chunk, p[n:n+took]...)
		n += took
		if len(w.chunk) == frameHead+frameBytes {
			if err := w.send(w.ctx); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (w *Writer) newChunk() []byte {
	select {
	case c := <-w.free:
		return c
	default:
		return make([]byte, frameHead, frameHead+frameBytes)
	}
}

func (w *Writer) usable() error {
	if w.ended != nil {
		return fmt.Errorf("write snapshot: %w", w.ended)
	}
	if w.closed {
		return errors.New("write snapshot: it is finished")
	}
	return nil
}

// send queues the chunk.
func (w *Writer) send(ctx context.Context) error {
	select {
	case w.queue <- w.chunk:
		w.chunk = nil
		return nil
	case <-w.stored:
		return w.failed()
	case <-ctx.Done():
		return fmt.Errorf("write snapshot: %w", ctx.Err())
	}
}

// failed returns why the blob was not stored. A store that is through before
// the blob is has failed, whatever it said.
func (w *Writer) failed() error { return fmt.Errorf("write snapshot: %w", w.err) }

// Finish ends the blob and waits until it is whole and durable. It may be called
// again, if ctx ended before or otherwise. The snapshot does not exist yet:
// Commit makes it.
func (w *Writer) Finish(ctx context.Context) error {
	if w.ended != nil {
		return fmt.Errorf("finish snapshot: %w", w.ended)
	}
	if len(w.chunk) > frameHead {
		if err := w.send(ctx); err != nil {
			return err
		}
	}
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
	select {
	case <-w.stored:
	default:
		select {
		case <-w.stored:
		case <-ctx.Done():
			return fmt.Errorf("finish snapshot: %w", ctx.Err())
		}
	}
	if w.err != nil {
		return w.failed()
	}
	return nil
}

// Commit makes the snapshot exist: it leads to position, the offset of the first
// record that is not in it, and head comes back with it, at most MaxHead bytes.
// What it does first is Finish. Then it deletes what is not needed any more, as
// NewSeries says; see Untidied.
//
// It ends the Writer, whatever it returns. After an error the snapshot may exist
// all the same, if it was the store's; either is right. ErrChain means that
// another series has deleted what this delta builds on or, an hour after it was
// finished, the blob itself; then it does not exist.
func (w *Writer) Commit(ctx context.Context, position int64, head []byte) error {
	if w.ended != nil {
		return fmt.Errorf("commit snapshot: %w", w.ended)
	}
	m, err := w.commit(ctx, position, head)
	if err == nil {
		err = w.s.tidy(ctx, m)
	}
	if err != nil {
		w.end(nil, 0, m == nil || errors.Is(err, ErrChain))
		return fmt.Errorf("commit snapshot at %d: %w", position, err)
	}
	if w.full {
		w.s.setAlone(false)
	}
	w.end(m.chain, position, false)
	return nil
}

// commit returns the manifest if it was given to the store.
func (w *Writer) commit(ctx context.Context, position int64, head []byte) (*manifest, error) {
	s := w.s
	switch {
	case position < 0:
		return nil, errors.New("a position is at least 0")
	case len(head) > MaxHead:
		return nil, fmt.Errorf("its head has %d bytes, at most %d fit", len(head), MaxHead)
	case !w.full && position < s.last:
		return nil, fmt.Errorf("it builds on one at %d, which is farther", s.last)
	}
	if err := w.Finish(ctx); err != nil {
		return nil, err
	}
	if err := w.chained(ctx); err != nil {
		return nil, err
	}
	m := &manifest{series: s.self, at: s.Clock.Now().Truncate(time.Millisecond), id: s.id, position: position,
		head: head, chain: append(w.chain, w.blob)}
	b, err := m.encode()
	if err != nil {
		return nil, err
	}
	return m, s.store.Put(ctx, s.prefix+m.name(), bytes.NewReader(b))
}

// chained checks that all that the snapshot consists of is there: another series may
// have deleted it.
func (w *Writer) chained(ctx context.Context) error {
	names, err := w.s.names(ctx)
	if err != nil {
		return err
	}
	return missing(append(w.chain, w.blob), names)
}

// missing returns ErrChain with the first blob of a chain that is not among
// names, which are sorted.
func missing(chain []blobRef, names []string) error {
	for i := range chain {
		if _, found := slices.BinarySearch(names, chain[i].name()); !found {
			return fmt.Errorf("blob %s is missing: %w", chain[i].name(), ErrChain)
		}
	}
	return nil
}

// Abort gives the snapshot up, and returns once the store has let go of it. After
// Commit it does nothing, so it may be deferred.
func (w *Writer) Abort() {
	if w.ended != nil {
		return
	}
	w.end(nil, 0, true)
}

// end gives the series back, with what the next delta builds on. A blob that no
// manifest can name is left to the next Commit.
func (w *Writer) end(chain []blobRef, position int64, drop bool) {
	w.cancel()
	<-w.stored
	w.ended, w.chunk = ErrEnded, nil
	if drop {
		w.s.drop(w.blob.name())
	}
	w.s.release(chain, position)
}

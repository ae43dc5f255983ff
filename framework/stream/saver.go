package stream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// saver makes the snapshots of what a loop folds, one at a time. The loop encodes
// a cut between its events, a few units at a time; the blob is stored beside it, and
// counts once the loop has released it.
type saver struct {
	series *snapshot.Series
	of     cutter
	every  time.Duration
	clock  clock.Clock
	logger *slog.Logger // says whose they are

	position int64     // of the newest one; 0: none
	last     time.Time // when the last one was begun
	full     bool      // the next is to hold everything: a cut was abandoned
	now      *saving   // nil: none is being made
	busy     sync.WaitGroup
}

// cutter is what a loop folds.
type cutter interface {
	begin(full bool, to *frames) (head []byte)
	encode(n int, to *frames) (done bool, err error)
	abandon()
}

// saving is a snapshot in the making.
type saving struct {
	pipe     *pipe
	frames   *frames
	head     []byte
	position int64
	encoded  bool          // all of it is in the pipe
	dropped  bool          // it is given up
	released chan struct{} // closed, and nil then, once it may count
	done     chan error    // gets one value
	cancel   context.CancelFunc
}

// storeTimeout bounds how long the blob store may take for a blob or a manifest.
const storeTimeout = 5 * time.Minute

func newSaver(of cutter, store snapshot.BlobStore, id snapshot.Identity, every time.Duration, clk clock.Clock, logger *slog.Logger) *saver {
	series := snapshot.NewSeries(store, id, 0)
	series.Clock = clk
	before := time.Duration(phase(id.Operator, id.Partition) * float64(every)) // those that begin together save apart
	return &saver{series: series, of: of, every: every, clock: clk, logger: logger, last: clk.Now().Add(-before)}
}

// due reports whether a snapshot is to be begun of what is folded below next.
func (s *saver) due(next int64) bool {
	return s.now == nil && next > s.position && s.clock.Now().Sub(s.last) >= s.every
}

// begin begins a snapshot of what is folded below next. It costs the same however
// many units there are.
func (s *saver) begin(ctx context.Context, next int64) {
	ctx, cancel := context.WithCancel(ctx)
	s.last = s.clock.Now()
	w := s.series.Begin(ctx, s.full || s.series.NextFull())
	c := &saving{pipe: newPipe(), position: next, released: make(chan struct{}), done: make(chan error, 1), cancel: cancel}
	c.frames = &frames{to: c.pipe}
	c.head = s.of.begin(w.Full(), c.frames)
	s.now, s.full = c, false
	released := c.released
	s.busy.Go(func() { c.done <- c.store(ctx, w, released) })
}

// release says that all that the fold had made before the cut is acknowledged.
func (s *saver) release() {
	if c := s.now; c != nil && c.released != nil {
		close(c.released)
		c.released = nil
	}
}

// step goes on with the snapshot under way, by about n units. The error is that of
// encoding a unit; what the store says is logged, and costs the snapshot alone.
func (s *saver) step(n int) error {
	c := s.now
	if c == nil {
		return nil
	}
	select {
	case err := <-c.done:
		s.settle(c, err)
		return nil
	default:
	}
	if c.frames.err != nil && !c.dropped {
		c.dropped = true
		c.pipe.fail(c.frames.err)
	}
	if !s.encoding() {
		return nil
	}
	done, err := s.of.encode(n, c.frames)
	if done && err == nil {
		c.encoded = true
		c.pipe.finish()
	}
	return err
}

// settle takes in what has come of a snapshot.
func (s *saver) settle(c *saving, err error) {
	c.cancel()
	s.now = nil
	if err == nil {
		s.position = c.position
		return
	}
	s.logger.Warn("a snapshot was not stored", "err", err)
	s.of.abandon()
	s.full = true
}

// encoding reports whether there is more of a cut to be encoded, and room for it.
func (s *saver) encoding() bool {
	c := s.now
	return c != nil && !c.encoded && !c.dropped && c.frames.err == nil && c.pipe.roomy()
}

// end gives up the snapshot under way, and waits until nothing runs beside the loop.
func (s *saver) end() {
	if s.now != nil {
		s.now.cancel()
	}
	s.busy.Wait()
}

// restore loads the newest snapshot whose position fits, and says of each that is
// not used why. Each call of load begins anew.
func (s *saver) restore(ctx context.Context, fits func(position int64) bool, load func(head []byte, blobs []io.Reader) error) (found bool, problems []error, err error) {
	position, found, problems, err := s.series.Restore(ctx, fits, load)
	for _, p := range problems {
		s.logger.Warn("a snapshot is not used", "err", p)
	}
	if found {
		s.position = position
	}
	return found, problems, err
}

// store writes the blob, and the manifest once the snapshot is released. It runs
// beside the loop.
func (c *saving) store(ctx context.Context, w *snapshot.Writer, released <-chan struct{}) error {
	defer w.Abort() // after Commit it does nothing
	err := within(ctx, func(ctx context.Context) error {
		if err := c.pipe.copyTo(ctx, w); err != nil {
			return err
		}
		return w.Finish(ctx)
	})
	if err != nil {
		return err
	}
	select {
	case <-released:
	case <-ctx.Done():
		return ctx.Err()
	}
	return within(ctx, func(ctx context.Context) error { return w.Commit(ctx, c.position, c.head) })
}

func within(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return f(ctx)
}

// pipe carries frames from the loop to the blob store without making the loop
// wait.
type pipe struct {
	frames chan []byte
	failed chan struct{}
	err    error
}

// maxPiped is how many writes of the loop may wait; a store that is slower than
// that costs the snapshot.
const maxPiped = 128

var errSlowStore = errors.New("the blob store is too slow: the states change faster than it takes them")

func newPipe() *pipe {
	return &pipe{frames: make(chan []byte, maxPiped), failed: make(chan struct{})}
}

// Write implements io.Writer. It keeps b.
func (p *pipe) Write(b []byte) (int, error) {
	select {
	case p.frames <- b:
		return len(b), nil
	default:
		return 0, errSlowStore
	}
}

// roomy reports whether what is not urgent may be written too.
func (p *pipe) roomy() bool { return len(p.frames) < maxPiped/4 }

func (p *pipe) finish() { close(p.frames) }

func (p *pipe) fail(err error) {
	p.err = err
	close(p.failed)
}

func (p *pipe) copyTo(ctx context.Context, w io.Writer) error {
	for {
		select {
		case b, ok := <-p.frames:
			if !ok {
				return nil
			}
			if _, err := w.Write(b); err != nil {
				return err
			}
		case <-p.failed:
			return p.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

package stream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

// snapshots makes an attempt's snapshots, one at a time: a cut is encoded between
// events and written beside the loop; it counts once all that was emitted before
// it is acknowledged.
type snapshots struct {
	series   *snapshot.Series
	position int64     // of the last one
	last     time.Time // when it began
	full     bool      // the next is to hold everything: a cut was abandoned
	now      *cutting  // nil: none is being made
}

// cutting is a snapshot in the making.
type cutting struct {
	writer   *snapshot.Writer
	pipe     *pipe
	frames   *frames
	head     []byte
	position int64
	ticket   ticket
	encoded  bool // all of it is in the pipe
	stored   bool // the blob is written
	storing  bool // the manifest is being written
}

// storeTimeout bounds one call of the blob store.
const storeTimeout = 5 * time.Minute

// encodeEach is how many units are encoded for each slice of records, besides those
// that these records change: few, so that the fold keeps half its speed at least.
const encodeEach = slice / 4

func newSnapshots(a *attempt) *snapshots {
	return &snapshots{series: snapshot.NewSeries(a.cfg.Snapshots, a.identity(), 0), position: -1, last: a.cfg.Clock.Now()}
}

// identity says whose the task's snapshots are.
func (a *attempt) identity() snapshot.Identity {
	return snapshot.Identity{App: a.stage.of.Name, Operator: a.stage.name, Topic: a.stage.input(), Partition: a.part,
		Version: int(a.stage.of.version()), State: a.stage.stateOf()}
}

func buffered(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 256<<10) }

// snapshot begins one when it is due, and goes on with the one under way.
func (a *attempt) snapshot() error {
	s := a.snap
	if s == nil {
		return nil
	}
	if s.now == nil {
		if a.core.next > s.position && a.cfg.Clock.Now().Sub(s.last) >= a.cfg.SnapshotEvery {
			a.cut()
		}
		return nil
	}
	c := s.now
	if c.frames.err != nil {
		a.drop(c.frames.err)
		return nil
	}
	if !c.encoded && c.pipe.roomy() {
		done, err := a.core.encode(encodeEach, c.frames)
		if err != nil {
			return Final(err)
		}
		if done {
			c.encoded = true
			c.pipe.finish()
		}
	}
	if c.stored && !c.storing && a.core.covered(c.ticket) && !a.behind(c.position) {
		c.storing = true
		a.store(func(ctx context.Context) error { return c.writer.Commit(ctx, c.position, c.head) }, func() {
			s.position, s.now = c.position, nil
		})
	}
	return nil
}

// behind reports whether a store's mark has not reached a position.
func (a *attempt) behind(position int64) bool {
	written := a.core.written()
	return written >= 0 && written < position
}

// encoding reports whether there is more of a cut to be encoded, and room for it.
func (a *attempt) encoding() bool {
	return a.snap != nil && a.snap.now != nil && !a.snap.now.encoded && a.snap.now.frames.err == nil && a.snap.now.pipe.roomy()
}

// cut begins a snapshot of what the task has now.
func (a *attempt) cut() {
	s := a.snap
	s.last = a.cfg.Clock.Now()
	w := s.series.Begin(a.ctx, s.full || s.series.NextFull())
	c := &cutting{writer: w, pipe: newPipe(), position: a.core.next, ticket: a.core.ticket()}
	c.frames = &frames{to: c.pipe}
	c.head = a.core.begin(w.Full(), c.frames)
	s.now, s.full = c, false
	a.store(func(ctx context.Context) error {
		if err := c.pipe.copyTo(ctx, w); err != nil {
			return err
		}
		return w.Finish(ctx)
	}, func() { c.stored = true })
}

// store calls the blob store beside the loop. A failure costs this snapshot, not
// the task.
func (a *attempt) store(f func(context.Context) error, then func()) {
	c := a.snap.now
	a.busy.Go(func() {
		ctx, cancel := context.WithTimeout(a.ctx, storeTimeout)
		defer cancel()
		a.acks <- ack{err: f(ctx), then: func(err error) error {
			switch {
			case a.snap.now != c: // dropped meanwhile
			case err != nil:
				a.drop(err)
			default:
				then()
			}
			return nil
		}}
	})
}

// drop gives the snapshot under way up.
func (a *attempt) drop(why error) {
	a.cfg.Logger.Warn("a snapshot was not stored", "operator", a.stage.name, "partition", a.part, "err", why)
	c := a.snap.now
	a.core.abandon()
	c.pipe.fail(why)
	c.writer.Abort()
	a.snap.now, a.snap.full = nil, true
}

func (s *snapshots) end() {
	if s.now != nil {
		s.now.writer.Abort()
	}
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

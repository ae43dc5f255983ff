package stream

import (
	"bufio"
	"io"

	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

// snapshots makes an attempt's snapshots. One counts once all that was emitted
// before its cut is acknowledged.
type snapshots struct {
	*saver
	ticket ticket // of the one that is being made
}

// encodeEach is how many units are encoded for each slice of records, besides those
// that these records change: few, so that the fold keeps half its speed at least.
const encodeEach = slice / 4

func newSnapshots(a *attempt) *snapshots {
	logger := a.cfg.Logger.With("operator", a.stage.name, "partition", a.part)
	return &snapshots{saver: newSaver(nil, a.cfg.Snapshots, a.identity(), a.cfg.SnapshotEvery, a.cfg.Clock, logger)}
}

// identity says whose the task's snapshots are.
func (a *attempt) identity() snapshot.Identity { return a.stage.identity(a.part) }

func (s *stage) identity(part int32) snapshot.Identity {
	return snapshot.Identity{App: s.of.Name, Operator: s.name, Topic: s.input(), Partition: part,
		Version: int(s.of.version()), State: s.stateOf()}
}

func buffered(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 256<<10) }

// snapshot begins one when it is due, and goes on with the one under way.
func (a *attempt) snapshot() error {
	s := a.snap
	if s == nil {
		return nil
	}
	if s.of = a.core; s.due(a.core.next) {
		s.ticket = a.core.ticket()
		a.needs()
		s.begin(a.ctx, a.core.next)
	}
	if s.now != nil && a.core.covered(s.ticket) && !a.behind(s.now.position) {
		s.release()
	}
	before := s.position
	if err := s.step(encodeEach); err != nil {
		return Final(err)
	}
	if s.position != before {
		a.trim()
	}
	return nil
}

// behind reports whether a store's mark has not reached a position.
func (a *attempt) behind(position int64) bool {
	written := a.core.written()
	return written >= 0 && written < position
}

// encoding reports whether there is more of a cut to be encoded, and room for it.
func (a *attempt) encoding() bool { return a.snap != nil && a.snap.encoding() }

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// mostDeltas is how many deltas may follow a full snapshot before NextFull asks
// for another.
const mostDeltas = 32

// Series is the snapshots of one task: it restores the newest and writes further
// ones. Several series of one identity, in several processes, may be used at the
// same time: none overwrites what another wrote.
//
// It is safe for concurrent use, but writes one snapshot at a time, and not
// while it restores.
type Series struct {
	// Clock tells the time and draws the ids that names are made of. It is to
	// be set before the first use; the default is the machine's.
	Clock clock.Clock

	store  BlobStore
	id     Identity
	keep   int
	prefix string
	known  map[string]*entry // manifests seen by tidy, by name; used by the Writer that commits
	rotten map[string]bool   // manifests that Restore found damaged, or what they name, by name; used by who is busy

	mu        sync.Mutex
	self      event.ID  // who wrote what this series commits
	busy      bool      // a Writer is open, or Restore runs
	chain     []blobRef // what the next delta builds on; empty: the next one is full
	last      int64     // position that chain leads to; used by the Writer that is open
	alone     bool      // Restore passed over a damaged one, and no full one was committed since
	dropped   []string  // blobs that no manifest will name
	positions []int64   // what Kept returns
	untidied  error
}

// NewSeries returns the series of id's snapshots in store. Nothing is read or
// written yet.
//
// The newest keep of them are kept; 0, the default, means 2. Each Commit deletes
// the others, and the blobs that only they name. Further are kept the newest that builds
// on another full one, so that no single blob is needed by all; the one just
// committed, wherever it stands; the latest of any other series, while it is not
// older than an hour, for that may still be writing; those that differ in State
// or are of another format, for a day, and until there are keep of this one's;
// damaged ones, as far as that is known, and those that lack a blob, for an hour. So are
// blobs that no manifest names, as they may yet get one. On disk that is at most two full
// ones, each with deltas of about its size, and one more while a full one is written.
func NewSeries(store BlobStore, id Identity, keep int) *Series {
	if keep <= 0 {
		keep = 2
	}
	return &Series{Clock: clock.System, store: store, id: id, keep: keep, prefix: id.Prefix(), known: make(map[string]*entry), rotten: make(map[string]bool)}
}

// NextFull reports whether the next snapshot is better a full one: there is
// nothing that a delta could build on, the deltas together have grown larger
// than what they build on, there are more than 32 of them, or Restore passed over a
// damaged one, so that what is left may build on one blob.
func (s *Series) NextFull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.chain) == 0 || s.alone {
		return true
	}
	var deltas int64
	for _, b := range s.chain[1:] {
		deltas += b.size
	}
	return deltas > s.chain[0].size || len(s.chain)-1 > mostDeltas
}

// Untidied returns why the last Commit could not delete what is not needed any
// more; nil if it could. Each Commit tries again.
func (s *Series) Untidied() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.untidied
}

// Kept returns the positions of all snapshots that the last Commit left and that are whole,
// as far as it could see, whoever's they are, in order. A restore needs nothing of the log
// below the first. It returns nil while those of this identity are fewer than keep, or all
// build on one full one, where the Commit could not look, and before the first.
func (s *Series) Kept() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.positions
}

// Begin starts a snapshot: a full one if full is set, or if there is nothing that
// a delta could build on, which Writer.Full tells; else a delta on the last one
// that this series committed or restored, to hold what has changed since. ctx is
// that of all that is written; when it ends, so does the snapshot.
//
// What was begun ends with Commit or Abort. If it is not committed, the next one
// is full, as nobody could tell what a delta would lack. One snapshot is written
// at a time: a Writer begun meanwhile returns ErrBusy from all its methods.
func (s *Series) Begin(ctx context.Context, full bool) *Writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy {
		return &Writer{s: s, full: true, ended: ErrBusy}
	}
	if s.self.IsZero() {
		s.self = clock.NewID(s.Clock)
	}
	s.busy = true
	w := &Writer{s: s, full: full || len(s.chain) == 0 || len(s.chain) >= MaxChain}
	if !w.full {
		w.chain = slices.Clone(s.chain)
	}
	w.start(ctx, blobRef{id: clock.NewID(s.Clock), full: w.full})
	return w
}

// claim takes the series for Restore, until release.
func (s *Series) claim() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy {
		return ErrBusy
	}
	s.busy, s.chain = true, nil
	return nil
}

// release gives the series back, with what the next delta builds on.
func (s *Series) release(chain []blobRef, position int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy, s.chain, s.last = false, chain, position
}

// setAlone notes whether all may hang on one blob.
func (s *Series) setAlone(alone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alone = alone
}

// drop notes a blob to be deleted. Of more than a hundred the oldest are left to
// their age.
func (s *Series) drop(blob string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped = append(s.dropped, blob)
	s.dropped = s.dropped[max(0, len(s.dropped)-100):]
}

// names returns the names under the series' prefix, without it.
func (s *Series) names(ctx context.Context) ([]string, error) {
	names, err := s.store.List(ctx, s.prefix)
	if err != nil {
		return nil, err
	}
	for i := range names {
		names[i] = names[i][len(s.prefix):]
	}
	return names, nil
}

// manifest reads one, and checks that it is what its name says. It may be of
// another identity.
func (s *Series) manifest(ctx context.Context, name string) (*manifest, error) {
	position, id, ok := parseManifestName(name)
	if !ok {
		return nil, fmt.Errorf("%w: no manifest is called that", ErrDamaged)
	}
	body, err := s.store.Get(ctx, s.prefix+name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(body, manifestMost+1))
	if err := errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	m, err := decodeManifest(b)
	if err != nil {
		return nil, err
	}
	if last := m.chain[len(m.chain)-1].id; m.position != position || last != id {
		return nil, fmt.Errorf("%w: it is position %d, blob %s, and lies under another name", ErrDamaged, m.position, last)
	}
	return m, nil
}

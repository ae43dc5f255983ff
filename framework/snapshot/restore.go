package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// restoreTries is how often Restore lists the snapshots anew because one was
// deleted under its eyes, and none was left.
const restoreTries = 3

// Restore loads the newest snapshot that can be used, and returns its position,
// from which the log is to be folded on. At takes part in the choice: one whose
// position it refuses is passed over; nil takes all.
//
// One that is damaged, of another identity or format, or refused by load, is
// passed over for the next older one, and problems names it with the reason:
// ErrDamaged, ErrForeign, ErrFormat, ErrRefused, or what the store said. If none
// is left, found is false, and the log is to be folded from its start, if that is there. An error
// is that of ctx, of listing the snapshots, or ErrBusy.
//
// Load gets the head, which is its own, and the blobs, the full one first and then
// the deltas in their order. What they yield has been checked, byte by byte: a
// damaged one fails where the damage begins, and the snapshot is refused even if
// load returned nil and did not read so far. Load may be called several times,
// each time for another snapshot, and what it made counts only if Restore then
// returns found: so each call begins with nothing, and replaces what the last one
// made. The blobs are not to be used after it has returned. Each takes at most
// some 300 KiB of memory while it is read.
//
// The next delta builds on what was restored. Who does not go on from there, but
// folds the log from its start, begins a full one.
func (s *Series) Restore(ctx context.Context, at func(position int64) bool, load func(head []byte, blobs []io.Reader) error) (
	position int64, found bool, problems []error, err error) {
	if err := s.claim(); err != nil {
		return 0, false, nil, fmt.Errorf("restore snapshot: %w", err)
	}
	r := &restore{s: s, ctx: ctx, at: at, load: load}
	for range restoreTries {
		r.vanished, r.problems = false, nil
		err = r.newest()
		if err != nil || r.found != nil || !r.vanished {
			break
		}
	}
	if r.found == nil || err != nil {
		s.release(nil, 0)
		if err != nil {
			err = fmt.Errorf("restore snapshot: %w", err)
		}
		return 0, false, r.problems, err
	}
	s.setAlone(len(s.rotten) > 0)
	s.release(r.found.chain, r.found.position)
	return r.found.position, true, r.problems, nil
}

// restore is one call of Restore.
type restore struct {
	s    *Series
	ctx  context.Context
	at   func(int64) bool
	load func([]byte, []io.Reader) error

	found    *manifest
	problems []error
	vanished bool // something that was listed was gone when it was read
}

// newest tries the snapshots there are, from the newest on.
func (r *restore) newest() error {
	names, err := r.s.names(r.ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Backward(names) {
		position, _, ok := parseManifestName(name)
		if !strings.HasSuffix(name, manifestEnd) || ok && r.at != nil && !r.at(position) {
			continue
		}
		m, err := r.one(name, names)
		if err == nil {
			r.found = m
			return nil
		}
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		if errors.Is(err, ErrDamaged) {
			r.s.rotten[name] = true
		}
		r.problems = append(r.problems, fmt.Errorf("snapshot %s%s: %w", r.s.prefix, name, err))
	}
	return nil
}

// one tries a snapshot.
func (r *restore) one(name string, names []string) (*manifest, error) {
	m, err := r.s.manifest(r.ctx, name)
	if err != nil {
		r.vanished = r.vanished || errors.Is(err, ErrNotFound)
		return nil, err
	}
	if err := r.s.id.differs(m.id); err != nil {
		return nil, err
	}
	for i := range m.chain {
		if _, there := slices.BinarySearch(names, m.chain[i].name()); !there {
			return nil, fmt.Errorf("%w: blob %s is missing", ErrDamaged, m.chain[i].name())
		}
	}
	blobs, readers := make([]*blobReader, len(m.chain)), make([]io.Reader, len(m.chain))
	for i := range m.chain {
		blobs[i] = &blobReader{ctx: r.ctx, store: r.s.store, name: r.s.prefix + m.chain[i].name(), ref: m.chain[i]}
		readers[i] = blobs[i]
	}
	return m, r.judge(blobs, r.load(m.head, readers))
}

// judge returns why a snapshot cannot be used, given what load returned: what is
// wrong with its blobs comes first, for load may have stumbled over it.
func (r *restore) judge(blobs []*blobReader, loaded error) error {
	var wrong error
	for _, b := range blobs {
		err := b.close(loaded == nil && wrong == nil)
		if wrong == nil {
			wrong = err
		}
	}
	switch {
	case wrong != nil:
		r.vanished = r.vanished || errors.Is(wrong, ErrNotFound)
		return wrong
	case loaded != nil:
		return fmt.Errorf("%w: %w", ErrRefused, loaded)
	}
	return nil
}

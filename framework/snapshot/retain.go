package snapshot

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

const (
	young   = time.Hour      // of what another series may still be writing
	foreign = 24 * time.Hour // of what another program may want back
)

// entry is what tidy knows of a manifest. Manifests never change.
type entry struct {
	name   string
	id     event.ID // in its name; has the time when it was begun
	series event.ID
	blobs  []string // that it names
	state  entryState
	torn   bool // a blob that it names was not listed, or Restore found it damaged
}

type entryState int

const (
	own     entryState = iota // of this identity
	another                   // of another identity
	unread                    // of another format: what it names is not known
	broken                    // damaged: likewise
)

// tidy deletes what is not needed any more now that m has been stored. What prevents
// it is kept for Untidied: the snapshot is stored all the same. If another series has
// deleted what m builds on, m is what is deleted, and the error is ErrChain.
func (s *Series) tidy(ctx context.Context, m *manifest) error {
	names, err := s.names(ctx)
	if err == nil {
		if torn := missing(m.chain, names); torn != nil {
			s.mu.Lock()
			s.positions, s.untidied = nil, nil
			s.mu.Unlock()
			return errors.Join(torn, s.store.Delete(ctx, s.prefix+m.name()))
		}
		s.known[m.name()] = s.entry(m.name(), m)
		err = s.look(ctx, names)
	}
	var positions []int64
	if err == nil {
		kept := s.kept(m.name())
		positions = s.positionsOf(kept)
		err = s.sweep(ctx, names, kept)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.untidied = err
	if s.positions = nil; err == nil {
		s.positions, s.dropped = positions, nil
	}
	return nil
}

// look makes known all manifests among names, and forgets those that are gone.
func (s *Series) look(ctx context.Context, names []string) error {
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
		if _, _, ok := parseManifestName(name); !ok || s.known[name] != nil {
			continue
		}
		m, err := s.manifest(ctx, name)
		switch {
		case err == nil:
			s.known[name] = s.entry(name, m)
		case errors.Is(err, ErrNotFound): // deleted meanwhile
		case errors.Is(err, ErrFormat):
			s.known[name] = s.entry(name, nil)
		case errors.Is(err, ErrDamaged):
			s.known[name] = s.entry(name, nil)
			s.known[name].state = broken
		default:
			return err
		}
	}
	maps.DeleteFunc(s.known, func(name string, _ *entry) bool { return !there[name] })
	maps.DeleteFunc(s.rotten, func(name string, _ bool) bool { return !there[name] })
	for name, e := range s.known {
		e.torn = s.rotten[name] || slices.ContainsFunc(e.blobs, func(blob string) bool { return !there[blob] })
	}
	return nil
}

// entry returns what is to be known of a manifest; nil: it is of another format.
func (s *Series) entry(name string, m *manifest) *entry {
	_, id, _ := parseManifestName(name)
	e := &entry{name: name, id: id, state: unread}
	if m == nil {
		return e
	}
	e.series, e.state = m.series, own
	if s.id.differs(m.id) != nil {
		e.state = another
	}
	for i := range m.chain {
		e.blobs = append(e.blobs, m.chain[i].name())
	}
	return e
}

// sweep deletes manifests, and then the blobs that no manifest needs.
func (s *Series) sweep(ctx context.Context, names []string, kept map[string]bool) error {
	live, doomed, certain := make(map[string]bool), make(map[string]bool), true
	for name, e := range s.known {
		mark := doomed
		if kept[name] {
			mark = live
			certain = certain && (e.state == own || e.state == another)
		}
		for _, blob := range e.blobs {
			mark[blob] = true
		}
	}
	for _, name := range names {
		if s.known[name] == nil || kept[name] {
			continue
		}
		if err := s.store.Delete(ctx, s.prefix+name); err != nil {
			return err
		}
	}
	s.mu.Lock()
	for _, blob := range s.dropped {
		doomed[blob] = true
	}
	s.mu.Unlock()
	for _, name := range names {
		id, ok := parseBlobName(name)
		if !certain || !ok || live[name] || !doomed[name] && s.within(young, id) {
			continue
		}
		if err := s.store.Delete(ctx, s.prefix+name); err != nil {
			return err
		}
	}
	return nil
}

// kept returns which manifests NewSeries promises to keep.
func (s *Series) kept(stored string) map[string]bool {
	kept := map[string]bool{stored: true}
	var mine []string
	var others *entry // the latest of any other series
	for name, e := range s.known {
		if e.state != own {
			continue
		}
		if e.torn { // the list may be older than the blob
			kept[name] = s.within(young, e.id)
			continue
		}
		mine = append(mine, name)
		if e.series != s.self && (others == nil || strings.Compare(string(e.id[:]), string(others.id[:])) > 0) {
			others = e
		}
	}
	slices.Sort(mine)
	for _, name := range mine[max(0, len(mine)-s.keep):] {
		kept[name] = true
	}
	if i := len(mine) - 1; i >= 0 {
		full := s.known[mine[i]].blobs[0]
		for i >= 0 && s.known[mine[i]].blobs[0] == full {
			i--
		}
		if i >= 0 {
			kept[mine[i]] = true
		}
	}
	if others != nil && s.within(young, others.id) {
		kept[others.name] = true
	}
	for name, e := range s.known {
		switch e.state {
		case another, unread:
			kept[name] = len(mine) < s.keep || s.within(foreign, e.id)
		case broken:
			kept[name] = s.within(young, e.id)
		}
	}
	return kept
}

// positionsOf returns where the snapshots lead to that are kept, nil if those of this
// identity are too few, or need one blob all.
func (s *Series) positionsOf(kept map[string]bool) (positions []int64) {
	mine, fulls := 0, make(map[string]bool)
	for name, e := range s.known { // another series may have deleted the one just stored
		if !kept[name] || e.torn {
			continue
		}
		position, _, _ := parseManifestName(name)
		positions = append(positions, position)
		if e.state == own {
			mine++
			fulls[e.blobs[0]] = true
		}
	}
	if mine < s.keep || len(fulls) < 2 {
		return nil
	}
	slices.Sort(positions)
	return positions
}

// within reports whether id is not older than age, by this process's clock.
func (s *Series) within(age time.Duration, id event.ID) bool {
	at, _ := id.Time()
	return s.Clock.Now().Sub(at) <= age
}

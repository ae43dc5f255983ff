// Package blevestore keeps and searches a view's documents in memory with
// Bleve: the search store of a program that runs alone. What it holds ends with
// the process; its marks then say so, and the view is folded again.
//
//	store := blevestore.New()
//	defer store.Close()
//	g := view.Generation{App: "drivetribe", View: "posts", Number: 1}
//	err := store.Prepare(ctx, g, view.Fields{"title": view.Text, "tribe": view.Keyword})
//	…
//	hits, err := store.Find(ctx, g, view.Query{Text: "red cars", Is: map[string]string{"tribe": "racers"}, Size: 20})
//
// # How it works
//
// Each generation is an index of its own: Bleve's upsidedown rows in a
// persistent treap. (Bleve's scorch is faster at bulk loads, but in memory it
// never merges segments, so that small writes slow every query.) A batch
// becomes visible at once and as a whole: documents, their original bytes and
// the partition's mark are rows of one treap, and a query reads one version of
// it. Refresh therefore has nothing to do.
//
// A text is split into words by the rules of Unicode (UAX 29) and lowered; no stop
// words. Languages have Snowball's stemmers, prefixes are edge n-grams. Hits are ranked
// by tf-idf, and equally good ones come by key. What they are sorted by lies in fields of
// its own, as texts that compare as values do; a sorted query looks at the order of every
// document that matches. Documents of one key in two partitions are two.
package blevestore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/blevesearch/bleve/v2/index/upsidedown"
	index "github.com/blevesearch/bleve_index_api"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// ErrClosed says that the store was closed.
var ErrClosed = errors.New("store closed")

// workers analyse the documents of all batches.
const workers = 2

// Store is a view.Search in memory. It is safe for concurrent use.
type Store struct {
	queue *index.AnalysisQueue
	calls sync.WaitGroup // batches under way, which Close waits for

	mu      sync.Mutex
	closed  bool
	indexes map[view.Generation]*generation
}

var _ view.Search = (*Store)(nil)

// generation is one prepared index.
type generation struct {
	fields view.Fields
	index  *upsidedown.UpsideDownCouch

	mu    sync.Mutex
	parts map[int32]*part
}

// part is what a partition's writers share.
type part struct {
	turn    chan struct{}    // holds one token while nobody writes
	offsets map[string]int64 // of the last change to each key, deletes too
}

// New returns an empty store. It runs goroutines until Close.
func New() *Store {
	return &Store{queue: index.NewAnalysisQueue(workers), indexes: make(map[view.Generation]*generation)}
}

// Close waits for batches under way and drops all. Calls after it fail with
// ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	s.calls.Wait()
	s.queue.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.indexes)
	return nil
}

// Prepare implements view.Search. An index that is there must have the same
// fields.
func (s *Store) Prepare(ctx context.Context, g view.Generation, fields view.Fields) error {
	if err := s.prepare(ctx, g, fields); err != nil {
		return fmt.Errorf("bleve: prepare %s: %w", g, err)
	}
	return nil
}

func (s *Store) prepare(ctx context.Context, g view.Generation, fields view.Fields) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := fields.Check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if there, ok := s.indexes[g]; ok {
		if !maps.Equal(there.fields, fields) {
			return fmt.Errorf("fields %v differ from the index's %v; start a new generation", fields, there.fields)
		}
		return nil
	}
	x, err := s.newIndex()
	if err != nil {
		return err
	}
	s.indexes[g] = &generation{fields: maps.Clone(fields), index: x, parts: make(map[int32]*part)}
	return nil
}

func (s *Store) newIndex() (*upsidedown.UpsideDownCouch, error) {
	if err := register(); err != nil {
		return nil, err
	}
	made, err := upsidedown.NewUpsideDownCouch(rowsName, nil, s.queue)
	if err != nil {
		return nil, err
	}
	x, ok := made.(*upsidedown.UpsideDownCouch)
	if !ok {
		return nil, fmt.Errorf("an index of type %T, which has no rows", made)
	}
	return x, x.Open()
}

// generation returns a prepared index.
func (s *Store) generation(ctx context.Context, g view.Generation) (*generation, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	x, ok := s.indexes[g]
	if !ok {
		return nil, errors.New("no index; call Prepare first")
	}
	return x, nil
}

// Drop implements view.Store. Calls under way end as if the generation were still
// there.
func (s *Store) Drop(ctx context.Context, g view.Generation) error {
	if ctx.Err() != nil {
		return fmt.Errorf("bleve: drop %s: %w", g, context.Cause(ctx))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.indexes, g)
	return nil
}

// Refresh implements view.Search: what is written is found at once.
func (s *Store) Refresh(ctx context.Context, g view.Generation) error {
	if _, err := s.generation(ctx, g); err != nil {
		return fmt.Errorf("bleve: refresh %s: %w", g, err)
	}
	return nil
}

// Ping implements view.Store.
func (s *Store) Ping(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("bleve: ping: %w", context.Cause(ctx))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("bleve: ping: %w", ErrClosed)
	}
	return nil
}

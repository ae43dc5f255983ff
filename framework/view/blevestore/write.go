package blevestore

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/blevesearch/bleve/v2/document"
	index "github.com/blevesearch/bleve_index_api"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// Open implements view.Store.
func (s *Store) Open(ctx context.Context, g view.Generation, partition int32) (view.Mark, error) {
	mark, err := s.open(ctx, g, partition)
	if err != nil {
		return view.Mark{}, fmt.Errorf("bleve: open %s, partition %d: %w", g, partition, err)
	}
	return mark, nil
}

func (s *Store) open(ctx context.Context, g view.Generation, partition int32) (view.Mark, error) {
	x, err := s.generation(ctx, g)
	if err != nil {
		return view.Mark{}, err
	}
	p, err := x.take(ctx, partition)
	if err != nil {
		return view.Mark{}, err
	}
	defer p.give()
	mark, err := x.mark(partition)
	if err != nil {
		return view.Mark{}, err
	}
	mark.Epoch++
	return mark, x.index.SetInternal(markKey(partition), encodeMark(mark))
}

// Write implements view.Store. A batch that was given up is still applied.
func (s *Store) Write(ctx context.Context, g view.Generation, b *view.Batch) error {
	if err := s.write(ctx, g, b); err != nil {
		return fmt.Errorf("bleve: write %s, partition %d: %w", g, b.Partition, err)
	}
	return nil
}

func (s *Store) write(ctx context.Context, g view.Generation, b *view.Batch) error {
	if err := b.CheckSearch(); err != nil {
		return err
	}
	x, err := s.generation(ctx, g)
	if err != nil {
		return err
	}
	docs, err := x.documents(ctx, b)
	if err != nil {
		return err
	}
	p, err := x.take(ctx, b.Partition)
	if err != nil {
		return err
	}
	batch, err := x.batch(p, b, docs)
	if err == nil {
		err = s.begin()
	}
	if err != nil {
		p.give()
		return err
	}
	own := *b // the caller may give up, and use its slices again
	own.Puts, own.Deletes = slices.Clone(b.Puts), slices.Clone(b.Deletes)
	done := make(chan error, 1)
	go func() {
		defer s.calls.Done()
		defer p.give()
		done <- x.apply(p, &own, batch)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// begin announces a batch to Close.
func (s *Store) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.calls.Add(1)
	return nil
}

// take waits for a part's turn, which give ends.
func (x *generation) take(ctx context.Context, partition int32) (*part, error) {
	x.mu.Lock()
	p, ok := x.parts[partition]
	if !ok {
		p = &part{turn: make(chan struct{}, 1), offsets: make(map[string]int64)}
		p.give()
		x.parts[partition] = p
	}
	x.mu.Unlock()
	select {
	case <-p.turn:
		return p, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (p *part) give() { p.turn <- struct{}{} }

// documents reads the puts of a batch, before its turn comes.
func (x *generation) documents(ctx context.Context, b *view.Batch) ([]*document.Document, error) {
	docs := make([]*document.Document, len(b.Puts))
	for i := range b.Puts {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var err error
		if docs[i], err = newDocument(documentID(b.Puts[i].Key, b.Partition), b.Puts[i].Value, x.fields); err != nil {
			return nil, fmt.Errorf("document %q: %w", b.Puts[i].Key, err)
		}
	}
	return docs, nil
}

// batch makes rows of b, if the part is where b goes on.
func (x *generation) batch(p *part, b *view.Batch, docs []*document.Document) (*index.Batch, error) {
	mark, err := x.mark(b.Partition)
	if err != nil {
		return nil, err
	}
	if err := b.Follows(mark); err != nil {
		return nil, err
	}
	batch := index.NewBatch()
	for i, d := range docs {
		if put := &b.Puts[i]; !p.late(put.Key, put.Offset) {
			batch.Update(d)
			batch.SetInternal(valueKey(d.ID()), put.Value)
		}
	}
	for i := range b.Deletes {
		if ref := &b.Deletes[i]; !p.late(ref.Key, ref.Offset) {
			id := documentID(ref.Key, b.Partition)
			batch.Delete(id)
			batch.DeleteInternal(valueKey(id))
		}
	}
	batch.SetInternal(markKey(b.Partition), encodeMark(view.Mark{Epoch: mark.Epoch, Next: b.Next}))
	return batch, nil
}

// late reports whether a later record has changed key.
func (p *part) late(key string, offset int64) bool {
	last, ok := p.offsets[key]
	return ok && offset < last
}

// apply writes a batch's rows and remembers its offsets.
func (x *generation) apply(p *part, b *view.Batch, batch *index.Batch) error {
	if err := x.index.Batch(batch); err != nil {
		return err
	}
	for i := range b.Puts {
		p.changed(b.Puts[i].Key, b.Puts[i].Offset)
	}
	for i := range b.Deletes {
		p.changed(b.Deletes[i].Key, b.Deletes[i].Offset)
	}
	return nil
}

func (p *part) changed(key string, offset int64) {
	if !p.late(key, offset) {
		p.offsets[key] = offset
	}
}

// Marks implements view.Store.
func (s *Store) Marks(ctx context.Context, g view.Generation, partitions []int32) ([]view.Mark, error) {
	x, err := s.generation(ctx, g)
	if err != nil {
		return nil, fmt.Errorf("bleve: marks of %s: %w", g, err)
	}
	marks := make([]view.Mark, len(partitions))
	for i, p := range partitions {
		if marks[i], err = x.mark(p); err != nil {
			return nil, fmt.Errorf("bleve: mark of %s, partition %d: %w", g, p, err)
		}
	}
	return marks, nil
}

func (x *generation) mark(partition int32) (view.Mark, error) {
	r, err := x.index.Reader()
	if err != nil {
		return view.Mark{}, err
	}
	defer r.Close()
	return markSeen(r, partition)
}

// markSeen returns a mark as a reader of the index sees it.
func markSeen(r index.IndexReader, partition int32) (view.Mark, error) {
	b, err := r.GetInternal(markKey(partition))
	if err != nil || b == nil {
		return view.Mark{}, err
	}
	return decodeMark(b), nil
}

// Internal rows are marks and original documents, told apart by a first letter.
func markKey(partition int32) []byte { return fmt.Appendf(nil, "m%d", partition) }
func valueKey(id string) []byte      { return []byte("v" + id) }

func encodeMark(m view.Mark) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, m.Epoch), uint64(m.Next))
}

package projections

import (
	"bytes"
	"context"
	"fmt"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
)

// operator makes the parts of a view's generation.
type operator struct {
	name string
	part func(number int32) stream.Part
}

func (o *operator) Name() string                  { return o.name }
func (o *operator) Part(number int32) stream.Part { return o.part(number) }

// sink is the half of a part that writes: the changes that wait, and the mark
// that the store had when it was last written.
type sink struct {
	store      view.Store
	generation view.Generation
	number     int32
	mark       view.Mark
	batch      view.Batch
}

func (s *sink) open(ctx context.Context) (written int64, err error) {
	s.clear()
	s.mark, err = s.store.Open(ctx, s.generation, s.number)
	return s.mark.Next, err
}

func (s *sink) clear() {
	b := &s.batch
	b.Puts, b.Deletes, b.Adds, b.Removes = b.Puts[:0], b.Deletes[:0], b.Adds[:0], b.Removes[:0]
}

func (s *sink) write(ctx context.Context, next int64) error {
	b := &s.batch
	b.Partition, b.Epoch, b.From, b.Next = s.number, s.mark.Epoch, s.mark.Next, next
	if err := s.store.Write(ctx, s.generation, b); err != nil {
		return fmt.Errorf("write view %s, partition %d: %w", s.generation.View, s.number, err)
	}
	s.mark.Next = next
	s.clear()
	return nil
}

// Check returns an error when the store has lost what was written, or another
// writer has taken over.
func (s *sink) Check(ctx context.Context) error {
	mark, err := s.look(ctx)
	if err == nil && mark != s.mark {
		err = fmt.Errorf("view %s, partition %d: %w", s.generation.View, s.number, &view.BehindError{Mark: mark, From: s.mark.Next})
	}
	return err
}

// Mark returns how far the store is.
func (s *sink) Mark(ctx context.Context) (int64, error) {
	mark, err := s.look(ctx)
	return mark.Next, err
}

func (s *sink) look(ctx context.Context) (view.Mark, error) {
	marks, err := s.store.Marks(ctx, s.generation, []int32{s.number})
	if err != nil {
		return view.Mark{}, fmt.Errorf("read the mark of view %s, partition %d: %w", s.generation.View, s.number, err)
	}
	return marks[0], nil
}

// decode makes of a valid event what a fold takes; ok is false for the events of
// other aggregate types.
func decode[E any](from aggregates.Stream[E], e *partition.Event) (out Event[E], ok bool, err error) {
	kind, id, _ := bytes.Cut(e.Key, []byte{'/'})
	if !from.Has(string(kind)) {
		return out, false, nil
	}
	out = Event[E]{Aggregate: string(kind), ID: string(id), Version: e.Version, Time: e.Time, Actor: e.Actor, EventID: e.ID}
	if out.Fact, err = from.Decode(out.Aggregate, e.Type, e.Data); err != nil {
		return out, false, err
	}
	out.Name = from.Current(out.Aggregate, e.Type)
	return out, true, nil
}

// guard turns a panic of a user's fold into an error.
func guard(f func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the fold panicked: %v", p)
		}
	}()
	f()
	return nil
}

// parts returns a ref to key in each of n partitions.
func parts(n int, key string) []view.Ref {
	refs := make([]view.Ref, n)
	for i := range refs {
		refs[i] = view.Ref{Partition: int32(i), Key: key}
	}
	return refs
}

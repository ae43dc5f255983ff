package projections

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
)

// topology begins what keeps a view: a source of the facts that read takes.
func topology[T any](f framework.Following, read func(e *partition.Event, v *T) (bool, error)) (*stream.Topology, *stream.Stream[T]) {
	t := &stream.Topology{Name: f.Generation.App + "." + f.Generation.View, Version: uint64(f.Generation.Number), Partitions: f.Partitions, Park: f.Park}
	return t, stream.FromEvents(t, &stream.Events[T]{Name: framework.Source, Topic: f.Topic, Group: stream.NoGroup, Decode: read})
}

// trace lets other processes see how far the tasks are that write a view's shuffle.
func trace[T any](f framework.Following, in *stream.Stream[T]) {
	if f.MarkEvery == 0 {
		return
	}
	source := sourceOf(f.Generation)
	stream.Trace(in, "progress", f.MarkEvery, func(n int32) stream.Marker {
		return &sink{store: f.Documents, generation: source, number: n}
	})
}

// sink writes one partition of a view's generation. It is the half of a
// stream.Part that is the same for all kinds of view; alone, it keeps a mark.
type sink struct {
	store      view.Store
	generation view.Generation
	number     int32
	mark       view.Mark // that the store had when it was last written
}

// Open takes the part of the store.
func (s *sink) Open(ctx context.Context) (written int64, err error) {
	s.mark, err = s.store.Open(ctx, s.generation, s.number)
	return s.mark.Next, err
}

// Pending returns 0: there is nothing but the mark.
func (s *sink) Pending() int { return 0 }

// Batch moves the mark.
func (s *sink) Batch(next int64) (func(context.Context) error, error) {
	return func(ctx context.Context) error { return s.write(ctx, &view.Batch{}, next) }, nil
}

// writeWait is how long one batch may take.
const writeWait = 10 * time.Second

// write writes b, and next as the mark behind it.
func (s *sink) write(ctx context.Context, b *view.Batch, next int64) error {
	ctx, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	b.Partition, b.Epoch, b.From, b.Next = s.number, s.mark.Epoch, s.mark.Next, next
	if err := s.store.Write(ctx, s.generation, b); err != nil {
		return fmt.Errorf("view %s, partition %d: %w", s.generation.View, s.number, err)
	}
	s.mark.Next = next
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

// sourceOf names what holds how far the sources of a generation have come.
func sourceOf(g view.Generation) view.Generation {
	g.View += ".source"
	return g
}

// dropSets deletes the sets of a generation.
func dropSets(ctx context.Context, r framework.Resources, g view.Generation) error {
	return drop(ctx, r, r.Documents, g, true)
}

// drop deletes a generation from its store and, behind a shuffle, how far its sources
// have come.
func drop(ctx context.Context, r framework.Resources, from view.Store, g view.Generation, shuffled bool) error {
	if err := from.Drop(ctx, g); err != nil || !shuffled {
		return err
	}
	return r.Documents.Drop(ctx, sourceOf(g))
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

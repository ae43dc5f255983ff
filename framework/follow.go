package framework

import (
	"context"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// markEvery is how long the mark of a store that other processes watch may stay
// behind.
const markEvery = 50 * time.Millisecond

// following is a view at work: the tasks that read the events, and those that fill
// the stores, which are the same unless a shuffle lies between.
type following struct {
	view    View
	sources []*stream.Task // by partition of the events
	fills   []*stream.Task // by partition of the shuffle; nil: there is none
	shuffle string         // its topic
}

// filling returns the tasks that fill the stores.
func (f *following) filling() []*stream.Task {
	if f.fills != nil {
		return f.fills
	}
	return f.sources
}

// follow makes the tasks of a view. ctx is to outlast them.
func (a *App) follow(ctx context.Context, p *process, v View) (*following, error) {
	at := Following{Resources: p.Resources, Generation: a.generation(v.Name), Topic: p.topic, Partitions: a.cfg.Partitions}
	if _, shared := p.Log.(eventlog.Assigner); shared {
		at.MarkEvery = markEvery
	}
	cfg := a.streamConfig(p)
	if v.Refolded || p.Fleeting && v.Shuffle == "" {
		cfg.Snapshots = nil
	}
	runner, err := stream.NewRunner(v.Topology(at), cfg)
	if err != nil {
		return nil, err
	}
	tasks, err := runner.Tasks(ctx)
	if err != nil {
		return nil, err
	}
	f := &following{view: v, sources: tasks[Source]}
	if v.Shuffle != "" {
		f.fills, f.shuffle = tasks[v.Shuffle], runner.ShuffleTopic(v.Shuffle)
	}
	return f, nil
}

// act makes the tasks of an effect, by partition. ctx is to outlast them.
func (a *App) act(ctx context.Context, p *process, e Effect, attempted func(error)) ([]*stream.Task, error) {
	t := &stream.Topology{Name: a.cfg.App + "." + e.Name}
	events := stream.FromEvents(t, &stream.Events[*partition.Event]{Name: Source, Topic: p.topic, Group: stream.NoGroup,
		Decode: func(from *partition.Event, to **partition.Event) (bool, error) {
			if !e.Takes(from) {
				return false, nil
			}
			one := *from
			*to = &one
			return true, nil
		}})
	stream.Deliver(events, &stream.Delivery[*partition.Event]{Name: "do", Group: t.Name, Attempted: attempted,
		Do: func(ctx context.Context, one *partition.Event) error {
			if err := e.Do(ctx, one); err != nil {
				return fmt.Errorf("%s: %w", one.Type, err)
			}
			return nil
		}})
	runner, err := stream.NewRunner(t, a.streamConfig(p))
	if err != nil {
		return nil, err
	}
	tasks, err := runner.Tasks(ctx)
	return tasks[Source], err
}

func (a *App) streamConfig(p *process) stream.Config {
	return stream.Config{Log: p.Log, Snapshots: p.Snapshots, SnapshotEvery: a.cfg.SnapshotEvery, AppendTimeout: a.cfg.AppendTimeout, Clock: a.cfg.Clock, Logger: a.cfg.Logger}
}

// aim tells the tasks behind a shuffle their goal, once the sources have written
// to it what they had to at the start.
func (f *following) aim(ctx context.Context, p *process, clk clock.Clock) {
	for _, t := range f.sources {
		if t.Wait(ctx, -1) != nil {
			return
		}
	}
	var pause clock.Backoff
	for n, t := range f.fills {
		for t.Status().Goal < 0 {
			within, cancel := context.WithTimeout(ctx, p.stations[0].config.AppendTimeout)
			end, err := p.Log.End(within, f.shuffle, int32(n))
			cancel()
			if err == nil {
				t.Aim(end)
			} else if clock.Sleep(ctx, clk, pause.Next(clk)) != nil {
				return
			}
		}
	}
}

// passed waits until what a query is answered from, partition one of the stores or
// all, has passed min, and refuses to read from what is being filled. It notes in at
// how far the answer will have come at least.
func (a *App) passed(ctx context.Context, p *process, f *following, only func(Query) (int32, bool), q Query, at reached) error {
	one, single := int32(0), false
	if only != nil {
		one, single = only(q)
	}
	if f.fills == nil {
		for n, t := range f.sources {
			if single && one != int32(n) {
				continue
			}
			want, asked := q.Min.Offsets[int32(n)]
			if err := a.wait(ctx, f, t, want, asked, q.Min); err != nil {
				return err
			}
			at.note(int32(n), t.Status().Done-1)
		}
		return nil
	}
	for n := range f.sources {
		want, asked := q.Min.Offsets[int32(n)]
		if !asked {
			at.note(int32(n), -1)
			continue
		}
		if err := a.wait(ctx, f, f.sources[n], want, true, q.Min); err != nil {
			return err
		}
		at.note(int32(n), want)
	}
	for n, t := range f.fills {
		if single && one != int32(n) {
			continue
		}
		end := int64(0)
		if len(q.Min.Offsets) > 0 { // what min has made lies below the end now
			var err error
			if end, err = p.Log.End(ctx, f.shuffle, int32(n)); err != nil {
				return a.readError(ctx, err)
			}
		}
		if err := a.wait(ctx, f, t, end-1, end > 0, q.Min); err != nil {
			return err
		}
	}
	return nil
}

// wait waits until a task has passed an offset, if that is asked for.
func (a *App) wait(ctx context.Context, f *following, t *stream.Task, offset int64, asked bool, min eventlog.Positions) error {
	s := t.Status()
	switch {
	case s.Final:
		return &cluster.UnavailableError{Reason: fmt.Sprintf("view %s has stopped at partition %d", f.view.Name, s.Partition), RetryAfter: time.Minute}
	case s.Whole() && (!asked || s.Done > offset):
		return nil
	case !asked:
		return &cluster.UnavailableError{Reason: fmt.Sprintf("view %s is being filled", f.view.Name), RetryAfter: retryAfter}
	}
	if err := t.Wait(ctx, offset); err != nil {
		return a.notReached(min)
	}
	return nil
}

// reached is how far an answer has come, by partition: the least of what its parts
// are known to hold; -1: nothing is.
type reached map[int32]int64

func (r reached) note(n int32, offset int64) {
	if before, ok := r[n]; ok {
		offset = min(before, offset)
	}
	r[n] = offset
}

func (r reached) positions() eventlog.Positions {
	at := eventlog.NewPositions()
	for n, offset := range r {
		if offset >= 0 {
			at.Offsets[n] = offset
		}
	}
	return at
}

// whole returns why a view is not, nil if it is.
func (f *following) whole() error {
	if err := whole(f.view.Name, f.sources); err != nil || f.fills == nil {
		return err
	}
	return whole(f.view.Name, f.fills)
}

func whole(name string, tasks []*stream.Task) error {
	behind, left := 0, int64(0)
	for n, t := range tasks {
		s := t.Status()
		if s.Err != nil {
			return fmt.Errorf("view %s, partition %d: %w", name, n, s.Err)
		}
		if !s.Whole() {
			behind, left = behind+1, left+max(s.Goal-s.Done, 0)
		}
	}
	if behind > 0 {
		return fmt.Errorf("view %s is being filled: %d of %d partitions, %d records to go", name, behind, len(tasks), left)
	}
	return nil
}

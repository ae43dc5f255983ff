package framework

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// How far a generation may be behind to be switched to, in records, and how long that
// is waited for.
const (
	maxLag  = 1000
	lagWait = time.Second
)

// mayBeRead returns a *GenerationError while a generation may not be switched to: it
// must be whole and, unless that is forced, near the end of the log.
func (a *App) mayBeRead(ctx context.Context, p *process, k *kept, number int, forced bool) error {
	refused := &GenerationError{View: k.name, Number: number, State: Building}
	f := k.generation(number)
	if f == nil {
		refused.Reason = "it is being set up"
		return refused
	}
	if err := f.whole(); err != nil {
		refused.Reason = err.Error()
		return refused
	}
	if refused.State = Ready; forced {
		return nil
	}
	if !p.carried(k, f.version) {
		refused.Reason = fmt.Sprintf("no process carries version %d, so it cannot follow the log", f.version)
		return refused
	}
	lag, err := a.catchUp(ctx, p, f)
	if err != nil {
		return a.readError(ctx, err)
	}
	if lag > maxLag {
		refused.Reason = fmt.Sprintf("it is %d records behind, and has not come to %d within %v", lag, maxLag, lagWait)
		return refused
	}
	return nil
}

// catchUp waits a while until a generation has passed what the log holds now, and
// returns how many records of that it still lacks.
func (a *App) catchUp(ctx context.Context, p *process, f *following) (lag int64, err error) {
	within, cancel := context.WithTimeout(ctx, lagWait)
	defer cancel()
	wait := func(tasks []*stream.Task, topic string) error {
		ends, err := a.ends(ctx, p, topic)
		if err != nil {
			return err
		}
		var all sync.WaitGroup
		for n, t := range tasks {
			all.Go(func() { _ = t.Wait(within, ends[n]-1) }) // what it lacks then is counted
		}
		all.Wait()
		for n, t := range tasks {
			lag += max(0, ends[n]-max(0, t.Status().Done))
		}
		return nil
	}
	if err := wait(f.sources, p.topic); err != nil || f.fills == nil {
		return lag, err
	}
	err = wait(f.fills, f.shuffle)
	return lag, err
}

// ends returns the end of each partition of a topic.
func (a *App) ends(ctx context.Context, p *process, topic string) ([]int64, error) {
	within, cancel := context.WithTimeout(ctx, a.cfg.AppendTimeout)
	defer cancel()
	ends, errs := make([]int64, a.cfg.Partitions), make([]error, a.cfg.Partitions)
	var all sync.WaitGroup
	for n := range ends {
		all.Go(func() { ends[n], errs[n] = p.Log.End(within, topic, int32(n)) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return ends, nil
}

// done returns how many events a generation has passed, over all partitions.
func (f *following) done() (n int64) {
	for _, t := range f.sources {
		n += max(0, t.Status().Done)
	}
	return n
}

// lag returns how many events a generation has passed, and how many records it is
// behind the ends of the events and of its shuffle.
func (a *App) lag(ctx context.Context, p *process, f *following, ends []int64) (done, lag int64, err error) {
	behind := func(tasks []*stream.Task, ends []int64) (done int64) {
		for n, t := range tasks {
			at := min(max(0, t.Status().Done), ends[n])
			done, lag = done+at, lag+ends[n]-at
		}
		return done
	}
	done = behind(f.sources, ends)
	if f.fills != nil {
		if ends, err = a.ends(ctx, p, f.shuffle); err == nil {
			behind(f.fills, ends)
		}
	}
	return done, lag, err
}

// describe returns what a generation is now. ends are those of the events.
func (a *App) describe(ctx context.Context, p *process, k *kept, g control.Generation, read int, ends []int64) (Generation, error) {
	out := Generation{Number: g.Number, Version: g.Version, State: Building, Created: g.At, By: g.By}
	if g.Retired != nil {
		out.State = Retired
		return out, nil
	}
	why := p.followed(k, g.Version)
	out.Carried, out.Err = why == nil, why
	f := k.generation(g.Number)
	switch {
	case g.Number == read:
		out.State = Reading
	case f != nil && f.whole() == nil:
		out.State = Ready
	}
	for _, end := range ends {
		out.End += end
	}
	out.Lag = out.End
	if f == nil {
		return out, nil
	}
	out.Parked = p.parked(f)
	done, lag, err := a.lag(ctx, p, f, ends)
	if err != nil {
		return out, err
	}
	out.Done, out.Lag, out.Rate = done, lag, f.pace.rate()
	if out.Lag > 0 && out.Rate > 0 {
		out.Left = time.Duration(float64(out.Lag) / out.Rate * float64(time.Second))
	}
	if err := f.failed(); err != nil {
		out.Err = err
	}
	if out.State != Reading {
		out.Shadowed = f.findings.Load().shown(g.Shadowed.Share)
	}
	return out, nil
}

// failed returns why a task of a generation does not go on, nil if all do.
func (f *following) failed() error {
	for _, tasks := range [][]*stream.Task{f.sources, f.fills} {
		for n, t := range tasks {
			if err := t.Status().Err; err != nil {
				return fmt.Errorf("partition %d: %w", n, err)
			}
		}
	}
	return nil
}

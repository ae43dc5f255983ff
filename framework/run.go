package framework

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// process is an application at work: what Run makes.
type process struct {
	Resources
	topic  string
	owners []*cluster.Owner          // by partition
	tasks  map[string][]*stream.Task // by view, then partition
}

// Run opens the log and the stores, serves all partitions, and follows the log
// with all views, until ctx ends. Then it stops in order (commands, views, stores)
// and returns nil, or what closing said. It returns early with what keeps it from
// running at all, and may be called once.
func (a *App) Run(ctx context.Context) (err error) {
	if a.started.Swap(true) {
		return errors.New("framework: Run was called before; make a new App")
	}
	r, err := a.cfg.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeResources(r)) }()
	p := &process{Resources: r, topic: a.cfg.App + ".events", tasks: make(map[string][]*stream.Task)}
	if err := r.Log.Ensure(ctx, eventlog.Topic{Name: p.topic, Partitions: a.cfg.Partitions}); err != nil {
		return err
	}
	a.assign(p)
	a.process.Store(p)
	defer a.process.Store(nil)
	p.run(ctx)
	return nil
}

func closeResources(r Resources) error {
	if r.Close == nil {
		return nil
	}
	return r.Close()
}

// assign makes an owner of each partition and a task of each view and partition.
func (a *App) assign(p *process) {
	types := make(map[string]cluster.Aggregate, len(a.aggregates))
	for name, t := range a.aggregates {
		types[name] = t
	}
	owner := cluster.OwnerConfig{
		Log: p.Log, Topic: p.topic, Process: clock.NewID(a.cfg.Clock), Aggregates: types,
		AppendTimeout: a.cfg.AppendTimeout, MaxQueue: a.cfg.MaxQueue, Clock: a.cfg.Clock, Logger: a.cfg.Logger,
		Memory:  partition.Memory{Age: a.cfg.RememberAge, Number: a.cfg.RememberCount},
		Metrics: cluster.NewMetrics(a.cfg.Metrics),
	}
	for n := range int32(a.cfg.Partitions) {
		owner.Partition = n
		p.owners = append(p.owners, cluster.NewOwner(owner))
	}
	for _, v := range a.Views() {
		operator := v.Operator(p.Resources, a.generation(v.Name))
		for n := range int32(a.cfg.Partitions) {
			p.tasks[v.Name] = append(p.tasks[v.Name], stream.NewTask(stream.TaskConfig{
				Log: p.Log, Topic: p.topic, Partition: n, Operator: operator, Clock: a.cfg.Clock, Logger: a.cfg.Logger}))
		}
	}
}

// generation returns the generation of a view that is read: the first, until views
// can be rebuilt.
func (a *App) generation(name string) view.Generation {
	return view.Generation{App: a.cfg.App, View: name, Number: 1}
}

// run runs owners and tasks until ctx ends; the tasks end after the owners, so
// that a view has seen what was accepted last if it keeps up.
func (p *process) run(ctx context.Context) {
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var owners, tasks sync.WaitGroup
	for _, list := range p.tasks {
		for _, t := range list {
			tasks.Go(func() { t.Run(following) })
		}
	}
	for _, o := range p.owners {
		owners.Go(func() { o.Run(ctx) })
	}
	owners.Wait()
	stop()
	tasks.Wait()
}

// Unready returns the reasons why the application is not ready, none if it is:
// every partition assigned to this process is served, and every view has passed
// the end that the log had at start.
func (a *App) Unready() []string {
	p := a.process.Load()
	if p == nil {
		return []string{"not running"}
	}
	var why []string
	for n, o := range p.owners {
		if s := o.Status(); !s.Serving {
			why = append(why, fmt.Sprintf("partition %d is not served: %s", n, s.Reason))
		}
	}
	for name, tasks := range p.tasks {
		if err := whole(name, tasks); err != nil {
			why = append(why, err.Error())
		}
	}
	slices.Sort(why)
	return why
}

// whole returns why a view is not, nil if it is.
func whole(name string, tasks []*stream.Task) error {
	behind, left := 0, int64(0)
	for n, t := range tasks {
		s := t.Status()
		if s.Err != nil {
			return fmt.Errorf("view %s, partition %d: %w", name, n, s.Err)
		}
		if !s.Whole() {
			behind, left = behind+1, left+max(s.Goal-s.Written, 0)
		}
	}
	if behind > 0 {
		return fmt.Errorf("view %s is being filled: %d of %d partitions, %d records to go", name, behind, len(tasks), left)
	}
	return nil
}

// running is an App's state while it runs.
type running struct {
	started atomic.Bool
	process atomic.Pointer[process]
}

func newRunning() *running { return &running{} }

func (a *App) now() (*process, error) {
	if p := a.process.Load(); p != nil {
		return p, nil
	}
	return nil, &cluster.UnavailableError{Reason: "the application is not running", RetryAfter: retryAfter}
}

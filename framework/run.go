package framework

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/internal/waiters"
)

// process is an application at work: what Run makes.
type process struct {
	Resources
	topic    string
	stations []*station                // by partition
	views    map[string]*kept          // by name
	effects  map[string][]*stream.Task // by effect, then partition
	assigned atomic.Bool               // this process knows which partitions are its own
	logLost  atomic.Pointer[error]     // why the log does not answer; nil while it does

	self      control.Member
	shared    bool // with other processes
	catalogue *cluster.Catalogue

	horizon  *horizon // of the events
	shadower *shadower
	waiters  waiters.List // of Notify; woken when it stops
}

// Run opens the log and the stores, serves the partitions that are assigned to
// this process (all, unless the log shares them), and follows the log with the
// views and effects, until ctx ends. Then it stops in order (commands, views and
// effects, stores) and returns nil, or what closing said. It returns early with
// what keeps it from running at all, and may be called once.
func (a *App) Run(ctx context.Context) (err error) {
	if a.started.Swap(true) {
		return errors.New("framework: Run was called before; make a new App")
	}
	if err := a.checkReads(); err != nil {
		return err
	}
	r, err := a.cfg.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeResources(r)) }()
	p := &process{Resources: r, topic: a.cfg.App + ".events", self: a.self(r),
		views: make(map[string]*kept), effects: make(map[string][]*stream.Task)}
	p.horizon = &horizon{now: a.cfg.Clock.Now, ask: func(ctx context.Context) ([]int64, error) { return a.ends(ctx, p, p.topic) }}
	p.shadower = newShadower(a, p)
	if err := a.checkOffsets(r.Log); err != nil {
		return err
	}
	if err := r.Log.Ensure(ctx, eventlog.Topic{Name: p.topic, Partitions: a.cfg.Partitions}); err != nil {
		return err
	}
	shared, several := r.Log.(eventlog.Assigner)
	p.shared = several
	if err := a.list(ctx, p); err != nil {
		return err
	}
	defer background(p.catalogue.Run)() // once nothing is served any more
	if err := p.catalogue.Ready(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("framework: %w", err)
	}
	lasting, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer p.letGo()
	if err := a.furnish(ctx, lasting, p); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	a.process.Store(p)
	defer func() {
		a.process.Store(nil)
		p.waiters.Wake()
	}()
	defer background(p.shadower.run)()
	defer background(func(ctx context.Context) { a.tend(ctx, lasting, p) })()
	defer background(func(ctx context.Context) { a.sweep(ctx, p) })()
	defer background(func(ctx context.Context) { a.pointOut(ctx, p) })()
	defer background(func(ctx context.Context) { a.holdCuts(ctx, p) })()
	defer background(func(ctx context.Context) { a.watchLag(ctx, p) })()
	if several {
		return p.share(ctx, shared, a.cfg.App)
	}
	p.assign(all(a.cfg.Partitions))
	p.assigned.Store(true)
	<-ctx.Done()
	p.stop()
	return nil
}

// checkReads returns an error for a view that is made of one which is not
// registered.
func (a *App) checkReads() error {
	for _, current := range a.Views() {
		for _, v := range a.versions[current.Name] {
			for _, r := range v.Reads {
				if _, ok := a.views[r.View]; !ok {
					return fmt.Errorf("framework: view %s shows documents of view %s: give both to projections.Register", v.Name, r.View)
				}
			}
		}
	}
	return nil
}

// checkOffsets returns an error if there are effects, and the log cannot keep what
// they have done.
func (a *App) checkOffsets(log eventlog.Log) error {
	if _, ok := log.(eventlog.Offsets); ok || len(a.effects) == 0 {
		return nil
	}
	return fmt.Errorf("framework: effect %s needs a log that keeps its progress, and %T is no eventlog.Offsets: use one of the drivers that are, or register no effect",
		a.Effects()[0].Name, log)
}

func closeResources(r Resources) error {
	if r.Close == nil {
		return nil
	}
	return r.Close()
}

// furnish makes a station for each partition, and the tasks of all effects and
// generations of views for them, within ctx. The tasks last until lasting ends.
func (a *App) furnish(ctx, lasting context.Context, p *process) (err error) {
	for name, v := range a.views {
		p.views[name] = newKept(v, a.versions[name])
		if err := a.begin(ctx, p, p.views[name]); err != nil {
			return err
		}
	}
	if len(a.effects) > 0 {
		metrics := newEffectMetrics(a.cfg.Metrics)
		for _, e := range a.Effects() {
			if p.effects[e.Name], err = a.act(lasting, p, e, metrics.of(e.Name)); err != nil {
				return fmt.Errorf("effect %s: %w", e.Name, err)
			}
		}
	}
	owner := a.ownerConfig(p)
	for n := range int32(a.cfg.Partitions) {
		owner.Partition = n
		s := &station{config: owner}
		for _, tasks := range p.effects {
			s.effects = append(s.effects, tasks[n])
		}
		p.stations = append(p.stations, s)
	}
	return a.arrange(lasting, p)
}

func (a *App) ownerConfig(p *process) cluster.OwnerConfig {
	types := make(map[string]cluster.Aggregate, len(a.aggregates))
	for name, t := range a.aggregates {
		types[name] = t
		if k, ok := t.(interface{ StatesLost() error }); ok && p.Snapshots != nil && k.StatesLost() != nil {
			a.cfg.Logger.Info("states are not kept in snapshots; see StateCodec of aggregates.Type", "aggregate", name, "err", k.StatesLost())
		}
	}
	cfg := cluster.OwnerConfig{
		App: a.cfg.App, Log: p.Log, Topic: p.topic, Process: p.self.Process, Aggregates: types,
		Snapshots: p.Snapshots, SnapshotEvery: a.cfg.SnapshotEvery,
		AppendTimeout: a.cfg.AppendTimeout, Heartbeat: a.cfg.Heartbeat, MaxQueue: a.cfg.MaxQueue, Clock: a.cfg.Clock, Logger: a.cfg.Logger,
		Memory:  partition.Memory{Age: a.cfg.RememberAge, Number: a.cfg.RememberCount},
		Metrics: cluster.NewMetrics(a.cfg.Metrics),
	}
	if p.shared {
		cfg.Claimed = p.catalogue.Claimed
	}
	return cfg
}

// Unready returns the reasons why the application is not ready, none if it is:
// every partition assigned to this process is served, every view, in the generation
// that is read, has passed the end that the log had at start, so has what is known of
// other processes, and no effect of these partitions has stopped for good. One that lags or waits keeps
// nobody from being served.
func (a *App) Unready() []string {
	p := a.process.Load()
	if p == nil {
		return []string{"not running"}
	}
	var why []string
	if !p.assigned.Load() {
		why = append(why, "waiting for the other processes to share the partitions")
	}
	if err := p.catalogue.Err(); err != nil {
		why = append(why, err.Error())
	}
	if lost := p.logLost.Load(); lost != nil {
		why = append(why, fmt.Sprintf("the log does not answer: %v", *lost))
	}
	for n, s := range p.stations {
		if o := s.owner.Load(); o != nil && !o.Status().Serving {
			why = append(why, fmt.Sprintf("partition %d is not served: %s", n, o.Status().Reason))
		}
	}
	reading := p.catalogue.Reading()
	for _, k := range p.views {
		if f, err := k.read(reading); err != nil {
			why = append(why, err.Error())
		} else if err := f.whole(); err != nil {
			why = append(why, fmt.Sprintf("view %s: %v", k.name, err))
		}
	}
	for name, tasks := range p.effects {
		for n, t := range tasks {
			if s := t.Status(); s.Final && p.stations[n].owner.Load() != nil {
				why = append(why, fmt.Sprintf("effect %s, partition %d: %v", name, n, s.Err))
			}
		}
	}
	slices.Sort(why)
	return why
}

// running is an App's state while it runs.
type running struct {
	started atomic.Bool
	process atomic.Pointer[process]
	address atomic.Pointer[string] // that Advertise was told

	comparing chan struct{} // holds one while a comparison runs
}

func newRunning() *running { return &running{comparing: make(chan struct{}, 1)} }

func (a *App) now() (*process, error) {
	if p := a.process.Load(); p != nil {
		return p, nil
	}
	return nil, &cluster.UnavailableError{Reason: "the application is not running", RetryAfter: retryAfter}
}

package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// Config says what a topology runs on. Log is required; a zero field is its
// default.
type Config struct {
	// Log holds the sources, the shuffles and what is published. It must be an
	// eventlog.Outside for topics of others, else an eventlog.Lister at least; an
	// eventlog.Transactor for transactional outputs; where it
	// is an eventlog.Assigner, the processes of a topology share its tasks.
	Log eventlog.Log
	// Instance names the process over restarts, so that a quick one moves no task;
	// empty: it is new each time.
	Instance string
	// Snapshots keeps copies of the states: one store for all processes, which outlives
	// them, for shuffles are trimmed by it, see KeepShuffles. Nil: none, and a start folds
	// the topics from their beginning.
	Snapshots snapshot.BlobStore
	// SnapshotEvery is the time between two snapshots of a task, which begins with a share
	// of it that its name and partition give; default 10 s.
	SnapshotEvery time.Duration
	// KeepShuffles keeps what was ever written to shuffles, so that it can be folded again
	// without snapshots. Default: a task whose stage fills no store lets its shuffle forget
	// what none of its kept snapshots needs, once there are two, where the log is an
	// eventlog.Trimmer; without them, should they be lost, the topology must be folded anew,
	// under another Version.
	KeepShuffles bool
	// TransactEvery is the time between two transactions of a task with
	// transactional outputs; default 100 ms.
	TransactEvery time.Duration
	// ProgressEvery is the time between two commits of a source's progress under
	// load; default 1 s. An idle task commits sooner.
	ProgressEvery time.Duration
	// AppendTimeout is how long one append or transaction may take before the task
	// starts anew; default 5 s.
	AppendTimeout time.Duration
	// MaxWaiting bounds the bytes of a task's outputs that are not acknowledged, 100
	// counted for each record beside its own: beyond it the task waits. Default 4 MiB.
	MaxWaiting int
	// Rate bounds the records a second that each task of a source takes until it has
	// reached the end that its topic had when it began; then it takes what comes. It takes those of a second at
	// once, 256 at most, so that its stores are written to seldom. Tasks that lack more than
	// four seconds' records begin one after the other, within 4 s. Default: no bound.
	Rate   float64
	Clock  clock.Clock  // default: the machine's
	Logger *slog.Logger // default: nowhere
}

func (c Config) withDefaults() (Config, error) {
	c.SnapshotEvery = cmp.Or(c.SnapshotEvery, 10*time.Second)
	c.TransactEvery = cmp.Or(c.TransactEvery, 100*time.Millisecond)
	c.ProgressEvery = cmp.Or(c.ProgressEvery, time.Second)
	c.AppendTimeout = cmp.Or(c.AppendTimeout, 5*time.Second)
	c.MaxWaiting = cmp.Or(c.MaxWaiting, 4<<20)
	c.Clock = cmp.Or(c.Clock, clock.System)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Log == nil {
		return c, errors.New("stream: Config.Log is nil; open one, such as kafkalog's")
	}
	if min(c.SnapshotEvery, c.TransactEvery, c.ProgressEvery, c.AppendTimeout) < 0 || c.MaxWaiting < 0 || c.Rate < 0 {
		return c, errors.New("stream: a time or bound in Config is negative")
	}
	return c, nil
}

// Runner is a topology at work in this process. Make one with NewRunner.
type Runner struct {
	topology *Topology
	cfg      Config

	mu    sync.Mutex
	tasks map[place]*Task
}

// place is one task of a topology.
type place struct {
	operator  string // the stage's name
	partition int32
}

// NewRunner returns a runner, or what is wrong with the configuration.
func NewRunner(t *Topology, cfg Config) (*Runner, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := t.Park.check(); err != nil {
		return nil, fmt.Errorf("topology %s: %w", t.Name, err)
	}
	if len(t.stages) == 0 {
		return nil, fmt.Errorf("topology %s has no source; begin with stream.From", t.Name)
	}
	for _, s := range t.stages {
		if s.topic == "" && len(s.sources) == 0 {
			return nil, fmt.Errorf("topology %s: nothing is written to shuffle %s; give it to stream.Into", t.Name, s.name)
		}
	}
	return &Runner{topology: t, cfg: cfg, tasks: make(map[place]*Task)}, nil
}

// Status returns how the tasks of this process fare, in order.
func (r *Runner) Status() []TaskStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []TaskStatus
	for _, t := range r.tasks {
		all = append(all, t.Status())
	}
	slices.SortFunc(all, func(a, b TaskStatus) int {
		return cmp.Or(cmp.Compare(a.Operator, b.Operator), cmp.Compare(a.Partition, b.Partition))
	})
	return all
}

// Run creates the shuffles that are missing and runs the tasks that are this
// process's share, until ctx ends; then it returns nil. It returns early with
// what keeps the topology from running at all.
func (r *Runner) Run(ctx context.Context) error {
	counts, err := r.prepare(ctx)
	if err != nil {
		return fmt.Errorf("topology %s: %w", r.topology.Name, err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	tables := outsideTables(ctx, r.cfg.Log)
	defer tables.close()
	var all sync.WaitGroup
	for _, s := range r.topology.stages {
		if s.unread() {
			continue
		}
		all.Go(func() {
			if err := r.share(ctx, s, counts, tables); err != nil {
				stop(fmt.Errorf("topology %s: %w", r.topology.Name, err))
			}
		})
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// ShuffleTopic returns the topic in which a shuffle lies.
func (r *Runner) ShuffleTopic(shuffle string) string {
	return r.topology.shuffleTopic(shuffle)
}

// Tasks creates the shuffles that are missing and returns all tasks, by the stage's
// name and partition, for who shares them out by other means than Run. What they
// hold together is given up with ctx, before which they must have ended.
func (r *Runner) Tasks(ctx context.Context) (map[string][]*Task, error) {
	counts, err := r.prepare(ctx)
	if err != nil {
		return nil, fmt.Errorf("topology %s: %w", r.topology.Name, err)
	}
	tables := outsideTables(ctx, r.cfg.Log)
	context.AfterFunc(ctx, tables.close)
	all := make(map[string][]*Task)
	for _, s := range r.topology.stages {
		if s.unread() {
			continue
		}
		around := s.around(counts)
		around.tables = tables
		for n := range int32(around.inputs) {
			all[s.name] = append(all[s.name], newTask(&r.cfg, s, n, around))
		}
	}
	return all, nil
}

// DropShuffles deletes the shuffles of the topology's version, whose tasks must have
// ended everywhere. A log that cannot, being no eventlog.Deleter, keeps them.
func (r *Runner) DropShuffles(ctx context.Context) error {
	log, can := r.cfg.Log.(eventlog.Deleter)
	if !can {
		return nil
	}
	for _, s := range r.topology.stages {
		if s.topic != "" {
			continue
		}
		if err := log.Delete(ctx, s.shuffleTopic()); err != nil {
			return fmt.Errorf("delete topic %s: %w", s.shuffleTopic(), err)
		}
	}
	return nil
}

// DropSnapshots deletes the snapshots of the topology's version that lie in
// Config.Snapshots. Its tasks must have ended.
func (r *Runner) DropSnapshots(ctx context.Context) error {
	if r.cfg.Snapshots == nil {
		return nil
	}
	for _, s := range r.topology.stages {
		prefix := s.identity(0).Fold()
		names, err := r.cfg.Snapshots.List(ctx, prefix)
		if err != nil {
			return fmt.Errorf("list the snapshots below %s: %w", prefix, err)
		}
		for _, name := range names {
			if err := r.cfg.Snapshots.Delete(ctx, name); err != nil {
				return fmt.Errorf("delete snapshot %s: %w", name, err)
			}
		}
	}
	return nil
}

// prepare makes the shuffles and returns how many partitions each topic has.
func (r *Runner) prepare(ctx context.Context) (map[string]int, error) {
	counts := make(map[string]int)
	for _, s := range r.topology.stages {
		if s.topic == "" {
			counts[s.shuffleTopic()] = r.topology.partitions()
			if err := r.cfg.Log.Ensure(ctx, eventlog.Topic{Name: s.shuffleTopic(), Partitions: r.topology.partitions()}); err != nil {
				return nil, err
			}
		}
	}
	need := func(topic string) (err error) {
		if _, known := counts[topic]; !known && topic != "" {
			counts[topic], err = r.partitions(ctx, topic)
		}
		return err
	}
	_, outside := r.cfg.Log.(eventlog.Outside)
	for _, s := range r.topology.stages {
		if s.needsOutside() && !outside {
			return nil, fmt.Errorf("%s: this log knows no topics of others (eventlog.Outside); use Kafka", s.name)
		}
		if err := need(s.topic); err != nil {
			return nil, fmt.Errorf("source %s: %w", s.name, err)
		}
		for _, o := range s.outs {
			if err := need(o.topic); err != nil {
				return nil, fmt.Errorf("publish %s: %w", o.name, err)
			}
			_, can := r.cfg.Log.(eventlog.Transactor)
			if o.mode == Transactional && !can {
				return nil, fmt.Errorf("publish %s: this log has no transactions; use Plain, or Kafka", o.name)
			}
		}
	}
	return counts, nil
}

// newTopic is how long a topic that is not known is asked for again: one that was
// just made is not known everywhere at once.
const newTopic = 10 * time.Second

func (r *Runner) partitions(ctx context.Context, topic string) (int, error) {
	pause := clock.Backoff{Most: time.Second}
	for began := r.cfg.Clock.Now(); ; {
		n, err := partitionsOf(ctx, r.cfg.Log, topic)
		if !errors.Is(err, eventlog.ErrUnknownTopic) || r.cfg.Clock.Now().Sub(began) > newTopic {
			return n, err
		}
		if err := clock.Sleep(ctx, r.cfg.Clock, pause.Next(r.cfg.Clock)); err != nil {
			return 0, err
		}
	}
}

func partitionsOf(ctx context.Context, log eventlog.Log, topic string) (int, error) {
	switch l := log.(type) {
	case eventlog.Outside:
		return l.Partitions(ctx, topic)
	case eventlog.Lister:
		topics, err := l.Topics(ctx)
		if err != nil {
			return 0, err
		}
		for _, t := range topics {
			if t.Name == topic {
				return t.Partitions, nil
			}
		}
		return 0, eventlog.ErrUnknownTopic
	}
	return 0, fmt.Errorf("%T is neither an eventlog.Outside nor an eventlog.Lister", log)
}

// unread reports whether nobody reads a shuffle in its own topology, as an intake's
// copy: it has no tasks.
func (s *stage) unread() bool { return s.topic == "" && len(s.ports) == 0 }

// needsOutside reports whether a stage reads or writes a topic of others.
func (s *stage) needsOutside() bool {
	return s.foreign || slices.ContainsFunc(s.outs, func(o *out) bool { return o.to == nil })
}

func (s *stage) around(counts map[string]int) shape {
	around := shape{inputs: counts[s.input()]}
	for _, o := range s.outs {
		topic := o.topic
		if o.to != nil {
			topic = o.to.shuffleTopic()
		}
		around.outs = append(around.outs, counts[topic])
	}
	for _, up := range s.sources {
		if !up.timeless {
			around.sources += counts[up.input()]
		}
	}
	return around
}

// share runs the tasks of a stage that are this process's: those that the group
// assigns, or all where the log does not share.
func (r *Runner) share(ctx context.Context, s *stage, counts map[string]int, tables *tables) (err error) {
	around := s.around(counts)
	around.tables = tables
	shared, ok := r.cfg.Log.(eventlog.Assigner)
	if !ok {
		all := make([]int32, around.inputs)
		for n := range all {
			all[n] = int32(n)
		}
		changed := r.assign(ctx, s, around, nil, all)
		<-ctx.Done()
		r.assign(ctx, s, around, changed, nil)
		return nil
	}
	group := fmt.Sprintf("%s.%s.%d", r.topology.Name, s.name, r.topology.version())
	m, err := shared.Join(ctx, group, s.input(), r.cfg.Instance)
	if err != nil {
		return fmt.Errorf("join the processes of %s: %w", group, err)
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	var running map[int32]func()
	defer func() { r.assign(ctx, s, around, running, nil) }()
	for {
		mine, err := m.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("share the tasks of %s: %w", group, err)
		}
		running = r.assign(ctx, s, around, running, mine)
	}
}

// assign ends the tasks that are not this process's any more, starts those that
// are new, and returns what ends each.
func (r *Runner) assign(ctx context.Context, s *stage, around shape, running map[int32]func(), mine []int32) map[int32]func() {
	next := make(map[int32]func())
	var ends sync.WaitGroup
	for n, end := range running {
		if slices.Contains(mine, n) {
			next[n] = end
		} else {
			ends.Go(end)
		}
	}
	ends.Wait()
	for _, n := range mine {
		if next[n] == nil {
			next[n] = r.start(ctx, s, around, n)
		}
	}
	return next
}

func (r *Runner) start(ctx context.Context, s *stage, around shape, n int32) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	t := newTask(&r.cfg, s, n, around)
	at := place{s.name, n}
	r.mu.Lock()
	r.tasks[at] = t
	r.mu.Unlock()
	var done sync.WaitGroup
	done.Go(func() { t.Run(ctx) })
	return func() {
		cancel()
		done.Wait()
		r.mu.Lock()
		delete(r.tasks, at)
		r.mu.Unlock()
	}
}

package framework

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// markEvery is how long the mark of a store that other processes watch may stay
// behind.
const markEvery = 50 * time.Millisecond

// following is a generation of a view at work: the tasks that read the events, and
// those that fill the stores, which are the same unless a shuffle lies between.
type following struct {
	view    View // of the generation's version, the current one if the program has it not
	number  int
	version int
	runs    bool // the program carries the version; else the tasks are watched
	stands  bool // nobody does: it is read as it is
	runner  *stream.Runner
	end     func() // ends what looks after the tasks, once these have ended

	unread <-chan time.Time // of a retired one: gets a value once no query reads it; arrange's own

	sources []*stream.Task // by partition of the events
	fills   []*stream.Task // by partition of the shuffle; nil: there is none
	shuffle string         // its topic
	sights  []*sight       // by its partition
	wanted  chan int32     // partitions of it of which more is to be known
	shown   atomic.Int64   // fills, as of the last answer that found all
	claims  claims         // of searches
	pace    meter

	findings atomic.Pointer[findings] // of asking it beside the one that is read; nil: it never was, since this process began
}

// filled returns how often the stores were found to lack something. What they were
// filled with since may be there and not be found yet, if they are searched.
func (f *following) filled() (n int64) {
	if f.view.Kind != Search {
		return 0
	}
	for _, t := range append(f.sources[:len(f.sources):len(f.sources)], f.fills...) {
		n += int64(t.Status().Fills)
	}
	return n
}

// runner returns what runs a version of a view as a generation of that number.
func (a *App) runner(p *process, v View, number int, cfg stream.Config) (*stream.Runner, error) {
	at := Following{Resources: p.Resources, Generation: view.Generation{App: a.cfg.App, View: v.Name, Number: number},
		Topic: p.topic, Partitions: a.cfg.Partitions, Park: &stream.Park{MaxKeys: a.cfg.MaxParkedKeys, MaxEvents: a.cfg.MaxParkedEvents}}
	if p.shared {
		at.MarkEvery = markEvery
	}
	return stream.NewRunner(v.Topology(at), cfg)
}

// follow makes the tasks of a generation that is not retired. lasting is to outlast
// them.
func (a *App) follow(lasting context.Context, p *process, k *kept, g control.Generation) (*following, error) {
	v, carried := k.declared(g.Version)
	cfg := a.streamConfig(p)
	read := p.catalogue.Reading().Of(k.name) == g.Number
	if !read {
		cfg.Rate = float64(g.Rate) / float64(a.cfg.Partitions)
	}
	if v.Refolded != nil && cfg.Snapshots != nil {
		a.cfg.Logger.Info("a view keeps no snapshots: each start folds the log from its beginning", "view", v.Name, "why", v.Refolded)
		cfg.Snapshots = nil
	}
	if p.Fleeting && v.Shuffle == "" {
		cfg.Snapshots = nil
	}
	runner, err := a.runner(p, v, g.Number, cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(lasting)
	tasks, err := runner.Tasks(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	f := &following{view: v, number: g.Number, version: g.Version, runs: carried, runner: runner, sources: tasks[Source], end: cancel}
	if v.Shuffle != "" {
		f.fills, f.shuffle = tasks[v.Shuffle], runner.ShuffleTopic(v.Shuffle)
		f.wanted = make(chan int32, len(f.fills))
		for range f.fills {
			f.sights = append(f.sights, &sight{})
		}
	}
	if f.stands = read && !p.carried(k, g.Version); f.stands {
		for _, t := range slices.Concat(f.sources, f.fills) {
			t.Aim(0)
		}
	}
	if f.fills != nil && !f.stands {
		attending := background(func(ctx context.Context) { f.attend(ctx, p, a.cfg) })
		f.end = func() {
			attending()
			cancel()
		}
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

// attend looks after the tasks behind a shuffle until ctx ends: it tells them their
// goal, once the sources have written to it what they had to at the start, and
// finds how far they are when a query wants to know.
func (f *following) attend(ctx context.Context, p *process, cfg Config) {
	for _, t := range f.sources {
		if t.Wait(ctx, -1) != nil {
			return
		}
	}
	var pause clock.Backoff
	for n, t := range f.fills {
		for t.Status().Goal < 0 {
			if _, err := f.see(ctx, p, int32(n), cfg); err == nil {
				t.Aim(f.sights[n].ahead())
			} else if clock.Sleep(ctx, cfg.Clock, pause.Next(cfg.Clock)) != nil {
				return
			}
		}
	}
	for {
		select {
		case n := <-f.wanted:
			_, _ = f.see(ctx, p, n, cfg) // without it an answer says less of how far it has come
		case <-ctx.Done():
			return
		}
	}
}

// see finds an end of partition n below which lies all that the sources made of the
// events that they have passed by now, and returns those.
func (f *following) see(ctx context.Context, p *process, n int32, cfg Config) (done reached, err error) {
	done = make(reached)
	for n, t := range f.sources {
		done.note(int32(n), t.Status().Done-1)
	}
	within, cancel := context.WithTimeout(ctx, cfg.AppendTimeout)
	defer cancel()
	end, err := p.Log.End(within, f.shuffle, n)
	if err == nil {
		f.sights[n].take(f.fills[n], done, end, cfg.Clock.Now())
	}
	return done, err
}

// passed waits until what a query is answered from, partition one of the stores or
// all, has passed min, and refuses to read from what is being filled. It notes in at
// how far the answer will have come at least, and in q what the stores hold for that.
func (a *App) passed(ctx context.Context, p *process, f *following, only func(Query) (int32, bool), q *Query, at reached) error {
	one, single := int32(0), false
	if only != nil {
		one, single = only(*q)
	}
	if f.fills == nil {
		for n, t := range f.sources {
			if single && one != int32(n) {
				continue
			}
			want, asked := q.Min.Offsets[int32(n)]
			s, err := a.wait(ctx, f, t, want, asked, q.Min)
			if err != nil {
				return err
			}
			at.note(int32(n), s.Done-1)
			q.parts = append(q.parts, part{f.view.Name, int32(n), s.Marked})
		}
		return nil
	}
	for n := range f.fills {
		if single && one != int32(n) {
			continue
		}
		if err := a.passedShuffle(ctx, p, f, int32(n), q, at); err != nil {
			return err
		}
	}
	return nil
}

// toShow returns, of a search, the offsets below which all must be found that the parts
// of its store hold: what lies below q.Min, or all, where q.Min lies before a shuffle or the
// store was filled since the last answer that found all. It is nil if q asks for nothing.
func (f *following) toShow(q *Query) map[int32]int64 {
	all := f.filled() != f.shown.Load()
	if f.view.Kind != Search || !all && len(q.Min.Offsets) == 0 {
		return nil
	}
	below := make(map[int32]int64)
	for _, p := range q.parts {
		want, asked := q.Min.Offsets[p.partition]
		switch {
		case p.view != f.view.Name:
		case all, f.fills != nil:
			below[p.partition] = p.mark
		case asked: // the mark may be lower: what lies between has changed nothing
			below[p.partition] = min(want+1, p.mark)
		}
	}
	return below
}

// narrow leaves of how far the answer of a search would have come what its store is known
// to have looked through, which may be less than it holds. What was not asked to be found may
// not be found yet. No answer has come less far than one before.
func (f *following) narrow(at reached, q *Query, seen map[int32]int64, filled int64) {
	if len(q.Min.Offsets) == 0 {
		clear(at)
		return
	}
	f.claims.mu.Lock()
	defer f.claims.mu.Unlock()
	if f.claims.below == nil || f.claims.filled != filled {
		f.claims.below, f.claims.filled = make(map[int32]int64), filled
	}
	for _, p := range q.parts {
		n := p.partition
		if p.view != f.view.Name || f.fills != nil {
			continue
		}
		if seen[n] < p.mark {
			below := max(seen[n], f.claims.below[n])
			if least, asked := q.Min.Offsets[n]; asked {
				below = max(below, least+1)
			}
			at[n] = min(at[n], below-1)
		}
		f.claims.below[n] = max(f.claims.below[n], at[n]+1)
	}
}

// claims is how far the answers of searches have come since the store was last filled.
type claims struct {
	mu     sync.Mutex
	filled int64
	below  map[int32]int64 // by partition: all that lies below was passed
}

// passedShuffle is passed for one partition behind a shuffle. What its sources made
// of the events up to some offset lies below the end that the shuffle has once they
// have passed that.
func (a *App) passedShuffle(ctx context.Context, p *process, f *following, n int32, q *Query, at reached) error {
	sight, fills := f.sights[n], f.fills[n]
	end, seen := int64(0), reached(nil)
	if known := sight.known(fills); !known.holds(q.Min) {
		for n, want := range q.Min.Offsets {
			if _, err := a.wait(ctx, f, f.sources[n], want, true, q.Min); err != nil {
				return err
			}
		}
		var err error
		if seen, err = f.see(ctx, p, n, a.cfg); err != nil {
			return a.readError(ctx, err)
		}
		end = sight.ahead()
	} else if due, stale := sight.due(a.cfg.Clock.Now()); stale {
		within, cancel := context.WithTimeout(ctx, lookWait)
		_, _ = f.see(within, p, n, a.cfg) // without it the answer says less of how far it has come
		cancel()
	} else if due {
		select {
		case f.wanted <- n:
		default:
		}
	}
	s, err := a.wait(ctx, f, fills, end-1, end > 0, q.Min)
	if err != nil {
		return err
	}
	q.parts = append(q.parts, part{f.view.Name, n, s.Marked})
	sight.learn(seen) // what lies below end is passed
	known := sight.known(fills)
	for n := range int32(len(f.sources)) {
		offset, ok := known[n]
		if !ok {
			offset = -1
		}
		if want, asked := q.Min.Offsets[n]; asked {
			offset = max(offset, want)
		}
		at.note(n, offset)
	}
	return nil
}

// How old what is known of a shuffle may become while it is asked for, and how long the
// first query waits that comes after nobody has asked for a while, or finds another
// generation switched to.
const (
	sightEvery = time.Second
	lookWait   = 100 * time.Millisecond
)

// sight is what is known of one partition behind a shuffle: it has passed the
// events that old names, and will have passed those of next once it is at at.
type sight struct {
	mu   sync.Mutex
	old  reached
	next reached // nil: nothing is waited for
	at   int64
	end  int64     // the greatest that was ever taken
	last time.Time // when due said so
	seen time.Time // when something was last taken
}

// due reports whether it is time to look again, and that this is done; and whether what
// is known is so old that an answer had better wait for more.
func (s *sight) due(now time.Time) (yes, stale bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.last) < sightEvery {
		return false, false
	}
	s.last = now
	return true, now.Sub(s.seen) > sightEvery+lookWait // else others ask too, and it is hardly older than that
}

// take notes that what done names lies below end. While the partition has not got to
// what was taken before, that stays, or one that is always a little behind would never
// be known to have got anywhere.
func (s *sight) take(t *stream.Task, done reached, end int64, now time.Time) {
	status := t.Status()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end, s.seen = max(s.end, end), now
	if s.pass(status); s.next == nil {
		s.next, s.at = done, end
	}
}

// pass takes over what is waited for, if a task of this status has passed it.
func (s *sight) pass(status stream.TaskStatus) {
	if s.next != nil && status.Whole() && status.Done >= s.at {
		s.old, s.next = s.old.beyond(s.next), nil
	}
}

// learn notes that the partition has passed the events of more.
func (s *sight) learn(more reached) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.old = s.old.beyond(more)
}

// ahead returns the end below which all lies that was ever taken.
func (s *sight) ahead() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

// known returns what the partition that t fills has passed.
func (s *sight) known(t *stream.Task) reached {
	status := t.Status()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pass(status)
	return s.old
}

// firstLook is how long a query waits for a task that was never seen whole here: who has
// switched to its generation has seen it whole, and another process learns of that with its
// next look.
const firstLook = time.Second

// wait waits until a task has passed an offset, if that is asked for, and returns how it
// fares then.
func (a *App) wait(ctx context.Context, f *following, t *stream.Task, offset int64, asked bool, min eventlog.Positions) (stream.TaskStatus, error) {
	for {
		s := t.Status()
		switch {
		case s.Final:
			return s, &cluster.UnavailableError{Reason: fmt.Sprintf("view %s has stopped at partition %d", f.view.Name, s.Partition), RetryAfter: time.Minute}
		case s.Whole() && (!asked || s.Done > offset):
			return s, nil
		case !asked && (s.Once || !soonWhole(ctx, t)):
			return s, beingFilled(f.view.Name)
		case !asked:
			continue
		}
		if err := t.Wait(ctx, offset); err != nil {
			return s, a.notReached(min)
		}
	}
}

// soonWhole waits for a task to be whole, firstLook at most, and reports whether it is.
func soonWhole(ctx context.Context, t *stream.Task) bool {
	ctx, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	return t.Wait(ctx, -1) == nil
}

func beingFilled(view string) error {
	return &cluster.UnavailableError{Reason: fmt.Sprintf("view %s is being filled", view), RetryAfter: retryAfter}
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

// beyond returns how far one has come that has come as far as r and as far as more: what
// a task says of itself may be less once another process has it.
func (r reached) beyond(more reached) reached {
	if len(more) == 0 {
		return r
	}
	both := maps.Clone(more)
	for n, offset := range r {
		if at, ok := both[n]; !ok || at < offset {
			both[n] = offset
		}
	}
	return both
}

// holds reports whether all of min is passed.
func (r reached) holds(min eventlog.Positions) bool {
	for n, want := range min.Offsets {
		if at, ok := r[n]; !ok || at < want {
			return false
		}
	}
	return true
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

// whole returns why a generation is not, nil if it is. Whoever says so names it.
func (f *following) whole() error {
	if f.stands {
		return nil
	}
	if err := whole(f.sources); err != nil || f.fills == nil {
		return err
	}
	return whole(f.fills)
}

func whole(tasks []*stream.Task) error {
	behind, left := 0, int64(0)
	for n, t := range tasks {
		s := t.Status()
		if s.Err != nil {
			return fmt.Errorf("partition %d: %w", n, s.Err)
		}
		if !s.Whole() {
			behind, left = behind+1, left+max(s.Goal-s.Done, 0)
		}
	}
	if behind > 0 {
		return fmt.Errorf("it is being filled: %d of %d partitions, %d records to go", behind, len(tasks), left)
	}
	return nil
}

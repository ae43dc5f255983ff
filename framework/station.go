package framework

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// station is one partition in this process: it is served, its views are written
// and its effects run here, or another process does so and the views are watched.
type station struct {
	config  cluster.OwnerConfig
	effects []*stream.Task
	owner   atomic.Pointer[cluster.Owner] // nil: another process's

	mu      sync.Mutex
	started bool
	tasks   map[*stream.Task]*job
	leaving func()   // ends the owner; nil: there is none
	ends    []func() // end the effects
}

// job is a view's task at a station.
type job struct {
	runs bool   // where the station serves; else it is always watched
	end  func() // ends it, and waits for that; nil: it is not at work
}

// add puts a task to work, now or when the station starts. runs says whether this
// process can fold for it.
func (s *station) add(t *stream.Task, runs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tasks == nil {
		s.tasks = make(map[*stream.Task]*job)
	}
	j := &job{runs: runs}
	s.tasks[t] = j
	if s.started {
		s.begin(t, j)
	}
}

// remove ends a task, and waits for that.
func (s *station) remove(t *stream.Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.tasks[t]; j != nil && j.end != nil {
		j.end()
	}
	delete(s.tasks, t)
}

// begin lets a task work.
func (s *station) begin(t *stream.Task, j *job) {
	work := t.Watch
	if s.owner.Load() != nil && j.runs {
		work = t.Run
	}
	j.end = background(work)
}

// background runs f until end is called, which waits for it.
func background(f func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { f(ctx) })
	return func() {
		cancel()
		work.Wait()
	}
}

// stands reports whether the station serves, or watches, already.
func (s *station) stands(serve bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started && (s.owner.Load() != nil) == serve
}

// start begins to serve, or to watch.
func (s *station) start(serve bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started, s.leaving, s.ends = true, nil, nil
	if serve {
		o := cluster.NewOwner(s.config)
		s.owner.Store(o)
		s.leaving = background(o.Run)
		for _, d := range s.effects {
			s.ends = append(s.ends, background(d.Run))
		}
	}
	for t, j := range s.tasks {
		s.begin(t, j)
	}
}

// leave ends what start began, and waits for it: the owner first, so that views may
// see what it accepted last.
func (s *station) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		return
	}
	s.owner.Store(nil)
	if s.leaving != nil {
		s.leaving()
	}
	var all sync.WaitGroup
	for _, end := range s.ends {
		all.Go(end)
	}
	for _, j := range s.tasks {
		all.Go(j.end)
		j.end = nil
	}
	all.Wait()
	s.started = false
}

package framework

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// station is one partition in this process: it is served, its views are written
// and its effects run here, or another process does so and the views are watched.
type station struct {
	config  cluster.OwnerConfig
	tasks   []*stream.Task
	effects []*stream.Task
	owner   atomic.Pointer[cluster.Owner] // nil: another process's
	leave   func()                        // ends what start began, and waits for it
}

// start begins to serve, or to watch.
func (s *station) start(serve bool) {
	serving, stopServing := context.WithCancel(context.Background())
	following, stopFollowing := context.WithCancel(context.Background())
	var owner, tasks sync.WaitGroup
	if serve {
		o := cluster.NewOwner(s.config)
		s.owner.Store(o)
		owner.Go(func() { o.Run(serving) })
	}
	for _, t := range s.tasks {
		tasks.Go(func() {
			if serve {
				t.Run(following)
			} else {
				t.Watch(following)
			}
		})
	}
	if serve {
		for _, d := range s.effects {
			tasks.Go(func() { d.Run(following) })
		}
	}
	s.leave = func() { // the owner first, so that views may see what it accepted last
		s.owner.Store(nil)
		stopServing()
		owner.Wait()
		stopFollowing()
		tasks.Wait()
	}
}

// share serves what a group assigns to this process until ctx ends.
func (p *process) share(ctx context.Context, log eventlog.Assigner, group string) (err error) {
	m, err := log.Join(ctx, group, p.topic, p.Instance)
	if err != nil {
		return fmt.Errorf("join the processes of %s: %w", group, err)
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	listed, end := context.WithCancel(context.Background())
	var listing sync.WaitGroup
	listing.Go(func() { p.catalogue.Run(listed) })
	defer listing.Wait()
	defer end() // once nothing is served any more
	p.assign(nil)
	defer p.stop()
	var pings sync.WaitGroup
	defer pings.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	pings.Go(func() { p.pingLog(ctx) })
	for {
		mine, err := m.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("share the partitions of %s: %w", p.topic, err)
		}
		p.assign(mine)
		p.assigned.Store(true)
	}
}

// pingLog looks every second whether the log answers: a process that serves no
// partition would not notice otherwise.
func (p *process) pingLog(ctx context.Context) {
	clk := p.stations[0].config.Clock
	for clock.Sleep(ctx, clk, time.Second) == nil {
		within, cancel := context.WithTimeout(ctx, p.stations[0].config.AppendTimeout)
		if _, err := p.Log.End(within, p.topic, 0); err != nil {
			p.logLost.Store(&err)
		} else {
			p.logLost.Store(nil)
		}
		cancel()
	}
}

// assign serves the partitions named, and watches the others.
func (p *process) assign(mine []int32) {
	serve := make(map[int32]bool, len(mine))
	for _, n := range mine {
		serve[n] = true
	}
	var changes sync.WaitGroup
	for n, s := range p.stations {
		if s.leave != nil && serve[int32(n)] == (s.owner.Load() != nil) {
			continue
		}
		changes.Go(func() {
			if s.leave != nil {
				s.leave()
			}
			s.start(serve[int32(n)])
		})
	}
	changes.Wait()
}

// stop ends all stations.
func (p *process) stop() {
	var ends sync.WaitGroup
	for _, s := range p.stations {
		if s.leave != nil {
			ends.Go(s.leave)
		}
	}
	ends.Wait()
}

func all(partitions int) []int32 {
	list := make([]int32, partitions)
	for n := range list {
		list[n] = int32(n)
	}
	return list
}

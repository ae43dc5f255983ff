package framework

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// share serves what a group assigns to this process until ctx ends.
func (p *process) share(ctx context.Context, log eventlog.Assigner, group string) (err error) {
	m, err := log.Join(ctx, group, p.topic, p.Instance)
	if err != nil {
		return fmt.Errorf("join the processes of %s: %w", group, err)
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	p.catalogue.Announce()
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
		if s.stands(serve[int32(n)]) {
			continue
		}
		changes.Go(func() {
			s.leave()
			s.start(serve[int32(n)])
		})
	}
	changes.Wait()
}

// stop ends all stations.
func (p *process) stop() {
	var ends sync.WaitGroup
	for _, s := range p.stations {
		ends.Go(s.leave)
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

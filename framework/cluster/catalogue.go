package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// CatalogueConfig says what a catalogue works on. No field has a default.
type CatalogueConfig struct {
	Log           eventlog.Log
	Topic         string         // the control log, of one partition
	Self          control.Member // this process
	AppendTimeout time.Duration  // of an announcement, after which it is made again
	Clock         clock.Clock
	Logger        *slog.Logger
}

// Catalogue is the control log at work in one process: it folds it, tells who owns
// what and which generations of the views are read, and takes what is proposed; once
// Announce is called it says that this process is there and what it owns. Run makes it
// work, once; the other methods may be called from anywhere.
//
// It compares what it would say with what it has folded, so an announcement is made
// until it is read back, and one that others would draw nothing from is not made: a
// process that claims anew what the log knows as its own adds no record.
type Catalogue struct {
	cfg  CatalogueConfig
	wake chan struct{} // gets a value when something may have to be said

	mu      sync.RWMutex
	fold    *control.Fold
	goal    int64            // the end at start; -1: not known yet
	sent    int64            // one past what was announced last
	claimed map[int32]uint64 // epochs of this process's claims
	told    bool             // Announce was called
	joined  bool             // this process was read back as a member
	stopped error            // why the log is not followed any more

	changed   chan struct{} // closed when the fold has moved, or stops for good
	proposals map[*proposal]struct{}
	reading   atomic.Pointer[Reading]
}

// leaveTimeout bounds how long the end of a process waits to be announced.
const leaveTimeout = time.Second

// NewCatalogue returns a catalogue that does nothing until Run.
func NewCatalogue(cfg CatalogueConfig) *Catalogue {
	c := &Catalogue{cfg: cfg, wake: make(chan struct{}, 1), fold: control.New(), goal: -1, claimed: make(map[int32]uint64),
		changed: make(chan struct{}), proposals: make(map[*proposal]struct{})}
	c.reading.Store(&Reading{Offset: -1})
	return c
}

// Run follows the log, and announces what Announce allows, until ctx ends; then it
// announces that the process leaves, for which it waits one second at most. A failure
// that cannot pass is logged once and shown by Err.
func (c *Catalogue) Run(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { c.follow(ctx) })
	work.Go(func() { c.announce(ctx) })
	work.Wait()
	c.leave(ctx)
}

// Announce lets the process say that it is there, and what it owns. Where several
// share the partitions it is called once this one has joined them, and so has put an
// earlier run of its instance out.
func (c *Catalogue) Announce() {
	c.mu.Lock()
	c.told = true
	c.mu.Unlock()
	c.look()
}

// Claimed says that this process's claim of a partition was read back as valid.
func (c *Catalogue) Claimed(partition int32, epoch uint64) {
	c.mu.Lock()
	c.claimed[partition] = epoch
	c.mu.Unlock()
	c.look()
}

// Owner returns the process that owns a partition, as far as is known; ok is false
// if none is, or the one that was is gone.
func (c *Catalogue) Owner(partition int32) (m control.Member, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	o, _ := c.fold.Owner(partition)
	return c.fold.Member(o.Process)
}

// Listed is a member with the partitions that it owns, ascending.
type Listed struct {
	control.Member
	Partitions []int32
}

// Members returns all processes, in the order in which they were announced.
func (c *Catalogue) Members() []Listed {
	c.mu.RLock()
	defer c.mu.RUnlock()
	members := c.fold.Members()
	list := make([]Listed, len(members))
	for i, m := range members {
		list[i] = Listed{m, c.fold.Owned(m.Process)}
	}
	return list
}

// Err returns why the catalogue is not whole, nil once it has folded what the log
// held at start.
func (c *Catalogue) Err() error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	switch {
	case c.stopped != nil:
		return fmt.Errorf("the control log is not followed any more: %w", c.stopped)
	case c.goal < 0 || c.fold.Next() < c.goal:
		return fmt.Errorf("the control log is being read: %d of %d records", c.fold.Next(), max(c.goal, 0))
	}
	return nil
}

// follow folds the log until ctx ends or it cannot go on.
func (c *Catalogue) follow(ctx context.Context) {
	var pause clock.Backoff
	for ctx.Err() == nil {
		err := c.read(ctx, &pause)
		switch {
		case ctx.Err() != nil:
		case permanent(err):
			c.mu.Lock()
			c.stopped = err
			c.stir()
			c.mu.Unlock()
			c.cfg.Logger.Error("control log stopped", "topic", c.cfg.Topic, "err", err)
			return
		default:
			d := pause.Next(c.cfg.Clock)
			c.cfg.Logger.Warn("control log will be read again", "topic", c.cfg.Topic, "err", err, "pause", d)
			clock.Sleep(ctx, c.cfg.Clock, d)
		}
	}
}

// read folds the log from where it stands, until that fails.
func (c *Catalogue) read(ctx context.Context, pause *clock.Backoff) error {
	if err := c.aim(ctx); err != nil {
		return err
	}
	reader, err := c.cfg.Log.Read(c.cfg.Topic, 0, c.fold.Next()) // only this goroutine moves it
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		records, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		pause.Reset()
		if err := c.take(records); err != nil {
			return err
		}
		c.look()
	}
}

// aim notes the end that the log has at start.
func (c *Catalogue) aim(ctx context.Context) error {
	if c.goal >= 0 {
		return nil
	}
	end, err := c.cfg.Log.End(ctx, c.cfg.Topic, 0)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.goal = end
	c.stir()
	c.mu.Unlock()
	c.look()
	return nil
}

func (c *Catalogue) take(records []eventlog.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.stir()
	for i := range records {
		if err := c.fold.Step(&records[i]); err != nil {
			return err
		}
		c.answer(&records[i])
	}
	return nil
}

// look lets announce look again.
func (c *Catalogue) look() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// announce says what is to be said, until ctx ends.
func (c *Catalogue) announce(ctx context.Context) {
	var pause clock.Backoff
	for ctx.Err() == nil {
		records := c.due()
		if len(records) == 0 {
			select {
			case <-ctx.Done():
			case <-c.wake:
			}
			continue
		}
		base, err := c.append(ctx, c.cfg.AppendTimeout, records)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			d := pause.Next(c.cfg.Clock)
			c.cfg.Logger.Warn("an announcement will be made again", "topic", c.cfg.Topic, "err", err, "pause", d)
			clock.Sleep(ctx, c.cfg.Clock, d)
		default:
			pause.Reset()
			c.mu.Lock()
			c.sent = base + int64(len(records))
			c.mu.Unlock()
		}
	}
}

// due returns what others would not know: nothing before all that is in the log,
// and was said by this process, is folded.
func (c *Catalogue) due() (records []eventlog.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.told || c.stopped != nil || c.goal < 0 || c.fold.Next() < max(c.goal, c.sent) {
		return nil
	}
	self := c.cfg.Self.Process
	if _, there := c.fold.Member(self); there {
		c.joined = true // once is enough: whoever has taken the instance over since stays
	}
	if !c.joined {
		records = append(records, c.cfg.Self.Record())
	}
	for _, n := range slices.Sorted(maps.Keys(c.claimed)) {
		known, _ := c.fold.Owner(n)
		if epoch := c.claimed[n]; known.Epoch < epoch && known.Process != self {
			records = append(records, control.Owner{Partition: n, Epoch: epoch, Process: self}.Record())
		}
	}
	return records
}

func (c *Catalogue) append(ctx context.Context, timeout time.Duration, records []eventlog.Record) (int64, error) {
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return c.cfg.Log.Append(within, c.cfg.Topic, 0, records)
}

// leave says that the process ends. If that fails it stays listed until its
// instance starts anew, and whoever turns to it finds nobody.
func (c *Catalogue) leave(ctx context.Context) {
	c.mu.RLock()
	joined := c.joined
	c.mu.RUnlock()
	if !joined {
		return
	}
	if _, err := c.append(context.WithoutCancel(ctx), leaveTimeout, []eventlog.Record{c.cfg.Self.Left()}); err != nil {
		c.cfg.Logger.Warn("the end of this process is not announced", "topic", c.cfg.Topic, "err", err)
	}
}

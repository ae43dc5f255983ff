package cluster

import (
	"bytes"
	"context"
	"errors"
	"maps"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// Reading says which generation of each view was read at one place of the control log.
// It does not change.
type Reading struct {
	Offset  int64 // of the last record that was folded; -1: none was
	numbers map[string]int
}

// Of returns the number of the generation of a view that is read, 0 if none is.
func (r *Reading) Of(view string) int { return r.numbers[view] }

// Same reports whether the same generations were read at both places.
func (r *Reading) Same(o *Reading) bool { return maps.Equal(r.numbers, o.numbers) }

// Reading returns which generations are read, as far as this process has folded the
// control log.
func (c *Catalogue) Reading() *Reading { return c.reading.Load() }

// See lets f look at what is folded. It must not change it, wait, or call c.
func (c *Catalogue) See(f func(*control.Fold)) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	f(c.fold)
}

// Changed returns a channel that is closed once more is folded, or no more will be.
func (c *Catalogue) Changed() <-chan struct{} {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changed
}

// Ready waits until all that the log held at start is folded. It returns why that
// cannot be, or ctx's error.
func (c *Catalogue) Ready(ctx context.Context) error {
	return c.until(ctx, func() bool { return c.Err() == nil })
}

// Wait waits until the record at offset is folded. It returns why that cannot be, or
// ctx's error.
func (c *Catalogue) Wait(ctx context.Context, offset int64) error {
	return c.until(ctx, func() bool { return c.Reading().Offset >= offset })
}

// until waits until done says so, which it is asked each time that more is folded. It
// returns ctx's error, or why nothing more is.
func (c *Catalogue) until(ctx context.Context, done func() bool) error {
	for {
		changed := c.Changed()
		switch {
		case done():
			return nil
		case c.halted() != nil:
			return c.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// proposal is a record that waits to be read back.
type proposal struct {
	record eventlog.Record
	took   chan bool // gets whether it took effect
}

// Propose appends a record, and again while it is unknown whether that arrived, waits
// until it is read back, and says whether it took effect, as control.Fold.Took. An
// error means that this is not known: ctx has ended, or the log is not followed any
// more. One that arrives after all does what a record does that comes late.
func (c *Catalogue) Propose(ctx context.Context, record eventlog.Record) (took bool, err error) {
	p := &proposal{record: record, took: make(chan bool, 1)}
	c.mu.Lock()
	c.proposals[p] = struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.proposals, p)
		c.mu.Unlock()
	}()
	for pause := (clock.Backoff{}); ; {
		if c.halted() != nil {
			return false, c.Err()
		}
		_, err := c.append(ctx, c.cfg.AppendTimeout, []eventlog.Record{record})
		if errors.Is(err, eventlog.ErrTooLarge) || errors.Is(err, eventlog.ErrClosed) || permanent(err) {
			return false, err
		}
		if err == nil {
			err = c.until(ctx, func() bool { return len(p.took) > 0 })
			return err == nil && <-p.took, err
		}
		select {
		case took := <-p.took:
			return took, nil
		case <-c.cfg.Clock.After(pause.Next(c.cfg.Clock)):
		case <-ctx.Done():
			return false, errors.Join(ctx.Err(), err)
		}
	}
}

// answer tells who proposed a record, or one that is the same, whether it took effect.
// c.mu is held.
func (c *Catalogue) answer(r *eventlog.Record) {
	for p := range c.proposals {
		if !bytes.Equal(p.record.Header, r.Header) || !bytes.Equal(p.record.Value, r.Value) {
			continue
		}
		select {
		case p.took <- c.fold.Took():
		default: // it was told of the first of several copies
		}
	}
}

// stir tells that the fold has moved, or stops. c.mu is held.
func (c *Catalogue) stir() {
	now := &Reading{Offset: c.fold.Next() - 1, numbers: make(map[string]int)}
	for _, name := range c.fold.Views() {
		now.numbers[name] = c.fold.Read(name)
	}
	c.reading.Store(now)
	close(c.changed)
	c.changed = make(chan struct{})
}

// halted returns why the log is not followed any more, nil while it is.
func (c *Catalogue) halted() error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.stopped
}

package framework

import (
	"context"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// hold lets both generations stop at one place of each partition. First each stops
// where it is; then whichever is behind goes on to where the other one is.
func (c *comparer) hold(ctx context.Context, partitions []int32) error {
	at := make(map[int32]int64, len(partitions))
	for _, n := range partitions {
		at[n] = 0
	}
	for range cutTries {
		if err := c.cutAt(ctx, at); err != nil {
			return err
		}
		next, same, err := c.stopped(ctx, partitions)
		if err != nil {
			return err
		}
		if same {
			for n, offset := range next {
				c.at[n] = offset
			}
			return nil
		}
		at = next
	}
	return fmt.Errorf("after %d cuts: %w", cutTries, errMoved)
}

// cutAt puts a cut in the place of the one that stands: those that are to go on can,
// and nothing goes on that this one stops.
func (c *comparer) cutAt(ctx context.Context, at map[int32]int64) error {
	now := c.a.cfg.Clock.Now()
	cut := control.Cut{View: c.k.name, ID: clock.NewID(c.a.cfg.Clock), Generations: []int{c.sides[0].f.number, c.sides[1].f.number},
		At: at, Until: now.Add(cutLasts).UTC()}
	took, err := c.a.propose(ctx, c.p, cut.Record())
	if err != nil {
		return err
	}
	if !took {
		return &GenerationError{View: c.k.name, Number: c.sides[1].f.number, State: Retired, Reason: "it was retired meanwhile"}
	}
	before := c.cut
	c.cut, c.renewed = cut, now
	if before.ID.IsZero() {
		return nil
	}
	_, err = c.a.propose(ctx, c.p, control.Released{ID: before.ID}.Record())
	return err
}

// renew lets the cut stand for longer, if it is time.
func (c *comparer) renew(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.a.cfg.Clock.Now().Sub(c.renewed) < cutLasts/2 {
		return nil
	}
	return c.cutAt(ctx, c.cut.At)
}

// release ends the cut that stands, also when ctx has ended. Should that fail, it ends
// by itself.
func (c *comparer) release(ctx context.Context) {
	if c.cut.ID.IsZero() {
		return
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.a.cfg.AppendTimeout)
	defer cancel()
	if _, err := c.p.catalogue.Propose(within, control.Released{ID: c.cut.ID}.Record()); err != nil {
		c.a.cfg.Logger.Warn("the views that were compared go on a little later", "view", c.k.name, "after", cutLasts, "err", err)
	}
}

// stopped waits until both generations are held, and returns the greater offset of each
// partition, and whether both have stopped there.
func (c *comparer) stopped(ctx context.Context, partitions []int32) (next map[int32]int64, same bool, err error) {
	late := c.a.cfg.Clock.After(holdWait)
	for {
		changed := c.p.catalogue.Changed()
		next, same = make(map[int32]int64, len(partitions)), true
		var missing error
		c.p.catalogue.See(func(f *control.Fold) {
			for _, n := range partitions {
				for i := range c.sides {
					h, ok := f.Held(c.cut.ID, c.sides[i].f.number, n)
					offset := h.Next
					if c.sides[i].parked[n] = h.Parked; !ok {
						missing = fmt.Errorf("generation %d has not stopped at partition %d within %v", c.sides[i].f.number, n, holdWait)
					}
					if before, known := next[n]; known && before != offset {
						same, offset = false, max(before, offset)
					}
					next[n] = offset
				}
			}
		})
		if missing == nil {
			return next, same, nil
		}
		if err := c.renew(ctx); err != nil {
			return nil, false, err
		}
		select {
		case <-changed:
		case <-c.a.cfg.Clock.After(time.Second):
		case <-late:
			return nil, false, missing
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

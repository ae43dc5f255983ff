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
func (h *holding) hold(ctx context.Context, partitions []int32) error {
	at := make(map[int32]int64, len(partitions))
	for _, n := range partitions {
		at[n] = 0
	}
	for range cutTries {
		if err := h.cutAt(ctx, at); err != nil {
			return err
		}
		next, same, err := h.stopped(ctx, partitions)
		if err != nil {
			return err
		}
		if same {
			for n, offset := range next {
				h.at[n] = offset
			}
			return nil
		}
		at = next
	}
	return fmt.Errorf("after %d cuts: %w", cutTries, errMoved)
}

// cutAt puts a cut in the place of the one that stands: those that are to go on can,
// and nothing goes on that this one stops.
func (h *holding) cutAt(ctx context.Context, at map[int32]int64) error {
	now := h.a.cfg.Clock.Now()
	cut := control.Cut{View: h.k.name, ID: clock.NewID(h.a.cfg.Clock), Generations: []int{h.sides[0].f.number, h.sides[1].f.number},
		At: at, Until: now.Add(cutLasts).UTC()}
	took, err := h.a.propose(ctx, h.p, cut.Record())
	if err != nil {
		return err
	}
	if !took {
		return &GenerationError{View: h.k.name, Number: h.sides[1].f.number, State: Retired, Reason: "it was retired meanwhile"}
	}
	before := h.cut
	h.cut, h.renewed = cut, now
	if before.ID.IsZero() {
		return nil
	}
	_, err = h.a.propose(ctx, h.p, control.Released{ID: before.ID}.Record())
	return err
}

// renew lets the cut stand for longer, if it is time.
func (h *holding) renew(ctx context.Context) error {
	h.renewing.Lock()
	defer h.renewing.Unlock()
	if h.a.cfg.Clock.Now().Sub(h.renewed) < cutLasts/2 {
		return nil
	}
	return h.cutAt(ctx, h.cut.At)
}

// release ends the cut that stands, also when ctx has ended. Should that fail, it ends
// by itself.
func (h *holding) release(ctx context.Context) {
	if h.cut.ID.IsZero() {
		return
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.a.cfg.AppendTimeout)
	defer cancel()
	if _, err := h.p.catalogue.Propose(within, control.Released{ID: h.cut.ID}.Record()); err != nil {
		h.a.cfg.Logger.Warn("the views that were compared go on a little later", "view", h.k.name, "after", cutLasts, "err", err)
	}
}

// stopped waits until both generations are held, and returns the greater offset of each
// partition, and whether both have stopped there.
func (h *holding) stopped(ctx context.Context, partitions []int32) (next map[int32]int64, same bool, err error) {
	late := h.a.cfg.Clock.After(holdWait)
	for {
		changed := h.p.catalogue.Changed()
		next, same = make(map[int32]int64, len(partitions)), true
		var missing error
		h.p.catalogue.See(func(f *control.Fold) {
			for _, n := range partitions {
				for i := range h.sides {
					held, ok := f.Held(h.cut.ID, h.sides[i].f.number, n)
					offset := held.Next
					if h.parked[i][n] = held.Parked; !ok {
						missing = fmt.Errorf("generation %d has not stopped at partition %d within %v", h.sides[i].f.number, n, holdWait)
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
		if err := h.renew(ctx); err != nil {
			return nil, false, err
		}
		select {
		case <-changed:
		case <-h.a.cfg.Clock.After(time.Second):
		case <-late:
			return nil, false, missing
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

package stream

import (
	"context"
	"fmt"
	"time"
)

// How often a watched store is looked at: while somebody waits for it, and else.
const (
	watchClosely = 20 * time.Millisecond
	watchIdly    = time.Second
)

// Watch follows what another process writes, until ctx ends: Status and Wait
// then tell of the store's mark. Run and Watch take turns, never at once.
func (t *Task) Watch(ctx context.Context) {
	for ctx.Err() == nil {
		pause, waits := watchIdly, t.waits
		if err := t.look(ctx); err != nil && ctx.Err() == nil {
			t.update(func(s *Status) { s.Err, s.unsure = err, true })
			waits = nil
		} else if t.waiting.Load() > 0 {
			pause, waits = watchClosely, nil
		}
		select {
		case <-waits:
		case <-t.cfg.Clock.After(pause):
		case <-ctx.Done():
		}
	}
}

// look takes over the store's mark. One that has fallen back means that the store
// has lost what was written: it must get to where it was before it is whole again.
func (t *Task) look(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if t.Status().Goal < 0 {
		end, err := t.cfg.Log.End(within, t.cfg.Topic, t.cfg.Partition)
		if err != nil {
			return fmt.Errorf("find the end: %w", err)
		}
		t.update(func(s *Status) { s.Goal = end })
	}
	mark, err := t.part.Mark(within)
	if err != nil {
		return fmt.Errorf("look at the store: %w", err)
	}
	lost := mark < t.written
	t.written = mark
	t.update(func(s *Status) {
		if lost {
			s.Goal, s.Written = max(s.Goal, s.Written), mark
		}
		s.Written, s.Err, s.Final, s.unsure = max(s.Written, mark), nil, false, false
	})
	return nil
}

package esstore

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// refreshing is a refresh that calls share: all that came before it began, and later ones
// that ask for no more than it will show.
type refreshing struct {
	done chan struct{}
	err  error // set before done is closed

	uuid    string          // of the index, set when it begins
	reached map[int32]int64 // marks that the index is known to have reached then: what lies below them was there before
}

// wait waits until the refresh is over, or ctx ends.
func (r *refreshing) wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Refresh implements view.Search. Calls that come while one runs share the next.
func (s *Store) Refresh(ctx context.Context, g view.Generation) error {
	err := ctx.Err()
	if err != nil {
		err = context.Cause(ctx)
	} else {
		err = s.refreshOf(ctx, g)
	}
	if err != nil {
		return fmt.Errorf("elasticsearch: refresh %s: %w", g, err)
	}
	return nil
}

func (s *Store) refreshOf(ctx context.Context, g view.Generation) error {
	x, err := s.generation(g)
	if err != nil {
		return err
	}
	return s.refresh(ctx, x)
}

// show lets searches of the index with this uuid see all that was written below some
// offsets, which its marks have reached. It refreshes unless a refresh has done so, and
// waits for the one under way if that will.
func (s *Store) show(ctx context.Context, x *generation, uuid string, below map[int32]int64) error {
	shown, r := x.shows(uuid, below)
	if shown {
		return nil
	}
	if r == nil {
		return s.refresh(ctx, x)
	}
	return r.wait(ctx)
}

// shows reports whether searches see all that lies below some offsets, or will once the
// refresh is over that it returns.
func (x *generation) shows(uuid string, below map[int32]int64) (shown bool, will *refreshing) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.uuid != uuid {
		return false, nil
	}
	if covers(x.shown, below) {
		return true, nil
	}
	if r := x.running; r != nil && r.uuid == uuid && covers(r.reached, below) {
		return false, r
	}
	return false, nil
}

// covers reports whether offsets are as great as those below at least.
func covers(offsets, below map[int32]int64) bool {
	for p, next := range below {
		if offsets[p] < next {
			return false
		}
	}
	return true
}

// seenOf returns below what searches see all of the index with this uuid.
func (x *generation) seenOf(uuid string) map[int32]int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.uuid != uuid {
		return nil
	}
	return maps.Clone(x.shown)
}

// start takes the next refresh for the one under way.
func (x *generation) start(r *refreshing) {
	x.mu.Lock()
	defer x.mu.Unlock()
	r.uuid, r.reached = x.uuid, maps.Clone(x.reached)
	x.refresh, x.running = nil, r
}

// end notes what the refresh under way has shown, unless it failed.
func (x *generation) end(r *refreshing) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.running = nil
	if r.err != nil || x.uuid != r.uuid {
		return
	}
	for p, next := range r.reached {
		x.shown[p] = max(x.shown[p], next)
	}
}

func (s *Store) refresh(ctx context.Context, x *generation) error {
	r, err := s.join(ctx, x)
	if err != nil {
		return err
	}
	return r.wait(ctx)
}

// join returns the refresh that has not begun yet, or starts one, which goes on
// for the others when the caller's context ends.
func (s *Store) join(ctx context.Context, x *generation) (*refreshing, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.refresh != nil {
		return x.refresh, nil
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	r := &refreshing{done: make(chan struct{})}
	x.refresh = r
	go func() {
		defer s.calls.Done()
		<-x.turn
		defer func() { x.turn <- struct{}{} }()
		x.start(r)
		r.err = s.refreshNow(context.WithoutCancel(ctx), x)
		x.end(r)
		close(r.done)
	}()
	return r, nil
}

// begin announces a refresh to Close.
func (s *Store) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.calls.Add(1)
	return nil
}

func (s *Store) refreshNow(ctx context.Context, x *generation) error {
	var answer struct {
		Shards *struct {
			Failed int `json:"failed"`
		} `json:"_shards"`
	}
	if err := s.call(ctx, esapi.IndicesRefreshRequest{Index: []string{x.name}}, &answer); err != nil {
		return err
	}
	if answer.Shards == nil {
		return errors.New("an answer that is not Elasticsearch's")
	}
	if answer.Shards.Failed > 0 {
		return fmt.Errorf("%d shards did not refresh", answer.Shards.Failed)
	}
	return nil
}

package esstore

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// refreshing is a refresh that calls share: all that came before it began.
type refreshing struct {
	done chan struct{}
	err  error // set before done is closed
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
// offsets, which its marks have reached. It refreshes unless one that is over has done so.
func (s *Store) show(ctx context.Context, x *generation, uuid string, below map[int32]int64) error {
	if x.shows(uuid, below) {
		return nil
	}
	return s.refresh(ctx, x)
}

// shows reports whether searches see all that lies below some offsets.
func (x *generation) shows(uuid string, below map[int32]int64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for p, next := range below {
		if x.uuid != uuid || x.shown[p] < next {
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

// refreshed notes that a refresh is over that began when the index with this uuid had
// reached some marks.
func (x *generation) refreshed(uuid string, reached map[int32]int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.uuid != uuid {
		return
	}
	for p, next := range reached {
		x.shown[p] = max(x.shown[p], next)
	}
}

func (s *Store) refresh(ctx context.Context, x *generation) error {
	r, err := s.join(ctx, x)
	if err != nil {
		return err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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
		x.mu.Lock()
		x.refresh = nil
		uuid, reached := x.uuid, maps.Clone(x.reached) // what was written below them was there before
		x.mu.Unlock()
		if r.err = s.refreshNow(context.WithoutCancel(ctx), x); r.err == nil {
			x.refreshed(uuid, reached)
		}
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

package esstore

import (
	"context"
	"maps"
	"slices"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// within reads from an index whose marks had reached what q.Least and q.Shown say when
// read began, and which shows all that lies below the latter: it fails with a *BehindError
// where they had not, or where the index is another one by the time read has ended. Marks of
// one index never go back, so those that were seen once need not be asked for; that it is
// still there is asked behind read. It returns below what all is shown, if q.Shown asks.
func (s *Store) within(ctx context.Context, x *generation, q view.Query, read func() error) (seen map[int32]int64, err error) {
	least := q.Least
	if len(q.Shown) > 0 {
		least = maps.Clone(q.Shown)
		for p, next := range q.Least {
			least[p] = max(least[p], next)
		}
	}
	partitions := slices.DeleteFunc(slices.Sorted(maps.Keys(least)), func(p int32) bool { return least[p] <= 0 })
	if len(partitions) == 0 {
		return nil, read()
	}
	uuid, err := s.reached(ctx, x, least, partitions)
	if err != nil {
		return nil, err
	}
	if len(q.Shown) > 0 {
		if err := s.show(ctx, x, uuid, q.Shown); err != nil {
			return nil, err
		}
		seen = x.seenOf(uuid)
	}
	if err := read(); err != nil {
		return nil, err
	}
	found, err := s.load(ctx, x, []string{markID(partitions[0], uuid)}, false)
	if err == nil && !found[0].Found {
		x.forget(uuid)
		err = &view.BehindError{From: least[partitions[0]]}
	}
	return seen, err
}

// reached returns the uuid of an index whose marks have reached what least says.
func (s *Store) reached(ctx context.Context, x *generation, least map[int32]int64, partitions []int32) (uuid string, err error) {
	if uuid, ok := x.known(least, partitions); ok {
		return uuid, nil
	}
	for some := range slices.Chunk(partitions, view.MaxPage) {
		places, err := s.places(ctx, x, some)
		if err != nil {
			return "", err
		}
		for i, p := range places {
			if from := least[some[i]]; p.Next < from || uuid != "" && p.uuid != uuid {
				return "", &view.BehindError{Mark: p.Mark, From: from}
			}
			uuid = p.uuid
		}
	}
	return uuid, nil
}

// known reports whether the index as last seen is known to have reached least.
func (x *generation) known(least map[int32]int64, partitions []int32) (uuid string, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range partitions {
		if x.reached[p] < least[p] {
			return "", false
		}
	}
	return x.uuid, true
}

// forget drops what is known of an index that is gone.
func (x *generation) forget(uuid string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.uuid == uuid {
		x.unknown()
	}
}

// unknown drops what is known of the index. The caller holds mu.
func (x *generation) unknown() {
	clear(x.reached)
	clear(x.shown)
	clear(x.moved)
}

// reach notes that a mark of the index with this uuid was at next.
func (x *generation) reach(uuid string, partition int32, next int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.uuid == uuid {
		x.reached[partition] = max(x.reached[partition], next)
	}
}

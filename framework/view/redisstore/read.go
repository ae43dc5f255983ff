package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// Get implements view.Store: one HMGET for each partition that occurs, in
// one pipeline.
func (s *Store) Get(ctx context.Context, g view.Generation, at []view.Ref) ([][]byte, error) {
	err := view.CheckRefs(at)
	var values [][]byte
	if err == nil {
		values, err = within(ctx, func(ctx context.Context) ([][]byte, error) { return s.get(ctx, g, at) })
	}
	if err != nil {
		return nil, fmt.Errorf("redis: get from %s: %w", g, err)
	}
	return values, nil
}

func (s *Store) get(ctx context.Context, g view.Generation, at []view.Ref) ([][]byte, error) {
	values := make([][]byte, len(at))
	if len(at) == 0 {
		return values, nil
	}
	byPart := make(map[int32][]int)
	for i := range at {
		byPart[at[i].Partition] = append(byPart[at[i].Partition], i)
	}
	pipe := s.client.Pipeline()
	found := make(map[int32]*redis.SliceCmd, len(byPart))
	for p, places := range byPart {
		fields := make([]string, len(places))
		for i, place := range places {
			fields[i] = document + at[place].Key
		}
		found[p] = pipe.HMGet(ctx, part(g, p), fields...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	for p, places := range byPart {
		for i, v := range found[p].Val() {
			if text, ok := v.(string); ok {
				values[places[i]] = []byte(text)
			}
		}
	}
	return values, nil
}

// Sizes implements view.Documents.
func (s *Store) Sizes(ctx context.Context, g view.Generation, sets []view.Ref) ([]int64, error) {
	err := view.CheckRefs(sets)
	var sizes []int64
	if err == nil {
		sizes, err = within(ctx, func(ctx context.Context) ([]int64, error) { return s.sizes(ctx, g, sets) })
	}
	if err != nil {
		return nil, fmt.Errorf("redis: sizes in %s: %w", g, err)
	}
	return sizes, nil
}

func (s *Store) sizes(ctx context.Context, g view.Generation, sets []view.Ref) ([]int64, error) {
	sizes := make([]int64, len(sets))
	if len(sets) == 0 {
		return sizes, nil
	}
	pipe := s.client.Pipeline()
	found := make([]*redis.IntCmd, len(sets))
	for i, r := range sets {
		found[i] = pipe.ZCard(ctx, set(part(g, r.Partition), r.Key))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	for i, f := range found {
		sizes[i] = f.Val()
	}
	return sizes, nil
}

// Page implements view.Documents: one ZREVRANGEBYLEX for each set, in one
// pipeline, so it reads up to n entries of each. Entries that differ in their
// set alone follow one another by its name, from the greatest down; the same
// entry of several partitions is one.
func (s *Store) Page(ctx context.Context, g view.Generation, sets []view.Ref, after *view.Entry, n int) ([]view.Entry, error) {
	err := checkPage(sets, after, n)
	var entries []view.Entry
	if err == nil {
		entries, err = within(ctx, func(ctx context.Context) ([]view.Entry, error) { return s.page(ctx, g, sets, after, n) })
	}
	if err != nil {
		return nil, fmt.Errorf("redis: page of %s: %w", g, err)
	}
	return entries, nil
}

func checkPage(sets []view.Ref, after *view.Entry, n int) error {
	if n < 1 || n > view.MaxPage {
		return fmt.Errorf("page of %d entries; want 1 to %d", n, view.MaxPage)
	}
	if err := view.CheckRefs(sets); err != nil {
		return err
	}
	if after != nil && strings.IndexByte(after.Sort, 0) >= 0 {
		return fmt.Errorf("page behind sort %q, which holds a zero byte", after.Sort)
	}
	return nil
}

func (s *Store) page(ctx context.Context, g view.Generation, sets []view.Ref, after *view.Entry, n int) ([]view.Entry, error) {
	if len(sets) == 0 {
		return nil, nil
	}
	pipe := s.client.Pipeline()
	found := make([]*redis.StringSliceCmd, len(sets))
	for i, r := range sets {
		found[i] = pipe.ZRevRangeByLex(ctx, set(part(g, r.Partition), r.Key),
			&redis.ZRangeBy{Max: below(after, r.Key), Min: "-", Count: int64(n)})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	var all []view.Entry
	for i, f := range found {
		for _, m := range f.Val() {
			sort, name, _ := strings.Cut(m, "\x00")
			all = append(all, view.Entry{Set: sets[i].Key, Sort: sort, Member: name})
		}
	}
	slices.SortFunc(all, descending)
	all = slices.Compact(all)
	return all[:min(n, len(all))], nil
}

// below returns where a set goes on behind after: at after's own place in sets
// whose turn among equals comes later.
func below(after *view.Entry, set string) string {
	switch {
	case after == nil:
		return "+"
	case set < after.Set:
		return "[" + member(after.Sort, after.Member)
	default:
		return "(" + member(after.Sort, after.Member)
	}
}

func descending(a, b view.Entry) int {
	return cmp.Or(strings.Compare(b.Sort, a.Sort), strings.Compare(b.Member, a.Member), strings.Compare(b.Set, a.Set))
}

// Rank implements view.Documents: one ZLEXCOUNT, which costs the server a logarithm
// of the set's size.
func (s *Store) Rank(ctx context.Context, g view.Generation, of view.Ref, at view.Entry) (int64, error) {
	err := checkPage([]view.Ref{of}, &at, 1)
	var rank int64
	if err == nil {
		rank, err = within(ctx, func(ctx context.Context) (int64, error) {
			return s.client.ZLexCount(ctx, set(part(g, of.Partition), of.Key), "["+member(at.Sort, at.Member), "+").Result()
		})
	}
	if err != nil {
		return 0, fmt.Errorf("redis: rank in %s: %w", g, err)
	}
	return rank, nil
}

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

// Get implements view.Store: one HMGET for each partition that occurs, which brings the
// mark too where a ref has Least.
func (s *Store) Get(ctx context.Context, g view.Generation, at []view.Ref) ([][]byte, error) {
	err := view.CheckRefs(at)
	var values [][]byte
	if err == nil {
		values, err = s.get(ctx, g, at)
	}
	if err != nil {
		return nil, fmt.Errorf("redis: get from %s: %w", g, err)
	}
	return values, nil
}

// fields are the documents of one partition that are to be read, and behind them, if
// least is above 0, the mark.
type fields struct {
	partition int32
	names     []string
	places    []int // of these among all that are read
	least     int64
	found     *redis.SliceCmd
}

func (s *Store) get(ctx context.Context, g view.Generation, at []view.Ref) ([][]byte, error) {
	values := make([][]byte, len(at))
	if len(at) == 0 {
		return values, nil
	}
	all := byPartition(at)
	err := s.reads.do(ctx, func(pipe redis.Pipeliner) {
		for _, f := range all {
			f.found = pipe.HMGet(context.Background(), part(g, f.partition), f.names...)
		}
	})
	if err != nil {
		return nil, err
	}
	for _, f := range all {
		found, err := f.found.Result()
		if err == nil && f.least > 0 {
			found, err = found[:len(f.places)], atLeast(f.least, found[len(f.places):])
		}
		if err != nil {
			return nil, err
		}
		for i, v := range found {
			if text, ok := v.(string); ok {
				values[f.places[i]] = []byte(text)
			}
		}
	}
	return values, nil
}

func byPartition(at []view.Ref) (all []*fields) {
	if len(at) == 1 {
		f := &fields{partition: at[0].Partition, names: []string{document + at[0].Key}, places: []int{0}, least: at[0].Least}
		return []*fields{f.marked()}
	}
	index := make(map[int32]*fields)
	for i := range at {
		f := index[at[i].Partition]
		if f == nil {
			f = &fields{partition: at[i].Partition}
			all, index[f.partition] = append(all, f), f
		}
		f.names, f.places = append(f.names, document+at[i].Key), append(f.places, i)
		f.least = max(f.least, at[i].Least)
	}
	for _, f := range all {
		f.marked()
	}
	return all
}

// marked adds the mark, if it is to be looked at.
func (f *fields) marked() *fields {
	if f.least > 0 {
		f.names = append(f.names, fieldEpoch, fieldNext)
	}
	return f
}

// atLeast returns an error if a mark, as HMGET brings it, is below an offset.
func atLeast(least int64, found []any) error {
	mark, err := parseMark(texts(found))
	if err == nil && mark.Next < least {
		err = &view.BehindError{Mark: mark, From: least}
	}
	return err
}

// guards are the parts whose marks a read of sets looks at, in the same trip and behind
// the sets: a mark that has been reached by then had been so before.
type guards []guard

type guard struct {
	partition int32
	least     int64
	found     *redis.SliceCmd
}

func guardsOf(sets []view.Ref) (all guards) {
	for i := range sets {
		at := slices.IndexFunc(all, func(g guard) bool { return g.partition == sets[i].Partition })
		switch {
		case sets[i].Least <= 0:
		case at < 0:
			all = append(all, guard{partition: sets[i].Partition, least: sets[i].Least})
		default:
			all[at].least = max(all[at].least, sets[i].Least)
		}
	}
	return all
}

// ask adds the commands that bring the marks.
func (all guards) ask(pipe redis.Pipeliner, of view.Generation) {
	for i := range all {
		all[i].found = pipe.HMGet(context.Background(), part(of, all[i].partition), fieldEpoch, fieldNext)
	}
}

// check returns an error if a part is behind.
func (all guards) check() error {
	for i := range all {
		found, err := all[i].found.Result()
		if err == nil {
			err = atLeast(all[i].least, found)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Sizes implements view.Documents.
func (s *Store) Sizes(ctx context.Context, g view.Generation, sets []view.Ref) ([]int64, error) {
	err := view.CheckRefs(sets)
	var sizes []int64
	if err == nil {
		sizes, err = s.sizes(ctx, g, sets)
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
	found, guards := make([]*redis.IntCmd, len(sets)), guardsOf(sets)
	err := s.reads.do(ctx, func(pipe redis.Pipeliner) {
		for i, r := range sets {
			found[i] = pipe.ZCard(context.Background(), set(part(g, r.Partition), r.Key))
		}
		guards.ask(pipe, g)
	})
	if err == nil {
		err = guards.check()
	}
	for i := 0; i < len(found) && err == nil; i++ {
		sizes[i], err = found[i].Result()
	}
	return sizes, err
}

// Page implements view.Documents: one ZREVRANGEBYLEX for each set, so it reads up
// to n entries of each. Entries that differ in their
// set alone follow one another by its name, from the greatest down; the same
// entry of several partitions is one.
func (s *Store) Page(ctx context.Context, g view.Generation, sets []view.Ref, after *view.Entry, n int) ([]view.Entry, error) {
	err := checkPage(sets, after, n)
	var entries []view.Entry
	if err == nil {
		entries, err = s.page(ctx, g, sets, after, n)
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
	found, guards := make([]*redis.StringSliceCmd, len(sets)), guardsOf(sets)
	err := s.reads.do(ctx, func(pipe redis.Pipeliner) {
		for i, r := range sets {
			found[i] = pipe.ZRevRangeByLex(context.Background(), set(part(g, r.Partition), r.Key),
				&redis.ZRangeBy{Max: below(after, r.Key), Min: "-", Count: int64(n)})
		}
		guards.ask(pipe, g)
	})
	if err == nil {
		err = guards.check()
	}
	if err != nil {
		return nil, err
	}
	var all []view.Entry
	for i, f := range found {
		members, err := f.Result()
		if err != nil {
			return nil, err
		}
		for _, m := range members {
			sort, name, _ := strings.Cut(m, "\x00")
			all = append(all, view.Entry{Set: sets[i].Key, Sort: sort, Member: name})
		}
	}
	slices.SortFunc(all, descending)
	all = slices.Compact(all)
	return all[:min(n, len(all))], nil
}

// Rank implements view.Documents: one ZLEXCOUNT, which costs the server a logarithm
// of the set's size.
func (s *Store) Rank(ctx context.Context, g view.Generation, of view.Ref, at view.Entry) (int64, error) {
	err := checkPage([]view.Ref{of}, &at, 1)
	var rank int64
	if err == nil {
		rank, err = s.rank(ctx, g, of, at)
	}
	if err != nil {
		return 0, fmt.Errorf("redis: rank in %s: %w", g, err)
	}
	return rank, nil
}

func (s *Store) rank(ctx context.Context, g view.Generation, of view.Ref, at view.Entry) (int64, error) {
	guards := guardsOf([]view.Ref{of})
	var found *redis.IntCmd
	err := s.reads.do(ctx, func(pipe redis.Pipeliner) {
		found = pipe.ZLexCount(context.Background(), set(part(g, of.Partition), of.Key), "["+member(at.Sort, at.Member), "+")
		guards.ask(pipe, g)
	})
	if err == nil {
		err = guards.check()
	}
	if err != nil {
		return 0, err
	}
	return found.Result()
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

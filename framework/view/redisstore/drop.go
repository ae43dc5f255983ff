package redisstore

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// perScan is how many keys the server looks at, and how many are dropped, at
// once.
const perScan = 1000

// Drop implements view.Store. It walks the server's whole key space, 1,000 keys at a
// time, so that others are served in between.
func (s *Store) Drop(ctx context.Context, g view.Generation) error {
	_, err := within(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.each(ctx, func(ctx context.Context, node redis.UniversalClient) error {
			return drop(ctx, node, "{"+generation(g)+"*")
		})
	})
	if err != nil {
		return fmt.Errorf("redis: drop %s: %w", g, err)
	}
	return nil
}

// each calls f for every server that holds keys.
func (s *Store) each(ctx context.Context, f func(context.Context, redis.UniversalClient) error) error {
	one := func(ctx context.Context, c *redis.Client) error { return f(ctx, c) }
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, one)
	case *redis.Ring:
		return c.ForEachShard(ctx, one)
	default:
		return f(ctx, c)
	}
}

// drop removes the keys that match. Those of one answer may lie in different
// slots of a cluster, hence a command for each.
func drop(ctx context.Context, node redis.UniversalClient, pattern string) error {
	return eachKey(ctx, node, pattern, func(keys []string) error {
		pipe := node.Pipeline()
		for _, k := range keys {
			pipe.Unlink(ctx, k)
		}
		_, err := pipe.Exec(ctx)
		return err
	})
}

// eachKey calls f with the keys that match, some at a time, one perhaps twice.
func eachKey(ctx context.Context, node redis.UniversalClient, pattern string, f func(keys []string) error) error {
	var cursor uint64
	for {
		keys, next, err := node.Scan(ctx, cursor, pattern, perScan).Result()
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			if err := f(keys); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil || next == 0 {
			return err
		}
		cursor = next
	}
}

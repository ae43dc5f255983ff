package redisstore

import (
	"context"
	"fmt"
	"net/url"

	"github.com/redis/go-redis/v9"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

var _ view.Pointer = (*Store)(nil)

// Point implements view.Pointer: it sets the hash app:view:read, see the package
// comment.
func (s *Store) Point(ctx context.Context, g view.Generation, turn int) error {
	_, err := within(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, point.Run(ctx, s.client, []string{readKey(g)}, g.Number, turn).Err()
	})
	if err != nil {
		return fmt.Errorf("redis: point at %s: %w", g, err)
	}
	return nil
}

// readKey returns the key of what outside readers are told of a view.
func readKey(g view.Generation) string {
	return url.QueryEscape(g.App) + ":" + url.QueryEscape(g.View) + ":read"
}

// point sets the generation, unless a later turn is there.
var point = redis.NewScript(`
local turn = redis.call('HGET', KEYS[1], 'turn')
if turn and tonumber(turn) > tonumber(ARGV[2]) then
	return 0
end
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'turn', ARGV[2])
return 1
`)

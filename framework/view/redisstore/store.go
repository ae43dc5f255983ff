// Package redisstore keeps the documents and sorted sets of views in Redis, or
// in miniredis, which takes the same script.
//
//	store := redisstore.New(redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"}))
//	g := view.Generation{App: "drivetribe", View: "tribe-card", Number: 1}
//	mark, err := store.Open(ctx, g, 3)
//	…
//	err = store.Write(ctx, g, &view.Batch{Partition: 3, Epoch: mark.Epoch, From: mark.Next, Next: 81235,
//		Puts: []view.Put{{Key: "hikers", Value: []byte(`{"members":2}`), Offset: 81234}}})
//
// # Layout
//
// A partition's part is one hash, {app:view:number:partition}, one sorted set per
// set, whose key has ":" and the set's name behind that, and one sorted set of the
// names of these, whose key has "=" behind. All keys of a part share the braces,
// Redis' hash tag, so that they lie on one node of a cluster and one script may take
// them together. The hash holds the mark in its fields e (epoch) and n (next) and
// each document in ":" and its key: document and mark cannot be evicted or expire
// apart, and a document costs a hash entry instead of a key of its own. Its field s
// says that the list of sets is whole; a part from before there were lists gets its
// own with the first Scan, which looks through the server's keys for it. An entry of
// a set is a member of score 0, written sort, zero byte, member, which Redis orders
// as the contract asks.
//
// What outside readers are told is one more hash of each view, app:view:read: its field
// generation is the number of the generation that is read, turn how often the view has been
// switched. All names are escaped as in a URL's query.
//
// # What the server must be
//
// Redis 7 or later, alone, behind Sentinel or as a cluster. maxmemory-policy
// must be noeviction: a set evicted alone is a gap that no mark shows. Reads
// must go to masters, so leave ReadOnly and its kin unset in the client's
// options. Persistence is optional: a part that comes back empty or older says
// so by its mark.
package redisstore

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// Store is a view.Documents on Redis. It is safe for concurrent use and owns
// nothing: closing the client is the caller's.
type Store struct {
	client redis.UniversalClient
	reads  *trips
}

var _ view.Documents = (*Store)(nil)

// New returns the store on client. The client's ReadTimeout (by default 3 s)
// bounds how long a call that was given up holds its connection.
func New(client redis.UniversalClient) *Store { return &Store{client, newTrips(client)} }

// Open implements view.Store.
func (s *Store) Open(ctx context.Context, g view.Generation, partition int32) (view.Mark, error) {
	mark, err := within(ctx, func(ctx context.Context) (view.Mark, error) {
		found, err := open.Run(ctx, s.client, []string{part(g, partition)}).StringSlice()
		if err != nil {
			return view.Mark{}, err
		}
		return parseMark(found)
	})
	if err != nil {
		return view.Mark{}, fmt.Errorf("redis: open %s, partition %d: %w", g, partition, err)
	}
	return mark, nil
}

// Write implements view.Store. The server holds a script's arguments twice, up
// to 2 × view.MaxBytes while it runs.
func (s *Store) Write(ctx context.Context, g view.Generation, b *view.Batch) error {
	err := b.Check()
	if err == nil {
		keys, args := encode(g, b)
		err = s.write(ctx, b, keys, args)
	}
	if err != nil {
		return fmt.Errorf("redis: write %s, partition %d: %w", g, b.Partition, err)
	}
	return nil
}

func (s *Store) write(ctx context.Context, b *view.Batch, keys []string, args []any) error {
	found, err := within(ctx, func(ctx context.Context) ([]string, error) {
		return write.Run(ctx, s.client, keys, args...).StringSlice()
	})
	if err != nil || len(found) == 0 {
		return err
	}
	mark, err := parseMark(found)
	if err != nil {
		return err
	}
	if err := b.Follows(mark); err != nil {
		return err
	}
	return fmt.Errorf("a mark %q that is not as this package writes it: another program has written to this key", found)
}

// Marks implements view.Store.
func (s *Store) Marks(ctx context.Context, g view.Generation, partitions []int32) ([]view.Mark, error) {
	marks, err := within(ctx, func(ctx context.Context) ([]view.Mark, error) {
		return s.marks(ctx, g, partitions)
	})
	if err != nil {
		return nil, fmt.Errorf("redis: marks of %s: %w", g, err)
	}
	return marks, nil
}

func (s *Store) marks(ctx context.Context, g view.Generation, partitions []int32) ([]view.Mark, error) {
	marks := make([]view.Mark, len(partitions))
	if len(partitions) == 0 {
		return marks, nil
	}
	pipe := s.client.Pipeline()
	found := make([]*redis.SliceCmd, len(partitions))
	for i, p := range partitions {
		found[i] = pipe.HMGet(ctx, part(g, p), fieldEpoch, fieldNext)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	for i, f := range found {
		var err error
		if marks[i], err = parseMark(texts(f.Val())); err != nil {
			return nil, fmt.Errorf("partition %d: %w", partitions[i], err)
		}
	}
	return marks, nil
}

// Ping implements view.Store.
func (s *Store) Ping(ctx context.Context) error {
	_, err := within(ctx, func(ctx context.Context) (string, error) { return s.client.Ping(ctx).Result() })
	if err != nil {
		return fmt.Errorf("redis: ping: %w", err)
	}
	return nil
}

// texts turns an answer of HMGET into strings, a missing field into "0".
func texts(values []any) []string {
	out := make([]string, len(values))
	for i, v := range values {
		s, ok := v.(string)
		if !ok {
			s = "0"
		}
		out[i] = s
	}
	return out
}

func parseMark(found []string) (view.Mark, error) {
	if len(found) != 2 {
		return view.Mark{}, fmt.Errorf("a mark of %d fields: another program has written to this key", len(found))
	}
	epoch, err := strconv.ParseUint(found[0], 10, 64)
	if err != nil {
		return view.Mark{}, fmt.Errorf("epoch of the mark: %w", err)
	}
	next, err := strconv.ParseInt(found[1], 10, 64)
	if err != nil {
		return view.Mark{}, fmt.Errorf("offset of the mark: %w", err)
	}
	return view.Mark{Epoch: epoch, Next: next}, nil
}

// within runs f, and leaves it to itself when ctx ends first: a client waits
// for an answer until its ReadTimeout, whatever becomes of ctx.
func within[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, context.Cause(ctx)
	}
	if ctx.Done() == nil {
		return f(ctx)
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f(ctx)
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

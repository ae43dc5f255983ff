package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// Scan implements view.Store: an HSCAN of the part's hash, which may bring some more
// than n of small documents, then its sets one after another. Mark and page are read
// at one moment.
func (s *Store) Scan(ctx context.Context, g view.Generation, partition int32, from string, n int) (view.Scanned, error) {
	err := view.CheckScan(n)
	var page view.Scanned
	if err == nil {
		page, err = within(ctx, func(ctx context.Context) (view.Scanned, error) {
			return s.scan(ctx, part(g, partition), from, n)
		})
	}
	if err != nil {
		return view.Scanned{}, fmt.Errorf("redis: scan %s, partition %d: %w", g, partition, err)
	}
	return page, nil
}

// What a place in a scan begins with: in the documents, followed by HSCAN's cursor,
// or in the sets, followed by the set that is next or under way.
const (
	inDocuments = "d"
	inSets      = "s"
)

func (s *Store) scan(ctx context.Context, part, from string, n int) (view.Scanned, error) {
	if from == "" {
		from = inDocuments + "0"
	}
	rest := from[1:]
	switch from[:1] {
	case inDocuments:
		cursor, err := strconv.ParseUint(rest, 10, 64)
		if err != nil {
			break
		}
		return s.scanDocuments(ctx, part, cursor, n)
	case inSets:
		length, rest, _ := strings.Cut(rest, ":")
		l, err := strconv.Atoi(length)
		if err != nil || l < 0 || l > len(rest) {
			break
		}
		return s.scanSets(ctx, part, rest[:l], rest[l:], n)
	}
	return view.Scanned{}, fmt.Errorf("page at %.80q; want the Next of the page before", from)
}

// setPlace names the place behind a member of a set; at its start for none.
func setPlace(name, member string) string {
	return inSets + strconv.Itoa(len(name)) + ":" + name + member
}

func (s *Store) scanDocuments(ctx context.Context, part string, cursor uint64, n int) (page view.Scanned, err error) {
	pipe := s.client.TxPipeline()
	mark := pipe.HMGet(ctx, part, fieldEpoch, fieldNext)
	found := pipe.HScan(ctx, part, cursor, "", int64(n))
	if _, err := pipe.Exec(ctx); err != nil {
		return page, err
	}
	if page.Mark, err = parseMark(texts(mark.Val())); err != nil {
		return page, err
	}
	pairs, next := found.Val()
	for i := 0; i+1 < len(pairs); i += 2 {
		if key, ok := strings.CutPrefix(pairs[i], document); ok {
			page.Documents = append(page.Documents, view.Hit{Key: key, Value: []byte(pairs[i+1])})
		}
	}
	switch {
	case next != 0:
		page.Next = inDocuments + strconv.FormatUint(next, 10)
	case page.Mark != (view.Mark{}): // else there is no part
		page.Next = setPlace("", "")
	}
	return page, nil
}

// setsAtOnce is how many sets are read in one round trip. The first brings the whole
// page, if it can; the others a share each.
const setsAtOnce = 32

// scanSets returns entries from behind member of the set of this name on.
func (s *Store) scanSets(ctx context.Context, part, name, member string, n int) (page view.Scanned, err error) {
	pipe := s.client.TxPipeline()
	found := pipe.HMGet(ctx, part, fieldEpoch, fieldNext, fieldListed)
	listed := pipe.ZRangeByLex(ctx, list(part), &redis.ZRangeBy{Min: "[:" + name, Max: "+", Count: setsAtOnce})
	if _, err := pipe.Exec(ctx); err != nil {
		return page, err
	}
	fields := texts(found.Val())
	if page.Mark, err = parseMark(fields[:2]); err != nil {
		return page, err
	}
	if page.Mark.Epoch > 0 && fields[2] != "1" {
		page.Next = setPlace(name, member)
		return page, s.listSets(ctx, part)
	}
	names := listed.Val()
	if len(names) == 0 {
		return page, nil
	}
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], ":")
	}
	if names[0] != name {
		member = "" // the set has gone meanwhile
	}
	page.Entries, page.Next, err = s.entries(ctx, part, names, member, n)
	return page, err
}

// entries reads the sets of these names, the first from behind member on, until a
// set brings more than its share, and says where to go on.
func (s *Store) entries(ctx context.Context, part string, names []string, member string, n int) (entries []view.Entry, next string, err error) {
	share := max(n/setsAtOnce, 1)
	pipe := s.client.Pipeline()
	found := make([]*redis.StringSliceCmd, len(names))
	for i, name := range names {
		by := &redis.ZRangeBy{Min: "-", Max: "+", Count: int64(share)}
		if i == 0 {
			by.Count = int64(n)
			if member != "" {
				by.Min = "(" + member
			}
		}
		found[i] = pipe.ZRangeByLex(ctx, set(part, name), by)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, "", err
	}
	for i, name := range names {
		members := found[i].Val()
		for _, m := range members {
			sort, of, _ := strings.Cut(m, "\x00")
			entries = append(entries, view.Entry{Set: name, Sort: sort, Member: of})
		}
		if i == 0 && len(members) == n || i > 0 && len(members) == share {
			return entries, setPlace(name, members[len(members)-1]), nil
		}
	}
	if len(names) < setsAtOnce {
		return entries, "", nil
	}
	return entries, setPlace(names[len(names)-1]+"\x00", ""), nil
}

// listSets makes the list of the sets of a part that was made before there were
// lists.
func (s *Store) listSets(ctx context.Context, part string) error {
	err := s.each(ctx, func(ctx context.Context, node redis.UniversalClient) error {
		return eachKey(ctx, node, set(part, "")+"*", func(keys []string) error {
			names := make([]redis.Z, len(keys))
			for i, k := range keys {
				names[i].Member = strings.TrimPrefix(k, part)
			}
			return s.client.ZAdd(ctx, list(part), names...).Err()
		})
	})
	if err != nil {
		return fmt.Errorf("list the sets: %w", err)
	}
	return s.client.HSet(ctx, part, fieldListed, "1").Err()
}

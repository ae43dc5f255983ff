package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// stored views are what lies in the stores: a view's documents by key, its sets
// of entries, and how far each partition has come.
type storedView struct {
	documents map[string]string
	sets      map[string][]string // members, in no order
	next      map[int]int64
}

func newStoredView() storedView {
	return storedView{map[string]string{}, map[string][]string{}, map[int]int64{}}
}

// stores is all of an application's views as its servers keep them. The feed is
// filled from a shuffle, whose ends sets has; feedSource keeps how far the events are
// in that.
type stores struct {
	tribeCards, postCards, feed, feedSource, search storedView
	sets                                            map[int]int64
}

// shuffle is the topic that brings a feed's entries to their sets.
func (s *site) shuffle() string { return s.app + ".tribe-feed.sets.1" }

// readStores reads Redis and Elasticsearch by clients of the test's own.
func (s *site) readStores(ctx context.Context) (got stores, err error) {
	client := s.redisClient()
	defer client.Close()
	for name, into := range map[string]*storedView{"tribe-card": &got.tribeCards, "post-card": &got.postCards, "tribe-feed": &got.feed, "tribe-feed.source": &got.feedSource} {
		if *into, err = readRedis(ctx, client, fmt.Sprintf("%s:%s:%d:", s.app, name, s.generation(strings.TrimSuffix(name, ".source")))); err != nil {
			return got, fmt.Errorf("redis: %s: %w", name, err)
		}
	}
	log, err := readTopic(ctx, s.kafka, s.shuffle())
	if err != nil {
		return got, err
	}
	got.sets = make(map[int]int64)
	for n, records := range log {
		got.sets[n] = int64(len(records))
	}
	got.search, err = readIndex(ctx, s.search, s.index())
	return got, err
}

func (s *site) redisClient() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.redis, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}})
}

// index is the Elasticsearch index of the search view.
func (s *site) index() string {
	return fmt.Sprintf("drivetrain.%s.search.%d", s.app, s.generation("search"))
}

// readRedis reads a generation: a hash for each partition, {PREFIX P}, and beside
// it a sorted set for each set.
func readRedis(ctx context.Context, client *redis.Client, prefix string) (v storedView, err error) {
	v = newStoredView()
	keys := client.Scan(ctx, 0, "{"+prefix+"*", 1000).Iterator()
	for keys.Next(ctx) {
		if strings.HasSuffix(keys.Val(), "}=") {
			continue // the list of a part's sets, whose own keys are all found here
		}
		part, set, isSet := strings.Cut(keys.Val(), "}:")
		if isSet {
			entries, err := client.ZRange(ctx, keys.Val(), 0, -1).Result()
			if err != nil {
				return v, err
			}
			for _, e := range entries {
				_, member, _ := strings.Cut(e, "\x00")
				v.sets[set] = append(v.sets[set], member)
			}
			continue
		}
		p, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(part, "{"+prefix), "}"))
		if err != nil {
			return v, fmt.Errorf("key %s: %w", keys.Val(), err)
		}
		if err := v.readHash(ctx, client, keys.Val(), p); err != nil {
			return v, err
		}
	}
	return v, keys.Err()
}

// readHash reads partition p's documents and mark.
func (v *storedView) readHash(ctx context.Context, client *redis.Client, key string, p int) error {
	fields, err := client.HGetAll(ctx, key).Result()
	if err != nil {
		return err
	}
	for field, value := range fields {
		if id, ok := strings.CutPrefix(field, ":"); ok {
			if _, twice := v.documents[id]; twice {
				return fmt.Errorf("document %s lies in two partitions, one is %d", id, p)
			}
			v.documents[id] = value
		}
	}
	next := cmp.Or(fields["n"], "0") // nothing is written yet
	v.next[p], err = strconv.ParseInt(next, 10, 64)
	return err
}

// readIndex reads all documents of an index, once what was written is visible.
func readIndex(ctx context.Context, base, index string) (v storedView, err error) {
	v = newStoredView()
	if _, err := elastic(ctx, http.MethodPost, base+"/"+index+"/_refresh", ""); err != nil {
		return v, err
	}
	for after := ""; ; {
		query := `{"size":1000,"query":{"term":{"kind":"document"}},"sort":["key","partition"]` + after + `}`
		data, err := elastic(ctx, http.MethodPost, base+"/"+index+"/_search", query)
		if err != nil {
			return v, err
		}
		var page struct {
			Hits struct {
				Hits []struct {
					Source struct{ Key, Value string } `json:"_source"`
					Sort   json.RawMessage             `json:"sort"`
				} `json:"hits"`
			} `json:"hits"`
		}
		if err := json.Unmarshal(data, &page); err != nil {
			return v, err
		}
		for _, h := range page.Hits.Hits {
			if _, twice := v.documents[h.Source.Key]; twice {
				return v, fmt.Errorf("document %s lies in two partitions", h.Source.Key)
			}
			v.documents[h.Source.Key] = h.Source.Value
			after = `,"search_after":` + string(h.Sort)
		}
		if len(page.Hits.Hits) == 0 {
			return v, nil
		}
	}
}

func elastic(ctx context.Context, method, url, body string) ([]byte, error) {
	a, err := ask(ctx, method, url, body)
	if err == nil && a.status/100 != 2 {
		err = fmt.Errorf("%s %s: %d %s", method, url, a.status, a.body)
	}
	return a.body, err
}

// inStores compares what lies in the stores with the tally's world: no document
// may be missing, none too many.
func (a *audit) inStores(got stores) {
	tribes, posts, hits, sets := map[string]any{}, map[string]any{}, map[string]any{}, map[string][]string{}
	for id, card := range a.world.tribes {
		bare := *card
		bare.Posts = 0 // is filled in when the card is read
		tribes[id] = bare
	}
	for id, card := range a.world.posts {
		posts[id] = *card
		sets[card.Tribe] = append(sets[card.Tribe], id)
	}
	for _, h := range a.world.find(question{}) {
		hits[h.Kind+"."+h.ID] = h
	}
	a.documents("redis: tribe-card", got.tribeCards.documents, tribes)
	a.documents("redis: post-card", got.postCards.documents, posts)
	a.documents("elasticsearch: search", got.search.documents, hits)
	a.sets(got.feed.sets, sets)
	for name, v := range map[string]storedView{"tribe-card": got.tribeCards, "post-card": got.postCards, "tribe-feed.source": got.feedSource} {
		a.progress(name, v.next)
	}
	for n, end := range got.sets {
		if got.feed.next[n] < end {
			a.problemf("redis: tribe-feed is at %d of partition %d, and its shuffle ends at %d", got.feed.next[n], n, end)
		}
	}
}

func (a *audit) documents(store string, got map[string]string, want map[string]any) {
	for _, id := range slices.Sorted(maps.Keys(want)) {
		if !sameJSON(got[id], want[id]) {
			a.problemf("%s %s: %q, want %+v", store, id, got[id], want[id])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[id]; !ok {
			a.problemf("%s %s: %q, but nobody was told of such a document", store, id, got[id])
		}
	}
}

func (a *audit) sets(got, want map[string][]string) {
	for _, tribe := range slices.Sorted(maps.Keys(want)) {
		slices.Sort(want[tribe])
		slices.Sort(got[tribe])
		if !slices.Equal(got[tribe], want[tribe]) {
			a.problemf("redis: tribe-feed %s: %v, want %v", tribe, got[tribe], want[tribe])
		}
	}
	if len(got) != len(want) {
		a.problemf("redis: tribe-feed: %d feeds, want %d", len(got), len(want))
	}
}

// progress finds each partition's mark behind the last commit.
func (a *audit) progress(view string, next map[int]int64) {
	for _, c := range a.log.valid {
		if next[c.partition] <= c.position {
			a.problemf("redis: %s is at %d of partition %d, and a commit lies at %d", view, next[c.partition], c.partition, c.position)
		}
	}
}

// remove deletes what the application has on the servers.
func (s *site) remove(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := errors.Join(removeTopics(ctx, s.kafka, s.app), s.empty(ctx)); err != nil {
		t.Logf("%s is not removed whole: %v", s.app, err)
	}
}

// empty deletes the application's keys from Redis and its indices from
// Elasticsearch.
func (s *site) empty(ctx context.Context) error {
	client := s.redisClient()
	defer client.Close()
	var err error
	keys := client.Scan(ctx, 0, "{"+s.app+":*", 1000).Iterator()
	for keys.Next(ctx) {
		err = errors.Join(err, client.Del(ctx, keys.Val()).Err())
	}
	indices, failed := s.indices(ctx)
	for _, name := range indices {
		_, wrong := elastic(ctx, http.MethodDelete, s.search+"/"+name, "")
		failed = errors.Join(failed, wrong)
	}
	return errors.Join(err, keys.Err(), failed)
}

// indices are the names of all that the application has in Elasticsearch.
func (s *site) indices(ctx context.Context) (names []string, err error) {
	data, err := elastic(ctx, http.MethodGet, s.search+"/_cat/indices/drivetrain."+s.app+".*?format=json&h=index", "")
	if err != nil {
		return nil, err
	}
	var all []struct{ Index string }
	err = json.Unmarshal(data, &all)
	for _, one := range all {
		names = append(names, one.Index)
	}
	return names, err
}

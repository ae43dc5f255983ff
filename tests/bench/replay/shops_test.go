package replay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	json "github.com/goccy/go-json"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/esstore"
	"github.com/drivetrain-go/drivetrain/framework/view/redisstore"
)

// shops are the stores that the environment names; without a Redis, one in process.
func shops() map[string]func(t *testing.T) shop {
	all := map[string]func(t *testing.T) shop{"Redis": newRedisShop}
	if os.Getenv("ELASTICSEARCH_URL") != "" {
		all["Elasticsearch"] = newSearchShop
	}
	return all
}

// redisShop is a Redis, whose generation is a hash for each partition.
type redisShop struct {
	*testing.T
	client *redis.Client
	hashes map[string]map[string]string // as kept has found them
}

func newRedisShop(t *testing.T) shop {
	addr := os.Getenv("REDIS_ADDR")
	if addr == "" {
		addr = miniredis.RunT(t).Addr()
	}
	client := redis.NewClient(&redis.Options{Addr: addr, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}})
	t.Cleanup(func() { client.Close() })
	return &redisShop{T: t, client: client}
}

func (s *redisShop) resources() framework.Resources {
	return framework.Resources{Documents: redisstore.New(s.client)}
}

func (s *redisShop) fields() view.Fields { return nil }

func (s *redisShop) kept(g view.Generation) map[string][]byte {
	found := make(map[string][]byte)
	s.hashes = make(map[string]map[string]string)
	for p := range parts {
		name := fmt.Sprintf("{%s:%d}", g, p)
		fields, err := s.client.HGetAll(s.Context(), name).Result()
		if err != nil {
			s.Fatal(err)
		}
		s.hashes[fmt.Sprintf("{bare:%s:%d}", g, p)] = fields
		for field, value := range fields {
			if key, ok := strings.CutPrefix(field, ":"); ok {
				found[key] = []byte(value)
			}
		}
	}
	return found
}

// write writes by commands of 500 documents, eight in a pipeline, all hashes at once.
func (s *redisShop) write(int) (undo func()) {
	var all sync.WaitGroup
	for name, fields := range s.hashes {
		all.Go(func() {
			pipe := s.client.Pipeline()
			pairs := make([]any, 0, 1000)
			send := func() {
				pipe.HSet(s.Context(), name, pairs...)
				pairs = make([]any, 0, 1000)
			}
			flush := func() {
				if _, err := pipe.Exec(s.Context()); err != nil {
					s.Error(err)
				}
			}
			for field, value := range fields {
				if pairs = append(pairs, field, value); len(pairs) == cap(pairs) {
					if send(); pipe.Len() == 8 {
						flush()
					}
				}
			}
			if len(pairs) > 0 {
				send()
			}
			flush()
		})
	}
	all.Wait()
	return func() {
		for name := range s.hashes {
			if err := s.client.Del(s.Context(), name).Err(); err != nil {
				s.Error(err)
			}
		}
	}
}

func (s *redisShop) lose(g view.Generation) {
	for p := range parts {
		if err := s.client.Del(context.WithoutCancel(s.Context()), fmt.Sprintf("{%s:%d}", g, p)).Err(); err != nil {
			s.Error(err)
		}
	}
}

// searchShop is an Elasticsearch, whose generation is an index.
type searchShop struct {
	*testing.T
	url     string
	store   *esstore.Store
	index   map[string]json.RawMessage // its definition, as kept has found it
	sources map[string][]byte          // by _id
}

func newSearchShop(t *testing.T) shop {
	s := &searchShop{T: t, url: os.Getenv("ELASTICSEARCH_URL")}
	var err error
	if s.store, err = esstore.New(esstore.Config{URLs: []string{s.url}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	return s
}

func (s *searchShop) resources() framework.Resources { return framework.Resources{Search: s.store} }

func (s *searchShop) fields() view.Fields {
	return view.Fields{"last": view.Keyword, "note": view.Text}
}

// call asks, and asks again where the server has no room for a moment.
func (s *searchShop) call(method, path, body string, into any) {
	for tries := 1; ; tries++ {
		status, err := s.ask(method, path, body, into)
		if err == nil {
			return
		}
		if status != http.StatusTooManyRequests || tries == 20 {
			s.Error(err)
			return
		}
		time.Sleep(time.Duration(tries) * 50 * time.Millisecond)
	}
}

func (s *searchShop) ask(method, path, body string, into any) (status int, err error) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(s.Context()), method, s.url+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %d %.300s", method, path, answer.StatusCode, data)
	}
	if err == nil && into != nil {
		err = json.Unmarshal(data, into)
	}
	return answer.StatusCode, err
}

func indexOf(g view.Generation) string {
	return fmt.Sprintf("drivetrain.%s.%s.%d", g.App, g.View, g.Number)
}

func (s *searchShop) kept(g view.Generation) map[string][]byte {
	index := indexOf(g)
	s.call(http.MethodPost, "/"+index+"/_refresh", "", nil)
	var definitions map[string]struct {
		Mappings json.RawMessage `json:"mappings"`
		Settings struct {
			Index map[string]json.RawMessage `json:"index"`
		} `json:"settings"`
	}
	s.call(http.MethodGet, "/"+index, "", &definitions)
	s.index = definitions[index].Settings.Index
	for _, own := range []string{"uuid", "creation_date", "provided_name", "version", "routing"} {
		delete(s.index, own)
	}
	settings, err := json.Marshal(s.index)
	if err != nil {
		s.Fatal(err)
	}
	s.index = map[string]json.RawMessage{"mappings": definitions[index].Mappings, "settings": settings}
	s.sources = make(map[string][]byte)
	found := make(map[string][]byte)
	for after := ""; ; {
		var page struct {
			Hits struct {
				Hits []struct {
					ID     string          `json:"_id"`
					Source json.RawMessage `json:"_source"`
					Sort   json.RawMessage `json:"sort"`
				} `json:"hits"`
			} `json:"hits"`
		}
		s.call(http.MethodPost, "/"+index+"/_search", `{"size":1000,"query":{"term":{"kind":"document"}},"sort":["key"]`+after+`}`, &page)
		for _, h := range page.Hits.Hits {
			var source struct{ Key, Value string }
			if err := json.Unmarshal(h.Source, &source); err != nil {
				s.Fatal(err)
			}
			found[source.Key], s.sources[h.ID] = []byte(source.Value), h.Source
			after = `,"search_after":` + string(h.Sort)
		}
		if len(page.Hits.Hits) == 0 {
			return found
		}
	}
}

// write makes an index of the same definition and writes by bulk requests of 1,000
// documents, as many at once as there are partitions.
func (s *searchShop) write(round int) (undo func()) {
	index := fmt.Sprintf("bare-%d-%d", os.Getpid(), round)
	definition, err := json.Marshal(s.index)
	if err != nil {
		s.Fatal(err)
	}
	s.call(http.MethodPut, "/"+index, string(definition), nil)
	bodies := make(chan string, parts)
	var all sync.WaitGroup
	for range parts {
		all.Go(func() {
			for body := range bodies {
				var answer struct{ Errors bool }
				if s.call(http.MethodPost, "/"+index+"/_bulk?filter_path=errors", body, &answer); answer.Errors {
					s.Error("documents of the bare write were refused")
				}
			}
		})
	}
	var body bytes.Buffer
	n := 0
	for id, source := range s.sources {
		fmt.Fprintf(&body, `{"index":{"_id":%q}}`+"\n%s\n", id, source)
		if n++; n%1000 == 0 {
			bodies <- body.String()
			body.Reset()
		}
	}
	if body.Len() > 0 {
		bodies <- body.String()
	}
	close(bodies)
	all.Wait()
	return func() { s.call(http.MethodDelete, "/"+index, "", nil) }
}

func (s *searchShop) lose(g view.Generation) { s.call(http.MethodDelete, "/"+indexOf(g), "", nil) }

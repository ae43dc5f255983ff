package esstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// clause is a part of a query in Elasticsearch's language.
type clause = map[string]any

// Find implements view.Search. An answer of which a shard is missing is an error.
func (s *Store) Find(ctx context.Context, g view.Generation, q view.Query) (view.Hits, error) {
	x, err := s.generation(g)
	var hits view.Hits
	if err == nil {
		hits, err = s.find(ctx, x, q)
	}
	if err != nil {
		return view.Hits{}, fmt.Errorf("elasticsearch: find in %s: %w", g, err)
	}
	return hits, nil
}

func (s *Store) find(ctx context.Context, x *generation, q view.Query) (view.Hits, error) {
	if err := q.Check(x.fields); err != nil {
		return view.Hits{}, err
	}
	if err := s.checkWords(ctx, x, q.Text); err != nil {
		return view.Hits{}, err
	}
	body, err := json.Marshal(x.query(q))
	if err != nil {
		return view.Hits{}, err
	}
	no := false
	var answer answer
	err = s.call(ctx, esapi.SearchRequest{Index: []string{x.name}, Body: bytes.NewReader(body), Preference: preference(q),
		SearchType: "dfs_query_then_fetch", AllowPartialSearchResults: &no}, &answer)
	if err != nil {
		return view.Hits{}, err
	}
	return answer.hits(q)
}

// checkWords has the server count the words of a text that may have too many.
func (s *Store) checkWords(ctx context.Context, x *generation, text string) error {
	if utf8.RuneCountInString(text) <= view.MaxWords {
		return nil
	}
	body, err := json.Marshal(clause{"analyzer": analyzer, "text": text})
	if err != nil {
		return err
	}
	var answer struct {
		Tokens []struct {
			Token string `json:"token"`
		} `json:"tokens"`
	}
	if err := s.call(ctx, esapi.IndicesAnalyzeRequest{Index: x.name, Body: bytes.NewReader(body)}, &answer); err != nil {
		return fmt.Errorf("count the words: %w", err)
	}
	words := make(map[string]bool)
	for _, t := range answer.Tokens {
		words[t.Token] = true
	}
	return view.CheckWords(len(words))
}

// query returns q in Elasticsearch's language. Texts are data in it, never
// syntax.
func (x *generation) query(q view.Query) clause {
	filter := []clause{{"term": clause{"kind": kindDocument}}}
	for _, name := range slices.Sorted(maps.Keys(q.Is)) {
		filter = append(filter, clause{"term": clause{"fields." + fieldName(name): clause{"value": q.Is[name]}}})
	}
	match := clause{"filter": filter}
	if strings.TrimSpace(q.Text) != "" {
		match["must"] = x.words(q.Text)
	}
	return clause{
		"query": clause{"bool": match}, "from": q.Skip, "size": q.Size, "track_total_hits": true,
		"sort":    []clause{{"_score": "desc"}, {"key": "asc"}, {"partition": "asc"}},
		"_source": []string{"key", "value", "bytes"},
	}
}

// words matches documents that have every word in some text field.
func (x *generation) words(text string) clause {
	var fields []string
	for _, name := range slices.Sorted(maps.Keys(x.fields)) {
		if x.fields[name] == view.Text {
			fields = append(fields, "fields."+fieldName(name))
		}
	}
	if len(fields) == 0 {
		return clause{"match_none": clause{}}
	}
	return clause{"multi_match": clause{"query": text, "fields": fields, "type": "cross_fields", "operator": "and"}}
}

// preference sends the pages of one query to the same copies of shards, whose
// scores may differ a little from other copies'.
func preference(q view.Query) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s\x00%v", q.Text, q.Is)
	return fmt.Sprintf("%08x", h.Sum32())
}

// answer is what a search returns.
type answer struct {
	TimedOut bool `json:"timed_out"`
	Shards   *struct {
		Failed int `json:"failed"`
	} `json:"_shards"`
	Hits struct {
		Total struct {
			Value int64 `json:"value"`
		} `json:"total"`
		Hits []struct {
			Version int64  `json:"_version"` // if it was asked for
			Source  source `json:"_source"`
		} `json:"hits"`
	} `json:"hits"`
}

// whole returns why this is not all that was found, of which there are n at most.
func (a *answer) whole(n int) error {
	switch {
	case a.Shards == nil || len(a.Hits.Hits) > n:
		return errors.New("an answer that is not Elasticsearch's")
	case a.TimedOut || a.Shards.Failed > 0:
		return fmt.Errorf("an answer that is not whole: %d shards failed, timed out: %t", a.Shards.Failed, a.TimedOut)
	}
	return nil
}

func (a *answer) hits(q view.Query) (view.Hits, error) {
	if err := a.whole(q.Size); err != nil {
		return view.Hits{}, err
	}
	hits := view.Hits{Total: a.Hits.Total.Value, Items: make([]view.Hit, len(a.Hits.Hits))}
	for i := range a.Hits.Hits {
		source := &a.Hits.Hits[i].Source
		hits.Items[i] = view.Hit{Key: decodeKey(source.Key), Value: source.value()}
	}
	return hits, nil
}

package esstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"
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
	if err := errors.Join(q.Check(x.fields), x.sorted(q)); err != nil {
		return view.Hits{}, err
	}
	if err := s.checkWords(ctx, x, q.Text); err != nil {
		return view.Hits{}, err
	}
	if strings.TrimSpace(q.Text) != "" && !strings.ContainsFunc(q.Text, isWord) {
		return view.Hits{}, nil
	}
	body, err := x.query(q)
	if err != nil {
		return view.Hits{}, err
	}
	var answer answer
	seen, err := s.within(ctx, x, q, func() error {
		no := false
		return s.call(ctx, esapi.SearchRequest{Index: []string{x.name}, Body: bytes.NewReader(body), Preference: preference(q),
			SearchType: "dfs_query_then_fetch", AllowPartialSearchResults: &no}, &answer)
	})
	if err != nil {
		return view.Hits{}, err
	}
	hits, err := answer.hits(q)
	hits.Seen = seen
	return hits, err
}

// isWord reports whether a letter makes a word where it stands alone.
func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// checkWords has the server count the words of a text that may have too many.
func (s *Store) checkWords(ctx context.Context, x *generation, text string) error {
	if utf8.RuneCountInString(text) <= view.MaxWords {
		return nil
	}
	body, err := json.Marshal(clause{"analyzer": words, "text": text})
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
	different := make(map[string]bool)
	for _, t := range answer.Tokens {
		different[t.Token] = true
	}
	return view.CheckWords(len(different))
}

// query returns q in Elasticsearch's language. Texts are data in it, never
// syntax.
func (x *generation) query(q view.Query) ([]byte, error) {
	filter := []clause{{"term": clause{"kind": kindDocument}}}
	for _, name := range slices.Sorted(maps.Keys(q.Is)) {
		filter = append(filter, clause{"term": clause{"fields." + fieldName(name): clause{"value": x.fields[name].Term(q.Is[name])}}})
	}
	for _, name := range slices.Sorted(maps.Keys(q.Ranges)) {
		within, err := ends(q.Ranges[name], x.fields[name])
		if err != nil {
			return nil, err
		}
		filter = append(filter, clause{"range": clause{"fields." + fieldName(name): within}})
	}
	match := clause{"filter": filter}
	if strings.TrimSpace(q.Text) != "" {
		match["must"] = x.words(q.Text)
	}
	body := clause{
		"query": clause{"bool": match}, "size": q.Size, "track_total_hits": true,
		"sort":    order(q),
		"_source": []string{"key", "value", "bytes", "partition"},
	}
	if body["from"] = q.Skip; q.Skip+q.Size < view.MaxDepth {
		body["size"] = q.Size + 1 // to see whether there are more
	}
	if q.After != nil {
		body["search_after"] = behind(q)
	}
	return json.Marshal(body)
}

// ends are a range's, as Elasticsearch compares with them.
func ends(r view.Range, kind view.FieldKind) (clause, error) {
	from, to, err := r.Bounds(kind)
	if err != nil {
		return nil, err
	}
	within := clause{}
	for name, end := range map[string]float64{"gte": from, "lte": to} {
		switch {
		case math.IsInf(end, 0):
		case kind == view.Time:
			within[name] = date(end)
		default:
			within[name] = end
		}
	}
	return within, nil
}

// order is that of q's hits; the last tie-break is by key, then partition.
func order(q view.Query) []clause {
	last := []clause{{"key": "asc"}, {"partition": "asc"}}
	switch {
	case q.Sort != "" && q.Desc:
		return append([]clause{{"order." + fieldName(q.Sort): clause{"order": "desc", "mode": "max", "missing": "_last"}}}, last...)
	case q.Sort != "":
		return append([]clause{{"order." + fieldName(q.Sort): clause{"order": "asc", "mode": "min", "missing": "_last"}}}, last...)
	case q.Scored():
		return append([]clause{{"_score": "desc"}}, last...)
	}
	return last
}

// behind is q.After as Elasticsearch compares hits with it.
func behind(q view.Query) []any {
	last := []any{encodeKey(q.After.Key), q.After.Partition}
	switch {
	case q.Sort != "" && q.After.Missing:
		return append([]any{nil}, last...)
	case q.Sort != "":
		return append([]any{q.After.Order}, last...)
	case q.Scored():
		return append([]any{q.After.Score}, last...)
	}
	return last
}

// words matches documents that have what stands between two spaces in some field. What
// holds no word is in all of them.
func (x *generation) words(text string) []clause {
	var fields []string
	for _, name := range x.fields.Of(view.FieldKind.Worded) {
		fields = append(fields, "fields."+fieldName(name))
	}
	if len(fields) == 0 {
		return []clause{{"match_none": clause{}}}
	}
	parts := strings.Fields(strings.ToValidUTF8(text, " "))
	slices.Sort(parts)
	var all []clause
	for _, part := range slices.Compact(parts) {
		all = append(all, clause{"multi_match": clause{"query": part, "fields": fields, "type": "best_fields", "operator": "and", "zero_terms_query": "all"}})
	}
	return all
}

// preference sends the pages of one query to the same copies of shards, whose
// scores may differ a little from other copies'.
func preference(q view.Query) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s\x00%v%v", q.Text, q.Is, q.Ranges)
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
		Hits []found `json:"hits"`
	} `json:"hits"`
}

// found is one hit.
type found struct {
	Version int64             `json:"_version"` // if it was asked for
	Source  source            `json:"_source"`
	Sort    []json.RawMessage `json:"sort"`
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

// hits returns what was found, of which there may be one more than was asked for.
func (a *answer) hits(q view.Query) (view.Hits, error) {
	if err := a.whole(q.Size + 1); err != nil {
		return view.Hits{}, err
	}
	all := a.Hits.Hits
	hits := view.Hits{Total: a.Hits.Total.Value}
	more := len(all) > q.Size
	if more {
		all = all[:q.Size]
	} else if q.Skip+q.Size == view.MaxDepth {
		more = hits.Total > view.MaxDepth
	}
	hits.Items = make([]view.Hit, len(all))
	for i := range all {
		source := &all[i].Source
		hits.Items[i] = view.Hit{Key: decodeKey(source.Key), Value: source.value()}
	}
	if !more || len(all) == 0 {
		return hits, nil
	}
	var err error
	hits.Next, err = all[len(all)-1].place(q)
	return hits, err
}

// place returns where a hit stands in the order of q.
func (f *found) place(q view.Query) (*view.Place, error) {
	p := &view.Place{Key: decodeKey(f.Source.Key), Partition: f.Source.Partition}
	first := q.Sort != "" || q.Scored()
	if !first {
		return p, nil
	}
	if len(f.Sort) == 0 {
		return nil, errors.New("an answer that is not Elasticsearch's: a hit without its place")
	}
	var err error
	switch p.Missing = q.Sort != "" && string(f.Sort[0]) == "null"; {
	case p.Missing:
	case q.Sort != "":
		err = json.Unmarshal(f.Sort[0], &p.Order)
	default:
		err = json.Unmarshal(f.Sort[0], &p.Score)
	}
	if err != nil {
		return nil, fmt.Errorf("an answer that is not Elasticsearch's: the place of a hit: %w", err)
	}
	return p, nil
}

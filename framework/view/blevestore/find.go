package blevestore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/blevesearch/bleve/v2/search"
	"github.com/blevesearch/bleve/v2/search/collector"
	"github.com/blevesearch/bleve/v2/search/searcher"
	index "github.com/blevesearch/bleve_index_api"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// Find implements view.Search.
func (s *Store) Find(ctx context.Context, g view.Generation, q view.Query) (view.Hits, error) {
	x, err := s.generation(ctx, g)
	var hits view.Hits
	if err == nil {
		hits, err = x.find(ctx, q)
	}
	if err != nil {
		return view.Hits{}, fmt.Errorf("bleve: find in %s: %w", g, err)
	}
	return hits, nil
}

func (x *generation) find(ctx context.Context, q view.Query) (view.Hits, error) {
	if err := q.Check(x.fields); err != nil {
		return view.Hits{}, err
	}
	terms := termsOf(q.Text)
	if err := view.CheckWords(len(terms)); err != nil {
		return view.Hits{}, err
	}
	all := strings.TrimSpace(q.Text) == ""
	if !all && len(terms) == 0 {
		return view.Hits{}, nil
	}
	r, err := x.index.Reader()
	if err != nil {
		return view.Hits{}, err
	}
	defer r.Close()
	found, err := x.searcher(ctx, r, terms, q.Is)
	if err != nil {
		return view.Hits{}, err
	}
	defer found.Close()
	top := collector.NewTopNCollector(q.Size, q.Skip, search.SortOrder{&search.SortScore{Desc: true}, &search.SortDocID{}})
	if err := top.Collect(ctx, found, r); err != nil {
		return view.Hits{}, err
	}
	return load(r, top)
}

// termsOf returns the words of a query's text, each once.
func termsOf(text string) []string {
	tokens := words.Analyze([]byte(strings.ToValidUTF8(text, " ")))
	terms := make([]string, 0, len(tokens))
	for _, t := range tokens {
		terms = append(terms, string(t.Term))
	}
	slices.Sort(terms)
	return slices.Compact(terms)
}

// searcher finds documents that have every term in some text field and every
// keyword; with neither, all.
func (x *generation) searcher(ctx context.Context, r index.IndexReader, terms []string, is map[string]string) (search.Searcher, error) {
	var all searchers
	for _, term := range terms {
		all.add(x.anyField(ctx, r, term))
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		all.add(searcher.NewTermSearcher(ctx, r, is[name], name, 1, search.SearcherOptions{Score: "none"}))
	}
	if len(all.list) == 0 && all.err == nil {
		return searcher.NewMatchAllSearcher(ctx, r, 1, search.SearcherOptions{})
	}
	return all.join(func(list []search.Searcher) (search.Searcher, error) {
		return searcher.NewConjunctionSearcher(ctx, r, list, search.SearcherOptions{})
	})
}

// anyField finds a term in some text field.
func (x *generation) anyField(ctx context.Context, r index.IndexReader, term string) (search.Searcher, error) {
	var some searchers
	for _, name := range slices.Sorted(maps.Keys(x.fields)) {
		if x.fields[name] == view.Text {
			some.add(searcher.NewTermSearcher(ctx, r, term, name, 1, search.SearcherOptions{}))
		}
	}
	return some.join(func(list []search.Searcher) (search.Searcher, error) {
		return searcher.NewDisjunctionSearcher(ctx, r, list, 1, search.SearcherOptions{})
	})
}

// searchers collects the parts of a searcher, which is theirs to close once
// they are joined.
type searchers struct {
	list []search.Searcher
	err  error
}

func (s *searchers) add(one search.Searcher, err error) {
	if err != nil {
		s.err = err
		return
	}
	s.list = append(s.list, one)
}

func (s *searchers) join(f func([]search.Searcher) (search.Searcher, error)) (search.Searcher, error) {
	var joined search.Searcher
	if s.err == nil {
		joined, s.err = f(s.list)
	}
	if s.err != nil {
		for _, one := range s.list {
			_ = one.Close()
		}
		return nil, s.err
	}
	return joined, nil
}

// load reads the original documents from the version that was searched.
func load(r index.IndexReader, top *collector.TopNCollector) (view.Hits, error) {
	hits := view.Hits{Total: int64(top.Total()), Items: make([]view.Hit, 0, len(top.Results()))}
	for _, match := range top.Results() {
		value, err := r.GetInternal(valueKey(match.ID))
		if err != nil {
			return view.Hits{}, err
		}
		hits.Items = append(hits.Items, view.Hit{Key: keyOf(match.ID), Value: value})
	}
	return hits, nil
}

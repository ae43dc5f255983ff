package blevestore

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
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
	if err := view.CheckWords(len(termsOf(words, q.Text))); err != nil {
		return view.Hits{}, err
	}
	spoken := wordsOf(q.Text)
	if len(spoken) == 0 && strings.TrimSpace(q.Text) != "" {
		return view.Hits{}, nil
	}
	r, err := x.index.Reader()
	if err != nil {
		return view.Hits{}, err
	}
	defer r.Close()
	seen, err := atLeast(r, q)
	if err != nil {
		return view.Hits{}, err
	}
	found, err := x.searcher(ctx, r, spoken, q)
	if err != nil {
		return view.Hits{}, err
	}
	defer found.Close()
	order := orderOf(q)
	top := collector.NewTopNCollector(q.Size+1, q.Skip, order)
	if q.After != nil {
		top = collector.NewTopNCollectorAfter(q.Size+1, order, behind(q))
	}
	if err := top.Collect(ctx, found, r); err != nil {
		return view.Hits{}, err
	}
	hits, err := load(r, top, q)
	hits.Seen = seen
	return hits, err
}

// atLeast returns an error if a mark that r sees is below an offset, and else the marks
// that it sees, if q.Shown asks.
func atLeast(r index.IndexReader, q view.Query) (seen map[int32]int64, err error) {
	if len(q.Least)+len(q.Shown) == 0 {
		return nil, nil
	}
	marks := make(map[int32]int64)
	for _, least := range []map[int32]int64{q.Least, q.Shown} {
		for partition, from := range least {
			mark, err := markSeen(r, partition)
			if err != nil {
				return nil, err
			}
			if marks[partition] = mark.Next; mark.Next < from {
				return nil, &view.BehindError{Mark: mark, From: from}
			}
		}
	}
	if len(q.Shown) == 0 {
		return nil, nil
	}
	return marks, nil
}

// wordsOf returns the parts of a query's text that stand between spaces and hold a
// word, each once.
func wordsOf(text string) []string {
	parts := strings.Fields(strings.ToValidUTF8(text, " "))
	slices.Sort(parts)
	return slices.DeleteFunc(slices.Compact(parts), func(part string) bool { return len(termsOf(words, part)) == 0 })
}

// searcher finds documents that have every word in some field, every keyword and a
// number in every range; with none of them, all.
func (x *generation) searcher(ctx context.Context, r index.IndexReader, spoken []string, q view.Query) (search.Searcher, error) {
	var all searchers
	for _, word := range spoken {
		all.add(x.anyField(ctx, r, word))
	}
	unscored := search.SearcherOptions{Score: "none"}
	for _, name := range slices.Sorted(maps.Keys(q.Is)) {
		all.add(searcher.NewTermSearcher(ctx, r, x.fields[name].Term(q.Is[name]), name, 1, unscored))
	}
	for _, name := range slices.Sorted(maps.Keys(q.Ranges)) {
		from, to, err := q.Ranges[name].Bounds(x.fields[name])
		if err != nil {
			return nil, err
		}
		from, to = max(from, -math.MaxFloat64), min(to, math.MaxFloat64)
		yes := true
		all.add(searcher.NewNumericRangeSearcher(ctx, r, &from, &to, &yes, &yes, name, 1, unscored))
	}
	if len(all.list) == 0 && all.err == nil {
		return searcher.NewMatchAllSearcher(ctx, r, 1, search.SearcherOptions{})
	}
	return all.join(func(list []search.Searcher) (search.Searcher, error) {
		return searcher.NewConjunctionSearcher(ctx, r, list, search.SearcherOptions{})
	})
}

// anyField finds what has all terms of a word in one field.
func (x *generation) anyField(ctx context.Context, r index.IndexReader, word string) (search.Searcher, error) {
	var some searchers
	for _, name := range x.fields.Of(view.FieldKind.Worded) {
		some.add(inField(ctx, r, name, termsOf(analysisOf[x.fields[name]].asked, word)))
	}
	return some.join(func(list []search.Searcher) (search.Searcher, error) {
		return searcher.NewDisjunctionSearcher(ctx, r, list, 1, search.SearcherOptions{})
	})
}

func inField(ctx context.Context, r index.IndexReader, name string, terms []string) (search.Searcher, error) {
	var all searchers
	for _, term := range terms {
		all.add(searcher.NewTermSearcher(ctx, r, term, name, 1, search.SearcherOptions{}))
	}
	if len(all.list) == 1 && all.err == nil {
		return all.list[0], nil
	}
	return all.join(func(list []search.Searcher) (search.Searcher, error) {
		return searcher.NewConjunctionSearcher(ctx, r, list, search.SearcherOptions{})
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

// orderOf is the order of a query's hits; the last tie-break is by key, then partition.
func orderOf(q view.Query) search.SortOrder {
	switch {
	case q.Sort != "":
		return search.SortOrder{&byField{name: orderName(q.Sort), desc: q.Desc}, &search.SortDocID{}}
	case q.Scored():
		return search.SortOrder{&search.SortScore{Desc: true}, &search.SortDocID{}}
	}
	return search.SortOrder{&search.SortDocID{}}
}

// behind is q.After as Bleve compares hits with it.
func behind(q view.Query) []string {
	id := documentID(q.After.Key, q.After.Partition)
	switch {
	case q.Sort != "" && q.After.Missing:
		return []string{absent(q.Desc), id}
	case q.Sort != "":
		return []string{present + q.After.Order, id}
	case q.Scored():
		return []string{strconv.FormatFloat(q.After.Score, 'g', -1, 64), id}
	}
	return []string{id}
}

// present is what the order of a document begins with that has the field. Those that
// have not come last.
const present = "1"

func absent(desc bool) string {
	if desc {
		return "0"
	}
	return "2"
}

// byField orders hits by the field of one name that addOrder adds.
type byField struct {
	name string
	desc bool
	best string // of the document that is looked at; empty: it has none
}

var _ search.SearchSort = (*byField)(nil)

// UpdateVisitor implements search.SearchSort: it sees each term of a document.
func (f *byField) UpdateVisitor(field string, term []byte) {
	if field != f.name {
		return
	}
	order := string(term)
	if f.best == "" || f.desc == (order > f.best) {
		f.best = order
	}
}

// Value implements search.SearchSort: it ends what UpdateVisitor saw of a document.
func (f *byField) Value(*search.DocumentMatch) string {
	best := f.best
	if f.best = ""; best == "" {
		return absent(f.desc)
	}
	return best
}

// The rest of search.SearchSort.
func (f *byField) DecodeValue(value string) string { return value }
func (f *byField) Descending() bool                { return f.desc }
func (f *byField) RequiresDocID() bool             { return false }
func (f *byField) RequiresScoring() bool           { return false }
func (f *byField) RequiresFields() []string        { return []string{f.name} }
func (f *byField) Reverse()                        { f.desc = !f.desc }
func (f *byField) Copy() search.SearchSort         { c := *f; return &c }

// load reads the original documents from the version that was searched, which may be
// one more than were asked for.
func load(r index.IndexReader, top *collector.TopNCollector, q view.Query) (view.Hits, error) {
	matches := top.Results()
	hits := view.Hits{Total: int64(top.Total())}
	if len(matches) > q.Size {
		matches = matches[:q.Size]
		hits.Next = placeOf(matches[q.Size-1], q)
	}
	hits.Items = make([]view.Hit, 0, len(matches))
	for _, match := range matches {
		value, err := r.GetInternal(valueKey(match.ID))
		if err != nil {
			return view.Hits{}, err
		}
		hits.Items = append(hits.Items, view.Hit{Key: keyOf(match.ID), Value: value})
	}
	return hits, nil
}

func placeOf(match *search.DocumentMatch, q view.Query) *view.Place {
	p := &view.Place{Key: keyOf(match.ID), Partition: partitionOf(match.ID)}
	switch {
	case q.Sort != "":
		order, there := strings.CutPrefix(match.Sort[0], present)
		if p.Missing = !there; there {
			p.Order = order
		}
	case q.Scored():
		p.Score = match.Score
	}
	return p
}

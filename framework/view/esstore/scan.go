package esstore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// Get implements view.Store. It reads by _id, so it sees what no search finds yet.
func (s *Store) Get(ctx context.Context, g view.Generation, at []view.Ref) ([][]byte, error) {
	x, err := s.generation(g)
	if err == nil {
		err = view.CheckRefs(at)
	}
	var values [][]byte
	if err == nil {
		values, err = s.get(ctx, x, at)
	}
	if err != nil {
		return nil, fmt.Errorf("elasticsearch: get from %s: %w", g, err)
	}
	return values, nil
}

func (s *Store) get(ctx context.Context, x *generation, at []view.Ref) ([][]byte, error) {
	values := make([][]byte, len(at))
	if len(at) == 0 {
		return values, nil
	}
	ids := make([]string, len(at))
	for i := range at {
		ids[i] = documentID(at[i].Key, at[i].Partition)
	}
	found, err := s.load(ctx, x, ids, true)
	if err != nil {
		return nil, err
	}
	for i := range found {
		if !found[i].Found {
			continue
		}
		var of source
		if err := json.Unmarshal(found[i].Source, &of); err != nil {
			return nil, fmt.Errorf("document %q is not as this package writes it: %w", at[i].Key, err)
		}
		if of.Kind == kindDocument {
			values[i] = of.value()
		}
	}
	return values, nil
}

// Scan implements view.Store: the documents by key. The first page refreshes the
// index, unless a refresh has shown all that lies below the mark: who asks for the Marks
// of several parts that nobody writes to, and scans them then, has one refresh for all. A
// document of an offset that the mark has not passed is an error: a writer is at work, or
// was fenced with its documents under way, and the part cannot be read as of its mark
// until a writer has passed that offset.
func (s *Store) Scan(ctx context.Context, g view.Generation, partition int32, from string, n int) (view.Scanned, error) {
	x, err := s.generation(g)
	if err == nil {
		err = view.CheckScan(n)
	}
	var page view.Scanned
	if err == nil {
		page, err = s.scan(ctx, x, partition, from, n)
	}
	if err != nil {
		return view.Scanned{}, fmt.Errorf("elasticsearch: scan %s, partition %d: %w", g, partition, err)
	}
	return page, nil
}

func (s *Store) scan(ctx context.Context, x *generation, partition int32, from string, n int) (page view.Scanned, err error) {
	p, err := s.place(ctx, x, partition)
	if err != nil || p.at == nil {
		return page, err
	}
	page.Mark = p.Mark
	if from == "" {
		if err := s.show(ctx, x, p.uuid, map[int32]int64{partition: p.Next}); err != nil {
			return page, err
		}
	}
	body, err := json.Marshal(scanQuery(partition, from, n))
	if err != nil {
		return page, err
	}
	no := false
	var found answer
	if err := s.call(ctx, esapi.SearchRequest{Index: []string{x.name}, Body: bytes.NewReader(body), AllowPartialSearchResults: &no}, &found); err != nil {
		return page, err
	}
	return page, found.scanned(&page, n)
}

// scanQuery asks for the n documents of a partition behind the key after. Keys are
// kept encoded, in the order of their bytes; none is empty.
func scanQuery(partition int32, after string, n int) clause {
	q := clause{
		"query":   clause{"bool": clause{"filter": []clause{{"term": clause{"kind": kindDocument}}, {"term": clause{"partition": partition}}}}},
		"size":    n,
		"sort":    []clause{{"key": "asc"}},
		"version": true, "track_total_hits": false,
		"_source": []string{"key", "value", "bytes"},
	}
	if after != "" {
		q["search_after"] = []string{encodeKey(after)}
	}
	return q
}

// scanned adds what was found to a page.
func (a *answer) scanned(page *view.Scanned, n int) error {
	if err := a.whole(n); err != nil {
		return err
	}
	for i := range a.Hits.Hits {
		h := &a.Hits.Hits[i]
		key := decodeKey(h.Source.Key)
		if h.Version >= page.Mark.Next {
			return fmt.Errorf("document %q is of offset %d, which the part's mark, %d, has not passed: hold its writer", key, h.Version, page.Mark.Next)
		}
		page.Documents = append(page.Documents, view.Hit{Key: key, Value: h.Source.value()})
	}
	if len(page.Documents) == n {
		page.Next = page.Documents[n-1].Key
	}
	return nil
}

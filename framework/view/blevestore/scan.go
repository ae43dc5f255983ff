package blevestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	store "github.com/blevesearch/upsidedown_store_api"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// Get implements view.Store.
func (s *Store) Get(ctx context.Context, g view.Generation, at []view.Ref) ([][]byte, error) {
	x, err := s.generation(ctx, g)
	if err == nil {
		err = view.CheckRefs(at)
	}
	var values [][]byte
	if err == nil {
		values, err = x.get(at)
	}
	if err != nil {
		return nil, fmt.Errorf("bleve: get from %s: %w", g, err)
	}
	return values, nil
}

func (x *generation) get(at []view.Ref) ([][]byte, error) {
	r, err := x.index.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	values := make([][]byte, len(at))
	for i := range at {
		if values[i], err = r.GetInternal(valueKey(documentID(at[i].Key, at[i].Partition))); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// Scan implements view.Store: the documents by key, each page of one version. It
// passes over those of the other partitions, which lie among them.
func (s *Store) Scan(ctx context.Context, g view.Generation, partition int32, from string, n int) (view.Scanned, error) {
	x, err := s.generation(ctx, g)
	if err == nil {
		err = view.CheckScan(n)
	}
	var page view.Scanned
	if err == nil {
		page, err = x.scan(ctx, partition, from, n)
	}
	if err != nil {
		return view.Scanned{}, fmt.Errorf("bleve: scan %s, partition %d: %w", g, partition, err)
	}
	return page, nil
}

// internal is what Bleve puts before the keys of internal rows.
const internal = "i"

func (x *generation) scan(ctx context.Context, partition int32, from string, n int) (page view.Scanned, err error) {
	advanced, err := x.index.Advanced()
	if err != nil {
		return page, err
	}
	r, err := advanced.Reader()
	if err != nil {
		return page, err
	}
	defer r.Close()
	if page.Mark, err = markIn(r, partition); err != nil {
		return page, err
	}
	prefix, end := internal+string(valueKey("")), documentID("", partition)
	it := r.PrefixIterator([]byte(prefix))
	defer it.Close()
	it.Seek([]byte(prefix + from))
	for passed := 1; it.Valid(); passed++ {
		if passed%1000 == 0 && ctx.Err() != nil {
			return page, context.Cause(ctx)
		}
		id := it.Key()[len(prefix):]
		if bytes.HasSuffix(id, []byte(end)) {
			if len(page.Documents) == n {
				page.Next = string(id)
				break
			}
			page.Documents = append(page.Documents, view.Hit{Key: keyOf(string(id)), Value: bytes.Clone(it.Value())})
		}
		it.Next()
	}
	return page, nil
}

// markIn reads a part's mark in one version.
func markIn(r store.KVReader, partition int32) (view.Mark, error) {
	b, err := r.Get([]byte(internal + string(markKey(partition))))
	if err != nil || b == nil {
		return view.Mark{}, err
	}
	return decodeMark(b), nil
}

func decodeMark(b []byte) view.Mark {
	return view.Mark{Epoch: binary.BigEndian.Uint64(b), Next: int64(binary.BigEndian.Uint64(b[8:]))}
}

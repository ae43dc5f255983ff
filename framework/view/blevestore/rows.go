package blevestore

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/blevesearch/bleve/v2/registry"
	store "github.com/blevesearch/upsidedown_store_api"
)

// rowsName is the name by which Bleve opens the row store of this package.
const rowsName = "drivetrain-rows"

// register makes the row store known to Bleve, which takes stores by name only.
var register = sync.OnceValue(func() error { return registry.RegisterKVStore(rowsName, newRows) })

// rows is Bleve's row store: a root that each batch replaces. Bleve's own
// gtreap allocates some 30 nodes for each row written and runs each iterator as
// a goroutine that hands over rows through a channel.
type rows struct {
	root  atomic.Pointer[node]
	merge store.MergeOperator

	mu sync.Mutex // one batch at a time
}

var (
	_ store.KVStore    = (*rows)(nil)
	_ store.KVReader   = rowReader{}
	_ store.KVWriter   = rowWriter{}
	_ store.KVIterator = (*rowIterator)(nil)
	_ store.KVBatch    = (*rowBatch)(nil)
)

func newRows(merge store.MergeOperator, _ map[string]any) (store.KVStore, error) {
	return &rows{merge: merge}, nil
}

func (s *rows) Writer() (store.KVWriter, error) { return rowWriter{s}, nil }
func (s *rows) Reader() (store.KVReader, error) { return rowReader{s.root.Load()}, nil }
func (s *rows) Close() error                    { return nil }

// rowReader reads one version.
type rowReader struct{ root *node }

func (r rowReader) Get(key []byte) ([]byte, error) { return bytes.Clone(r.root.get(key)), nil }

func (r rowReader) MultiGet(keys [][]byte) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, key := range keys {
		values[i] = bytes.Clone(r.root.get(key))
	}
	return values, nil
}

func (r rowReader) PrefixIterator(prefix []byte) store.KVIterator {
	it := &rowIterator{root: r.root, prefix: bytes.Clone(prefix), start: bytes.Clone(prefix)}
	it.Seek(prefix)
	return it
}

func (r rowReader) RangeIterator(start, end []byte) store.KVIterator {
	it := &rowIterator{root: r.root, start: bytes.Clone(start), end: bytes.Clone(end)}
	it.Seek(start)
	return it
}

func (r rowReader) Close() error { return nil }

// rowIterator walks the rows from start on that have the prefix and, if end is
// not nil, lie below it.
type rowIterator struct {
	root               *node
	prefix, start, end []byte
	at                 cursor
}

func (it *rowIterator) Seek(key []byte) {
	if bytes.Compare(key, it.start) < 0 {
		key = it.start
	}
	it.at.seek(it.root, key)
}

func (it *rowIterator) Next() { it.at.next() }

func (it *rowIterator) Current() (key, value []byte, valid bool) {
	r := it.at.row()
	if r == nil || !bytes.HasPrefix(r.key, it.prefix) || it.end != nil && bytes.Compare(r.key, it.end) >= 0 {
		return nil, nil, false
	}
	return r.key, r.value, true
}

func (it *rowIterator) Key() []byte {
	key, _, _ := it.Current()
	return key
}

func (it *rowIterator) Value() []byte {
	_, value, _ := it.Current()
	return value
}

func (it *rowIterator) Valid() bool {
	_, _, valid := it.Current()
	return valid
}

func (it *rowIterator) Close() error { return nil }

type rowWriter struct{ s *rows }

func (w rowWriter) NewBatch() store.KVBatch { return &rowBatch{} }

func (w rowWriter) NewBatchEx(o store.KVBatchOptions) ([]byte, store.KVBatch, error) {
	b := &rowBatch{sets: make([]row, 0, o.NumSets+o.NumDeletes), merges: make([]row, 0, o.NumMerges)}
	return make([]byte, o.TotalBytes), b, nil
}

// ExecuteBatch applies merges, then sets and deletes in key order, so that the
// rows of one node follow one another.
func (w rowWriter) ExecuteBatch(batch store.KVBatch) error {
	b, ok := batch.(*rowBatch)
	if !ok {
		return errors.New("a batch of another row store")
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	root, e := w.s.root.Load(), &edit{}
	for _, m := range b.merges {
		value, ok := w.s.merge.FullMerge(m.key, root.get(m.key), [][]byte{m.value})
		if !ok {
			return errors.New("a row could not be merged")
		}
		root = root.set(e, newRow(m.key, value))
	}
	slices.SortStableFunc(b.sets, func(a, b row) int { return bytes.Compare(a.key, b.key) })
	for _, r := range b.sets {
		if r.value == nil {
			root = root.remove(e, r.key)
		} else {
			root = root.set(e, r)
		}
	}
	w.s.root.Store(root)
	return nil
}

func (w rowWriter) Close() error { return nil }

// rowBatch is what one batch does; a set without a value is a delete.
type rowBatch struct{ sets, merges []row }

func (b *rowBatch) Set(key, value []byte)   { b.sets = append(b.sets, newRow(key, value)) }
func (b *rowBatch) Delete(key []byte)       { b.sets = append(b.sets, row{key: bytes.Clone(key)}) }
func (b *rowBatch) Merge(key, value []byte) { b.merges = append(b.merges, newRow(key, value)) }
func (b *rowBatch) Reset()                  { *b = rowBatch{} }
func (b *rowBatch) Close() error            { return nil }

// newRow copies key and value, which Bleve goes on to use, into one piece.
func newRow(key, value []byte) row {
	b := make([]byte, len(key)+len(value))
	copy(b[copy(b, key):], value)
	return row{key: b[:len(key):len(key)], value: b[len(key):]}
}

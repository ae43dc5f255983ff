package blevestore

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// same checks that a tree holds exactly want, read in each way there is.
func same(t interface {
	Helper()
	Fatalf(string, ...any)
}, root *node, want map[string]string) {
	t.Helper()
	var c cursor
	keys := slices.Sorted(maps.Keys(want))
	c.seek(root, nil)
	for i, key := range keys {
		r := c.row()
		if r == nil || string(r.key) != key || string(r.value) != want[key] {
			t.Fatalf("row %d is %q, want %q: %q", i, r, key, want[key])
		}
		c.next()
		if got := root.get([]byte(key)); string(got) != want[key] {
			t.Fatalf("get %q: %q, want %q", key, got, want[key])
		}
	}
	if r := c.row(); r != nil {
		t.Fatalf("a row %q behind the last of %d", r.key, len(keys))
	}
	c.next()
}

func TestATreeIsASortedMapAndItsVersionsStay(t *testing.T) {
	key := rapid.Map(rapid.StringMatching(`[abc]{0,4}`), func(s string) string { return "k" + s })
	rapid.Check(t, func(t *rapid.T) {
		var root *node
		model := map[string]string{}
		type version struct {
			root *node
			rows map[string]string
		}
		var versions []version
		for range rapid.IntRange(1, 8).Draw(t, "edits") {
			versions = append(versions, version{root, maps.Clone(model)})
			e := &edit{}
			for i := range rapid.IntRange(0, 150).Draw(t, "changes") {
				k := key.Draw(t, "key")
				if rapid.Bool().Draw(t, "remove") {
					root = root.remove(e, []byte(k))
					delete(model, k)
				} else {
					v := fmt.Sprint(len(versions), "-", i)
					root = root.set(e, newRow([]byte(k), []byte(v)))
					model[k] = v
				}
			}
		}
		for _, v := range append(versions, version{root, model}) {
			same(t, v.root, v.rows)
		}
		seek := key.Draw(t, "seek")
		var c cursor
		c.seek(root, []byte(seek))
		keys := slices.Sorted(maps.Keys(model))
		i, _ := slices.BinarySearch(keys, seek)
		if r := c.row(); (r == nil) != (i == len(keys)) || r != nil && string(r.key) != keys[i] {
			t.Fatalf("seek %q finds %v, want place %d of %q", seek, r, i, keys)
		}
	})
}

// TestALargeTreeShrinksToNothing goes three levels deep and back.
func TestALargeTreeShrinksToNothing(t *testing.T) {
	const count = 40_000
	r := rand.New(rand.NewSource(1))
	model := map[string]string{}
	var root *node
	e := &edit{}
	for _, i := range r.Perm(count) {
		key := fmt.Sprintf("key-%06d", i)
		root = root.set(e, newRow([]byte(key), []byte(key)))
		model[key] = key
	}
	same(t, root, model)
	for n, i := range r.Perm(count) {
		if n%5000 == 0 {
			e = &edit{}
			same(t, root, model)
		}
		key := fmt.Sprintf("key-%06d", i)
		root = root.remove(e, []byte(key))
		delete(model, key)
	}
	if root != nil {
		t.Fatalf("%d rows and %d children are left", len(root.rows), len(root.children))
	}
}

func TestIteratorsKeepToTheirRange(t *testing.T) {
	s, _ := newRows(nil, nil)
	w, _ := s.Writer()
	b := w.NewBatch()
	for _, key := range []string{"a", "b", "b1", "b2", "b2x", "b\xff", "c", "d"} {
		b.Set([]byte(key), []byte(key))
	}
	if err := w.ExecuteBatch(b); err != nil {
		t.Fatal(err)
	}
	r, _ := s.Reader()
	list := func(prefix, seek string) (keys []string) {
		it := r.PrefixIterator([]byte(prefix))
		if seek != "" {
			it.Seek([]byte(seek))
		}
		for ; it.Valid(); it.Next() {
			keys = append(keys, string(it.Key()))
		}
		return keys
	}
	for _, c := range []struct {
		prefix, seek string
		want         []string
	}{
		{"b", "", []string{"b", "b1", "b2", "b2x", "b\xff"}},
		{"b", "a", []string{"b", "b1", "b2", "b2x", "b\xff"}},
		{"b", "b11", []string{"b2", "b2x", "b\xff"}},
		{"b", "c", nil},
		{"e", "", nil},
		{"", "", []string{"a", "b", "b1", "b2", "b2x", "b\xff", "c", "d"}},
	} {
		if got := list(c.prefix, c.seek); !slices.Equal(got, c.want) {
			t.Errorf("prefix %q from %q: %q, want %q", c.prefix, c.seek, got, c.want)
		}
	}
	var got []string
	for it := r.RangeIterator([]byte("b1"), []byte("c")); it.Valid(); it.Next() {
		got = append(got, string(it.Value()))
	}
	if want := []string{"b1", "b2", "b2x", "b\xff"}; !slices.Equal(got, want) {
		t.Errorf("range: %q, want %q", got, want)
	}
}

func TestDocumentIDsAreOrderedAsKeysAndReadBack(t *testing.T) {
	key := rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 'a', 'b', 0xfd, 0xfe, 0xff}), 1, 5).Draw(t, "bytes"))
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := key.Draw(t, "a"), key.Draw(t, "b")
		p, q := rapid.Int32Range(0, 1<<31-1).Draw(t, "p"), rapid.Int32Range(0, 20).Draw(t, "q")
		x, y := documentID(a, p), documentID(b, q)
		if keyOf(x) != a || bytes.IndexByte([]byte(x), 0xff) >= 0 {
			t.Fatalf("id %q of key %q gives %q", x, a, keyOf(x))
		}
		if a != b && (x < y) != (a < b) || a == b && (x < y) != (p < q) {
			t.Fatalf("keys %q and %q have ids %q and %q", a, b, x, y)
		}
	})
}

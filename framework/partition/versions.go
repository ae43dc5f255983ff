package partition

import (
	"encoding/binary"
	"iter"
	"slices"
	"strings"

	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// Versions keeps the version of each aggregate for a [Fold]. Whoever keeps
// something else of each aggregate can keep that with it; New brings a map.
type Versions interface {
	// Get returns the version under key, 0 if there is none.
	Get(key []byte) uint64
	// Set is called as a commit takes effect. It must not keep key.
	Set(key []byte, version uint64)
	// All yields all keys and versions, in any order.
	All() iter.Seq2[string, uint64]
}

// versions is Versions in a map. To set a map's value under a key made of bytes
// copies the key each time; a place that stays is set for nothing.
type versions struct {
	place map[string]int // of each key in at
	at    []uint64
}

func newVersions() *versions { return &versions{place: make(map[string]int)} }

// Get implements Versions.
func (v *versions) Get(key []byte) uint64 {
	if i, ok := v.place[string(key)]; ok {
		return v.at[i]
	}
	return 0
}

// Set implements Versions.
func (v *versions) Set(key []byte, version uint64) {
	if i, ok := v.place[string(key)]; ok {
		v.at[i] = version
		return
	}
	v.place[string(key)] = len(v.at)
	v.at = append(v.at, version)
}

// All implements Versions.
func (v *versions) All() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for key, i := range v.place {
			if !yield(key, v.at[i]) {
				return
			}
		}
	}
}

// appendVersions appends the aggregates, sorted by key.
func appendVersions(b []byte, v Versions) []byte {
	type entry struct {
		key     string
		version uint64
	}
	var all []entry
	for key, version := range v.All() {
		all = append(all, entry{key, version})
	}
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	b = binary.AppendUvarint(b, uint64(len(all)))
	for i := range all {
		b = packed.AppendBytes(b, all[i].key)
		b = binary.AppendUvarint(b, all[i].version)
	}
	return b
}

func restoreVersions(v Versions, r *packed.Reader) {
	for range r.Count(2) {
		key := r.Bytes()
		v.Set(key, r.Number())
	}
}

package partition

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// versions holds the version of each aggregate. To set a map's value under a key
// made of bytes copies the key each time; a place that stays is set for nothing.
type versions struct {
	place map[string]int // of each key in at
	at    []uint64
}

// get returns the version under key, 0 if there is none.
func (v *versions) get(key []byte) uint64 {
	if i, ok := v.place[string(key)]; ok {
		return v.at[i]
	}
	return 0
}

func (v *versions) set(key []byte, version uint64) {
	if i, ok := v.place[string(key)]; ok {
		v.at[i] = version
		return
	}
	v.place[string(key)] = len(v.at)
	v.at = append(v.at, version)
}

func (v *versions) appendSnapshot(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(v.at)))
	for _, key := range slices.Sorted(maps.Keys(v.place)) {
		b = packed.AppendBytes(b, key)
		b = binary.AppendUvarint(b, v.at[v.place[key]])
	}
	return b
}

func (v *versions) restore(r *packed.Reader) {
	for range r.Count(2) {
		key := r.Bytes()
		v.set(key, r.Number())
	}
}

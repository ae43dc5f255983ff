package event

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// ID is a UUID (RFC 9562). The zero ID means "none".
type ID [16]byte

// NewID returns a UUIDv7: the millisecond of at in its first 48 bits, the rest
// from entropy. The caller brings time and randomness, so that a seed
// reproduces a run.
func NewID(at time.Time, entropy [10]byte) ID {
	var id ID
	ms := uint64(max(at.UnixMilli(), 0))
	binary.BigEndian.PutUint64(id[:8], ms<<16)
	copy(id[6:], entropy[:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// Derive returns the UUIDv7 that belongs to the n-th thing made by id at a time:
// the same arguments give the same ID.
func (id ID) Derive(n int, at time.Time) ID {
	var in [24]byte
	copy(in[:], id[:])
	binary.BigEndian.PutUint64(in[16:], uint64(n))
	sum := sha256.Sum256(in[:])
	return NewID(at, [10]byte(sum[:10]))
}

// Scoped returns the ID that stands for key within scope, a list of parts. A
// UUIDv7 keeps its time, so that it can be compared with a horizon; any other
// key becomes a UUIDv8, which has none. Keys that differ in case differ.
func Scoped(key string, scope ...string) ID {
	var parts []byte
	for _, part := range scope {
		parts = appendPart(parts, part)
	}
	sum := sha256.Sum256(appendPart(parts, key))
	if given, err := ParseID(key); err == nil {
		if at, ok := given.Time(); ok {
			return NewID(at, [10]byte(sum[:10]))
		}
	}
	id := ID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// appendPart appends s with its length before it, so that parts do not run into
// one another.
func appendPart(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
	return append(b, s...)
}

// Time returns the millisecond that a UUIDv7 carries, and whether id is one.
func (id ID) Time() (time.Time, bool) {
	if id[6]>>4 != 7 || id[8]>>6 != 2 {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16)).UTC(), true
}

// IsZero reports whether id is the zero ID.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the usual form, 8-4-4-4-12 lower-case hexadecimal digits.
func (id ID) String() string {
	b, _ := id.MarshalText()
	return string(b)
}

// MarshalText returns what String does.
func (id ID) MarshalText() ([]byte, error) {
	b := make([]byte, 0, 36)
	for i, part := range [5][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return b, nil
}

// UnmarshalText takes what MarshalText gives.
func (id *ID) UnmarshalText(b []byte) error {
	got, err := ParseID(string(b))
	if err == nil {
		*id = got
	}
	return err
}

// ParseID takes the usual form of a UUID, in either case.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, fmt.Errorf("id %q: want a UUID such as 018f3c2e-7b1a-7c3d-9e4f-0123456789ab", s)
	}
	digits := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil {
		return ID{}, fmt.Errorf("id %q: %w", s, err)
	}
	return id, nil
}

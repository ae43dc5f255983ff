package boltlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// A batch is one value, under its base offset as a big-endian number:
//
//	byte    format, 1
//	uint32  CRC-32C of all that follows it, and then of the key
//	uint32  number of records, at least 1
//	records, each: uvarint length of key, of header, of value; then the three
//
// Numbers are little-endian. The key is part of the checksum so that a value
// under a wrong key is noticed.
const (
	batchFormat = 1
	batchHead   = 9
	batchCRC    = 5       // what the checksum covers begins here
	maxValue    = 1 << 24 // bytes of a value; no batch comes near it
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// batch is a value in memory. Its bytes never change.
type batch struct {
	base  int64
	count int
	value []byte
}

// pack encodes records. The checksum still lacks the key, see seal.
func pack(records []eventlog.Record) (value []byte, sum uint32) {
	size := batchHead + eventlog.Size(records)
	for i := range records {
		r := &records[i]
		size += uvarintLen(len(r.Key)) + uvarintLen(len(r.Header)) + uvarintLen(len(r.Value))
	}
	b := make([]byte, batchHead, size)
	b[0] = batchFormat
	binary.LittleEndian.PutUint32(b[batchCRC:], uint32(len(records)))
	for i := range records {
		r := &records[i]
		b = binary.AppendUvarint(b, uint64(len(r.Key)))
		b = binary.AppendUvarint(b, uint64(len(r.Header)))
		b = binary.AppendUvarint(b, uint64(len(r.Value)))
		b = append(b, r.Key...)
		b = append(b, r.Header...)
		b = append(b, r.Value...)
	}
	return b, crc32.Checksum(b[batchCRC:], castagnoli)
}

func uvarintLen(n int) int {
	l := 1
	for ; n >= 0x80; n >>= 7 {
		l++
	}
	return l
}

// seal completes the checksum once the key is known.
func seal(value []byte, sum uint32, key []byte) {
	binary.LittleEndian.PutUint32(value[1:], crc32.Update(sum, castagnoli, key))
}

// verify checks a value found under a key and returns the number of records it
// says it holds.
func verify(key, value []byte) (int, error) {
	switch {
	case len(key) != 8:
		return 0, fmt.Errorf("a key of %d bytes", len(key))
	case len(value) <= batchHead || len(value) > maxValue:
		return 0, fmt.Errorf("a batch of %d bytes", len(value))
	case value[0] > batchFormat:
		return 0, fmt.Errorf("a batch of format %d, this program reads up to %d: mangled, or written by a newer one", value[0], batchFormat)
	case value[0] != batchFormat:
		return 0, errors.New("a batch of format 0")
	}
	sum := crc32.Update(crc32.Checksum(value[batchCRC:], castagnoli), castagnoli, key)
	if sum != binary.LittleEndian.Uint32(value[1:]) {
		return 0, errors.New("the checksum of a batch does not match")
	}
	return countOf(value), nil
}

func countOf(value []byte) int { return int(binary.LittleEndian.Uint32(value[batchCRC:])) }

// unpack adds the records of b from offset from on to out, until out is full.
// They lie in b.value.
func unpack(out []eventlog.Record, b batch, from int64) ([]eventlog.Record, error) {
	rest := b.value[batchHead:]
	for i := range b.count {
		var r eventlog.Record
		var err error
		if r, rest, err = unpackOne(rest); err != nil {
			return out, err
		}
		r.Offset = b.base + int64(i)
		if r.Offset < from {
			continue
		}
		if len(out) == cap(out) {
			return out, nil
		}
		out = append(out, r)
	}
	if len(rest) != 0 {
		return out, errors.New("a batch is longer than its records")
	}
	return out, nil
}

var errShort = errors.New("a batch is shorter than its records")

func unpackOne(b []byte) (r eventlog.Record, rest []byte, err error) {
	var lens [3]int
	for i := range lens {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > maxValue {
			return r, nil, errShort
		}
		lens[i], b = int(n), b[w:]
	}
	k, h, end := lens[0], lens[0]+lens[1], lens[0]+lens[1]+lens[2]
	if end > len(b) {
		return r, nil, errShort
	}
	return eventlog.Record{Key: b[:k:k], Header: b[k:h:h], Value: b[h:end:end]}, b[end:], nil
}

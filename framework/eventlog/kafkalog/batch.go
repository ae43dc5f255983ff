package kafkalog

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// A record batch is written into one buffer in a single pass, since both
// libraries spend several times as long on records one by one.

// producer is the part of a record batch that belongs to who sends it.
type producer struct {
	id       int64 // -1: none
	epoch    int16
	sequence int32 // of the batch's first record
	open     bool  // the batch is part of a transaction
}

// nobody is the producer of a batch that is neither idempotent nor part of a
// transaction.
var nobody = producer{id: -1, epoch: -1, sequence: -1}

// Offsets of fields in a record batch of format 2, the only one that brokers
// take since 4.0.
const (
	batchLength   = 8  // of what follows the length itself
	batchChecksum = 17 // of what follows the checksum
	batchLatest   = 35 // the greatest time
	batchStart    = 61 // the records

	transactional = 1 << 4 // attribute
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// headerE is the name of the log's one header, with its length in front.
var headerE = append(binary.AppendVarint(nil, int64(len(headerKey))), headerKey...)

// form says how records are written: the log's own, with the header "e" and at
// the time of the batch, or those for others, with the headers listed and at
// times of their own.
type form bool

const (
	ours   form = false
	others form = true
)

// appendBatch appends one record batch, uncompressed.
func appendBatch(b []byte, batch []eventlog.Record, as form, at int64, by producer) []byte {
	from := len(b)
	first := as.time(&batch[0], at)
	b = appendStart(b, len(batch), first, by)
	latest := first
	for i := range batch {
		t := as.time(&batch[i], at)
		latest = max(latest, t)
		b = as.append(b, &batch[i], int64(i), t-first)
	}
	binary.BigEndian.PutUint64(b[from+batchLatest:], uint64(latest))
	binary.BigEndian.PutUint32(b[from+batchLength:], uint32(len(b)-from-batchLength-4))
	binary.BigEndian.PutUint32(b[from+batchChecksum:], crc32.Checksum(b[from+batchChecksum+4:], castagnoli))
	return b
}

// appendStart appends what stands before the records; length, checksum and the
// greatest time are filled in later.
func appendStart(b []byte, n int, first int64, by producer) []byte {
	attributes := uint16(0)
	if by.open {
		attributes = transactional
	}
	be := binary.BigEndian
	b = be.AppendUint64(b, 0)       // base offset, which the broker sets
	b = be.AppendUint32(b, 0)       // length
	b = be.AppendUint32(b, 1<<32-1) // epoch of the leader, which it sets too
	b = append(b, 2)                // format
	b = be.AppendUint32(b, 0)       // checksum
	b = be.AppendUint16(b, attributes)
	b = be.AppendUint32(b, uint32(n-1)) // the last record's offset, from the first's
	b = be.AppendUint64(b, uint64(first))
	b = be.AppendUint64(b, 0) // greatest time
	b = be.AppendUint64(b, uint64(by.id))
	b = be.AppendUint16(b, uint16(by.epoch))
	b = be.AppendUint32(b, uint32(by.sequence))
	return be.AppendUint32(b, uint32(n))
}

// time returns when a record is stamped, if the batch is at.
func (f form) time(r *eventlog.Record, at int64) int64 {
	if f == others && r.At != 0 {
		return r.At
	}
	return at
}

// append appends a record whose offset and time are given from the batch's.
func (f form) append(b []byte, r *eventlog.Record, offset, time int64) []byte {
	headers, n := f.headers(r)
	missing := f == others && r.Value == nil
	size := 1 + sizeOf(time) + sizeOf(offset) + keySize(r.Key) + valueSize(r.Value, missing) + headers
	b = binary.AppendVarint(b, int64(size))
	b = append(b, 0) // attributes
	b = binary.AppendVarint(b, time)
	b = binary.AppendVarint(b, offset)
	if len(r.Key) == 0 {
		b = append(b, none)
	} else {
		b = appendBytes(b, r.Key)
	}
	if missing {
		b = append(b, none)
	} else {
		b = appendBytes(b, r.Value)
	}
	b = binary.AppendVarint(b, int64(n))
	switch {
	case n == 0:
		return b
	case f == others:
		return append(b, r.Header...)
	}
	b = append(b, headerE...)
	return appendBytes(b, r.Header)
}

// none is the length of bytes that are missing, -1.
const none = 1

// headers returns the size of a record's headers with their number, and it.
func (f form) headers(r *eventlog.Record) (size, n int) {
	switch {
	case len(r.Header) == 0:
		return 1, 0
	case f == others:
		n, _ = eventlog.CountHeaders(r.Header) // checked before
		return sizeOf(int64(n)) + len(r.Header), n
	}
	return 1 + len(headerE) + bytesSize(r.Header), 1
}

func keySize(key []byte) int {
	if len(key) == 0 {
		return 1
	}
	return bytesSize(key)
}

func valueSize(value []byte, missing bool) int {
	if missing {
		return 1
	}
	return bytesSize(value)
}

func bytesSize(b []byte) int { return sizeOf(int64(len(b))) + len(b) }

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendVarint(b, int64(len(v))), v...)
}

// sizeOf returns how many bytes a varint takes.
func sizeOf(v int64) int {
	return (bits.Len64(uint64(v)<<1^uint64(v>>63)|1) + 6) / 7
}

// batchSize bounds the size of a batch whose records have size bytes together.
func batchSize(n, size int) int { return batchStart + size + n*overRecord }

// overRecord bounds what a record's lengths, offset, time and "e" take.
const overRecord = 40

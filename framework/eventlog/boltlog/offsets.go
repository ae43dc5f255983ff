package boltlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// What a group has committed is one value in offsetsBucket, under the group's
// name, a zero byte and the key of the partition's bucket:
//
//	byte    format, 1
//	uint64  the offset, big-endian
//	uint32  CRC-32C of the nine bytes before it, and then of the key, little-endian
//
// The bucket is made with the first commit; a file without it is whole.
const (
	offsetFormat = 1
	offsetSummed = 9 // bytes that the checksum covers, beside the key
	offsetLen    = offsetSummed + 4
)

var offsetsBucket = []byte("offsets")

var _ eventlog.Offsets = (*Log)(nil)

func offsetKey(group string, p *partition) []byte {
	return append(append([]byte(group), 0), p.key...)
}

func packOffset(key []byte, next int64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{offsetFormat}, uint64(next))
	return binary.LittleEndian.AppendUint32(b, crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, key))
}

// unpackOffset checks a value found under a key.
func unpackOffset(key, value []byte) (int64, error) {
	switch {
	case len(value) != offsetLen:
		return 0, fmt.Errorf("it has %d bytes, not %d", len(value), offsetLen)
	case value[0] != offsetFormat:
		return 0, fmt.Errorf("it is of format %d, this program reads %d: mangled, or written by a newer one", value[0], offsetFormat)
	}
	sum := crc32.Update(crc32.Checksum(value[:offsetSummed], castagnoli), castagnoli, key)
	next := int64(binary.BigEndian.Uint64(value[1:]))
	if sum != binary.LittleEndian.Uint32(value[offsetSummed:]) || next < 0 {
		return 0, errors.New("its checksum does not match")
	}
	return next, nil
}

// Commit implements [eventlog.Offsets]. Commits that wait at the same time share
// one transaction with each other and with appends. If ctx ends first, the offset
// may still be written, and the error says so.
func (l *Log) Commit(ctx context.Context, group, topic string, part int32, next int64) error {
	if err := l.commitOffset(ctx, group, topic, part, next); err != nil {
		return fmt.Errorf("commit %d for group %s in %s/%d: %w", next, group, topic, part, err)
	}
	return nil
}

func (l *Log) commitOffset(ctx context.Context, group, topic string, part int32, next int64) error {
	p, err := l.findFor(ctx, group, topic, part, next)
	if err != nil {
		return err
	}
	if l.readOnly {
		return ErrReadOnly
	}
	key := offsetKey(group, p)
	_, err = l.send(ctx, &request{offsetKey: key, offset: packOffset(key, next), done: make(chan answer, 1)})
	return err
}

// findFor returns a partition for a group that may have an offset in it.
func (l *Log) findFor(ctx context.Context, group, topic string, part int32, next int64) (*partition, error) {
	if err := eventlog.CheckCommit(group, next); err != nil {
		return nil, err
	}
	p, err := l.find(topic, part)
	if err != nil {
		return nil, err
	}
	return p, ctx.Err()
}

// Committed implements [eventlog.Offsets]. Nothing is ever forgotten. An offset
// that is not as it was written is an *eventlog.DamagedError.
func (l *Log) Committed(ctx context.Context, group, topic string, part int32) (next int64, known bool, err error) {
	p, err := l.findFor(ctx, group, topic, part, 0)
	if err == nil {
		next, known, err = l.committed(offsetKey(group, p))
	}
	if err != nil {
		return 0, false, fmt.Errorf("offset of group %s in %s/%d: %w", group, topic, part, err)
	}
	return next, known, nil
}

func (l *Log) committed(key []byte) (next int64, known bool, err error) {
	err = l.look(func(tx *bbolt.Tx) error {
		b := tx.Bucket(offsetsBucket)
		if b == nil {
			return nil
		}
		value := b.Get(key)
		if known = value != nil; !known {
			return nil
		}
		next, err = unpackOffset(key, value)
		if err != nil {
			return fmt.Errorf("a committed offset is mangled: %w", err)
		}
		return nil
	})
	return next, known, err
}

func (l *Log) putOffset(tx *bbolt.Tx, r *request) error {
	b, err := tx.CreateBucketIfNotExists(offsetsBucket)
	if err != nil {
		return err
	}
	return b.Put(r.offsetKey, r.offset)
}

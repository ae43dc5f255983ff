// Package eventlog is the log as the core needs it: append a batch to a
// partition, read from an offset, find the end, create and check a topic. The
// drivers lie in folders of their own and pass one suite, eventlogtest.
package eventlog

import (
	"context"
	"errors"
	"fmt"
	"regexp"
)

// Record is one entry of a partition. Its bytes are never changed once it is
// handed over, by either side.
type Record struct {
	Offset int64  // place in its partition, from 0; ignored by Append
	Key    []byte // routes it, see PartitionOf; may be empty
	Header []byte // the packed header, see package event; on Kafka the header "e"
	Value  []byte // the payload; may be empty
	At     int64  // Unix milliseconds as the log stamped it, 0: none; ignored by Append
}

// Limits of a batch. With a record's overhead they stay below the 1 MiB that
// brokers take by default.
const (
	MaxBatch   = 900 << 10 // bytes of keys, headers and values together
	MaxRecords = 5_000
)

// MaxPartitions is the most partitions that a topic may have.
const MaxPartitions = 4096

// Topic is what Ensure creates or checks.
type Topic struct {
	Name       string // [A-Za-z0-9._-], 1 to 200 characters, not "." or ".."
	Partitions int    // 1 to MaxPartitions
}

// Log is a set of topics, each a fixed number of ordered, append-only
// partitions. It is safe for concurrent use. Every method returns soon after its
// context ends.
type Log interface {
	// Append adds batch to the end of a partition, all of it or nothing, one
	// record after the other, and returns the first record's offset once it is
	// durable. ErrTooLarge, ErrInvalid, ErrUnknownTopic and ErrClosed say that nothing was
	// appended. After any other error it is unknown: the batch may be in the
	// log, may come to be in it later, or never. One that is under way when the
	// log is closed ends with its true result or an error of unknown outcome. After
	// nil batch is the caller's again, but not the bytes that its records hold.
	Append(ctx context.Context, topic string, partition int32, batch []Record) (base int64, err error)
	// Read reads a partition from an offset on. One below the first record that
	// is kept, or beyond the end, is an ErrOffset from the reader's Next; an
	// unknown topic shows here or there.
	Read(topic string, partition int32, from int64) (Reader, error)
	// End returns the offset that the next record will have, at least one past
	// every record appended before the call.
	End(ctx context.Context, topic string, partition int32) (int64, error)
	// Ensure creates the topic if it is missing, else checks that it fits: a
	// *TopicError says what does not and how to mend it.
	Ensure(ctx context.Context, t Topic) error
	// Close releases what the log holds; later calls fail with ErrClosed. It may
	// be called again.
	Close() error
}

// Reader reads one partition in order. It is used by one goroutine at a time.
type Reader interface {
	// Next returns the records that follow, at least one, waiting for it until
	// ctx ends, and at most 10,000 or about 1 MiB at once. After an error the same records are still to be read: a
	// passing failure may be retried, ErrOffset and *DamagedError do not pass.
	// Offsets ascend and may have gaps, where others' transactions ended.
	Next(ctx context.Context) ([]Record, error)
	// Close ends the reader; a Next under way returns ErrClosed.
	Close() error
}

// Recycler is an optional ability of a Reader: a caller that has no use any more for a run
// that Next returned, whole, gives it back, for another to lie in the same memory. What
// the records' Key, Header and Value hold stays. Recycle may be called while Next runs.
type Recycler interface {
	Recycle(run []Record)
}

// Errors by which a caller decides what to do.
var (
	ErrTooLarge     = errors.New("batch too large: at most 900 KiB and 5000 records fit")
	ErrInvalid      = errors.New("empty batch")
	ErrUnknownTopic = errors.New("unknown topic or partition")
	ErrOffset       = errors.New("offset outside the partition")
	ErrClosed       = errors.New("log closed")
)

// TopicError says that a topic is not what the application needs.
type TopicError struct {
	Topic   string
	Problem string // what is wrong, with the value found
	Remedy  string // what to do about it
}

func (e *TopicError) Error() string {
	return fmt.Sprintf("topic %s: %s; %s", e.Topic, e.Problem, e.Remedy)
}

// DamagedError says that a part of a log cannot be read as it was written.
type DamagedError struct {
	Where  string // file or server
	Topic  string // empty: the whole file
	Part   int32
	Offset int64 // first offset that is lost
	Reason string
}

func (e *DamagedError) Error() string {
	if e.Topic == "" {
		return fmt.Sprintf("%s is damaged: %s; restore it from a backup", e.Where, e.Reason)
	}
	return fmt.Sprintf("%s is damaged: topic %s, partition %d, from offset %d: %s; restore it from a backup",
		e.Where, e.Topic, e.Part, e.Offset, e.Reason)
}

// Size returns what batch counts against MaxBatch.
func Size(batch []Record) int {
	n := 0
	for i := range batch {
		n += len(batch[i].Key) + len(batch[i].Header) + len(batch[i].Value)
	}
	return n
}

// Check returns ErrInvalid for an empty batch and ErrTooLarge for one above its
// limits; drivers call it first.
func Check(batch []Record) error {
	if len(batch) == 0 {
		return ErrInvalid
	}
	if n := Size(batch); n > MaxBatch || len(batch) > MaxRecords {
		return fmt.Errorf("%w: %d bytes, %d records", ErrTooLarge, n, len(batch))
	}
	return nil
}

var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,200}$`)

// Check returns a *TopicError for what cannot be a topic; drivers call it first.
func (t Topic) Check() error {
	if !topicName.MatchString(t.Name) || t.Name == "." || t.Name == ".." {
		return &TopicError{fmt.Sprintf("%.80q", t.Name), "its name cannot be used", "use 1 to 200 of the characters A-Z a-z 0-9 . _ -"}
	}
	if t.Partitions < 1 || t.Partitions > MaxPartitions {
		return &TopicError{t.Name, fmt.Sprintf("%d partitions were asked for", t.Partitions), fmt.Sprintf("ask for 1 to %d", MaxPartitions)}
	}
	return nil
}

// PartitionOf returns the partition of n that holds key: Kafka's murmur2, so
// that other Kafka clients find the same one.
func PartitionOf(key []byte, n int) int32 {
	return int32(murmur2(key)&0x7fffffff) % int32(n)
}

// murmur2 is Austin Appleby's hash with the seed that Kafka's Java client uses.
func murmur2(b []byte) uint32 {
	const m, seed = 0x5bd1e995, 0x9747b28c
	h := uint32(seed) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> 24
		h = h*m ^ k*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}

package eventlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// Identifier is a Log that tells a topic from another one of the same name.
type Identifier interface {
	// TopicID names this creation of the topic, "" if the log has no such names: a
	// topic that was deleted and made anew has another one.
	TopicID(ctx context.Context, topic string) (string, error)
}

// Outside is a Log that also knows topics which others create, fill and read.
// With them Append and Read are for the topics that Ensure makes. Errors are
// those of Log.
type Outside interface {
	// Partitions returns how many partitions a topic has now, at least 1.
	Partitions(ctx context.Context, topic string) (int, error)
	// Start returns the first offset that is kept; End is Log's.
	Start(ctx context.Context, topic string, partition int32) (int64, error)
	Identifier
	// ReadOutside is Read, but that Header is the list of all headers, see Headers,
	// and a Value that is missing is nil. If committed, it delivers no record of a
	// transaction that was aborted, and waits before one that is open. Where a
	// partition ends with a transaction's mark, End is past the last record by it; the
	// reader is Positioned.
	ReadOutside(topic string, partition int32, from int64, committed bool) (Reader, error)
	// Publish is Append, but that Header is a list made with AppendHeader, a nil
	// Value is a missing one, and At, if not 0, is the record's time, which the
	// topic may refuse if it lies in the future. ErrHeaders: nothing was appended.
	Publish(ctx context.Context, topic string, partition int32, batch []Record) (base int64, err error)
}

// Positioned is a Reader that knows how far it has come.
type Positioned interface {
	// Position returns the offset from which Next reads on. It also moves where Next
	// finds none but transactions' marks, and then goes on waiting: from End on all is
	// read. It is called when no Next is under way.
	Position() int64
}

// Transactor is a Log that appends to several partitions, and moves a group's
// offset, at once.
type Transactor interface {
	// Transact takes over the transactional name: what its holder before has begun
	// is ended first, and nothing that one sends later has an effect. It waits for
	// that until ctx ends. name has 1 to 200 bytes; whoever takes over the same work
	// must use the same.
	Transact(ctx context.Context, name string) (Transactions, error)
}

// Transactions appends under one name, one transaction after the other. It is
// used by one goroutine at a time.
type Transactions interface {
	// Commit appends all outputs, and sets group's offset of (topic, partition) to
	// next, in one transaction. After nil it is done, and readers with committed
	// will see all of it. After an error with ErrNotCommitted in it, it has not
	// happened and never will. After any other it is unknown. Outputs to one
	// partition keep their order; records are as in Outside.Publish. Without outputs
	// the offset alone is set. The group must have no members.
	//
	// After nil the outputs' records are the caller's again, as Append's.
	// An error ends the producer: make a new one under the same name, which settles
	// what was open, and ask its Committed. Errors that say what is wrong come with
	// ErrNotCommitted: ErrTooLarge above MaxOutputs, MaxOutputBytes or what a topic
	// takes, ErrInvalid for an output without records, ErrHeaders, ErrUnknownTopic,
	// ErrFenced. ErrClosed says nothing about the outcome.
	Commit(ctx context.Context, outputs []Output, group, topic string, partition int32, next int64) error
	// Committed returns group's offset of (topic, partition), -1 if there is none,
	// and waits while a transaction on it is undecided.
	Committed(ctx context.Context, group, topic string, partition int32) (int64, error)
	// Close releases what the producer holds. The name stays as it is.
	Close() error
}

// Output is what one transaction appends to one partition.
type Output struct {
	Topic     string
	Partition int32
	Records   []Record // at least one
}

// Limits of what one Commit appends.
const (
	MaxOutputs     = 100_000  // records
	MaxOutputBytes = 64 << 20 // of keys, headers and values together
)

// Errors of outside topics and transactions.
var (
	ErrNotCommitted = errors.New("the transaction was not committed")
	ErrFenced       = errors.New("another producer has taken over the transactional name")
	ErrHeaders      = errors.New("not a list of headers")
)

// AppendHeader appends a header to a list of them; nil is the empty list. A nil
// value is a missing one.
func AppendHeader(list []byte, key string, value []byte) []byte {
	list = binary.AppendVarint(list, int64(len(key)))
	list = append(list, key...)
	if value == nil {
		return binary.AppendVarint(list, -1)
	}
	list = binary.AppendVarint(list, int64(len(value)))
	return append(list, value...)
}

// Headers goes through a list of headers in their order, which may repeat keys.
// It ends early where the list is none.
func Headers(list []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for len(list) > 0 {
			key, value, rest, ok := cutHeader(list)
			if !ok || !yield(string(key), value) {
				return
			}
			list = rest
		}
	}
}

// Header returns the first value of a key in a list of headers, nil if there is
// none. It allocates nothing.
func Header(list []byte, key string) []byte {
	for len(list) > 0 {
		k, value, rest, ok := cutHeader(list)
		if !ok || string(k) == key {
			return value
		}
		list = rest
	}
	return nil
}

// CountHeaders returns the length of a list of headers, or ErrHeaders.
func CountHeaders(list []byte) (int, error) {
	n := 0
	for ; len(list) > 0; n++ {
		_, _, rest, ok := cutHeader(list)
		if !ok {
			return 0, ErrHeaders
		}
		list = rest
	}
	return n, nil
}

// cutHeader takes the first header off a list. The list is Kafka's own form of
// headers behind their number, so that a driver can copy it.
func cutHeader(list []byte) (key, value, rest []byte, ok bool) {
	n, used := binary.Varint(list)
	if used <= 0 || used > maxVarint || n < 0 || n > int64(len(list)-used) {
		return nil, nil, nil, false
	}
	key, list = list[used:used+int(n):used+int(n)], list[used+int(n):]
	n, used = binary.Varint(list)
	if used <= 0 || used > maxVarint || n < -1 || n > int64(len(list)-used) {
		return nil, nil, nil, false
	}
	if list = list[used:]; n < 0 {
		return key, nil, list, true
	}
	return key, list[:n:n], list[n:], true
}

// maxVarint is the most bytes that Kafka takes for a length.
const maxVarint = 5

// CheckHeaders returns ErrHeaders, with the record's place, if a Header in batch
// is no list; drivers call it first.
func CheckHeaders(batch []Record) error {
	for i := range batch {
		if _, err := CountHeaders(batch[i].Header); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
	}
	return nil
}

// CheckOutputs returns the error by which a Commit refuses outputs before it
// sends anything; drivers call it first.
func CheckOutputs(outputs []Output) error {
	n, size := 0, 0
	for i := range outputs {
		o := &outputs[i]
		if err := o.check(); err != nil {
			return fmt.Errorf("output to %s/%d: %w", o.Topic, o.Partition, err)
		}
		n += len(o.Records)
		size += Size(o.Records)
	}
	if n > MaxOutputs || size > MaxOutputBytes {
		return fmt.Errorf("%w in one transaction, which takes %d records and 64 MiB: %d records, %d bytes", ErrTooLarge, MaxOutputs, n, size)
	}
	return nil
}

func (o *Output) check() error {
	if len(o.Records) == 0 {
		return ErrInvalid
	}
	for i := range o.Records {
		if n := Size(o.Records[i : i+1]); n > MaxBatch {
			return fmt.Errorf("record %d: %w: %d bytes", i, ErrTooLarge, n)
		}
	}
	return CheckHeaders(o.Records)
}

package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// unsent reports whether kafka-go gave up on a batch before it sent anything:
// for want of a leader, of a broker that it knows, or of a connection.
func unsent(err error) bool {
	var routing *rawproduce.Error
	var network *net.OpError
	return errors.As(err, &routing) || errors.Is(err, kafka.BrokerNotAvailable) ||
		errors.As(err, &network) && network.Op == "dial"
}

// unsentError is a batch that surely was not sent. Only such a batch may be
// tried again.
type unsentError struct{ cause error }

func (e *unsentError) Error() string { return "nothing was sent: " + e.cause.Error() }
func (e *unsentError) Unwrap() error { return e.cause }

// refused makes the error of a batch that a broker answered with cause. A
// broker checks sizes before it writes anything. Every other answer, not-leader
// and unknown-topic too, may come after the batch was written.
func refused(cause error) error {
	cause = &answerError{cause}
	if errors.Is(cause, kafka.MessageSizeTooLarge) || errors.Is(cause, kafka.RecordListTooLarge) {
		return fmt.Errorf("%w for the topic, nothing was appended; raise its max.message.bytes: %w", eventlog.ErrTooLarge, cause)
	}
	return unknown(cause)
}

// answerError is a broker's answer, so nothing reads the request any more.
type answerError struct{ cause error }

func (e *answerError) Error() string { return e.cause.Error() }
func (e *answerError) Unwrap() error { return e.cause }

// answered reports whether an append ended with an answer.
func answered(err error) bool {
	var answer *answerError
	return err == nil || errors.As(err, &answer)
}

// unknown makes the error of a batch that may be in the log or not.
func unknown(cause error) error { return fmt.Errorf("outcome unknown: %w", cause) }

// harmless reports whether an append's error says nothing against the
// connections it used.
func harmless(err error) bool {
	return errors.Is(err, eventlog.ErrTooLarge) || errors.Is(err, context.Canceled)
}

// closed turns what the libraries say of a log being closed into ErrClosed.
func (l *Log) closed(err error) error {
	if err != nil && (l.ctx.Err() != nil || errors.Is(err, kgo.ErrClientClosed)) {
		return eventlog.ErrClosed
	}
	return err
}

// missing reports whether a broker says that a topic or partition does not
// exist.
func missing(err error) bool {
	return errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) ||
		errors.Is(err, kerr.InvalidTopicException)
}

func errNoTopic(topic string) error {
	return fmt.Errorf("%w: the cluster has no topic %s; create it with Ensure", eventlog.ErrUnknownTopic, topic)
}

func errNoPartition(topic string, part, n int32) error {
	return fmt.Errorf("%w: topic %s has the partitions 0 to %d, not %d", eventlog.ErrUnknownTopic, topic, n-1, part)
}

func errDeleted(from, start int64) error {
	return fmt.Errorf("%w: the records from %d to %d were deleted; read from %d on, or restore the topic from a backup",
		eventlog.ErrOffset, from, start-1, start)
}

func errBeyond(from, end int64) error {
	return fmt.Errorf("%w: %d is beyond the end %d; was the topic made anew, or did the log lose records?",
		eventlog.ErrOffset, from, end)
}

func errLost(loss *kgo.ErrDataLoss) error {
	return fmt.Errorf("%w: the log lost the records from %d on, which were read before: %w", eventlog.ErrOffset, loss.ResetTo, loss)
}

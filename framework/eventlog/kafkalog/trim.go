package kafkalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

var _ eventlog.Trimmer = (*Log)(nil)

// Trim implements [eventlog.Trimmer], which Kafka calls DeleteRecords: the user needs
// Delete on the topic. The disk is free once whole segments lie below.
func (l *Log) Trim(ctx context.Context, topic string, part int32, below int64) error {
	err := l.find(ctx, topic, part)
	if err == nil {
		err = l.trim(ctx, topic, part, below)
	}
	if err != nil {
		return fmt.Errorf("trim %s/%d below %d: %w", topic, part, below, err)
	}
	return nil
}

func (l *Log) trim(ctx context.Context, topic string, part int32, below int64) error {
	if below <= 0 {
		return nil // where every partition starts; -1 would mean the end
	}
	ctx, cancel := l.bound(ctx)
	defer cancel()
	var at kadm.Offsets
	at.AddOffset(topic, part, below, -1)
	answers, err := l.admin.DeleteRecords(ctx, at)
	if err != nil {
		return l.closed(fmt.Errorf("delete records: %w", err))
	}
	answer, answered := answers.Lookup(topic, part)
	switch err := answer.Err; {
	case !answered:
		return errors.New("delete records: the answer names other partitions")
	case missing(err):
		return l.lost(ctx, topic, part)
	case errors.Is(err, kerr.OffsetOutOfRange):
		return l.outside(ctx, topic, part, below)
	case err != nil:
		return fmt.Errorf("delete records: %w", err)
	}
	return nil
}

// outside says why an offset was refused. Some brokers refuse one below the start too.
func (l *Log) outside(ctx context.Context, topic string, part int32, below int64) error {
	start, err := l.offset(ctx, topic, part, startOffset)
	if err == nil && start < below {
		err = fmt.Errorf("%w: it ends before that", eventlog.ErrOffset)
	}
	return err
}

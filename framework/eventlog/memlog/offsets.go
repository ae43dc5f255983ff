package memlog

import (
	"context"
	"fmt"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

var _ eventlog.Offsets = (*Log)(nil)

// place is a partition as a group knows it.
type place struct {
	group, topic string
	part         int32
}

// Commit implements [eventlog.Offsets]. All connections share what was committed.
func (l *Log) Commit(ctx context.Context, group, topic string, part int32, next int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.checkCommit(ctx, group, topic, part, next); err != nil {
		return fmt.Errorf("commit %d for group %s in %s/%d: %w", next, group, topic, part, err)
	}
	l.marks[place{group, topic, part}] = next
	return nil
}

// Committed implements [eventlog.Offsets].
func (l *Log) Committed(ctx context.Context, group, topic string, part int32) (next int64, known bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.checkCommit(ctx, group, topic, part, 0); err != nil {
		return 0, false, fmt.Errorf("offset of group %s in %s/%d: %w", group, topic, part, err)
	}
	next, known = l.marks[place{group, topic, part}]
	return next, known, nil
}

func (l *Log) checkCommit(ctx context.Context, group, topic string, part int32, next int64) error {
	if err := eventlog.CheckCommit(group, next); err != nil {
		return err
	}
	if _, err := l.find(topic, part); err != nil {
		return err
	}
	return ctx.Err()
}

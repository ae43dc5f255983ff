package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// coordinatorTimeout bounds the wait for a group's coordinator.
const coordinatorTimeout = 10 * time.Second

var _ eventlog.Offsets = (*Log)(nil)

// Commit implements [eventlog.Offsets] by a consumer group that has no members,
// so that Kafka's own tools show the group and its lag. Brokers forget an offset
// offsets.retention.minutes (a week by default) after it was committed: whoever
// is idle commits again meanwhile. A group that has members refuses.
func (l *Log) Commit(ctx context.Context, group, topic string, part int32, next int64) error {
	err := eventlog.CheckCommit(group, next)
	if err == nil {
		err = l.find(ctx, topic, part)
	}
	if err == nil {
		err = l.commitOffset(ctx, group, topic, part, next)
	}
	if err != nil {
		return fmt.Errorf("commit %d for group %s in %s/%d: %w", next, group, topic, part, err)
	}
	return nil
}

func (l *Log) commitOffset(ctx context.Context, group, topic string, part int32, next int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := l.bound(ctx)
	defer cancel()
	var offsets kadm.Offsets
	offsets.AddOffset(topic, part, next, -1)
	err := coordinated(ctx, func() error { return l.admin.CommitAllOffsets(ctx, group, offsets) })
	if missing(err) {
		return l.lost(ctx, topic, part)
	}
	return l.closed(err)
}

// Committed implements [eventlog.Offsets]. What the brokers have forgotten is not
// known.
func (l *Log) Committed(ctx context.Context, group, topic string, part int32) (next int64, known bool, err error) {
	err = eventlog.CheckCommit(group, 0)
	if err == nil {
		err = l.find(ctx, topic, part)
	}
	if err == nil {
		next, err = l.committed(ctx, group, topic, part)
	}
	if err != nil {
		return 0, false, fmt.Errorf("offset of group %s in %s/%d: %w", group, topic, part, err)
	}
	return max(next, 0), next >= 0, nil
}

// committed returns -1 for an offset that is not known.
func (l *Log) committed(ctx context.Context, group, topic string, part int32) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	ctx, cancel := l.bound(ctx)
	defer cancel()
	var all kadm.OffsetResponses
	err := coordinated(ctx, func() (err error) {
		all, err = l.admin.FetchOffsets(ctx, group)
		return err
	})
	switch {
	case errors.Is(err, kerr.GroupIDNotFound): // some brokers say so, others name no offset
		return -1, nil
	case err != nil:
		return 0, l.closed(err)
	}
	found, ok := all.Lookup(topic, part)
	switch {
	case !ok || missing(found.Err):
		return -1, nil
	case found.Err != nil:
		return 0, fmt.Errorf("broker: %w", found.Err)
	}
	return found.At, nil
}

// coordinated does a call again while the group's coordinator is being found, 10 s
// at most: in a new cluster the first call makes the topic that the brokers keep
// offsets in.
func coordinated(ctx context.Context, call func() error) error {
	ctx, cancel := context.WithTimeout(ctx, coordinatorTimeout)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := call()
		if !errors.Is(err, kerr.CoordinatorNotAvailable) && !errors.Is(err, kerr.CoordinatorLoadInProgress) && !errors.Is(err, kerr.NotCoordinator) {
			return err
		}
		if wait(ctx, pause) != nil {
			return err
		}
	}
}

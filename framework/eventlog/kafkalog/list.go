package kafkalog

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

var _ eventlog.Lister = (*Log)(nil)

// Topics implements [eventlog.Lister]: the topics of the cluster that this user
// may see, Kafka's own and other programs' among them. One that is just being
// made or deleted may be missing.
func (l *Log) Topics(ctx context.Context) ([]eventlog.Topic, error) {
	if l.ctx.Err() != nil {
		return nil, eventlog.ErrClosed
	}
	ctx, cancel := l.bound(ctx)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest() // naming no topics asks for all
	resp, err := req.RequestWith(ctx, l.client)
	if err != nil {
		return nil, l.closed(fmt.Errorf("list topics: %w", err))
	}
	topics := make([]eventlog.Topic, 0, len(resp.Topics))
	for _, t := range resp.Topics {
		if t.Topic != nil && kerr.ErrorForCode(t.ErrorCode) == nil {
			topics = append(topics, eventlog.Topic{Name: *t.Topic, Partitions: len(t.Partitions)})
		}
	}
	return topics, nil
}

// Start implements [eventlog.Lister] and [eventlog.Outside]. Above 0 the topic's retention, or somebody,
// deleted records: a topic that Ensure made keeps them.
func (l *Log) Start(ctx context.Context, topic string, part int32) (int64, error) {
	err := l.find(ctx, topic, part)
	var start int64
	if err == nil {
		start, err = l.offset(ctx, topic, part, startOffset)
	}
	if err != nil {
		return 0, fmt.Errorf("start of %s/%d: %w", topic, part, err)
	}
	return start, nil
}

package kafkalog

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Partitions implements [eventlog.Outside]. It asks the cluster each time, since
// others may add partitions.
func (l *Log) Partitions(ctx context.Context, topic string) (int, error) {
	found, err := l.ask(ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("partitions of %s: %w", topic, err)
	}
	return len(found.Partitions), nil
}

// TopicID implements [eventlog.Outside]: the id as Kafka's own tools write it. A
// cluster before Kafka 2.8 has none.
func (l *Log) TopicID(ctx context.Context, topic string) (string, error) {
	found, err := l.ask(ctx, topic)
	if err != nil {
		return "", fmt.Errorf("id of %s: %w", topic, err)
	}
	if found.TopicID == [16]byte{} {
		return "", nil
	}
	return base64.RawURLEncoding.EncodeToString(found.TopicID[:]), nil
}

// ask asks the cluster for a topic.
func (l *Log) ask(ctx context.Context, topic string) (kmsg.MetadataResponseTopic, error) {
	if l.ctx.Err() != nil {
		return kmsg.MetadataResponseTopic{}, eventlog.ErrClosed
	}
	ctx, cancel := l.bound(ctx)
	defer cancel()
	found, err := l.describe(ctx, topic)
	return found, l.closed(err)
}

// ReadOutside implements [eventlog.Outside]. Readers with committed share other
// clients than those without. Records that were compacted away leave gaps.
func (l *Log) ReadOutside(topic string, part int32, from int64, committed bool) (eventlog.Reader, error) {
	slots := l.slots
	if committed {
		slots = l.settled
	}
	return l.read(&reader{at: place{topic, part}, as: others, from: slots, next: from})
}

// Publish implements [eventlog.Outside]. It takes turns with Append, and an
// empty key is a missing one.
func (l *Log) Publish(ctx context.Context, topic string, part int32, batch []eventlog.Record) (int64, error) {
	err := eventlog.CheckHeaders(batch)
	var base int64
	if err == nil {
		base, err = l.append(ctx, topic, part, batch, others)
	}
	if err != nil {
		return 0, fmt.Errorf("publish %d records to %s/%d: %w", len(batch), topic, part, err)
	}
	return base, nil
}

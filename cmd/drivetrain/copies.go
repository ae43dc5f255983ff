package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// maxHeld is how many bytes of copies wait to be published together.
const maxHeld = 16 << 20

// copies publishes events to a topic of others, a record each, as CloudEvents in
// Kafka's binary mode: the attributes in headers, the payload as it is.
type copies struct {
	log    *kafkalog.Log
	topic  string
	source string              // of the CloudEvents: the application
	held   [][]eventlog.Record // by partition of the topic
	size   int
}

func openCopies(ctx context.Context, cfg kafkalog.Config, topic, from string) (*copies, error) {
	log, err := kafkalog.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	n, err := log.Partitions(ctx, topic)
	if errors.Is(err, eventlog.ErrUnknownTopic) {
		err = fmt.Errorf("there is no topic %s to publish to; make it first, with the partitions and the retention that its readers need", topic)
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return &copies{log: log, topic: topic, source: "//" + strings.TrimSuffix(from, events), held: make([][]eventlog.Record, n)}, nil
}

func (c *copies) put(ctx context.Context, part int32, e *partition.Event) error {
	n := eventlog.PartitionOf(e.Key, len(c.held))
	r := eventlog.Record{Key: e.Key, Value: e.Data, Header: c.headers(part, e)}
	c.held[n] = append(c.held[n], r)
	if c.size += len(r.Key) + len(r.Header) + len(r.Value); c.size < maxHeld {
		return nil
	}
	return c.settle(ctx)
}

// headers returns the attributes of a copy. The record's own time is left to the log:
// by an old event's the topic's retention might delete it at once.
func (c *copies) headers(part int32, e *partition.Event) []byte {
	list := make([]byte, 0, 320)
	add := func(name, value string) {
		if value != "" {
			list = eventlog.AppendHeader(list, name, []byte(value))
		}
	}
	kind, id, _ := strings.Cut(string(e.Key), "/")
	add("ce_specversion", "1.0")
	add("ce_id", e.ID.String())
	add("ce_source", c.source)
	add("ce_type", e.Type)
	add("ce_subject", id)
	add("ce_time", e.Time.Format(time.RFC3339Nano))
	add("ce_aggregate", kind)
	add("ce_version", strconv.FormatUint(e.Version, 10))
	add("ce_actor", e.Actor)
	add("ce_position", eventlog.Position{Partition: part, Offset: e.Offset}.String())
	if isJSON(e.Data) {
		add("content-type", "application/json")
	}
	return list
}

// settle publishes what is held, all partitions at once.
func (c *copies) settle(ctx context.Context) error {
	var publishing sync.WaitGroup
	failed := make([]error, len(c.held))
	for n, records := range c.held {
		if len(records) > 0 {
			publishing.Go(func() { failed[n] = c.publish(ctx, int32(n), records) })
		}
		c.held[n] = nil // the log may keep the records
	}
	c.size = 0
	publishing.Wait()
	return errors.Join(failed...)
}

// publish appends records in batches that the log takes.
func (c *copies) publish(ctx context.Context, n int32, records []eventlog.Record) error {
	for len(records) > 0 {
		count, size := 0, 0
		for count < len(records) && count < eventlog.MaxRecords {
			if size += eventlog.Size(records[count : count+1]); size > eventlog.MaxBatch && count > 0 {
				break
			}
			count++
		}
		if _, err := c.log.Publish(ctx, c.topic, n, records[:count]); err != nil {
			return fmt.Errorf("publish %d events to %s/%d: %w", count, c.topic, n, err)
		}
		records = records[count:]
	}
	return nil
}

func (c *copies) ended() error { return nil }

func (c *copies) close() error { return c.log.Close() }

func (c *copies) rest(from eventlog.Positions) string {
	return "go on with --from " + from.String()
}

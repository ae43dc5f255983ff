package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// readTopic reads a topic out of Kafka: its partitions in order, each to the end
// that it has now. It finds no offset missing.
func readTopic(ctx context.Context, brokers, topic string) ([][]record, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ends of %s: %w", topic, err)
	}
	log, left, from := make([][]record, len(ends[topic])), int64(0), make(map[int32]kgo.Offset)
	for p, end := range ends[topic] {
		left += end.Offset
		from[p] = kgo.NewOffset().At(0)
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})
	for left > 0 {
		found := client.PollFetches(ctx)
		if err := found.Err(); err != nil {
			return nil, fmt.Errorf("read %s: %w", topic, err)
		}
		for _, r := range found.Records() {
			if r.Offset >= ends[topic][r.Partition].Offset {
				continue
			}
			if want := int64(len(log[r.Partition])); r.Offset != want {
				return nil, fmt.Errorf("%s, partition %d: offset %d follows on %d records", topic, r.Partition, r.Offset, want)
			}
			log[r.Partition] = append(log[r.Partition], record{offset: r.Offset, key: r.Key, header: envelopeOf(r), value: r.Value})
			left--
		}
	}
	return log, nil
}

// envelopeOf returns a record's header e; without it nothing reads the record.
func envelopeOf(r *kgo.Record) []byte {
	if len(r.Headers) == 1 && r.Headers[0].Key == "e" {
		return r.Headers[0].Value
	}
	return nil
}

// removeTopics deletes an application's topics and consumer groups.
func removeTopics(ctx context.Context, brokers, app string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		return err
	}
	own := slices.DeleteFunc(topics.Names(), func(name string) bool { return !strings.HasPrefix(name, app+".") })
	if _, err := admin.DeleteTopics(ctx, own...); err != nil {
		return err
	}
	_, err = admin.DeleteGroups(ctx, app, app+".announce-tribes")
	return err
}

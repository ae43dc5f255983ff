package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

const (
	// maxMessage is the max.message.bytes of a new topic: a batch of MaxBatch
	// bytes with room for what Kafka adds to each of many small records.
	maxMessage = 2 << 20
	// minMessage is what a topic must take at least. Brokers take 12 more by
	// default.
	minMessage = 1 << 20
	// usableTimeout bounds the wait until a new topic has leaders.
	usableTimeout = 30 * time.Second
	// maxPartitions bounds the partitions of a topic.
	maxPartitions = 1 << 14
)

// find returns nil if a partition exists, asking the cluster for a topic that is
// not known yet.
func (l *Log) find(ctx context.Context, topic string, part int32) error {
	l.mu.Lock()
	n, known := l.topics[topic]
	closed := l.ctx.Err() != nil
	l.mu.Unlock()
	switch {
	case closed:
		return eventlog.ErrClosed
	case known && part >= 0 && part < n:
		return nil
	}
	return l.refind(ctx, topic, part)
}

// refind asks the cluster anew.
func (l *Log) refind(ctx context.Context, topic string, part int32) error {
	ctx, cancel := l.bound(ctx)
	defer cancel()
	n, err := l.lookup(ctx, topic)
	if err != nil {
		return l.closed(err)
	}
	if part < 0 || part >= n {
		return errNoPartition(topic, part, n)
	}
	return nil
}

// lookup asks the cluster how many partitions a topic has and keeps the answer.
func (l *Log) lookup(ctx context.Context, topic string) (int32, error) {
	found, err := l.describe(ctx, topic)
	return int32(len(found.Partitions)), err
}

// describe asks the cluster for a topic and keeps how many partitions it has.
func (l *Log) describe(ctx context.Context, topic string) (kmsg.MetadataResponseTopic, error) {
	found, err := metadata(ctx, l.client, topic)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case missing(err):
		delete(l.topics, topic)
		l.sender.forget(topic)
		return found, errNoTopic(topic)
	case err != nil:
		return found, fmt.Errorf("look up topic %s: %w", topic, err)
	}
	l.topics[topic] = int32(len(found.Partitions))
	return found, nil
}

// metadata asks one broker, or any, for a topic. kadm's answers may be old.
func metadata(ctx context.Context, from kmsg.Requestor, topic string) (kmsg.MetadataResponseTopic, error) {
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &topic
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{rt}
	resp, err := req.RequestWith(ctx, from)
	switch {
	case err != nil:
		return kmsg.MetadataResponseTopic{}, err
	case len(resp.Topics) != 1:
		return kmsg.MetadataResponseTopic{}, fmt.Errorf("the answer names %d topics", len(resp.Topics))
	}
	return resp.Topics[0], kerr.ErrorForCode(resp.Topics[0].ErrorCode)
}

// End implements [eventlog.Log]: the high watermark, below which every record is
// on all replicas in sync.
func (l *Log) End(ctx context.Context, topic string, part int32) (int64, error) {
	err := l.find(ctx, topic, part)
	var end int64
	if err == nil {
		end, err = l.offset(ctx, topic, part, endOffset)
	}
	if err != nil {
		return 0, fmt.Errorf("end of %s/%d: %w", topic, part, err)
	}
	return end, nil
}

// Times by which Kafka lists the two ends of a partition.
const (
	endOffset   = -1
	startOffset = -2
)

// offset lists one end of a partition.
func (l *Log) offset(ctx context.Context, topic string, part int32, which int64) (int64, error) {
	ctx, cancel := l.bound(ctx)
	defer cancel()
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Partition, rp.Timestamp = part, which
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic, rt.Partitions = topic, []kmsg.ListOffsetsRequestTopicPartition{rp}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.Topics = -1, []kmsg.ListOffsetsRequestTopic{rt}
	resp, err := req.RequestWith(ctx, l.client)
	switch {
	case err != nil:
		return 0, l.closed(fmt.Errorf("list offsets: %w", err))
	case len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1:
		return 0, errors.New("list offsets: the answer names other partitions")
	}
	answer := resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(answer.ErrorCode); missing(err) {
		return 0, l.lost(ctx, topic, part)
	} else if err != nil {
		return 0, fmt.Errorf("list offsets: %w", err)
	}
	return answer.Offset, nil
}

// lost says why a partition that was known is not any more.
func (l *Log) lost(ctx context.Context, topic string, part int32) error {
	if err := l.refind(ctx, topic, part); err != nil {
		return err
	}
	return fmt.Errorf("%s/%d moves between brokers or was made anew; try again", topic, part)
}

// Ensure implements [eventlog.Log]. A new topic keeps its records for ever and is
// waited for, 30 s at most, until every broker knows it and each partition has a
// leader; so is one of another process that a broker does not know yet. Of a topic
// that exists, all that does not fit is named at once.
func (l *Log) Ensure(ctx context.Context, t eventlog.Topic) error {
	ctx, cancel := l.bound(ctx)
	defer cancel()
	err := l.ensure(ctx, t)
	var unfit *eventlog.TopicError
	if err == nil || errors.As(err, &unfit) {
		return err
	}
	return fmt.Errorf("ensure topic %s: %w", t.Name, l.closed(err))
}

func (l *Log) ensure(ctx context.Context, t eventlog.Topic) error {
	if err := valid(t); err != nil {
		return err
	}
	if l.ctx.Err() != nil {
		return eventlog.ErrClosed
	}
	n, err := l.lookup(ctx, t.Name)
	if errors.Is(err, eventlog.ErrUnknownTopic) {
		err = l.create(ctx, t)
		if err == nil {
			return l.usable(ctx, t)
		}
		if errors.Is(err, kerr.TopicAlreadyExists) { // another process was quicker
			if err = l.usable(ctx, t); err == nil {
				n, err = l.lookup(ctx, t.Name)
			}
		}
	}
	if err != nil {
		return err
	}
	return l.check(ctx, t, int(n))
}

var name = regexp.MustCompile(`^[A-Za-z0-9._-]{1,200}$`)

func valid(t eventlog.Topic) error {
	switch {
	case !name.MatchString(t.Name) || t.Name == "." || t.Name == "..":
		return &eventlog.TopicError{Topic: strconv.Quote(t.Name), Problem: "this is no name of a topic", Remedy: "use 1 to 200 of A-Z a-z 0-9 . _ -"}
	case t.Partitions < 1 || t.Partitions > maxPartitions:
		return &eventlog.TopicError{Topic: t.Name, Problem: fmt.Sprintf("asked for with %d partitions", t.Partitions),
			Remedy: fmt.Sprintf("ask for 1 to %d", maxPartitions)}
	}
	return nil
}

func (l *Log) create(ctx context.Context, t eventlog.Topic) error {
	replicas := l.cfg.Replication
	if replicas == 0 {
		brokers, err := l.admin.ListBrokers(ctx)
		if err != nil {
			return fmt.Errorf("count brokers: %w", err)
		}
		replicas = min(3, len(brokers))
	}
	configs := map[string]*string{
		"cleanup.policy":                 kadm.StringPtr("delete"),
		"retention.ms":                   kadm.StringPtr("-1"),
		"retention.bytes":                kadm.StringPtr("-1"),
		"unclean.leader.election.enable": kadm.StringPtr("false"),
		"max.message.bytes":              kadm.StringPtr(strconv.Itoa(maxMessage)),
	}
	if replicas >= 3 {
		configs["min.insync.replicas"] = kadm.StringPtr("2")
	}
	_, err := l.admin.CreateTopic(ctx, int32(t.Partitions), int16(replicas), configs, t.Name)
	if err != nil {
		return fmt.Errorf("create with %d partitions and %d replicas: %w", t.Partitions, replicas, err)
	}
	return nil
}

// usable waits until all brokers and clients can use a new topic.
func (l *Log) usable(ctx context.Context, t eventlog.Topic) error {
	ctx, cancel := context.WithTimeout(ctx, usableTimeout)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := l.spread(ctx, t)
		if err == nil {
			return nil
		}
		if wait(ctx, pause) != nil {
			return fmt.Errorf("created, but not usable yet: %w; try again", err)
		}
	}
}

// spread returns nil once every broker knows the topic and all leaders answer.
func (l *Log) spread(ctx context.Context, t eventlog.Topic) error {
	brokers, err := l.admin.ListBrokers(ctx)
	if err != nil {
		return err
	}
	for _, b := range brokers {
		if err := l.knows(ctx, b.NodeID, t.Name); err != nil {
			return err
		}
	}
	ends, err := l.admin.ListEndOffsets(ctx, t.Name)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return err
	}
	_, err = l.lookup(ctx, t.Name)
	return err
}

// knows returns nil once a broker knows the leaders of a topic.
func (l *Log) knows(ctx context.Context, node int32, topic string) error {
	found, err := metadata(ctx, l.client.Broker(int(node)), topic)
	if err != nil {
		return fmt.Errorf("broker %d: %w", node, err)
	}
	for _, p := range found.Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return fmt.Errorf("broker %d, partition %d: %w", node, p.Partition, err)
		}
	}
	return nil
}

// check compares a topic that exists with what an application needs.
func (l *Log) check(ctx context.Context, t eventlog.Topic, partitions int) error {
	found, err := l.configs(ctx, t.Name)
	if missing(err) { // another process has just made the topic, and this broker does not know it yet
		if err = l.usable(ctx, t); err == nil {
			found, err = l.configs(ctx, t.Name)
		}
	}
	if err != nil {
		return err
	}
	problems, settings := unfit(found)
	var remedies []string
	if len(settings) > 0 {
		remedies = append(remedies, "run "+l.tool("kafka-configs.sh", "--alter --entity-type topics --entity-name "+t.Name+
			" --add-config "+strings.Join(settings, ",")))
	}
	if partitions != t.Partitions {
		problems = append(problems, fmt.Sprintf("it has %d partitions, not %d", partitions, t.Partitions))
		remedies = append(remedies, fmt.Sprintf("ask for %d partitions, or, only if it holds no records yet, run %s and start again",
			partitions, l.tool("kafka-topics.sh", "--delete --topic "+t.Name)))
	}
	if len(problems) == 0 {
		return nil
	}
	return &eventlog.TopicError{Topic: t.Name, Problem: strings.Join(problems, "; "), Remedy: strings.Join(remedies, "; ")}
}

// tool is a command line of Kafka's own tools.
func (l *Log) tool(name, args string) string {
	return name + " --bootstrap-server " + strings.Join(l.cfg.Brokers, ",") + " " + args
}

func (l *Log) configs(ctx context.Context, topic string) (map[string]string, error) {
	all, err := l.admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("read its settings: %w", err)
	}
	of, err := all.On(topic, nil)
	if err == nil {
		err = of.Err
	}
	if err != nil {
		return nil, fmt.Errorf("read its settings: %w", err)
	}
	found := make(map[string]string, len(of.Configs))
	for _, c := range of.Configs {
		found[c.Key] = c.MaybeValue()
	}
	return found, nil
}

// unfit names what in a topic's settings endangers records, and the settings
// that mend it. A setting that the cluster does not have is none of them.
func unfit(found map[string]string) (problems, settings []string) {
	is := func(key, want, problem string, bad func(string) bool) {
		if v, ok := found[key]; ok && bad(v) {
			problems = append(problems, fmt.Sprintf("%s (%s=%s)", problem, key, v))
			settings = append(settings, key+"="+want)
		}
	}
	is("cleanup.policy", "delete", "it is compacted, which removes records", func(v string) bool { return v != "delete" })
	is("retention.ms", "-1", "its records expire", func(v string) bool { return v != "-1" })
	is("retention.bytes", "-1", "its oldest records are deleted when it grows", func(v string) bool { return v != "-1" })
	is("unclean.leader.election.enable", "false", "it may lose acknowledged records", func(v string) bool { return v != "false" })
	is("max.message.bytes", strconv.Itoa(maxMessage), "it takes no batch of 900 KiB", func(v string) bool {
		n, err := strconv.Atoi(v)
		return err == nil && n < minMessage
	})
	return problems, settings
}

// Delete implements [eventlog.Deleter].
func (l *Log) Delete(ctx context.Context, topic string) error {
	ctx, cancel := l.bound(ctx)
	defer cancel()
	if _, err := l.admin.DeleteTopic(ctx, topic); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return l.closed(fmt.Errorf("delete topic %s: %w", topic, err))
	}
	for pause := (clock.Backoff{}); ; { // brokers hear of it one after the other
		_, err := l.describe(ctx, topic)
		if errors.Is(err, eventlog.ErrUnknownTopic) {
			return nil
		}
		if err := clock.Sleep(ctx, clock.System, pause.Next(clock.System)); err != nil {
			return l.closed(fmt.Errorf("delete topic %s: it is still there: %w", topic, err))
		}
	}
}

var _ eventlog.Deleter = (*Log)(nil)

package memlog

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

var (
	_ eventlog.Outside    = (*Log)(nil)
	_ eventlog.Transactor = (*Log)(nil)
)

// Partitions implements [eventlog.Outside].
func (l *Log) Partitions(ctx context.Context, topic string) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.reach(ctx, topic, 0); err != nil {
		return 0, fmt.Errorf("partitions of %s: %w", topic, err)
	}
	return len(l.topics[topic]), nil
}

// Start implements [eventlog.Outside].
func (l *Log) Start(ctx context.Context, topic string, part int32) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.reach(ctx, topic, part); err != nil {
		return 0, fmt.Errorf("start of %s/%d: %w", topic, part, err)
	}
	return l.topics[topic][part].start, nil
}

// TopicID implements [eventlog.Outside]: a number, one higher for each topic made.
func (l *Log) TopicID(ctx context.Context, topic string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.reach(ctx, topic, 0); err != nil {
		return "", fmt.Errorf("id of %s: %w", topic, err)
	}
	return strconv.Itoa(l.ids[topic]), nil
}

// reach returns why a partition cannot be asked for.
func (l *Log) reach(ctx context.Context, topic string, part int32) error {
	_, err := l.find(topic, part)
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// ReadOutside implements [eventlog.Outside]. Transactions land whole, so
// committed changes nothing.
func (l *Log) ReadOutside(topic string, part int32, from int64, _ bool) (eventlog.Reader, error) {
	r, err := l.read(topic, part, from)
	if err != nil {
		return nil, err
	}
	r.lists = true
	return r, nil
}

// Publish implements [eventlog.Outside]; it suffers what Append does.
func (l *Log) Publish(ctx context.Context, topic string, part int32, batch []eventlog.Record) (int64, error) {
	err := eventlog.CheckHeaders(batch)
	var base int64
	if err == nil {
		base, err = l.append(ctx, topic, part, batch, true)
	}
	if err != nil {
		return 0, fmt.Errorf("publish to %s/%d: %w", topic, part, err)
	}
	return base, nil
}

// Trim implements [eventlog.Trimmer]. No fault befalls it.
func (l *Log) Trim(ctx context.Context, topic string, part int32, below int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.reach(ctx, topic, part)
	if err == nil {
		p := l.topics[topic][part]
		if end := int64(len(p.records)); below > end {
			err = fmt.Errorf("%w: it ends at %d", eventlog.ErrOffset, end)
		} else {
			p.start = max(p.start, below)
		}
	}
	if err != nil {
		return fmt.Errorf("trim %s/%d below %d: %w", topic, part, below, err)
	}
	return nil
}

// Remake deletes a topic with all its records and makes it anew, with another
// TopicID, as others may do with theirs. An unknown topic is left alone.
func (l *Log) Remake(topic string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.topics[topic]
	if old == nil {
		return
	}
	l.made(topic, len(old))
	for _, p := range old {
		close(p.changed)
	}
}

// Delete implements [eventlog.Deleter].
func (l *Log) Delete(ctx context.Context, topic string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := ctx.Err()
	if l.closed {
		err = eventlog.ErrClosed
	}
	if err != nil {
		return fmt.Errorf("delete topic %s: %w", topic, err)
	}
	for _, p := range l.topics[topic] {
		close(p.changed)
		p.changed = make(chan struct{}) // a batch that is under way may land yet
	}
	delete(l.topics, topic)
	delete(l.ids, topic)
	return nil
}

func (s *store) made(topic string, partitions int) {
	s.topics[topic] = newPartitions(partitions)
	s.created++
	s.ids[topic] = s.created
}

// outward returns a run as ReadOutside does, if lists, or Read: a record that
// came the other way has its header turned.
func (p *partition) outward(run []eventlog.Record, lists bool) []eventlog.Record {
	copied := false
	for i := range run {
		if len(run[i].Header) == 0 || p.lists[run[i].Offset] == lists {
			continue
		}
		if !copied {
			run, copied = slices.Clone(run), true
		}
		if lists {
			run[i].Header = eventlog.AppendHeader(nil, "e", run[i].Header)
		} else {
			run[i].Header = eventlog.Header(run[i].Header, "e")
		}
	}
	return run
}

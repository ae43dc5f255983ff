package stream

import "fmt"

// Mode is what readers of a published topic may rely on.
type Mode int

// The modes.
const (
	// Plain: every element is written at least once. A copy that is written again
	// after a crash has the same header, which names the input it was made of.
	Plain Mode = iota
	// Transactional: every element is written once, for readers who take committed
	// records only. It needs a log that has transactions.
	Transactional
)

// Publish writes elements to a topic that others read, under their keys.
type Publish[T any] struct {
	Name  string // [a-z][a-z0-9-]*, for ever
	Topic string // exists already
	Mode  Mode
	Codec Codec[T] // of the payload; default JSON
	// Partition returns which of n partitions a key is written to. Default: where
	// the topic has as many as the task's own input, the one of the same number;
	// else by Kafka's murmur2.
	Partition func(key []byte, n int) int32
}

// To publishes a stream.
func To[T any](in *Stream[T], p *Publish[T]) {
	in.of.of.claim("publish", p.Name)
	if p.Topic == "" || p.Mode < Plain || p.Mode > Transactional {
		panic(fmt.Errorf("publish %s: set Topic; Mode is %d, want Plain or Transactional", p.Name, p.Mode))
	}
	if err := p.Codec.check("publish " + p.Name); err != nil {
		panic(err)
	}
	codec, n := p.Codec.orJSON(), len(in.of.outs)
	in.of.outs = append(in.of.outs, &out{name: p.Name, topic: p.Topic, mode: p.Mode, partition: p.Partition})
	in.link(func(c *core) sink[T] {
		group := c.outs[n]
		v, encode := codec.reused()
		return func(e T) error {
			*v = e
			return emit(c, group, 0, group.own, c.key, encode)
		}
	})
}

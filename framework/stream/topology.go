package stream

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Topology is a dataflow: sources, operators between them, and what they publish.
// Declare it once, with From, Via, KeyBy and the others; it must not change once
// it runs. A mistake in a declaration panics, with the fix in the message.
//
// Its names (its own, its operators' and shuffles') are data: topics, groups and
// snapshots carry them for ever.
type Topology struct {
	Name string // [a-z][a-z0-9-]*, several of these joined by dots, at most 128 bytes
	// Version is the fold version, default 1. It is to be raised with any change of
	// what the operators do to the same input: snapshots and derived records of
	// another version are refused.
	Version uint64
	// Partitions is how many the shuffles have; default 16.
	Partitions int
	// MarkEvery is how far, in event time, a source's watermark moves before the
	// shuffles that it does not write to otherwise are told; default 1 s. Windows
	// close by so much later at most. Another value needs another Version.
	MarkEvery time.Duration
	// Park lets the tasks go on where an element cannot be folded, without its key.
	// Default: a task stops there for good.
	Park *Park

	stages []*stage
	names  map[string]bool
}

// Stream is the elements of one kind on their way from an operator to others, each
// with a key and an event time.
type Stream[T any] struct {
	of    *stage
	links []func(*core) sink[T]
}

// sink takes one element; the core knows its key and time.
type sink[T any] func(T) error

// stage is what lies between two logs: it reads one topic, a task for each
// partition, and its operators hand elements to each other by calls.
type stage struct {
	of        *Topology
	name      string
	topic     string // of an outside topic; empty: a shuffle's own
	sources   []*stage
	ports     []func(*core) func(payload []byte) error
	open      func(*core) judge
	operators []string
	shapes    []string       // of their states, where they say so
	maps      map[any]string // whose each is
	outs      []*out
	stores    []*store
	timed     bool   // an operator of it, or of what follows it, needs watermarks
	group     string // of a source: by which its progress is shown
	foreign   bool   // the topic is written by others, and records are as they made them
	timeless  bool   // of a table: it tells no watermark, and holds none up
	committed bool   // of a foreign one: take no record of a transaction that was not committed
}

// out is where a stage sends elements: a shuffle, or a topic of others.
type out struct {
	name      string
	to        *stage // a shuffle; nil: a topic of others
	source    uint32 // this stage's place among those that write to the shuffle
	topic     string // of others
	mode      Mode
	partition func(key []byte, partitions int) int32 // nil: see Publish
}

var (
	nameRule     = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)
	topologyRule = regexp.MustCompile(`^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)*$`)
)

func (t *Topology) version() uint64 { return max(t.Version, 1) }

func (t *Topology) partitions() int {
	if t.Partitions == 0 {
		return 16
	}
	return t.Partitions
}

func (t *Topology) markEvery() time.Duration {
	if t.MarkEvery == 0 {
		return time.Second
	}
	return t.MarkEvery
}

// claim takes a name within the topology.
func (t *Topology) claim(what, name string) {
	switch {
	case !topologyRule.MatchString(t.Name) || len(t.Name) > 128:
		panic(fmt.Errorf("topology %q: Name must match %s and have at most 128 bytes", t.Name, topologyRule))
	case t.Partitions < 0 || t.Partitions > eventlog.MaxPartitions || t.MarkEvery < 0:
		panic(fmt.Errorf("topology %s: Partitions is %d, want 1 to %d, MarkEvery %v, want none below zero", t.Name, t.Partitions, eventlog.MaxPartitions, t.MarkEvery))
	case !nameRule.MatchString(name):
		panic(fmt.Errorf("%s %q of topology %s: a name must match %s", what, name, t.Name, nameRule))
	case t.names[name]:
		panic(fmt.Errorf("%s %q of topology %s: the name is taken; give each operator, source and shuffle its own", what, name, t.Name))
	}
	if t.names == nil {
		t.names = make(map[string]bool)
	}
	t.names[name] = true
}

// shuffleTopic is where the records of a topology's shuffle lie, for one fold version.
func (t *Topology) shuffleTopic(name string) string {
	return fmt.Sprintf("%s.%s.%d", t.Name, name, t.version())
}

func (s *stage) shuffleTopic() string { return s.of.shuffleTopic(s.name) }

func (s *stage) input() string {
	if s.topic != "" {
		return s.topic
	}
	return s.shuffleTopic()
}

// need marks that a stage, and all before it, must tell watermarks.
func (s *stage) need() {
	if s.timed {
		return
	}
	s.timed = true
	for _, up := range s.sources {
		up.need()
	}
}

// own notes whose a map or list is.
func (s *stage) own(m Entries, process string) {
	if slices.Contains(s.operators, process+"/"+m.entriesName()) {
		panic(fmt.Errorf("process %s: two of its Maps have the name %s; give each its own", process, m.entriesName()))
	}
	if other, taken := s.maps[m.identity()]; taken {
		panic(fmt.Errorf("process %s: the map %s is also that of process %s; declare one for each", process, m.entriesName(), other))
	}
	if s.maps == nil {
		s.maps = make(map[any]string)
	}
	s.maps[m.identity()] = process
}

func (s *Stream[T]) link(f func(*core) sink[T]) { s.links = append(s.links, f) }

// sink returns what takes the stream's elements in one task.
func (s *Stream[T]) sink(c *core) sink[T] {
	return once(c, s, func() sink[T] {
		var all []sink[T]
		for _, f := range s.links {
			all = append(all, f(c))
		}
		switch len(all) {
		case 0:
			return func(T) error { return nil }
		case 1:
			return all[0]
		}
		return func(v T) error {
			for _, to := range all {
				if err := to(v); err != nil {
					return err
				}
			}
			return nil
		}
	})
}

// once makes what belongs to a declaration, one in each task.
func once[V any](c *core, declared any, f func() V) V {
	if v, ok := c.made[declared]; ok {
		return v.(V)
	}
	v := f()
	c.made[declared] = v
	return v
}

// Map returns the stream of what f makes of each element. f is pure.
func Map[In, Out any](in *Stream[In], f func(In) Out) *Stream[Out] {
	o := &Stream[Out]{of: in.of}
	in.link(func(c *core) sink[In] {
		next := o.sink(c)
		return func(v In) error { return next(f(v)) }
	})
	return o
}

// Filter returns the stream of the elements for which keep says true.
func Filter[T any](in *Stream[T], keep func(T) bool) *Stream[T] {
	o := &Stream[T]{of: in.of}
	in.link(func(c *core) sink[T] {
		next := o.sink(c)
		return func(v T) error {
			if !keep(v) {
				return nil
			}
			return next(v)
		}
	})
	return o
}

// FlatMap returns the stream of what f yields for each element, any number.
func FlatMap[In, Out any](in *Stream[In], f func(v In, yield func(Out))) *Stream[Out] {
	o := &Stream[Out]{of: in.of}
	in.link(func(c *core) sink[In] {
		next := o.sink(c)
		var err error
		yield := func(v Out) {
			if err == nil {
				err = next(v)
			}
		}
		return func(v In) error {
			err = nil
			f(v, yield)
			return err
		}
	})
	return o
}

// Merge returns the elements of several streams that stand between the same two
// logs. Streams that do not are brought together by a shuffle: give each to KeyBy
// with [Into].
func Merge[T any](streams ...*Stream[T]) *Stream[T] {
	if len(streams) == 0 {
		panic("stream.Merge of nothing: name the streams")
	}
	o := &Stream[T]{of: streams[0].of}
	for _, in := range streams {
		if in.of != o.of {
			panic(fmt.Errorf("stream.Merge: streams of %s and of %s lie in different logs; shuffle both with KeyBy into one", in.of.name, o.of.name))
		}
		in.link(o.sink)
	}
	return o
}

// Shuffle is a log that elements of several streams are written to, each under the
// key that it is given, to be read as one.
type Shuffle struct{ of *stage }

// NewShuffle declares a shuffle of a topology.
func NewShuffle(t *Topology, name string) *Shuffle {
	t.claim("shuffle", name)
	s := &stage{of: t, name: name, open: openShuffle}
	t.stages = append(t.stages, s)
	return &Shuffle{s}
}

// KeyBy writes each element to a shuffle of its own under the key that f returns,
// and returns the stream that comes out of it.
func KeyBy[T any](in *Stream[T], name string, f func(T) string, codec Codec[T]) *Stream[T] {
	return Into(in, NewShuffle(in.of.of, name), f, codec)
}

// Into writes each element to a shuffle under the key that f returns, and returns
// the stream of these elements as they come out of it, in the shuffle's own order.
func Into[T any](in *Stream[T], to *Shuffle, f func(T) string, codec Codec[T]) *Stream[T] {
	port, n, codec := connect(in, to, codec)
	in.link(func(c *core) sink[T] {
		group := c.outs[n]
		v, encode := codec.reused()
		return func(e T) error {
			*v = e
			return emit(c, group, port, -1, f(e), encode)
		}
	})
	return leave(to, codec)
}

// Broadcast writes each element to every partition of a shuffle, where it comes
// out under the empty key: rules and models that all keys shall see, in each
// partition at one place of its order. What an operator keeps of them in a MapState
// it finds by Shared while it works for other keys.
func Broadcast[T any](in *Stream[T], to *Shuffle, codec Codec[T]) *Stream[T] {
	port, n, codec := connect(in, to, codec)
	in.link(func(c *core) sink[T] {
		group := c.outs[n]
		v, encode := codec.reused()
		return func(e T) error {
			*v = e
			for p := range int32(len(group.boxes)) {
				if err := emit(c, group, port, p, "", encode); err != nil {
					return err
				}
			}
			return nil
		}
	})
	return leave(to, codec)
}

// connect lets a stream's stage write to a shuffle, and returns the port that its
// elements come out of and the number of the way out.
func connect[T any](in *Stream[T], to *Shuffle, codec Codec[T]) (port uint64, n int, _ Codec[T]) {
	if in.of.of != to.of.of {
		panic(fmt.Errorf("stream: %s and shuffle %s belong to different topologies", in.of.name, to.of.name))
	}
	if reaches(to.of, in.of) {
		panic(fmt.Errorf("stream: shuffle %s is part of its own input %s; a topology has no circles", to.of.name, in.of.name))
	}
	if err := codec.check("shuffle " + to.of.name); err != nil {
		panic(err)
	}
	source := slices.Index(to.of.sources, in.of)
	if source < 0 {
		source = len(to.of.sources)
		to.of.sources = append(to.of.sources, in.of)
		in.of.outs = append(in.of.outs, &out{name: to.of.name, to: to.of, source: uint32(source)})
	}
	n = slices.IndexFunc(in.of.outs, func(o *out) bool { return o.to == to.of })
	if to.of.timed {
		in.of.need()
	}
	return uint64(len(to.of.ports) + 1), n, codec.orJSON()
}

// leave adds the port where elements come out of a shuffle.
func leave[T any](to *Shuffle, codec Codec[T]) *Stream[T] {
	o := &Stream[T]{of: to.of}
	to.of.ports = append(to.of.ports, func(c *core) func([]byte) error {
		next := o.sink(c)
		var v, zero T
		return func(payload []byte) error {
			v = zero
			if err := codec.Decode(payload, &v); err != nil {
				return fmt.Errorf("decode: %w", err)
			}
			return next(v)
		}
	})
	return o
}

// reaches reports whether what from emits can come to to.
func reaches(from, to *stage) bool {
	if from == to {
		return true
	}
	for _, o := range from.outs {
		if o.to != nil && reaches(o.to, to) {
			return true
		}
	}
	return false
}

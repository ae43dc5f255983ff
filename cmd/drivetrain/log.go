package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

type logCommand struct {
	logFlags
	Partition []int32 `placeholder:"N" help:"A partition to print; may be given several times. Default: all, one after the other."`
	From      string  `placeholder:"P@OFFSET" help:"Print from this position on, and its partition only; several are joined by commas, such as 0@120,3@81234. Records before it are read all the same, as they decide what later ones mean."`
	Limit     int     `placeholder:"N" help:"Print so many records at most, over all partitions. Default: no limit."`
	Follow    bool    `short:"f" help:"Do not stop at the end: print records as they come, of all partitions at once, until Ctrl-C. With --brokers only."`

	starts map[int32]int64 // what From says
}

// Help says what is printed.
func (*logCommand) Help() string {
	return `Each line is a JSON object with:

  partition, offset   where the record lies
  kind                event, claim, probe, heartbeat, or foreign: not a record of ours
  key                 the aggregate, type/id
  id, type, version   the event's own id, its name, and its aggregate's version after it
  epoch, owner        the owner's term; owner: who claims, probes or beats
  command             the id of the command that caused the event
  index, count        the event's place in its commit, and how many events that has
  time, actor         event time, or what a heartbeat tells; caller
  correlation, causation
  data                the payload, if it is JSON; else data_base64
  verdict             valid: has taken effect
                      void: has no effect, for the reason given
                      open: its commit is not complete yet
                      claimed: a claim that took effect
                      probe: has no effect, by design
                      heartbeat: its time counts, nothing else
  reason              why a record is void

All events of a commit have the verdict of the commit. It reads up to the end that a partition has when
its turn comes. On Kafka it only reads: it makes no topic and joins no group. Where records were deleted,
it begins with those that are kept, and says so on standard error.`
}

// Validate checks the flags; kong calls it.
func (c *logCommand) Validate() error {
	if c.Limit < 0 {
		return fmt.Errorf("--limit %d: want 0 or more", c.Limit)
	}
	if err := c.check(); err != nil {
		return err
	}
	if c.Data != "" && c.Follow {
		return errors.New("--follow needs --brokers: a data folder can be read only while nothing writes to it")
	}
	return c.validateFrom()
}

func (c *logCommand) validateFrom() error {
	if c.From == "" {
		return nil
	}
	at, err := eventlog.ParsePositions(c.From)
	if err != nil { // its own text offers a control offset, which is refused below
		return fmt.Errorf("--from %.80q: want partition@offset such as 3@81234, several joined by commas", c.From)
	}
	if _, control := at.Control(); control || len(at.Offsets) == 0 {
		return fmt.Errorf("--from %s: there is no control log to print; want partition@offset", c.From)
	}
	c.starts = at.Offsets
	for _, n := range c.Partition {
		if _, ok := c.starts[n]; !ok {
			return fmt.Errorf("--partition %d: --from %s does not name it; add %d@0 there", n, c.From, n)
		}
	}
	return nil
}

// Run prints the log.
func (c *logCommand) Run(ctx context.Context, out io.Writer, n notes) (err error) {
	log, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	topic, err := topic(ctx, log, c.name())
	if err != nil {
		return err
	}
	parts, err := c.partitions(topic)
	if err != nil {
		return err
	}
	from, err := sources(ctx, log, topic.Name, parts, c.Follow)
	if err != nil {
		return err
	}
	for _, s := range from {
		if s.begin > 0 {
			n.say("%s/%d begins at %d: the records before it were deleted, and without them verdicts may be wrong", s.topic, s.part, s.begin)
		}
	}
	if c.Follow {
		return c.follow(ctx, from, newSink(out, c.Limit))
	}
	return c.printAll(ctx, from, out, n)
}

// printAll prints what there is, and says so if that is nothing.
func (c *logCommand) printAll(ctx context.Context, from []source, out io.Writer, n notes) error {
	buffered := bufio.NewWriterSize(out, 64<<10)
	some, err := c.print(ctx, from, newSink(buffered, c.Limit))
	if flushed := buffered.Flush(); flushed != nil {
		return fmt.Errorf("write the records: %w", flushed)
	}
	if err == nil && !some {
		n.say("topic %s holds no records%s", from[0].topic, c.where())
	}
	return err
}

// where names the partitions, if only some are printed.
func (c *logCommand) where() string {
	if len(c.Partition) == 0 && c.starts == nil {
		return ""
	}
	return " in the partitions asked for"
}

// partitions returns the partitions to print, in order.
func (c *logCommand) partitions(t eventlog.Topic) ([]int32, error) {
	wanted := slices.Clone(c.Partition)
	for n := range c.starts {
		if len(c.Partition) == 0 {
			wanted = append(wanted, n)
		}
	}
	for n := range int32(t.Partitions) {
		if len(c.Partition) == 0 && c.starts == nil {
			wanted = append(wanted, n)
		}
	}
	slices.Sort(wanted)
	for _, n := range wanted {
		if n < 0 || int(n) >= t.Partitions {
			return nil, fmt.Errorf("topic %s has no partition %d; it has 0 to %d", t.Name, n, t.Partitions-1)
		}
	}
	return slices.Compact(wanted), nil
}

// print prints partition after partition. One that is damaged is printed up to
// the damage, and does not keep the others from being printed.
func (c *logCommand) print(ctx context.Context, from []source, to *sink) (some bool, err error) {
	p := newPrinter(to)
	var broken []error
	for _, s := range from {
		err := p.partition(ctx, s, c.starts[s.part])
		some = some || p.fold.Next() > 0
		var damaged *eventlog.DamagedError
		switch {
		case errors.Is(err, errEnough):
			return some, errors.Join(broken...)
		case errors.As(err, &damaged):
			broken = append(broken, err)
		case err != nil:
			return some, errors.Join(append(broken, err)...)
		}
	}
	return some, errors.Join(broken...)
}

// follow prints all partitions at once, as records come, until ctx ends or one
// of them cannot go on.
func (c *logCommand) follow(ctx context.Context, from []source, to *sink) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, len(from))
	for _, s := range from {
		go func() { ended <- newPrinter(to).partition(ctx, s, c.starts[s.part]) }()
	}
	var failed []error
	for range from {
		err := <-ended
		stop()
		if !errors.Is(err, errEnough) && !errors.Is(err, context.Canceled) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
)

// file is the log's name in a data folder, as package embedded gives it.
const file = "drivetrain.db"

type logCommand struct {
	Data      string  `required:"" placeholder:"DIR" help:"The application's data folder. The application must not be running."`
	Topic     string  `placeholder:"NAME" help:"The topic to print. Default: the one whose name ends with .events."`
	Partition []int32 `placeholder:"N" help:"A partition to print; may be given several times. Default: all, one after the other."`
	From      string  `placeholder:"P@OFFSET" help:"Print from this position on, and its partition only; several are joined by commas, such as 0@120,3@81234. Records before it are read all the same, as they decide what later ones mean."`
	Limit     int     `placeholder:"N" help:"Print so many records at most, over all partitions. Default: no limit."`

	starts map[int32]int64 // what From says
}

// Help says what is printed.
func (*logCommand) Help() string {
	return `Each line is a JSON object with:

  partition, offset   where the record lies
  kind                event, claim, probe, or foreign: not a record of ours
  key                 the aggregate, type/id
  id, type, version   the event's own id, its name, and its aggregate's version after it
  epoch, owner        the owner's term; owner: who claims or probes
  command             the id of the command that caused the event
  index, count        the event's place in its commit, and how many events that has
  time, actor         event time and caller
  correlation, causation
  data                the payload, if it is JSON; else data_base64
  verdict             valid: has taken effect
                      void: has no effect, for the reason given
                      open: its commit is not complete yet
                      claimed: a claim that took effect
                      probe: has no effect, by design
  reason              why a record is void

All events of a commit have the verdict of the commit.`
}

// Validate checks the flags; kong calls it.
func (c *logCommand) Validate() error {
	if c.Limit < 0 {
		return fmt.Errorf("--limit %d: want 0 or more", c.Limit)
	}
	if c.From == "" {
		return nil
	}
	at, err := eventlog.ParsePositions(c.From)
	if err != nil { // its own text offers a control offset, which is refused below
		return fmt.Errorf("--from %.80q: want partition@offset such as 3@81234, several joined by commas", c.From)
	}
	if _, control := at.Control(); control || len(at.Offsets) == 0 {
		return fmt.Errorf("--from %s: an embedded log has no control log; want partition@offset", c.From)
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
func (c *logCommand) Run(ctx context.Context, out io.Writer) (err error) {
	log, err := c.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	topic, err := c.topic(log)
	if err != nil {
		return err
	}
	parts, err := c.partitions(topic)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(out, 64<<10)
	err = c.print(ctx, log, topic.Name, parts, newPrinter(buffered, c.Limit))
	if flushed := buffered.Flush(); flushed != nil {
		return fmt.Errorf("write the records: %w", flushed)
	}
	return err
}

// open opens the folder's log and says in a tool's terms what keeps it from that.
func (c *logCommand) open() (*boltlog.Log, error) {
	path := filepath.Join(c.Data, file)
	log, err := boltlog.OpenReadOnly(path)
	if _, busy := errors.AsType[*boltlog.InUseError](err); busy {
		return nil, fmt.Errorf("%s is in use by another process; stop that process first", path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist; --data must name the data folder of an application that has run", path)
	}
	return log, err
}

// topic returns the topic asked for, or the only one of events.
func (c *logCommand) topic(log *boltlog.Log) (eventlog.Topic, error) {
	var names []string
	var found []eventlog.Topic
	for _, t := range log.Topics() {
		names = append(names, t.Name)
		if t.Name == c.Topic || c.Topic == "" && strings.HasSuffix(t.Name, ".events") {
			found = append(found, t)
		}
	}
	slices.Sort(names)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(names) == 0:
		return eventlog.Topic{}, errors.New("the log holds no topic yet")
	case c.Topic != "":
		return eventlog.Topic{}, fmt.Errorf("the log holds no topic %q; it holds %s", c.Topic, strings.Join(names, ", "))
	default:
		return eventlog.Topic{}, fmt.Errorf("name the topic with --topic; the log holds %s", strings.Join(names, ", "))
	}
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
func (c *logCommand) print(ctx context.Context, log eventlog.Log, topic string, parts []int32, p *printer) error {
	var broken []error
	for _, n := range parts {
		err := p.partition(ctx, log, topic, n, c.starts[n])
		var damaged *eventlog.DamagedError
		switch {
		case errors.Is(err, errEnough):
			return errors.Join(broken...)
		case errors.As(err, &damaged):
			broken = append(broken, err)
		case err != nil:
			return errors.Join(append(broken, err)...)
		}
	}
	return errors.Join(broken...)
}

// follow hands the records of a partition to f, from an offset to the present
// end.
func follow(ctx context.Context, log eventlog.Log, topic string, n int32, from int64, f func(eventlog.Record) error) error {
	end, err := log.End(ctx, topic, n)
	var damaged *eventlog.DamagedError
	if errors.As(err, &damaged) {
		end = math.MaxInt64 // the reader meets the damage, after what comes before it
	} else if err != nil {
		return err
	}
	r, err := log.Read(topic, n, from)
	if err != nil {
		return err
	}
	defer r.Close()
	for from < end {
		records, err := r.Next(ctx)
		if err != nil {
			return err
		}
		for _, record := range records {
			if err := f(record); err != nil {
				return err
			}
		}
		from = records[len(records)-1].Offset + 1
	}
	return nil
}

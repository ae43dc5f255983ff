package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/servers"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

type replayCommand struct {
	logFlags
	File      string   `placeholder:"FILE" help:"Write the events to this new file, a JSON object per line; - is standard output."`
	Resume    bool     `help:"Go on where the file ends, in each partition: after a replay that was broken off, or to add what has come since. Give the same filters."`
	To        string   `placeholder:"TOPIC" help:"Publish the events to this topic, which others have made."`
	ToBrokers []string `placeholder:"HOST:PORT" help:"The brokers of that topic, joined by commas. Default: those that are read, or KAFKA_BROKERS."`
	From      string   `placeholder:"MOMENT" help:"Begin at this time, such as 2026-01-31T09:30:00Z, or at this position, such as 3@81234, and with its partition only; several are joined by commas. Default: 0, the beginning."`
	Until     string   `placeholder:"MOMENT" help:"End with this time or position, written likewise. Default: the end that the log has now."`
	Aggregate []string `placeholder:"NAME" help:"Only events of this aggregate type; may be given several times."`
	Type      []string `placeholder:"NAME" help:"Only events of this type, as recorded; may be given several times."`
	Key       []string `placeholder:"TYPE/ID" help:"Only events of this aggregate; may be given several times."`
	Rate      int      `placeholder:"N" help:"Write so many events a second at most. Default: no limit."`

	options framework.ReplayOptions
	outside kafkalog.Config // of To
}

// Help says what is written.
func (*replayCommand) Help() string {
	return `Events are those that have taken effect, as they were recorded, in the order of each partition, one
partition after the other. Nothing else happens: no effect is called, no group's progress moves, and the
application's log is only read. Records before the beginning are read all the same, as they decide what
later ones mean.

A line of a file has the fields position, key, id, type, version, epoch, command, index, count, time,
actor, correlation, causation and data, as drivetrain log explains them; data_base64 where data is no JSON.

A record of a topic has the aggregate's key, the payload, and the headers of a CloudEvent: ce_id is the
event's id, ce_position where it lies in the log. It may be there twice where a replay was repeated: then
with the same ce_id. What has been published by then is said when a replay is broken off.

To make a view anew, do not replay into it: rebuild it; see doc/operating.md.`
}

// Validate checks the flags; kong calls it.
func (c *replayCommand) Validate() error {
	switch {
	case (c.File == "") == (c.To == ""):
		return errors.New("where to? give one of --file=FILE and --to=TOPIC")
	case c.Resume && (c.File == "" || c.File == "-"):
		return errors.New("--resume needs --file with the name of a file")
	case c.Rate < 0:
		return fmt.Errorf("--rate %d: want 0 or more", c.Rate)
	case len(c.ToBrokers) > 0 && c.To == "":
		return errors.New("--to-brokers needs --to")
	case strings.HasSuffix(c.To, events) || strings.HasSuffix(c.To, ".control"):
		return fmt.Errorf("--to %.80q: applications write such topics themselves; publish to one with another name", c.To)
	}
	if err := c.check(); err != nil {
		return err
	}
	c.outside = servers.Kafka()
	switch {
	case len(c.ToBrokers) > 0:
		c.outside.Brokers = c.ToBrokers
	case c.Data == "":
		c.outside = c.kafka
	}
	if c.To != "" && len(c.outside.Brokers) == 0 {
		return errors.New("--to needs --to-brokers or KAFKA_BROKERS with --data")
	}
	return c.validateWhich()
}

// validateWhich settles which events are wanted.
func (c *replayCommand) validateWhich() (err error) {
	c.options = framework.ReplayOptions{Aggregates: c.Aggregate, Types: c.Type, Keys: c.Key, Rate: c.Rate}
	if c.options.From, c.options.Since, err = moment(c.From); err != nil {
		return fmt.Errorf("--from %w", err)
	}
	until := time.Time{}
	if c.options.Until, until, err = moment(c.Until); err != nil {
		return fmt.Errorf("--until %w", err)
	}
	if !until.IsZero() {
		c.options.Before = until.Add(1) // that very moment is in
	}
	for _, key := range c.Key {
		if !strings.Contains(key, "/") {
			return fmt.Errorf("--key %.80q: want type/id, such as tribe/hikers", key)
		}
	}
	return nil
}

// moment reads a time or positions; "" and "0" are neither.
func moment(text string) (at eventlog.Positions, t time.Time, err error) {
	if text == "" || text == "0" {
		return at, t, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return at, t, nil
	}
	at, err = eventlog.ParsePositions(text)
	if _, control := at.Control(); err != nil || control || len(at.Offsets) == 0 {
		return at, t, fmt.Errorf("%.80q: want a time such as 2026-01-31T09:30:00Z, or partition@offset such as 3@81234, several joined by commas", text)
	}
	return at, t, nil
}

// target is where events are replayed to.
type target interface {
	// put takes an event, which is good until it returns.
	put(ctx context.Context, part int32, e *partition.Event) error
	// settle returns once what was put is there.
	settle(ctx context.Context) error
	// ended is called when all was put, and settled.
	ended() error
	close() error
	// rest says how a replay that was broken off goes on, from where it is safe to.
	rest(from eventlog.Positions) string
}

// Run replays.
func (c *replayCommand) Run(ctx context.Context, out io.Writer, n notes) (err error) {
	log, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	from, err := topic(ctx, log, c.name())
	if err != nil {
		return err
	}
	to, err := c.target(ctx, log, from, out, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.close()) }()
	r := &replaying{to: to, notes: n, began: clock.System.Now(), safe: eventlog.NewPositions()}
	r.said = r.began
	o := c.options
	o.Progress = func(p framework.ReplayProgress) { r.progress(ctx, p) }
	err = framework.Replay(ctx, log, from, o, func(part int32, e *partition.Event) error {
		if r.failed != nil {
			return r.failed
		}
		return to.put(ctx, part, e)
	})
	if err = cmp.Or(err, r.failed); err == nil {
		err = to.ended()
	}
	if err != nil {
		return fmt.Errorf("broken off after %s events; %s: %w", grouped(r.last.Events), to.rest(r.whence(from)), err)
	}
	r.ended()
	return nil
}

func (c *replayCommand) target(ctx context.Context, log eventlog.Log, from eventlog.Topic, out io.Writer, n notes) (target, error) {
	switch {
	case c.To != "":
		return openCopies(ctx, c.outside, c.To, from.Name)
	case c.File == "-":
		return newExport(nil, out), nil
	case !c.Resume:
		return openExport(c.File)
	}
	return resumeExport(ctx, c.File, log, from, &c.options, n)
}

// replaying is a replay under way.
type replaying struct {
	to     target
	notes  notes
	began  time.Time
	said   time.Time // when progress was shown last
	last   framework.ReplayProgress
	safe   eventlog.Positions // by partition: what is before lies in the target
	failed error
}

// sayEvery is how often progress is shown.
const sayEvery = 2 * time.Second

func (r *replaying) progress(ctx context.Context, p framework.ReplayProgress) {
	if r.failed != nil {
		return
	}
	if r.failed = r.to.settle(ctx); r.failed != nil {
		return
	}
	r.last = p
	r.safe.Offsets[p.Partition] = p.Next
	if now := clock.System.Now(); now.Sub(r.said) >= sayEvery && p.Read > 0 {
		r.said = now
		took := now.Sub(r.began).Seconds()
		left := time.Duration(float64(p.Total-p.Read) / (float64(p.Read) / took) * float64(time.Second))
		r.notes.say("%s of %s records read, %s events, %s/s, %v left", grouped(p.Read), grouped(p.Total), grouped(p.Events),
			grouped(int64(float64(p.Events)/took)), left.Round(time.Second))
	}
}

// ended says what was done, if it took long.
func (r *replaying) ended() {
	if took := clock.System.Now().Sub(r.began); r.said != r.began {
		r.notes.say("%s events of %s records in %v", grouped(r.last.Events), grouped(r.last.Read), took.Round(100*time.Millisecond))
	}
}

// whence returns from where a replay that was broken off goes on.
func (r *replaying) whence(of eventlog.Topic) eventlog.Positions {
	at := eventlog.NewPositions()
	for n := range int32(of.Partitions) {
		at.Offsets[n] = r.safe.Offsets[n]
	}
	return at
}

// grouped writes a number with its thousands apart.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/servers"
)

// file is the log's name in a data folder, as package embedded gives it.
const file = "drivetrain.db"

// events is how the names of applications' topics end.
const events = ".events"

// maxNames bounds the topics that an error names.
const maxNames = 20

// store is a log that can say what it holds.
type store interface {
	eventlog.Log
	eventlog.Lister
}

// logFlags say which log of an application is meant.
type logFlags struct {
	Data    string   `placeholder:"DIR" help:"The data folder of an application in one process, which must not be running."`
	Brokers []string `placeholder:"HOST:PORT" help:"Kafka's brokers, joined by commas; the application may be running. Default: KAFKA_BROKERS, without --data. KAFKA_TLS, KAFKA_SASL, KAFKA_USER and KAFKA_PASSWORD say how to connect."`
	App     string   `placeholder:"NAME" help:"The application whose log to read, that is, the topic NAME.events."`
	Topic   string   `placeholder:"NAME" help:"The topic to read. Default: the one whose name ends with .events."`

	kafka kafkalog.Config // where Data is not given
}

// check settles which log it is.
func (f *logFlags) check() error {
	if f.App != "" && f.Topic != "" {
		return errors.New("--app and --topic exclude each other")
	}
	f.kafka = servers.Kafka()
	if len(f.Brokers) > 0 {
		f.kafka.Brokers = f.Brokers
	}
	switch {
	case f.Data != "" && len(f.Brokers) > 0:
		return errors.New("--data and --brokers exclude each other")
	case f.Data == "" && len(f.kafka.Brokers) == 0:
		return errors.New("which log? give --data=DIR, or --brokers=HOST:PORT,... or KAFKA_BROKERS")
	}
	return nil
}

func (f *logFlags) open(ctx context.Context) (store, error) {
	if f.Data != "" {
		return openFile(f.Data)
	}
	return openKafka(ctx, f.kafka)
}

// name returns the name of the topic asked for, if any.
func (f *logFlags) name() string {
	if f.App != "" {
		return f.App + events
	}
	return f.Topic
}

// openFile opens a data folder's log and says in a tool's terms what keeps it
// from that.
func openFile(dir string) (store, error) {
	path := filepath.Join(dir, file)
	log, err := boltlog.OpenReadOnly(path)
	if _, busy := errors.AsType[*boltlog.InUseError](err); busy {
		return nil, fmt.Errorf("%s is in use by another process; stop that process first", path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist; --data must name the data folder of an application that has run", path)
	}
	if err != nil {
		return nil, err
	}
	return log, nil
}

// openKafka connects to a cluster. Others' markers are read too, since without
// them the record before the end might never come.
func openKafka(ctx context.Context, cfg kafkalog.Config) (store, error) {
	cfg.Markers = true
	log, err := kafkalog.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return log, nil
}

// topic returns the topic with a name; without a name, the only one of events.
func topic(ctx context.Context, log store, name string) (eventlog.Topic, error) {
	all, err := log.Topics(ctx)
	if err != nil {
		return eventlog.Topic{}, err
	}
	slices.SortFunc(all, func(a, b eventlog.Topic) int { return cmp.Compare(a.Name, b.Name) })
	var found []eventlog.Topic
	var names []string
	for _, t := range all {
		ours := strings.HasSuffix(t.Name, events)
		if ours {
			names = append(names, t.Name)
		}
		if t.Name == name || name == "" && ours {
			found = append(found, t)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return eventlog.Topic{}, choice(name, names, len(all) == 0)
}

// choice says what a caller can choose from who asked for what is not there, or
// for nothing where there are several.
func choice(name string, names []string, empty bool) error {
	offer := "of events it holds " + few(names)
	if len(names) == 0 {
		offer = "nor one whose name ends with " + events
	}
	switch {
	case empty:
		return errors.New("the log holds no topic yet, or none that this user may see")
	case name != "":
		return fmt.Errorf("the log holds no topic %q; %s", name, offer)
	case len(names) == 0:
		return fmt.Errorf("the log holds no topic whose name ends with %s; name another one with --topic", events)
	}
	return fmt.Errorf("name the topic with --topic, or the application with --app; the log holds %s", few(names))
}

// few joins names, maxNames at most.
func few(names []string) string {
	if more := len(names) - maxNames; more > 0 {
		return fmt.Sprintf("%s, and %d more", strings.Join(names[:maxNames], ", "), more)
	}
	return strings.Join(names, ", ")
}

// source is one partition of a log.
type source struct {
	log   eventlog.Log
	topic string
	part  int32
	begin int64 // offset of the first record that is kept
	live  bool  // it has no end
}

// sources finds where partitions begin.
func sources(ctx context.Context, log store, topic string, parts []int32, live bool) ([]source, error) {
	var all []source
	for _, n := range parts {
		begin, err := log.Start(ctx, topic, n)
		if err != nil {
			return nil, err
		}
		all = append(all, source{log, topic, n, begin, live})
	}
	return all, nil
}

// each hands the records from an offset on to f, up to the present end.
func (s source) each(ctx context.Context, from int64, f func(eventlog.Record) error) error {
	end, err := s.end(ctx)
	if err != nil {
		return err
	}
	r, err := s.log.Read(s.topic, s.part, from)
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

// end is where to stop. In what is damaged the reader meets the damage, after
// what comes before it.
func (s source) end(ctx context.Context) (int64, error) {
	if s.live {
		return math.MaxInt64, nil
	}
	end, err := s.log.End(ctx, s.topic, s.part)
	if _, damaged := errors.AsType[*eventlog.DamagedError](err); damaged {
		return math.MaxInt64, nil
	}
	return end, err
}

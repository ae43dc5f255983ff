package zombie

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/esstore"
	"github.com/drivetrain-go/drivetrain/framework/view/redisstore"
	"github.com/drivetrain-go/drivetrain/projections"
)

// Variables by which a writer is told its application's name, its part, and its
// stores.
const (
	envApp    = "ZOMBIE_APP"
	envRedis  = "REDIS_ADDR"
	envSearch = "ELASTICSEARCH_URL"
)

func TestMain(m *testing.M) {
	if os.Getenv(envApp) == "" {
		os.Exit(m.Run())
	}
	if err := write(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The facts of a note: it is written, again perhaps, and removed.
type fact interface{ note() }

type written struct {
	Text string `json:"text"`
}
type removed struct{}

func (written) note() {}
func (removed) note() {}

var notes = &aggregates.Type[note, fact]{Name: "note", Evolve: func(n note, _ fact) note { return n },
	Events: event.Types[fact]{"note.written": event.As[fact, written](), "note.removed": event.As[fact, removed]()}}

// note is the document of a note.
type note struct {
	Text    string `json:"text"`
	Version int    `json:"version"`
	Removed bool   `json:"removed,omitempty"`
}

func (n note) fold(e projections.Event[fact]) note {
	switch f := e.Fact.(type) {
	case written:
		return note{Text: f.Text, Version: int(e.Version)}
	default:
		return note{Version: int(e.Version), Removed: true}
	}
}

// The story: all notes are written, all are written again, then some are removed and
// some written a third time. It is told up to one of these.
const (
	many     = 40
	onceAll  = many
	twiceAll = 2 * many
	gone     = 20 // of the notes, from the first on
	thrice   = 5  // of the others
	theEnd   = twiceAll + gone + thrice
)

// told returns the n-th event of the story: of which note, and its version.
func told(n int) (id string, version int, isGone bool) {
	switch {
	case n < twiceAll:
		return fmt.Sprintf("note-%d", n%many), n/many + 1, false
	case n < twiceAll+gone:
		return fmt.Sprintf("note-%d", n-twiceAll), 3, true
	default:
		return fmt.Sprintf("note-%d", n-twiceAll), 3, false
	}
}

// textOf is what a note says; a gate knows a document by it.
func textOf(version int) string { return fmt.Sprintf("scribbled in version %d", version) }

func record(n int) eventlog.Record {
	id, version, isGone := told(n)
	name, data := "note.written", fmt.Appendf(nil, `{"text":%q}`, textOf(version))
	if isGone {
		name, data = "note.removed", []byte(`{}`)
	}
	at := time.UnixMilli(int64(n + 1))
	e := event.Envelope{ID: event.ID{1}, Command: event.NewID(at, [10]byte{byte(n)}), Type: name, Version: uint64(version), Epoch: 1, Count: 1, Time: at}
	return eventlog.Record{Key: partition.Key("note", id), Header: e.Append(nil), Value: data}
}

// write is a writer: it keeps both views of the story, as far as the last number
// that it was sent, and says "at N" when both stores have that. It has the story as far as
// the first number before it opens a store, which may have that from another writer.
func write(in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log := memlog.New()
	if err := log.Ensure(ctx, eventlog.Topic{Name: "events", Partitions: 1}); err != nil {
		return err
	}
	claim := partition.ClaimHeader(partition.Claim{Epoch: 1, Owner: event.ID{1}})
	if _, err := log.Append(ctx, "events", 0, []eventlog.Record{{Header: claim}}); err != nil {
		return err
	}
	story, numbers := &story{log: log}, bufio.NewScanner(in)
	if !numbers.Scan() {
		return numbers.Err()
	}
	if err := story.tell(ctx, numbers.Text()); err != nil {
		return err
	}
	client := redisClient()
	defer client.Close()
	search, err := esstore.New(esstore.Config{URLs: []string{os.Getenv(envSearch)}})
	if err != nil {
		return err
	}
	r := framework.Resources{Log: log, Documents: redisstore.New(client), Search: search}
	runners, err := views(os.Getenv(envApp), r)
	if err != nil {
		return err
	}
	ended := make(chan error, len(runners))
	for _, runner := range runners {
		go func() { ended <- runner.Run(ctx) }()
	}
	err = follow(ctx, story, runners, numbers, out)
	cancel()
	for range runners {
		err = errors.Join(err, <-ended)
	}
	return err
}

// story is what of it lies in a writer's log.
type story struct {
	log  eventlog.Log
	have int // events
}

// tell adds what follows, up to a number.
func (s *story) tell(ctx context.Context, number string) error {
	want, err := strconv.Atoi(number)
	for ; err == nil && s.have < want; s.have++ {
		_, err = s.log.Append(ctx, "events", 0, []eventlog.Record{record(s.have)})
	}
	return err
}

// follow tells the story on, as the numbers say, until there are no more.
func follow(ctx context.Context, story *story, runners []*stream.Runner, numbers *bufio.Scanner, out io.Writer) error {
	wants := make(chan string)
	go func() {
		defer close(wants)
		for numbers.Scan() {
			wants <- numbers.Text()
		}
	}()
	said := 0
	for {
		select {
		case number, more := <-wants:
			if !more {
				return nil
			}
			if err := story.tell(ctx, number); err != nil {
				return err
			}
		case <-time.After(5 * time.Millisecond):
		}
		whole, err := at(runners, int64(1+story.have))
		if err != nil {
			return err
		}
		if whole && story.have > said {
			said = story.have
			fmt.Fprintf(out, "at %d\n", said)
		}
	}
}

// at reports whether all that lies below end has been written.
func at(runners []*stream.Runner, end int64) (bool, error) {
	for _, r := range runners {
		s := r.Status()
		if len(s) == 1 && s[0].Final {
			return false, s[0].Err
		}
		if len(s) != 1 || s[0].Done < end || !s[0].Whole() {
			return false, nil
		}
	}
	return true, nil
}

// views are the cards in Redis and the hits in Elasticsearch.
func views(app string, r framework.Resources) (runners []*stream.Runner, err error) {
	a := framework.New(framework.Config{App: app, Open: func(context.Context) (framework.Resources, error) { return r, nil }})
	removed := func(n note) bool { return n.Removed }
	projections.Register(a, &projections.View[note, fact]{Name: "card", From: notes.Stream(), Fold: note.fold, Gone: removed},
		&projections.View[note, fact]{Name: "hit", From: notes.Stream(), Fold: note.fold, Gone: removed, Search: view.Fields{"text": view.Text}})
	for _, v := range a.Views() {
		t := v.Topology(framework.Following{Resources: r, Generation: view.Generation{App: app, View: v.Name, Number: 1}, Topic: "events", Partitions: 1})
		runner, err := stream.NewRunner(t, stream.Config{Log: r.Log})
		if err != nil {
			return nil, err
		}
		runners = append(runners, runner)
	}
	return runners, nil
}

func redisClient() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: os.Getenv(envRedis), MaxRetries: -1, ReadTimeout: 30 * time.Second,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}})
}

// host returns where an Elasticsearch listens.
func host(url string) string { return strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/") }

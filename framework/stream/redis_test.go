package stream_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/redisstore"
	"github.com/drivetrain-go/drivetrain/projections"
)

type fact interface{ door() }

type opened struct {
	By string `json:"by"`
}

func (opened) door() {}

type card struct {
	Opened int    `json:"opened"`
	Last   string `json:"last"`
}

var doors = &aggregates.Type[card, fact]{Name: "door", Evolve: func(c card, _ fact) card { return c },
	Events: event.Types[fact]{"door.opened": event.As[fact, opened]()}}

var cards = &projections.View[card, fact]{Name: "card", From: doors.Stream(),
	Fold: func(c card, e projections.Event[fact]) card { return card{c.Opened + 1, e.Fact.(opened).By} }}

func TestAViewInRedisIsWholeAgainAfterEverythingWasFlushed(t *testing.T) {
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	documents := redisstore.New(client)
	log := memlog.New()
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: "t.events", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	app := framework.New(framework.Config{App: "test", Open: func(context.Context) (framework.Resources, error) { return framework.Resources{}, nil }})
	projections.Register(app, cards)
	g := view.Generation{App: "test", View: "card", Number: 1}
	runner, err := stream.NewRunner(app.Views()[0].Topology(framework.Following{Resources: framework.Resources{Documents: documents}, Generation: g,
		Topic: "t.events", Partitions: 1}), stream.Config{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	tasks, err := runner.Tasks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	task := tasks[framework.Source][0]
	ended := make(chan struct{})
	go func() { defer close(ended); task.Run(ctx) }()
	defer func() { cancel(); <-ended }()

	write(t, log, eventlog.Record{Header: partition.ClaimHeader(partition.Claim{Epoch: 1, Owner: event.ID{1}})})
	const keys, rounds = 20, 60
	for n := range rounds { // all the while the store is emptied now and then
		for k := range keys {
			e := event.Envelope{ID: event.ID{2}, Command: event.NewID(time.Now(), [10]byte{byte(n), byte(k)}), Type: "door.opened",
				Version: uint64(n + 1), Epoch: 1, Count: 1, Time: time.Now()}
			write(t, log, eventlog.Record{Key: partition.Key("door", fmt.Sprint(k)), Header: e.Append(nil), Value: fmt.Appendf(nil, `{"by":"%d"}`, n)})
		}
		if n%20 == 10 {
			server.FlushAll()
		}
		time.Sleep(time.Millisecond)
	}
	within(t, task, keys*rounds)
	whole(t, documents, g, keys, rounds)

	server.FlushAll() // and once while it is idle
	for began := time.Now(); task.Status().Whole(); time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatal("the loss was not noticed")
		}
	}
	within(t, task, keys*rounds)
	whole(t, documents, g, keys, rounds)
}

func write(t *testing.T, log *memlog.Log, r eventlog.Record) {
	if _, err := log.Append(t.Context(), "t.events", 0, []eventlog.Record{r}); err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T, task *stream.Task, offset int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := task.Wait(ctx, offset); err != nil {
		t.Fatalf("waiting for %d: %v, %+v", offset, err, task.Status())
	}
}

func whole(t *testing.T, documents *redisstore.Store, g view.Generation, keys, rounds int) {
	t.Helper()
	refs := make([]view.Ref, keys)
	for k := range refs {
		refs[k].Key = fmt.Sprint(k)
	}
	docs, err := documents.Get(t.Context(), g, refs)
	if err != nil {
		t.Fatal(err)
	}
	for k, d := range docs {
		if want := fmt.Sprintf(`{"opened":%d,"last":"%d"}`, rounds, rounds-1); string(d) != want {
			t.Errorf("document %d is %s, want %s", k, d, want)
		}
	}
}

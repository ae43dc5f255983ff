package servers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/servers"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/projections"
)

type (
	note    struct{}
	fact    interface{ fact() }
	written struct {
		Text string `json:"text"`
	}
	write struct {
		Text string `json:"text"`
		aggregates.Meta
	}
	shown struct {
		Text string `json:"text"`
	}
)

func (written) fact() {}

var notes = &aggregates.Type[note, fact]{Name: "note", Evolve: func(n note, _ fact) note { return n },
	Events: event.Types[fact]{"note.written": event.As[fact, written]()}}

// program carries both versions of a view of documents and of one that is searched.
func program(app *framework.App) {
	commands.Handle(app, notes, "write", func(_ note, c write) ([]fact, error) { return []fact{written{c.Text}}, nil })
	fold := func(s shown, e projections.Event[fact]) shown { return shown{e.Fact.(written).Text} }
	for version := 1; version <= 2; version++ {
		projections.Register(app, &projections.View[shown, fact]{Name: "show", Version: version, From: notes.Stream(), Fold: fold},
			&projections.View[shown, fact]{Name: "find", Version: version, From: notes.Stream(), Fold: fold, Search: view.Fields{"text": view.Text}})
	}
}

// Two processes on real servers: outside readers are told what is read, by Redis and by
// Elasticsearch, through a switch, the end of the process that told it, a rollback asked of
// the other, and stores that have lost it.
func TestOutsideReadersFollowSwitches(t *testing.T) {
	if os.Getenv("KAFKA_BROKERS") == "" {
		return // what is not named is not tested; where it is, FromEnv wants the others too
	}
	name := fmt.Sprintf("point-%016x", maphash.String(maphash.MakeSeed(), t.Name()))
	client := redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS_ADDR")})
	t.Cleanup(func() { client.Close() })
	es := os.Getenv("ELASTICSEARCH_URL") + "/drivetrain." + name + ".find"
	a, endA := run(t, name)
	b, _ := run(t, name)
	for _, app := range []*framework.App{a, b} {
		soon(t, "both are ready", func() bool { return len(app.Unready()) == 0 })
	}
	told := func(number, turn int) {
		t.Helper()
		soon(t, fmt.Sprintf("Redis says generation %d of turn %d", number, turn), func() bool {
			got := client.HGetAll(t.Context(), name+":show:read").Val()
			return got["generation"] == fmt.Sprint(number) && got["turn"] == fmt.Sprint(turn)
		})
		soon(t, fmt.Sprintf("Elasticsearch says generation %d of turn %d", number, turn), func() bool {
			return aliases(t, es) == fmt.Sprintf("drivetrain.%s.find.%d, turn %d", name, number, turn)
		})
	}
	told(2, 1)
	each := func(do func(view string) error) {
		t.Helper()
		for _, view := range []string{"show", "find"} {
			if err := do(view); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx := t.Context()
	each(func(view string) error { _, err := b.Rebuild(ctx, view, framework.Rebuild{Version: 1}); return err })
	each(func(view string) error {
		var err error
		soon(t, "it is switched to", func() bool {
			err = b.Switch(ctx, view, 3, framework.Switch{Force: true, Reason: "a test"})
			return err == nil
		})
		return err
	})
	told(3, 2)
	endA()
	each(func(view string) error {
		var err error
		soon(t, "it is rolled back", func() bool { _, err = b.Rollback(ctx, view, ""); return err == nil })
		return err
	})
	told(2, 3)
	client.Del(ctx, name+":show:read")
	remove(t, es+".read")
	remove(t, es+".2/_alias/drivetrain."+name+".find")
	told(2, 3)
}

// run starts a process, which ends with the test at the latest.
func run(t *testing.T, name string) (*framework.App, func()) {
	t.Helper()
	cfg := servers.FromEnv(t.TempDir())
	cfg.App, cfg.Partitions = name, 2
	app := framework.New(cfg)
	program(app)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	end := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return app, end
}

// soon waits until something is so.
func soon(t *testing.T, what string, so func() bool) {
	t.Helper()
	for began := time.Now(); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// aliases says what Elasticsearch tells outside readers of a view.
func aliases(t *testing.T, url string) (said string) {
	t.Helper()
	answer, err := http.Get(url + "*/_alias")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var found map[string]struct{ Aliases map[string]any }
	if err := json.NewDecoder(answer.Body).Decode(&found); err != nil {
		t.Fatal(err)
	}
	base := url[strings.LastIndex(url, "/")+1:]
	turn := ""
	for index, of := range found {
		for alias := range of.Aliases {
			if alias == base {
				said += index
			}
			if n, ok := strings.CutPrefix(alias, base+".read."); ok {
				turn = ", turn " + n
			}
		}
	}
	return said + turn
}

func remove(t *testing.T, url string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("DELETE %s: %s", url, answer.Status)
	}
}

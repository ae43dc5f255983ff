package framework_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/projections"
)

type several struct {
	Times int `json:"times" minimum:"1"`
	aggregates.Meta
}

// BenchmarkExecute measures what a command costs beside its log, which keeps
// records in memory: the way to the owner, and the owner.
func BenchmarkExecute(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { execute(b, callers) })
	}
}

func execute(b *testing.B, callers int) {
	app := framework.New(framework.Config{Open: func(context.Context) (framework.Resources, error) { return embedded.With(memlog.New()) }})
	commands.Handle(app, tallies, "count-several", func(_ tally, c several) ([]fact, error) { return []fact{counted{}}, nil })
	ctx, end := readied(b, app)
	defer end()
	ids := make([]string, 10_000)
	for i := range ids {
		ids[i] = fmt.Sprint("tally-", i)
	}
	var next atomic.Int64
	var asking sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range callers {
		asking.Go(func() {
			c := framework.Call{Aggregate: "tally", Command: "count-several", Body: []byte(`{"times":1}`), Actor: "maya"}
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				c.ID = ids[n%int64(len(ids))]
				if _, err := app.Execute(ctx, c); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	asking.Wait()
	b.StopTimer()
}

// readied runs an application, which is ready, until end.
func readied(b *testing.B, app *framework.App) (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	for len(app.Unready()) > 0 {
		time.Sleep(time.Millisecond)
	}
	return ctx, func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkAskToo measures what a query costs whoever asks it, where a share of the
// queries is asked of another generation too.
func BenchmarkAskToo(b *testing.B) {
	app := framework.New(framework.Config{Open: func(context.Context) (framework.Resources, error) { return embedded.With(memlog.New()) }})
	commands.Handle(app, tallies, "count", func(tally, count) ([]fact, error) { return []fact{counted{}}, nil })
	projections.Register(app, cardsOf(1))
	ctx, end := readied(b, app)
	defer end()
	if _, err := app.Execute(ctx, call("t1")); err != nil {
		b.Fatal(err)
	}
	number, err := app.Rebuild(ctx, "cards", framework.Rebuild{})
	if err != nil {
		b.Fatal(err)
	}
	for _, share := range []float64{0, 0.05, 1} {
		b.Run(fmt.Sprint("share=", share), func(b *testing.B) {
			for app.Shadow(ctx, "cards", number, framework.Shadow{Share: share}) != nil { // it is being built
				time.Sleep(time.Millisecond)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := app.Ask(ctx, "cards", framework.Query{Key: "t1"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

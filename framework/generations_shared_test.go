package framework_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// shared starts a process that serves some partitions of a log that others share.
func (w *world) shared(serves ...int32) (*framework.App, *sharedLog) {
	app, l, _ := w.sharedUntil(serves...)
	return app, l
}

// sharedUntil is shared with what ends the process, which the test's end does otherwise.
func (w *world) sharedUntil(serves ...int32) (app *framework.App, l *sharedLog, end func()) {
	l = &sharedLog{Log: w.log.Connect(), proposals: make(chan []int32, 2)}
	l.proposals <- serves
	app = framework.New(w.config(l))
	w.program(app)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	end = sync.OnceFunc(func() { cancel(); <-ended })
	w.Cleanup(end)
	return app, l, end
}

// Two processes of one application switch at once, and roll back at once: each view is
// switched once. An answer's position, brought to the other process, makes it wait until
// it has folded the switch that the answer had.
func TestTwoProcessesSwitchAtOnce(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.carry(1, 2)
	a, _ := w.shared(0, 1)
	b, _ := w.shared(2, 3)
	eventually(t, func() bool { return len(a.Unready())+len(b.Unready()) == 0 })
	ids := make(map[int]string)
	for n := 0; len(ids) < 2; n++ {
		id := fmt.Sprint("t", n)
		ids[int(eventlog.PartitionOf([]byte("tally/"+id), 4))/2] = id
	}
	for n, app := range []*framework.App{a, b} {
		if _, err := app.Execute(context.Background(), call(ids[n])); err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	both := func(do func(app *framework.App) error) {
		t.Helper()
		var all sync.WaitGroup
		for _, app := range []*framework.App{a, b} {
			all.Go(func() {
				if err := do(app); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	var numbers [2]atomic.Int64
	both(func(app *framework.App) error {
		number, err := app.Rebuild(ctx, "cards", framework.Rebuild{Version: 1})
		n := 0
		if app == b {
			n = 1
		}
		numbers[n].Store(int64(number))
		return err
	})
	if numbers[0].Load() != 3 || numbers[1].Load() != 3 {
		t.Errorf("two that rebuild at once build generations %d and %d", numbers[0].Load(), numbers[1].Load())
	}
	for _, app := range []*framework.App{a, b} {
		becomes(t, app, "cards", "2v2 read, 3v1 ready")
	}
	both(func(app *framework.App) error {
		return app.Switch(ctx, "cards", 3, framework.Switch{Force: true, Reason: "at once"})
	})
	_, answer := w.ask(a, ids[1], eventlog.Positions{})
	least, ok := answer.Positions.Control()
	if !ok || answer.Generation != 3 {
		t.Fatalf("%+v", answer)
	}
	if _, other := w.ask(b, ids[1], eventlog.Positions{}.WithControl(least)); other.Generation != 3 {
		t.Errorf("behind %s the other process reads generation %d", answer.Positions, other.Generation)
	}
	both(func(app *framework.App) error { _, err := app.Rollback(ctx, "cards", ""); return err })
	switches := 0
	for _, r := range w.log.Records(controlTopic, 0) {
		if control.Kind(r.Header[1]) == control.KindSwitch && strings.Contains(string(r.Value), `"cards"`) {
			switches++
		}
	}
	if got := states(t, a, "cards"); got != "2v2 read, 3v1 ready" || switches > 6 {
		t.Errorf("after both rolled back: %s, %d switches", got, switches)
	}
	from := len(w.log.Records(controlTopic, 0))
	got := make(chan framework.Answer, 1)
	go func() {
		answer, err := b.Ask(ctx, "cards", framework.Query{Key: ids[0], Min: eventlog.Positions{}.WithControl(int64(from))})
		if err != nil {
			t.Error(err)
		}
		got <- answer
	}()
	select {
	case early := <-got:
		t.Errorf("a place of the control log that is not there yet was answered from generation %d", early.Generation)
	case <-time.After(50 * time.Millisecond):
	}
	if err := a.Switch(ctx, "cards", 3, framework.Switch{Force: true, Reason: "again"}); err != nil {
		t.Error(err)
	}
	if answer := <-got; answer.Generation != 3 {
		t.Errorf("it waited, and read generation %d", answer.Generation)
	}
}

// A process that switches to a generation has seen it whole. Another one has not, perhaps,
// and answers all the same.
func TestAGenerationIsReadAsSoonAsAnotherProcessHasSwitchedToIt(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.carry(1, 2)
	a, _ := w.shared(0, 1, 2, 3)
	b, _ := w.shared()
	eventually(t, func() bool { return len(a.Unready())+len(b.Unready()) == 0 })
	ctx := context.Background()
	if _, err := a.Execute(ctx, call("t0")); err != nil {
		t.Fatal(err)
	}
	for number := 3; number <= 6; number++ {
		if n, err := a.Rebuild(ctx, "cards", framework.Rebuild{Version: 2}); err != nil || n != number {
			t.Fatalf("generation %d, %v", n, err)
		}
		eventually(t, func() bool {
			return a.Switch(ctx, "cards", number, framework.Switch{Force: true, Reason: "at once"}) == nil
		})
		_, shown := w.ask(a, "t0", eventlog.Positions{})
		least, _ := shown.Positions.Control()
		answer, err := b.Ask(ctx, "cards", framework.Query{Key: "t0", Min: eventlog.Positions{}.WithControl(least)})
		if err != nil || answer.Generation != number {
			t.Errorf("the other process answers from generation %d, want %d: %v", answer.Generation, number, err)
		}
	}
}

package main

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/drivetrain-go/drivetrain/examples/drivetribe/user"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// fakeApp accepts commands as an application does whose memory of keys is empty:
// only the versions tell.
type fakeApp struct {
	mu       sync.Mutex
	versions map[string]uint64
	accepted []framework.Call
	fail     int // the call that fails, from 1
	calls    int
}

var errCrash = errors.New("crash")

func (a *fakeApp) Execute(ctx context.Context, c framework.Call) (cluster.Result, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return cluster.Result{}, err
	}
	a.calls++
	key := c.Aggregate + "/" + c.ID
	switch {
	case a.calls == a.fail:
		return cluster.Result{}, errCrash
	case a.calls%7 == 0:
		return cluster.Result{}, &cluster.UnavailableError{Reason: "busy"}
	case *c.Expected != a.versions[key]:
		return cluster.Result{}, &cluster.ConflictError{Expected: *c.Expected, Actual: a.versions[key]}
	}
	a.versions[key]++
	a.accepted = append(a.accepted, c)
	return cluster.Result{Version: a.versions[key]}, nil
}

func (a *fakeApp) State(_ context.Context, aggregate, id string, _ eventlog.Positions) (cluster.State, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.versions[aggregate+"/"+id] == 0 {
		return cluster.State{}, framework.ErrNotFound
	}
	return cluster.State{Version: a.versions[aggregate+"/"+id]}, nil
}

func newFakeApp() *fakeApp { return &fakeApp{versions: make(map[string]uint64)} }

// size is how many commands the demo world takes.
func size() int {
	n := len(welcome.script())
	for _, s := range world() {
		n += len(s)
	}
	return n
}

func TestTheDemoFillsAnEmptyLogOnce(t *testing.T) {
	app := newFakeApp()
	if filled, err := fill(t.Context(), app); !filled || err != nil {
		t.Fatalf("filled %v, %v", filled, err)
	}
	if len(app.accepted) != size() {
		t.Fatalf("%d commands accepted, want %d", len(app.accepted), size())
	}
	calls := app.calls
	if filled, err := fill(t.Context(), app); filled || err != nil || app.calls != calls {
		t.Fatalf("filled again: %v, %v, %d more calls", filled, err, app.calls-calls)
	}
}

func TestTheDemoCutOffAnywhereGoesOnWithoutDoubling(t *testing.T) {
	for _, at := range []int{1, 2, 50, 200, size() - 1} {
		app := newFakeApp()
		app.fail = at
		if _, err := fill(t.Context(), app); !errors.Is(err, errCrash) {
			t.Fatalf("cut off at %d: %v, want the crash", at, err)
		}
		app.fail = 0
		if filled, err := fill(t.Context(), app); !filled || err != nil {
			t.Fatalf("after a cut at %d: filled %v, %v", at, filled, err)
		}
		if len(app.accepted) != size() {
			t.Errorf("after a cut at %d: %d commands accepted, want %d", at, len(app.accepted), size())
		}
	}
}

func TestTheDemoLeavesAloneWhatSomebodyElseDid(t *testing.T) {
	app := newFakeApp()
	app.versions["post/wet-boots"] = 2
	if filled, err := fill(t.Context(), app); !filled || err != nil {
		t.Fatalf("filled %v, %v", filled, err)
	}
	for _, c := range app.accepted {
		if c.ID == "wet-boots" && *c.Expected < 2 {
			t.Errorf("%s of wet-boots at version %d was accepted", c.Command, *c.Expected)
		}
	}
}

func TestTheDemoWorldHangsTogether(t *testing.T) {
	ids, keys := map[string]bool{}, map[string]bool{}
	for _, p := range people {
		ids[p.id] = true
	}
	for _, s := range append(world(), welcome.script()) {
		for n, c := range s {
			if !ids[c.Actor] {
				t.Errorf("%s %s of %s by %q, who is nobody", c.Aggregate, c.Command, c.ID, c.Actor)
			}
			key := c.Aggregate + "/" + c.ID + "/" + c.Key
			if keys[key] || *c.Expected != uint64(n) {
				t.Errorf("%s: used twice, or expects version %d at place %d", key, *c.Expected, n)
			}
			keys[key] = true
		}
	}
	for _, p := range append(posts, welcome) {
		known := slices.ContainsFunc(tribes, func(x tribeOf) bool { return x.id == p.tribe })
		if b := p.bumpers(); !known || len(p.text) > 5000 || len(b) != len(slices.Compact(slices.Sorted(slices.Values(b)))) {
			t.Errorf("post %s: tribe %s known: %v, bumpers %v", p.id, p.tribe, known, b)
		}
	}
	want := framework.Call{Aggregate: "user", ID: "maya", Command: "register", Body: []byte(`{"name":"Maya"}`), Actor: "maya",
		Key: "demo-1-0", Expected: new(uint64)}
	if got := people[0].script(); !reflect.DeepEqual(got, []framework.Call{want}) {
		t.Errorf("maya's script is %+v, want %+v", got, want)
	}
	if _, err := user.Type.Stream().Decode("user", "user.registered", want.Body); err != nil {
		t.Error(err)
	}
}

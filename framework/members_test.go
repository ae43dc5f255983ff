package framework_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
)

const controlTopic = "test.control"

// listed is what a process knows of the others: "address [partitions]" of each.
func listed(app *framework.App) string {
	var list []string
	for _, m := range app.Members() {
		list = append(list, fmt.Sprint(m.Instance, " ", m.Address, " ", m.Partitions))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// knows waits until all apps list want.
func knows(t *testing.T, want string, apps ...*framework.App) {
	t.Helper()
	for n, app := range apps {
		var got string
		defer func() {
			if t.Failed() {
				t.Logf("process %d lists %s, want %s", n, got, want)
			}
		}()
		eventually(t, func() bool { got = listed(app); return got == want })
	}
}

func TestEveryProcessKnowsWhereEachPartitionIsServed(t *testing.T) {
	c := newCrew(t)
	a, toA, _ := c.startAs("a", "node-a:80", 0)
	b, toB, _ := c.startAs("b", "https://node-b", 1)
	ids := idsOf()
	knows(t, "a http://node-a:80 [0], b https://node-b [1]", a, b)
	here := framework.Place{Here: true}
	for _, at := range []struct {
		app  *framework.App
		want [2]framework.Place
	}{{a, [2]framework.Place{here, {Address: "https://node-b"}}}, {b, [2]framework.Place{{Address: "http://node-a:80"}, here}}} {
		for n, id := range ids {
			if got := at.app.Locate("tally", id); got != at.want[n] {
				t.Errorf("partition %d: %+v, want %+v", n, got, at.want[n])
			}
		}
	}
	toA.proposals <- []int32{}
	eventually(t, func() bool { return !a.Locate("tally", ids[0]).Here })
	if got := a.Locate("tally", ids[0]); got.Address != "" || !strings.Contains(got.Why, "partition 0 has no owner that is known") {
		t.Errorf("a process is sent to itself: %+v", got)
	}
	toB.proposals <- []int32{0, 1}
	knows(t, "a http://node-a:80 [], b https://node-b [0 1]", a, b)
	eventually(t, func() bool {
		return a.Locate("tally", ids[0]).Address == "https://node-b" && b.Locate("tally", ids[0]).Here
	})
}

func TestAProcessThatEndsIsGoneAndOneThatDiesIsReplacedByItsNextRun(t *testing.T) {
	c := newCrew(t)
	a, _, _ := c.startAs("a", "node-a:80", 0)
	_, _, stop := c.startAs("b", "node-b:80", 1)
	knows(t, "a http://node-a:80 [0], b http://node-b:80 [1]", a)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	knows(t, "a http://node-a:80 [0]", a)
	if got := a.Locate("tally", idsOf()[1]); got.Here || got.Address != "" {
		t.Errorf("what a process that has left owned is at %+v", got)
	}
	_, l, stop := c.startAs("b", "node-b:81", 1)
	knows(t, "a http://node-a:80 [0], b http://node-b:81 [1]", a)
	l.Log.OnAppend(func(string, int32, []eventlog.Record) memlog.Fault { return memlog.Lost }) // it cannot say that it ends
	stop()
	knows(t, "a http://node-a:80 [0], b http://node-b:81 [1]", a)
	c.startAs("b", "node-b:82", 1)
	knows(t, "a http://node-a:80 [0], b http://node-b:82 [1]", a)
}

func TestAProcessWithoutAnAddressIsNotSentTo(t *testing.T) {
	c := newCrew(t)
	a, _, _ := c.startAs("a", "", 0)
	b, _, _ := c.startAs("b", "", 1)
	knows(t, "a  [0], b  [1]", a, b)
	if got := a.Locate("tally", idsOf()[1]); got.Address != "" || !strings.Contains(got.Why, "gives no address") {
		t.Errorf("%+v", got)
	}
}

func TestAdvertiseIsTheDefaultOfTheConfigAndIsChecked(t *testing.T) {
	c := newCrew(t)
	log := &sharedLog{Log: c.log.Connect(), proposals: make(chan []int32, 1)}
	open := func(context.Context) (framework.Resources, error) {
		return framework.Resources{Log: log, Documents: c.stores.Documents, Search: c.stores.Search}, nil
	}
	app := framework.New(framework.Config{App: "test", Partitions: 2, Open: open})
	register(app)
	if err := app.Advertise("nowhere"); err == nil {
		t.Error("an address without a port was taken")
	}
	if err := app.Advertise("127.0.0.1:8080"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	eventually(t, func() bool { return listed(app) == " http://127.0.0.1:8080 []" })
	cancel()
	<-ended
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, "Config.Advertise") || !strings.Contains(got, "host:port") {
			t.Errorf("a Config with a wrong address panics with %q", got)
		}
	}()
	framework.New(framework.Config{Advertise: "nowhere", Open: open})
}

// TestAnnouncementsComeThroughWhateverBecomesOfAppends: each fault befalls the
// first announcements.
func TestAnnouncementsComeThroughWhateverBecomesOfAppends(t *testing.T) {
	for _, fault := range []memlog.Fault{memlog.Lost, memlog.Unacked, memlog.UnackedTwice, memlog.Twice, memlog.Late, memlog.Delayed} {
		t.Run(fault.String(), func(t *testing.T) {
			c := newCrew(t)
			a, l, _ := c.startAs("a", "node-a:80")
			knows(t, "a http://node-a:80 []", a)
			faults := 3
			l.Log.OnAppend(func(topic string, _ int32, _ []eventlog.Record) memlog.Fault {
				if topic != controlTopic || faults == 0 {
					return memlog.None
				}
				faults--
				return fault
			})
			l.proposals <- []int32{0, 1}
			knows(t, "a http://node-a:80 [0 1]", a)
			c.log.DeliverAll()
			knows(t, "a http://node-a:80 [0 1]", a)
			if n := len(c.log.Records(controlTopic, 0)); n > 12 {
				t.Errorf("%d records for one process with two partitions", n)
			}
		})
	}
}

// What the log knows already is not said again, however often a claim is made.
func TestAClaimMadeAnewByTheOwnerAddsNoRecord(t *testing.T) {
	c := newCrew(t)
	a, l, _ := c.startAs("a", "node-a:80", 0, 1)
	knows(t, "a http://node-a:80 [0 1]", a)
	before := len(c.log.Records(controlTopic, 0))
	for range 3 {
		failed := false
		l.Log.OnAppend(func(topic string, _ int32, _ []eventlog.Record) memlog.Fault {
			if topic == controlTopic || failed {
				return memlog.None
			}
			failed = true
			return memlog.Lost // so that the partition is claimed again
		})
		eventually(t, func() bool { _, err := a.Execute(context.Background(), call(idsOf()[0])); return err == nil && failed })
	}
	if n := len(c.log.Records(controlTopic, 0)); n != before {
		t.Errorf("%d records, before %d", n, before)
	}
}

// A process that meets a record of a newer version goes on with what it knew, and
// says so.
func TestANewerRecordInTheControlLogStopsItsReadersNotTheProcess(t *testing.T) {
	c := newCrew(t)
	a, toA, _ := c.startAs("a", "node-a:80", 0)
	b, _, _ := c.startAs("b", "node-b:80", 1)
	knows(t, "a http://node-a:80 [0], b http://node-b:80 [1]", a, b)
	c.ready(a, b)
	newer := eventlog.Record{Header: []byte{control.Format, byte(control.KindShadow) + 1}}
	if _, err := c.log.Append(context.Background(), controlTopic, 0, []eventlog.Record{newer}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return strings.Contains(fmt.Sprint(a.Unready()), "newer version") })
	if got := a.Locate("tally", idsOf()[1]); got.Address != "http://node-b:80" {
		t.Errorf("it has forgotten what it knew: %+v", got)
	}
	if _, err := a.Execute(context.Background(), call(idsOf()[0])); err != nil {
		t.Errorf("what it owns it does not serve: %v", err)
	}
	end := len(c.log.Records(controlTopic, 0))
	toA.proposals <- []int32{0, 1}
	eventually(t, func() bool { _, err := a.Execute(context.Background(), call(idsOf()[1])); return err == nil })
	if n := len(c.log.Records(controlTopic, 0)); n != end {
		t.Errorf("it has written %d records behind one that it cannot read", n-end)
	}
}

// One process alone says nothing of itself in the control log, which lasts longer than
// it does.
func TestAProcessAloneAnnouncesNothing(t *testing.T) {
	log := memlog.New()
	app, stop := run(t, framework.Config{App: "test", Partitions: 2, Open: func(context.Context) (framework.Resources, error) { return embedded.With(log) }})
	if got := app.Locate("tally", "x"); got != (framework.Place{Here: true}) || listed(app) != "  [0 1]" {
		t.Errorf("%+v, %s", got, listed(app))
	}
	stop()
	for _, r := range log.Records(controlTopic, 0) {
		if kind := control.Kind(r.Header[1]); kind != control.KindGeneration && kind != control.KindSwitch {
			t.Errorf("a record of kind %d: %s", kind, r.Value)
		}
	}
	if _, err := app.Execute(context.Background(), call("x")); !errors.As(err, new(*cluster.UnavailableError)) || !app.Locate("tally", "x").Here || app.Members() != nil {
		t.Errorf("a process that has ended: %v, %+v", err, app.Members())
	}
}

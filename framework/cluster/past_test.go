package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// was asks for a state of the past of a.
func (n *node) was(as AsOf) State {
	n.p.Helper()
	ctx := context.Background()
	trail, err := n.Trail(ctx, tallies{}, "a", false)
	if err != nil {
		n.p.Fatal(err)
	}
	s, err := n.StateAsOf(ctx, tallies{}, "a", trail, as)
	if err != nil {
		n.p.Fatalf("as of %+v: %v", as, err)
	}
	return s
}

// record writes one record of another process's commit.
func (p *play) record(epoch uint64, id string, version uint64, n, index, count int, at time.Time, key string) {
	e := event.Envelope{ID: cmd(n).Derive(index, noon), Command: cmd(n), Digest: uint64(n), Type: "added", Version: version,
		Epoch: epoch, Index: index, Count: count, Time: at}
	p.append(eventlog.Record{Key: partition.Key("tally", id), Header: e.Append(nil), Value: []byte(key)})
}

// tangled is a log in which what took effect, what did not, and commits of several
// events lie among each other.
func tangled(p *play) {
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	p.claim(1)                                 // 0
	p.record(1, "a", 1, 1, 0, 2, at(1), "x")   // 1
	p.record(1, "a", 2, 1, 1, 2, at(1), "y")   // 2: takes effect
	p.record(1, "b", 1, 2, 0, 1, at(2), "x")   // 3
	p.record(1, "a", 9, 3, 0, 1, at(2), "no")  // 4: does not follow
	p.claim(2)                                 // 5
	p.record(2, "a", 3, 4, 0, 3, at(3), "z")   // 6
	p.record(1, "a", 3, 5, 0, 1, at(3), "no")  // 7: a zombie, in the midst of it
	p.record(2, "a", 4, 4, 1, 3, at(3), "z")   // 8
	p.record(1, "b", 2, 5, 0, 1, at(3), "no")  // 9
	p.record(2, "a", 5, 4, 2, 3, at(3), "x")   // 10: takes effect
	p.record(2, "a", 6, 6, 0, 2, at(4), "cut") // 11: never finished
	p.record(2, "a", 6, 7, 0, 1, at(6), "y")   // 12: takes effect
	p.record(2, "a", 7, 8, 0, 1, at(5), "y")   // 13: by a clock that was set back
	p.record(2, "b", 2, 9, 0, 1, at(7), "x")   // 14
}

func TestAStateOfThePastIsWhatTheLogSaysOfThen(t *testing.T) {
	script(t, func(p *play) {
		tangled(p)
		n := p.node()
		told := replay(p.log.Records(topic, 0))
		states, ends := told.states["tally/a"], told.ends["tally/a"]
		if len(states) != 8 {
			p.Fatalf("the oracle knows %d versions", len(states)-1)
		}
		holds := func(as AsOf, version uint64) {
			p.Helper()
			s := n.was(as)
			want := State{Version: version}
			if version > 0 {
				want = State{JSON: []byte(states[version]), Version: version, Position: eventlog.Position{Offset: ends[version]}}
			}
			if fmt.Sprintf("%s %d %v", s.JSON, s.Version, s.Position) != fmt.Sprintf("%s %d %v", want.JSON, want.Version, want.Position) {
				p.Errorf("as of %+v: %s, version %d at %v, want %s, version %d at %v", as, s.JSON, s.Version, s.Position, want.JSON, want.Version, want.Position)
			}
		}
		for v := uint64(1); v <= 7; v++ {
			holds(AsOf{Version: v, Offset: -1}, v)
		}
		holds(AsOf{Version: 8, Offset: -1}, 0)
		for offset := range int64(16) {
			holds(AsOf{Offset: offset}, told.version("tally/a", offset+1))
		}
		for second, version := range []uint64{0, 2, 2, 5, 5, 5, 7, 7} { // the one set back comes with the one before it
			holds(AsOf{At: noon.Add(time.Duration(second) * time.Second), Offset: -1}, version)
		}
		holds(AsOf{Offset: -1}, 7)
	})
}

func TestAPastHasNothingOfWhatIsDecidedAndNotAcknowledged(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		n.send(ask("a", 1, add("x"))).accepted(1)
		first, release := n.busy()
		decided := n.send(ask("a", 2, add("y")))
		trails := make(chan Trail, 1)
		go func() {
			trail, err := n.Trail(context.Background(), tallies{}, "a", false)
			if err != nil {
				p.Error(err)
			}
			trails <- trail
		}()
		synctest.Wait()
		release()
		first.accepted(1)
		decided.accepted(2)
		if trail := <-trails; trail.Len() != 1 || trail.Position.Offset != 2 {
			p.Errorf("%d events at %v, want 1 at 0@2", trail.Len(), trail.Position)
		}
		if s := n.was(AsOf{Version: 1, Offset: -1}); string(s.JSON) != `{"sum":1,"by":{"x":1}}` {
			p.Errorf("version 1 is %s", s.JSON)
		}
		if s := n.was(AsOf{Offset: -1}); s.Version != 2 {
			p.Errorf("version %d, want 2", s.Version)
		}
	})
}

func TestAnAggregateThatCannotBeFoldedHasItsPast(t *testing.T) {
	script(t, func(p *play) {
		p.claim(1)
		p.commit(1, "a", 1, 1, "added", "x")
		p.commit(1, "a", 2, 2, "boom", "x")
		n := p.node()
		if _, err := n.State(p.Context(), tallies{}, "a"); err == nil {
			p.Fatal("it can be folded")
		}
		if s := n.was(AsOf{Version: 1, Offset: -1}); string(s.JSON) != `{"sum":1,"by":{"x":1}}` {
			p.Errorf("before: %s", s.JSON)
		}
		trail, err := n.Trail(p.Context(), tallies{}, "a", false)
		if err != nil {
			p.Fatal(err)
		}
		_, err = n.StateAsOf(p.Context(), tallies{}, "a", trail, AsOf{Version: 2, Offset: -1})
		var broken *BrokenError
		if !errors.As(err, &broken) || broken.Position.Offset != 2 {
			p.Errorf("after: %v", err)
		}
	})
}

// A paused owner answers from the past, unless it is to prove that it still is.
func TestAStrongReadSeesWhatAnotherOwnerHasAccepted(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		n.send(ask("a", 1, add("x"))).accepted(1)
		p.claim(2)
		p.commit(2, "a", 2, 2, "added", "y")
		n.shows("a", `{"sum":1,"by":{"x":1}}`)
		s, err := n.StrongState(p.Context(), tallies{}, "a")
		if err != nil || s.Version != 2 || string(s.JSON) != `{"sum":2,"by":{"x":1,"y":1}}` {
			p.Errorf("a strong read shows version %d, %s, %v", s.Version, s.JSON, err)
		}
	})
}

func TestAStrongReadWaitsForAnAppendSentAfterIt(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		n.send(ask("a", 1, add("x"))).accepted(1)
		n.suffers(memlog.Delayed)
		asked, failed := make(chan State, 1), make(chan error, 1)
		go func() {
			s, err := n.StrongState(context.Background(), tallies{}, "a")
			failed <- err
			asked <- s
		}()
		time.Sleep(time.Second)
		select {
		case err := <-failed:
			p.Fatalf("answered before its probe was acknowledged: %v", err)
		default:
		}
		if n.kinds() != "c1p" {
			p.Fatalf("sent %s", n.kinds())
		}
		p.log.Deliver(0)
		if err := <-failed; err != nil {
			p.Fatal(err)
		}
		if s := <-asked; s.Version != 1 || s.Position.Offset != 2 {
			p.Errorf("%+v, want version 1 at the probe", s)
		}
		trail, err := n.Trail(p.Context(), tallies{}, "a", true)
		if err != nil || trail.Len() != 1 || n.kinds() != "c1pp" {
			p.Errorf("a strong trail: %d events, %v, sent %s", trail.Len(), err, n.kinds())
		}
	})
}

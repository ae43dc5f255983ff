package cluster

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
)

func TestAnOwnerDecidesNothingBeforeItsClaimIsAcknowledged(t *testing.T) {
	script(t, func(p *play) {
		n := p.idle()
		n.suffers(memlog.Delayed)
		n.start()
		decided := false
		c := n.send(ask("a", 1, func(s any, g Given) ([]Fact, error) { decided = true; return add("x")(s, g) }))
		if c.answered() || decided || n.Status().Serving {
			p.Fatalf("before the claim landed: answered %v, decided %v, %+v", c.answered(), decided, n.Status())
		}
		p.log.Deliver(0)
		c.accepted(1)
		if !n.Status().Serving || n.kinds() != "c1" {
			p.Fatalf("%+v, sent %s", n.Status(), n.kinds())
		}
	})
}

func TestAClaimFoundVoidIsMadeAnew(t *testing.T) {
	for _, other := range []uint64{1, 7} { // as high as ours, and higher
		script(t, func(p *play) {
			n := p.idle()
			n.then(func() { p.claim(other) })
			n.start()
			if s := n.Status(); s.Serving {
				p.Fatalf("it serves another's epoch: %+v", s)
			}
			time.Sleep(time.Second)
			n.send(ask("a", 1, add("x"))).accepted(1)
			if h := replay(p.log.Records(topic, 0)); n.kinds() != "cc1" || h.epoch != other+1 {
				p.Fatalf("sent %s, epoch %d", n.kinds(), h.epoch)
			}
		})
	}
}

// busy lets a commit hang in an append until release is called.
func (n *node) busy() (first *call, release func()) {
	n.suffers(memlog.Delayed)
	first = n.send(ask("busy", 999, add("z")))
	return first, func() { n.p.log.Deliver(0); synctest.Wait() }
}

func TestCommandsThatWaitShareAnAppendAndSeeEachOther(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		first, release := n.busy()
		a := n.send(ask("a", 1, between(0, 1, "x")))
		b := n.send(ask("a", 2, between(1, 2, "y")))
		c := n.send(ask("b", 3, add("x", "y")))
		over := n.send(ask("a", 4, between(0, 2, "z")))
		release()
		first.accepted(1)
		a.accepted(1)
		b.accepted(2)
		if res := c.accepted(2); res.Position.Offset != 5 || len(res.Events) != 2 || res.Events[0].Version != 1 {
			p.Errorf("the commit of two events: %+v", res)
		}
		over.refused(rejected)
		if n.kinds() != "c14" {
			p.Errorf("sent %s, want a claim, one event, then four, and no probe", n.kinds())
		}
		n.shows("a", `{"sum":2,"by":{"x":1,"y":1}}`)
	})
}

func TestWhatAppendsNothingIsAnsweredAfterAProbe(t *testing.T) {
	two := uint64(2)
	for name, r := range map[string]Request{
		"rejection": ask("a", 1, between(1, 2, "x")),
		"no-op":     ask("a", 1, add()),
		"conflict":  {Aggregate: tallies{}, ID: "a", Command: cmd(1), Expected: &two, Decide: add("x")},
		"too many":  ask("a", 1, add(make([]string, event.MaxCommit+1)...)),
		"too large": ask("a", 1, add(strings.Repeat("x", eventlog.MaxBatch))),
	} {
		t.Run(name, func(t *testing.T) {
			script(t, func(p *play) {
				n := p.node()
				n.suffers(memlog.Delayed)
				c := n.send(r)
				if c.answered() || n.kinds() != "cp" {
					p.Fatalf("answered %v before its probe landed, sent %s", c.answered(), n.kinds())
				}
				p.log.Deliver(0)
				<-c.done
				var conflict *ConflictError
				switch {
				case name == "rejection" && rejected(c.err), name == "no-op" && c.err == nil && len(c.res.Events) == 0:
				case name == "conflict" && errors.As(c.err, &conflict) && *conflict == ConflictError{2, 0}:
				case strings.HasPrefix(name, "too") && errors.Is(c.err, eventlog.ErrTooLarge):
				default:
					p.Errorf("got %+v, %v", c.res, c.err)
				}
				p.valid(0)
			})
		})
	}
}

func TestAnAppendInFlightDoesNotCoverWhatCameAfterIt(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		_, release := n.busy()
		c := n.send(ask("a", 1, between(1, 2, "x")))
		n.suffers(memlog.Delayed)
		release()
		if c.answered() || n.kinds() != "c1p" {
			p.Fatalf("answered %v, sent %s", c.answered(), n.kinds())
		}
		p.log.Deliver(0)
		c.refused(rejected)
	})
}

func TestOneProbeServesAllWhoWaitAndProbesAreFiveMillisecondsApart(t *testing.T) {
	script(t, func(p *play) {
		n := p.node(func(c *OwnerConfig) { c.MaxQueue = 8 })
		for round := range 10 {
			var calls []*call
			for i := range 8 { // as many as may wait
				calls = append(calls, n.send(ask("a", round*10+i+1, between(1, 2, "x"))))
			}
			for _, c := range calls {
				c.refused(rejected)
			}
		}
		if len(n.times) > 1+20 {
			p.Errorf("%d probes for ten rounds", len(n.times)-1)
		}
		for i := 2; i < len(n.times); i++ {
			if d := n.times[i].Sub(n.times[i-1]); d < probeInterval {
				p.Errorf("probe %d came %v after the one before", i, d)
			}
		}
	})
}

func TestARejectionThatTheNewStateAcceptsGoesOnAsACommand(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		_, release := n.busy()
		late := n.send(ask("a", 1, between(1, 2, "y")))
		n.send(ask("a", 2, add("x")))
		release()
		late.accepted(2)
		p.valid(3)
	})
}

func TestARejectionIsNotAnsweredOnCommitsInFlight(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		_, release := n.busy()
		first, second := n.send(ask("a", 1, between(1, 2, "x"))), n.send(ask("a", 2, between(1, 2, "y")))
		n.send(ask("a", 3, add("z")))
		n.suffers(memlog.None, memlog.Delayed)
		release() // with z in the log the first is accepted, and the second has lost
		if second.answered() {
			p.Fatalf("answered %v while the commit that it lost to is in flight", second.err)
		}
		p.claim(2)
		p.commit(2, "a", 2, 9, "added", "q")
		p.log.Deliver(0)
		first.refused(rejected)
		second.refused(func(err error) bool { return err == no("sum is 2") })
	})
}

func TestADecisionWhoseCallerLeavesMeanwhileIsDropped(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		n.sendFor(time.Second, ask("a", 1, func(s any, g Given) ([]Fact, error) {
			time.Sleep(time.Minute)
			return add("x")(s, g)
		})).refused(unavailable)
		time.Sleep(time.Hour)
		p.valid(0)
		n.send(ask("a", 2, add("y"))).accepted(1)
	})
}

func TestACommandWhoseCallerLeftIsNotDecidedAnewAfterAClaim(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		n.suffers(memlog.Delayed)
		n.sendFor(time.Second, ask("a", 1, add("x"))).refused(unresolved)
		time.Sleep(time.Hour)
		if n.kinds() != "c1c" {
			p.Errorf("sent %s", n.kinds())
		}
		p.log.DeliverAll()
		p.valid(0)
	})
}

func TestAGapIsReadBeforeAnythingIsAnswered(t *testing.T) {
	own := func(p *play) { p.append(p.log.UnderWay()[0].Batch...) }
	for name, test := range map[string]struct {
		between func(*play)
		sent    string
		epoch   uint64
		at      int64
	}{
		"void records":              {func(p *play) { p.claim(1); p.commit(3, "a", 1, 9, "added", "q"); p.append(eventlog.Record{}) }, "c1", 1, 4},
		"a copy of the batch":       {own, "c1", 1, 1},
		"a higher claim":            {func(p *play) { p.claim(2) }, "c1c1", 3, 4},
		"a copy, then a claim":      {func(p *play) { own(p); p.claim(2) }, "c1c", 3, 1},
		"a claim, then a copy":      {func(p *play) { p.claim(2); own(p) }, "c1c1", 3, 5},
		"a claim and a commit":      {func(p *play) { p.claim(2); p.commit(2, "a", 1, 9, "added", "q") }, "c1c1", 3, 5},
		"the same command's commit": {func(p *play) { p.claim(2); p.commit(2, "a", 1, 1, "added", "x") }, "c1c", 3, 2},
	} {
		t.Run(name, func(t *testing.T) {
			script(t, func(p *play) {
				n := p.node()
				n.suffers(memlog.Delayed)
				c := n.send(ask("a", 1, add("x")))
				test.between(p)
				p.log.Deliver(0)
				<-c.done
				time.Sleep(10 * time.Second)
				h := replay(p.log.Records(topic, 0))
				if c.err != nil || c.res.Position.Offset != test.at || n.kinds() != test.sent || h.epoch != test.epoch {
					p.Fatalf("got %+v, %v, sent %s, epoch %d, want offset %d, %s, %d", c.res, c.err, n.kinds(), h.epoch, test.at, test.sent, test.epoch)
				}
				if all := h.commits; all[len(all)-1].command != cmd(1) || h.states["tally/a"] == nil {
					p.Errorf("commits %+v", all)
				}
				n.shows("a", h.states["tally/a"][len(h.states["tally/a"])-1])
			})
		})
	}
}

func TestAnAppendWithoutAnswerIsSettledByAClaim(t *testing.T) {
	for fault, want := range map[memlog.Fault]string{memlog.Unacked: "c1c", memlog.UnackedTwice: "c1c", memlog.Lost: "c1c1", memlog.Late: "c1c1"} {
		t.Run(fault.String(), func(t *testing.T) {
			script(t, func(p *play) {
				n := p.node()
				n.send(ask("a", 1, add("w"))).accepted(1)
				n.suffers(fault)
				c := n.send(ask("a", 2, add("x")))
				c.accepted(2)
				p.log.DeliverAll()
				n.send(ask("a", 3, add("y"))).accepted(3)
				if got := strings.Replace(n.kinds(), "c1", "c", 1); got != want+"1" {
					p.Errorf("sent %s, want %s between", got, want)
				}
				p.valid(3)
				n.shows("a", `{"sum":3,"by":{"w":1,"x":1,"y":1}}`)
			})
		})
	}
}

func TestATimeoutLeavesACommandUnresolvedAndARetryGetsTheAnswer(t *testing.T) {
	for name, lands := range map[string]bool{"lands": true, "never lands": false} {
		t.Run(name, func(t *testing.T) {
			script(t, func(p *play) {
				n := p.node()
				n.suffers(memlog.Delayed)
				left := n.sendFor(time.Second, ask("a", 1, add("x")))
				left.refused(unresolved)
				n.sendFor(time.Second, ask("a", 1, add("x"))).refused(unavailable)
				if lands {
					p.log.Deliver(0)
				} else {
					time.Sleep(10 * time.Second) // the append, then the claim
				}
				res := n.send(ask("a", 1, add("x"))).accepted(1)
				same := n.send(ask("a", 1, add("x"))).accepted(1)
				if !reflect.DeepEqual(res, same) {
					p.Errorf("answers differ: %+v and %+v", res, same)
				}
				p.log.DeliverAll()
				p.valid(1)
			})
		})
	}
}

func TestACallerWhoLeavesTheQueueIsNeverDecided(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		_, release := n.busy()
		n.sendFor(time.Second, ask("a", 1, add("x"))).refused(unavailable)
		release()
		p.valid(1)
	})
}

func TestADeposedOwnerSaysNothingFromThePast(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		p.claim(2)
		p.commit(2, "a", 1, 9, "added", "q")
		c := n.send(ask("a", 1, between(1, 2, "x"))) // no, says the state it has
		c.accepted(2)
		one := uint64(1)
		r := ask("a", 2, add("y"))
		r.Expected = &one
		p.claim(4)
		p.commit(4, "a", 3, 8, "added", "q")
		n.send(r).refused(func(err error) bool {
			var conflict *ConflictError
			return errors.As(err, &conflict) && *conflict == ConflictError{1, 3}
		})
	})
}

func TestADuplicateGetsTheOneAnswer(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		_, release := n.busy()
		a, b := n.send(ask("a", 1, add("x", "y"))), n.send(ask("a", 1, add("x", "y"))) // in one batch
		n.suffers(memlog.Delayed)
		release()
		c := n.send(ask("a", 1, add("x", "y"))) // in flight
		release()
		want := a.accepted(2)
		for _, d := range []*call{b, c, n.send(ask("a", 1, add("x", "y")))} {
			if got := d.accepted(2); !reflect.DeepEqual(got, want) {
				p.Errorf("got %+v, want %+v", got, want)
			}
		}
		p.valid(2)
	})
}

func TestADuplicateThatWaitsForTheFirstOnesFateIsUnresolvedToo(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		_, release := n.busy()
		n.send(ask("a", 1, add("x")))
		again := n.sendFor(time.Second, ask("a", 1, add("x")))
		n.suffers(memlog.Delayed)
		release()
		again.refused(unresolved)
	})
}

func TestAKeyOfAnotherCommandIsRefused(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		_, release := n.busy()
		a := n.send(ask("a", 1, add("x")))
		other := ask("a", 1, add("y"))
		other.Digest = 77
		b := n.send(other)
		release()
		a.accepted(1)
		b.refused(is(ErrKeyReused))
		n.send(ask("elsewhere", 1, add("x"))).refused(is(ErrKeyReused)) // an aggregate without events
		n.send(ask("b", 2, add("x"))).accepted(1)
		n.send(ask("b", 1, add("x"))).refused(is(ErrKeyReused)) // one with events
		p.valid(3)
	})
}

func TestACommandBelowTheHorizonIsTooLate(t *testing.T) {
	t.Run("number", func(t *testing.T) {
		script(t, func(p *play) {
			n := p.node(func(c *OwnerConfig) { c.Memory.Number = 2 })
			for i := range 4 {
				n.send(ask("a", i+1, add("x"))).accepted(uint64(i + 1))
			}
			n.send(ask("a", 1, add("x"))).refused(is(ErrTooLate))
			n.send(ask("a", 2, add("x"))).refused(is(ErrTooLate))
			n.send(ask("a", 3, add("x"))).accepted(3)
			fresh := ask("a", 1, add("x"))
			fresh.Fresh = true // as when it has waited for long
			n.send(fresh).accepted(5)
			p.valid(5)
		})
	})
	t.Run("age", func(t *testing.T) {
		script(t, func(p *play) {
			n := p.node()
			n.send(ask("a", 1, add("x"))).accepted(1)
			time.Sleep(25 * time.Hour)
			n.send(ask("a", 2, add("x"))).accepted(2)
			n.send(ask("a", 1, add("x"))).refused(is(ErrTooLate))
			p.valid(2)
		})
	})
}

func TestTheExpectedVersionIsCheckedInTheBatchToo(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		_, release := n.busy()
		zero := uint64(0)
		r1, r2 := ask("a", 1, add("x")), ask("a", 2, add("y"))
		r1.Expected, r2.Expected = &zero, &zero
		a, b := n.send(r1), n.send(r2)
		release()
		a.accepted(1)
		b.refused(func(err error) bool {
			var conflict *ConflictError
			return errors.As(err, &conflict) && *conflict == ConflictError{0, 1}
		})
		p.valid(2)
	})
}

func TestABatchIsSplitAtTheSizeBound(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		_, release := n.busy()
		var calls []*call
		for i := range 5 {
			calls = append(calls, n.send(ask(fmt.Sprint(i%3), i+1, add(strings.Repeat("x", 400<<10)))))
		}
		release()
		for i, c := range calls {
			c.accepted(uint64(i/3 + 1))
		}
		if n.kinds() != "c1221" {
			p.Errorf("sent %s", n.kinds())
		}
		p.valid(6)
	})
}

func TestAFullQueueRefuses(t *testing.T) {
	script(t, func(p *play) {
		n := p.node(func(c *OwnerConfig) { c.MaxQueue = 3 })
		_, release := n.busy()
		var calls []*call
		for i := range 3 {
			calls = append(calls, n.send(ask("a", i+1, add("x"))))
		}
		n.send(ask("a", 4, add("x"))).refused(unavailable)
		release()
		for i, c := range calls {
			c.accepted(uint64(i + 1))
		}
	})
}

func TestAReaderWhoLeavesGetsNothing(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		_, release := n.busy()
		ctx, cancel := context.WithTimeout(p.Context(), time.Second)
		defer cancel()
		if s, err := n.State(ctx, tallies{}, "busy"); !unavailable(err) || s.Version != 0 || s.JSON != nil {
			p.Errorf("got %+v, %v", s, err)
		}
		release()
		offsets, at, err := n.Offsets(p.Context(), tallies{}, "busy", 0, 10)
		if err != nil || !reflect.DeepEqual(offsets, []int64{1}) || at.Offset != 1 {
			p.Errorf("got %v, %v, %v", offsets, at, err)
		}
	})
}

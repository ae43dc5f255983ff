package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
)

func TestADecisionGoneWrongLeavesTheStateAsItWas(t *testing.T) {
	wrong := map[string]Decide{
		"panics":       func(any, Given) ([]Fact, error) { panic("as asked") },
		"event panics": emit("boom", "m"),
		"event unknown": func(s any, g Given) ([]Fact, error) {
			return []Fact{{"added", []byte("m")}, {"nonsense", []byte("m")}}, nil
		},
		"event without name": emit("", "m"),
		"name too long":      emit(strings.Repeat("n", event.MaxName+1), "m"),
		"changes the state": func(s any, _ Given) ([]Fact, error) {
			s.(*tally).By["m"]++
			panic("as asked")
		},
	}
	for name, d := range wrong {
		t.Run(name, func(t *testing.T) {
			script(t, func(p *play) {
				n := p.node()
				plain := func(err error) bool { return !rejected(err) && !unavailable(err) && !unresolved(err) }
				n.send(ask("new", 1, d)).refused(plain)
				n.send(ask("a", 2, add("x"))).accepted(1)
				n.send(ask("a", 3, d)).refused(plain)
				n.shows("a", `{"sum":1,"by":{"x":1}}`)
				_, release := n.busy()
				before, c, after := n.send(ask("a", 4, add("y"))), n.send(ask("a", 5, d)), n.send(ask("a", 6, add("z")))
				release()
				before.accepted(2)
				c.refused(plain)
				after.accepted(3)
				n.shows("a", `{"sum":3,"by":{"x":1,"y":1,"z":1}}`)
				n.shows("new", `{"sum":0,"by":{}}`)
				p.valid(4)
				n.stop()
				if held := len(maps.Collect(n.units.All())); held != 2 {
					p.Errorf("%d aggregates are held, two have events", held)
				}
			})
		})
	}
}

func TestAStateMovedByABatchThatFailedIsFoldedAnew(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		n.send(ask("a", 1, add("x"))).accepted(1)
		_, release := n.busy()
		c := n.send(ask("a", 2, add("y", "y")))
		fresh := n.send(ask("b", 3, add("y")))
		n.suffers(memlog.Lost)
		release()
		c.accepted(3)
		fresh.accepted(1)
		n.shows("a", `{"sum":3,"by":{"x":1,"y":2}}`)
		n.shows("b", `{"sum":1,"by":{"y":1}}`)
	})
}

func TestAnAggregateThatCannotBeFoldedIsRefusedAndTheOthersGoOn(t *testing.T) {
	script(t, func(p *play) {
		p.claim(1)
		p.commit(1, "a", 1, 1, "added", "x")
		p.commit(1, "a", 2, 2, "vanished", "x", "x")
		p.commit(1, "a", 4, 3, "added", "x")
		n := p.node()
		broken := func(err error) bool {
			var b *BrokenError
			return errors.As(err, &b) && b.Aggregate == "tally/a" && b.Position == eventlog.Position{Offset: 2}
		}
		n.send(ask("a", 4, add("x"))).refused(broken)
		if _, err := n.State(p.Context(), tallies{}, "a"); !broken(err) {
			p.Errorf("state: %v", err)
		}
		n.send(ask("b", 5, add("x"))).accepted(1)
	})
}

func TestAnAggregateOfATypeUnknownToTheProgramKeepsItsVersion(t *testing.T) {
	script(t, func(p *play) {
		p.claim(1)
		p.commit(1, "a", 1, 1, "added", "x")
		n := p.node(func(c *OwnerConfig) { c.Aggregates = nil })
		n.send(ask("a", 2, add("y"))).accepted(2)
		n.shows("a", `{"sum":2,"by":{"x":1,"y":1}}`)
	})
}

// lying is a log that says it has less than it had.
type lying struct {
	*memlog.Log
	base int64
}

func (l *lying) Append(ctx context.Context, topic string, part int32, batch []eventlog.Record) (int64, error) {
	base, err := l.Log.Append(ctx, topic, part, batch)
	return base - l.base, err
}

func TestALogThatLostRecordsStopsTheOwner(t *testing.T) {
	script(t, func(p *play) {
		log := &lying{Log: p.log.Connect()}
		n := p.idle(func(c *OwnerConfig) { c.Log = log })
		n.start()
		log.base = 1
		n.send(ask("a", 1, add("x"))).refused(unresolved)
		stopsFor(n, errLostRecords)
	})
}

func stopsFor(n *node, want error) {
	n.p.Helper()
	synctest.Wait()
	if s := n.Status(); s.Serving || !strings.Contains(s.Reason, want.Error()) {
		n.p.Fatalf("status %+v, want %v", s, want)
	}
	n.send(ask("a", 50, add("x"))).refused(unavailable)
	time.Sleep(time.Hour)
	if s := n.Status(); s.Serving || !strings.Contains(s.Reason, want.Error()) {
		n.p.Fatalf("an hour later: status %+v, want %v", s, want)
	}
}

func TestARecordOfANewerFormatStopsTheOwner(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		p.append(eventlog.Record{Header: []byte{event.Format + 1, 1}})
		n.send(ask("a", 1, add("x"))).refused(unresolved)
		stopsFor(n, event.ErrNewer)
	})
}

func TestALostProbeIsSentAgainInTheSameEpoch(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		n.suffers(memlog.Lost, memlog.Unacked, memlog.Late)
		n.send(ask("a", 1, between(1, 2, "x"))).refused(rejected)
		if n.kinds() != "cpppp" {
			p.Errorf("sent %s", n.kinds())
		}
		p.log.DeliverAll()
		n.send(ask("a", 2, add("x"))).accepted(1)
		if n.kinds() != "cpppp1" || !n.Status().Serving {
			p.Errorf("sent %s, %+v", n.kinds(), n.Status())
		}
	})
}

func TestAProbeThatKeepsFailingEndsTheTerm(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		n.suffers(slices.Repeat([]memlog.Fault{memlog.Lost}, 5)...)
		n.send(ask("a", 1, between(1, 2, "x"))).refused(rejected)
		if !strings.Contains(n.kinds()[1:], "c") {
			p.Errorf("sent %s", n.kinds())
		}
	})
}

func TestWhoWaitsForALogThatTakesNoClaimIsSentAwaySoon(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		n.suffers(slices.Repeat([]memlog.Fault{memlog.Lost}, 6)...)
		began := time.Now()
		n.send(ask("a", 1, add("x"))).refused(unresolved)
		if waited := time.Since(began); waited > time.Second {
			p.Errorf("told after %v", waited)
		}
		time.Sleep(time.Minute)
		n.send(ask("a", 1, add("x"))).accepted(1)
		p.valid(1)
	})
}

func TestWhoQueuesForALogThatTakesNoClaimIsSentAwayUndecided(t *testing.T) {
	script(t, func(p *play) {
		n := p.idle()
		n.suffers(memlog.Delayed, memlog.Lost)
		n.start()
		began := time.Now()
		n.send(ask("a", 1, add("x"))).refused(unavailable)
		if waited := time.Since(began); waited > 6*time.Second {
			p.Errorf("told after %v", waited)
		}
		time.Sleep(time.Minute)
		if !n.Status().Serving {
			p.Errorf("%+v", n.Status())
		}
		p.valid(0)
	})
}

func TestACommandThatTheLogFailsToTakeAgainAndAgainIsGivenUp(t *testing.T) {
	for _, fault := range []memlog.Fault{memlog.Lost, memlog.Late} {
		script(t, func(p *play) {
			n := p.node()
			n.suffers(fault, memlog.None, fault, memlog.None, fault)
			n.send(ask("a", 1, add("x"))).refused(unavailable)
			if want := "c" + strings.Repeat("1c", maxSends); n.kinds() != want {
				p.Errorf("sent %s, want %s", n.kinds(), want)
			}
			p.log.DeliverAll() // it was told to be without effect
			p.valid(0)
			n.send(ask("a", 1, add("x"))).accepted(1)
			p.valid(1)
		})
	}
}

func TestEndingAnswersEveryone(t *testing.T) {
	t.Run("who waits for a probe", func(t *testing.T) {
		script(t, func(p *play) {
			n := p.node()
			n.send(ask("a", 1, between(1, 2, "x"))).refused(rejected)
			c := n.send(ask("a", 2, between(1, 2, "x")))
			if c.answered() {
				p.Fatal("the next probe is not due yet")
			}
			n.stop()
			if !c.answered() {
				p.Fatal("not answered")
			}
			c.refused(unavailable)
		})
	})
	t.Run("who waits behind a commit and in the queue", func(t *testing.T) {
		script(t, func(p *play) {
			n := p.node()
			first, release := n.busy()
			c := n.send(ask("a", 2, add("x")))
			n.cancel()
			release()
			<-n.ended
			if !first.answered() || !c.answered() {
				p.Fatal("not answered")
			}
			first.accepted(1)
			c.refused(unavailable)
		})
	})
	t.Run("who was sent and has no outcome", func(t *testing.T) {
		script(t, func(p *play) {
			n := p.node()
			first, _ := n.busy()
			n.stop()
			if !first.answered() {
				p.Fatal("not answered")
			}
			first.refused(unresolved)
		})
	})
	t.Run("who comes at that moment", func(t *testing.T) {
		script(t, func(p *play) {
			n := p.node()
			serving := n.Status()
			n.stop()
			n.status.Store(&serving) // as a caller saw it who was slow to queue
			c := n.send(ask("a", 1, add("x")))
			if !c.answered() {
				p.Fatal("not answered")
			}
			c.refused(unavailable)
		})
	})
}

func TestAnOwnerEndsUnderConstantLoad(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		n.log.OnAppend(func(string, int32, []eventlog.Record) memlog.Fault {
			time.Sleep(time.Millisecond)
			return memlog.None
		})
		const each = 500
		var callers sync.WaitGroup
		for i := range 8 { // half of them ask while the others' append is in flight
			callers.Go(func() {
				time.Sleep(time.Duration(i%2) * time.Millisecond / 2)
				for k := range each {
					n.Execute(context.Background(), ask(fmt.Sprint(i), each*i+k+1, add("x")))
				}
			})
		}
		time.Sleep(10 * time.Millisecond)
		began := time.Now()
		n.stop()
		if d := time.Since(began); d > 2*time.Millisecond {
			p.Errorf("it ended after %v", d)
		}
		callers.Wait()
	})
}

func TestAnActorThatFitsNoEnvelopeIsRefused(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		r := ask("a", 1, add("x"))
		r.Actor = strings.Repeat("m", event.MaxName+1)
		n.send(r).refused(func(err error) bool { return !unresolved(err) })
		n.send(ask("a", 2, add("x"))).accepted(1)
	})
}

func TestAStateThatCannotBeShownIsAnError(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		n.send(ask("a", 1, add("unshowable"))).accepted(1)
		if _, err := n.State(p.Context(), tallies{}, "a"); err == nil || !strings.Contains(err.Error(), "panicked") {
			p.Errorf("got %v", err)
		}
		n.send(ask("a", 2, add("x"))).accepted(2)
	})
}

// unreadable is a log whose readers fail from some moment on.
type unreadable struct {
	*memlog.Log
	mu   sync.Mutex
	fail bool
}

func (l *unreadable) Read(topic string, part int32, from int64) (eventlog.Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail {
		return nil, memlog.ErrNoAnswer
	}
	return l.Log.Read(topic, part, from)
}

func TestARetryWhoseEventsCannotBeReadIsUnresolved(t *testing.T) {
	script(t, func(p *play) {
		log := &unreadable{Log: p.log.Connect()}
		n := p.idle(func(c *OwnerConfig) { c.Log = log })
		n.start()
		n.send(ask("a", 1, add("x"))).accepted(1)
		log.mu.Lock()
		log.fail = true
		log.mu.Unlock()
		n.send(ask("a", 1, add("x"))).refused(unresolved)
	})
}

// slowLog is a log whose readers take their time.
type slowLog struct {
	eventlog.Log
	delay time.Duration
}

type slowReader struct {
	eventlog.Reader
	delay time.Duration
}

func (l *slowLog) Read(topic string, part int32, from int64) (eventlog.Reader, error) {
	r, err := l.Log.Read(topic, part, from)
	return &slowReader{r, l.delay}, err
}

func (r *slowReader) Next(ctx context.Context) ([]eventlog.Record, error) {
	select {
	case <-time.After(r.delay):
		return r.Reader.Next(ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestALongHistoryIsFoldedAgainInSeveralAttempts(t *testing.T) {
	script(t, func(p *play) {
		slow := &slowLog{Log: p.log.Connect()}
		n := p.node(func(c *OwnerConfig) { c.Log = slow })
		far := slices.Repeat([]string{"f"}, 2048+100) // beyond what an eventlog.Fetcher reads past
		for i := range 80 {                           // events of a, so far apart that a run of records holds few
			n.send(ask("a", 2*i+1, add("k"))).accepted(uint64(i + 1))
			n.send(ask("b", 2*i+2, add(far...))).accepted(uint64((i + 1) * len(far)))
		}
		slow.delay = time.Second
		began := time.Now()
		n.send(ask("a", 1000, func(any, Given) ([]Fact, error) { panic("as asked") })).refused(func(err error) bool { return err != nil })
		for attempt := 1; ; attempt++ {
			_, err := n.Execute(context.Background(), ask("a", 1000+attempt, add("k")))
			if err == nil {
				break
			}
			if !unavailable(err) || attempt == 10 {
				p.Fatalf("attempt %d: %v", attempt, err)
			}
		}
		if took := time.Since(began); took < 5*time.Second {
			p.Errorf("folded again in %v: too short a history to show anything", took)
		}
	})
}

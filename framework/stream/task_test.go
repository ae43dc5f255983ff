package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
)

func TestTheWholeLogIsFoldedAndOnlyWhatLiesBehindTheMarkIsWritten(t *testing.T) {
	script(t, func(p *play) {
		p.commit("a", 1, "e")
		p.commit("b", 2, "e")
		p.store.mark, p.store.docs = 4, map[string]int{"a": 1, "b": 2}
		p.commit("c", 1, "e")
		p.commit("a", 1, "e")
		task, _ := p.start(p.log)
		p.holds("@6 a=2 b=2 c=1")
		p.called("open; write 6 a,c")
		if s := task.Status(); !s.Whole() || s.Done != 6 || s.Goal != 6 || s.Err != nil {
			p.Errorf("status %+v", s)
		}
	})
}

func TestVoidRecordsProbesAndClaimsChangeNothing(t *testing.T) {
	script(t, func(p *play) {
		p.append(eventlog.Record{Value: []byte("foreign")})
		p.probe()
		p.commit("a", 1, "e")
		p.append(p.log.Records(topic, 0)[3])
		task, _ := p.start(p.log)
		p.holds("@5 a=1")
		p.probe()
		synctest.Wait()
		if s := task.Status(); s.Done != 6 {
			p.Errorf("status %+v, want it to have passed the probe", s)
		}
		p.called("open; write 5 a")
	})
}

// single is a log whose readers give one record at a time.
type single struct{ *memlog.Log }

type oneByOne struct {
	eventlog.Reader
	rest []eventlog.Record
}

func (l single) Read(topic string, part int32, from int64) (eventlog.Reader, error) {
	r, err := l.Log.Read(topic, part, from)
	return &oneByOne{Reader: r}, err
}

func (r *oneByOne) Next(ctx context.Context) ([]eventlog.Record, error) {
	if len(r.rest) == 0 {
		var err error
		if r.rest, err = r.Reader.Next(ctx); err != nil {
			return nil, err
		}
	}
	one := r.rest[:1]
	r.rest = r.rest[1:]
	return one, nil
}

func TestACommitIsFoldedWholeWhereverRunsEnd(t *testing.T) {
	script(t, func(p *play) {
		p.commit("a", 3, "e")
		_, stop := p.start(single{p.log})
		p.called("open; write 4 a")
		p.holds("@4 a=3")
		stop()
		for mark := int64(1); mark < 4; mark++ { // in the midst of the commit
			p.store.mark, p.store.docs = mark, map[string]int{}
			_, stop := p.start(single{p.log})
			p.holds("@4 a=3")
			stop()
		}
	})
}

func TestChangesAreWrittenAtTheLatestWhenThereAreManyOfThem(t *testing.T) {
	script(t, func(p *play) {
		var batch []eventlog.Record
		for i := range 9000 {
			batch = append(batch, p.records(fmt.Sprint(i), 1, "e")...)
			if len(batch) == 1000 {
				p.append(batch...)
				batch = nil
			}
		}
		p.start(p.log)
		p.called("open; write 4352, 4351 keys; write 8448, 4096 keys; write 9001, 553 keys")
	})
}

func TestManyChangesBelowTheMarkAreForgottenNotWritten(t *testing.T) {
	script(t, func(p *play) {
		for i := range 9000 {
			p.commit(fmt.Sprint(i), 1, "e")
		}
		p.store.mark = 8000
		p.start(p.log)
		p.called("open; write 9001, 1001 keys")
	})
}

func TestAWriteThatFailedIsMadeGoodByStartingAnew(t *testing.T) {
	for name, effect := range map[string]bool{"without effect": false, "with effect": true} {
		t.Run(name, func(t *testing.T) {
			script(t, func(p *play) {
				p.commit("a", 1, "e")
				task, _ := p.start(p.log)
				once := func(call string) (err error) {
					if strings.HasPrefix(call, "write 3") {
						p.part.fails, p.part.after = nil, nil
						err = errors.New("as asked")
					}
					return err
				}
				if effect {
					p.part.after = once
				} else {
					p.part.failing(func(call string) error { p.part.mu.Lock(); defer p.part.mu.Unlock(); return once(call) })
				}
				p.commit("b", 1, "e")
				synctest.Wait()
				if s := task.Status(); s.Err == nil || s.Final || s.Whole() {
					p.Errorf("after the failure: %+v", s)
				}
				time.Sleep(100 * time.Millisecond)
				p.holds("@3 a=1 b=1")
				if s := task.Status(); s.Err != nil || !s.Whole() || s.Goal != 2 {
					p.Errorf("status %+v, want it whole: nothing was lost", s)
				}
				p.commit("a", 1, "e")
				p.holds("@4 a=2 b=1")
			})
		})
	}
}

func TestAStoreThatWasEmptiedIsFilledAgain(t *testing.T) {
	for name, meanwhile := range map[string]func(*play){
		"while idle":             func(*play) { time.Sleep(3 * time.Second) },
		"while nothing changes":  func(p *play) { p.chatter("quiet") },
		"while there are probes": func(p *play) { p.chatter("") },
	} {
		t.Run(name, func(t *testing.T) {
			script(t, func(p *play) {
				p.commit("a", 2, "e")
				p.commit("b", 1, "e")
				task, _ := p.start(p.log)
				p.holds("@4 a=2 b=1")
				time.Sleep(10 * time.Second)
				p.store.empty()
				meanwhile(p)
				synctest.Wait()
				if got := p.store.holds(); !strings.HasSuffix(got, "a=2 b=1") {
					p.Fatalf("the store holds %s", got)
				}
				if s := task.Status(); !s.Whole() || s.Goal < 4 {
					p.Errorf("status %+v", s)
				}
			})
		})
	}
}

// chatter appends, for three seconds, what changes nothing.
func (p *play) chatter(name string) {
	for range 300 {
		if name == "" {
			p.probe()
		} else {
			p.commit("c", 1, name)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAViewIsNotWholeFromTheLossOnUntilItIsFilledAgain(t *testing.T) {
	script(t, func(p *play) {
		p.commit("a", 2, "e")
		task, _ := p.start(p.log)
		p.store.empty()
		p.part.failing(func(call string) error {
			if call == "open" || strings.HasPrefix(call, "write") {
				return errors.New("as asked")
			}
			return nil
		})
		time.Sleep(1500 * time.Millisecond)
		if s := task.Status(); s.Whole() || s.Err == nil {
			p.Fatalf("status %+v", s)
		}
		ctx, cancel := context.WithTimeout(p.Context(), time.Second)
		defer cancel()
		if err := task.Wait(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
			p.Errorf("waiting for what was lost: %v", err)
		}
		p.commit("b", 1, "e")
		p.part.failing(nil)
		time.Sleep(10 * time.Second)
		if s := task.Status(); !s.Whole() || s.Goal != 4 || s.Err != nil {
			p.Errorf("status %+v", s)
		}
		p.holds("@4 a=2 b=1")
	})
}

func TestATaskIsWholeOnceItHasPassedTheEndThatItFound(t *testing.T) {
	script(t, func(p *play) {
		p.commit("a", 2, "e")
		p.part.failing(func(call string) error { time.Sleep(time.Second); return nil })
		task, _ := p.start(p.log)
		if s := task.Status(); s.Whole() || s.Goal != -1 {
			p.Errorf("before it is open: %+v", s)
		}
		time.Sleep(1500 * time.Millisecond) // open, and writing
		if s := task.Status(); s.Whole() || s.Goal != 3 || s.Done != 0 {
			p.Errorf("before it has written: %+v", s)
		}
		time.Sleep(time.Second)
		if s := task.Status(); !s.Whole() || s.Goal != 3 || s.Done != 3 {
			p.Errorf("when it has written: %+v", s)
		}
		p.commit("a", 1, "e")
		synctest.Wait()
		if s := task.Status(); !s.Whole() || s.Done != 3 {
			p.Errorf("behind again: %+v", s)
		}
	})
}

func TestWaitReturnsWhenTheStoreHoldsTheRecord(t *testing.T) {
	script(t, func(p *play) {
		task, _ := p.start(p.log)
		done := make(chan error, 1)
		go func() { done <- task.Wait(p.Context(), 2) }()
		p.commit("a", 1, "e")
		synctest.Wait()
		select {
		case err := <-done:
			p.Fatalf("returned %v before offset 2 was there", err)
		default:
		}
		p.commit("a", 1, "e")
		if err := <-done; err != nil || p.store.holds() != "@3 a=2" {
			p.Errorf("%v, the store holds %s", err, p.store.holds())
		}
	})
}

func TestWhatCannotPassStopsTheTask(t *testing.T) {
	newer := eventlog.Record{Header: []byte{event.Format + 1, 1}}
	for want, prepare := range map[string]func(*play){
		"0@2 of t.events: bad of x/a": func(p *play) { p.commit("a", 1, "bad") },
		"panicked":                    func(p *play) { p.commit("a", 1, "panics") },
		"newer version of drivetrain": func(p *play) { p.append(newer) },
		"belongs to another log":      func(p *play) { p.store.mark = 77 },
	} {
		t.Run(want, func(t *testing.T) {
			script(t, func(p *play) {
				p.commit("b", 1, "e")
				prepare(p)
				task, _ := p.start(p.log)
				if err := task.Wait(p.Context(), 2); err == nil || !strings.Contains(err.Error(), want) {
					p.Fatalf("waiting gave %v, want %q", err, want)
				}
				if s := task.Status(); !s.Final || s.Err == nil {
					p.Errorf("status %+v", s)
				}
				p.part.noted()
				time.Sleep(time.Hour)
				p.called("") // it is not tried again
			})
		})
	}
}

// several is an error that cannot be compared.
type several []string

func (s several) Error() string { return strings.Join(s, "; ") }

func TestFailuresThatPassAreTriedAgain(t *testing.T) {
	for _, on := range []string{"open", "write", "check"} {
		t.Run(on, func(t *testing.T) {
			script(t, func(p *play) {
				failed := 0
				p.part.failing(func(call string) error {
					if strings.HasPrefix(call, on) && failed < 5 {
						failed++
						return several{"as asked", call}
					}
					return nil
				})
				p.commit("a", 1, "e")
				task, _ := p.start(p.log)
				time.Sleep(time.Minute)
				p.holds("@2 a=1")
				if s := task.Status(); failed != 5 || s.Err != nil || !s.Whole() {
					p.Errorf("failed %d times, %+v", failed, s)
				}
			})
		})
	}
}

func TestALogThatFailsForAWhileLosesNothing(t *testing.T) {
	script(t, func(p *play) {
		log := p.log.Connect()
		log.SetFaults(1, memlog.Faults{End: 0.5, Next: 0.5})
		for i := range 50 {
			p.commit(fmt.Sprint(i%2), 2, "e")
		}
		task, _ := p.start(log)
		time.Sleep(5 * time.Minute)
		log.SetFaults(0, memlog.Faults{})
		time.Sleep(time.Minute)
		p.holds("@101 0=50 1=50")
		if s := task.Status(); !s.Whole() {
			p.Errorf("status %+v", s)
		}
	})
}

func TestATaskThatIsToldToStopDoes(t *testing.T) {
	script(t, func(p *play) {
		p.commit("a", 1, "e")
		_, stop := p.start(p.log)
		began := time.Now()
		stop()
		if d := time.Since(began); d > 0 {
			p.Errorf("it took %v", d)
		}
		p.commit("a", 1, "e")
		p.holds("@2 a=1")
	})
}

// A store that was emptied is to be noticed within a second of when it was last
// heard of, whenever the log was.
func TestAnIdleStoreIsLookedAtEachSecond(t *testing.T) {
	script(t, func(p *play) {
		var looks []time.Time
		p.part.failing(func(call string) error {
			looks = append(looks, time.Now())
			return nil
		})
		p.commit("a", 1, "e")
		_, stop := p.start(p.log)
		for range 7 {
			time.Sleep(700 * time.Millisecond)
			p.probe()
		}
		stop()
		for i := 1; i < len(looks); i++ {
			if gap := looks[i].Sub(looks[i-1]); gap > checkInterval {
				t.Errorf("look %d came %v after the one before", i, gap)
			}
		}
		if len(looks) < 5 {
			t.Errorf("%d looks in 5 s", len(looks))
		}
	})
}

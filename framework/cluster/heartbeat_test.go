package cluster

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

func beating(cfg *OwnerConfig) { cfg.Heartbeat = time.Second }

// beats returns what the heartbeats in the log say, as durations since noon.
func (p *play) beats() (s string) {
	for _, r := range p.log.Records(topic, 0) {
		if kind, _ := event.KindOf(r.Header); kind == event.KindHeartbeat {
			_, at, err := partition.DecodeHeartbeat(r.Header)
			if err != nil {
				p.Fatal(err)
			}
			s += fmt.Sprint(time.Unix(0, at).Sub(noon), " ")
		}
	}
	return s
}

func TestAPartitionWithoutEventsGetsHeartbeatsThatTellWhenTheSilenceBegan(t *testing.T) {
	script(t, func(p *play) {
		n := p.node(beating)
		time.Sleep(2500 * time.Millisecond)
		n.send(ask("a", 1, add("x"))).accepted(1)
		time.Sleep(2500 * time.Millisecond)
		if n.kinds() != "chh1hh" || p.beats() != "0s 1s 2.5s 3.5s " {
			t.Errorf("sent %s, at %s", n.kinds(), p.beats())
		}
	})
}

func TestWithoutAWishThereAreNoHeartbeats(t *testing.T) {
	script(t, func(p *play) {
		n := p.node()
		time.Sleep(time.Hour)
		if n.kinds() != "c" {
			t.Errorf("sent %s", n.kinds())
		}
	})
}

func TestEventsTakeThePlaceOfHeartbeats(t *testing.T) {
	script(t, func(p *play) {
		n := p.node(beating)
		for i := range 6 {
			time.Sleep(900 * time.Millisecond)
			n.send(ask("a", i, add("x"))).accepted(uint64(i) + 1)
		}
		if n.kinds() != "c111111" {
			t.Errorf("sent %s", n.kinds())
		}
	})
}

func TestProbesDoNotKeepHeartbeatsOff(t *testing.T) {
	script(t, func(p *play) {
		n := p.node(beating)
		time.Sleep(50 * time.Millisecond)
		for i := range 25 {
			n.send(ask("a", i, between(9, 10, "x"))).refused(rejected)
			time.Sleep(100 * time.Millisecond)
		}
		if n.kinds() != "cpppppppppphpppppppppphppppp" || p.beats() != "0s 1s " {
			t.Errorf("sent %s, at %s", n.kinds(), p.beats())
		}
	})
}

// What waits may yet be recorded, with the time at which it came. The heartbeat is
// due as the probe is, and serves as one.
func TestAHeartbeatIsNoYoungerThanARequestThatWaits(t *testing.T) {
	script(t, func(p *play) {
		n := p.node(beating)
		_, release := n.busy()
		time.Sleep(200 * time.Millisecond)
		late := n.send(ask("a", 1, between(9, 10, "x")))
		time.Sleep(300 * time.Millisecond)
		n.suffers(memlog.Delayed) // the probe: it is given up after 5 s
		release()
		time.Sleep(5500 * time.Millisecond)
		late.refused(rejected)
		if n.kinds() != "c1ph" || p.beats() != "200ms " {
			t.Errorf("sent %s, at %s", n.kinds(), p.beats())
		}
	})
}

func TestAnOwnerThatCannotTellIsDeposedLikeOneThatCannotProve(t *testing.T) {
	script(t, func(p *play) {
		n := p.node(beating)
		n.suffers(memlog.Lost, memlog.Lost, memlog.Lost, memlog.Lost)
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if n.kinds() != "chhhhc" {
			t.Errorf("sent %s", n.kinds())
		}
	})
}

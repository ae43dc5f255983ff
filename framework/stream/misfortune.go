package stream

import (
	"math"
	"slices"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// misfortune befalls a process or a task.
func (s *Simulation) misfortune() {
	n := s.rng.IntN(len(s.nodes))
	switch s.rng.IntN(9) {
	case 0:
		s.counts["process killed"]++
		for _, l := range s.lives {
			if l.node == n {
				s.end(l)
			}
		}
	case 1:
		if !s.nodes[n].paused {
			s.counts["process paused"]++
			s.nodes[n].paused = true
			s.moveAll(n)
		}
	case 2, 3:
		if s.nodes[n].paused {
			s.counts["process woken"]++
			s.nodes[n].paused = false
		}
	case 4, 5:
		s.forge()
	case 6:
		if t := s.anyTask(); len(t.stored) > 0 && t.spare(t.stored) {
			t.stored[len(t.stored)-1].damaged = true
		}
	default:
		s.counts["task moved"]++
		s.move(s.anyTask())
	}
}

func (s *Simulation) anyTask() *simTask { return s.tasks[s.rng.IntN(len(s.tasks))] }

// forge appends a record to a shuffle that must have no effect there: of a task of
// an older fold version, of one that has lost what it wrote before, or of nobody
// that we know.
func (s *Simulation) forge() {
	shuffles := slices.DeleteFunc(slices.Clone(s.tasks), func(t *simTask) bool { return t.stage.topic != "" })
	if len(shuffles) == 0 {
		return
	}
	t := shuffles[s.rng.IntN(len(shuffles))]
	topic := t.stage.input()
	log := s.logs[topic][t.part]
	if len(log) == 0 {
		return
	}
	r := log[len(log)-1-s.rng.IntN(min(len(log), 20))]
	var d partition.Derived
	if d.Decode(r.Header) != nil || d.Mark == partition.Timeless { // whose numbers may have gaps
		return
	}
	switch s.rng.IntN(3) {
	case 0:
		d.Fold--
		d.Number++
		r.Header = d.Append(nil)
		s.counts["record of an older fold"]++
	case 1:
		d.Number += 1_000_000
		r.Header = d.Append(nil)
		s.counts["record behind a gap"]++
	default:
		r.Header = r.Header[:s.rng.IntN(len(r.Header))]
		s.counts["foreign record"]++
	}
	s.append(topic, t.part, []eventlog.Record{r})
}

// beat is a planted bug: a task that has read all of an events partition appends a
// heartbeat in its owner's name.
func (s *Simulation) beat(l *life) {
	j, ok := l.core.judge.(*commits)
	if !ok || s.planted != plantTaskBeat || l.core.maxTime == math.MinInt64 || !s.chance(0.05) {
		return
	}
	term := partition.Claim{Epoch: j.fold.Epoch(), Owner: j.fold.Owner()}
	at := l.core.maxTime + int64(time.Second)
	s.append(l.task.stage.input(), l.task.part, []eventlog.Record{{Header: partition.HeartbeatHeader(term, at)}})
}

// moveAll gives the tasks of a process to others. Its lives do not know.
func (s *Simulation) moveAll(n int) {
	for _, t := range s.tasks {
		if t.node == n {
			s.move(t)
		}
	}
}

func (s *Simulation) move(t *simTask) {
	if l := t.now; l != nil {
		l.stray, l.left, t.now = true, s.rng.IntN(60), nil
		s.counts["stray"]++
	}
	t.node = s.rng.IntN(len(s.nodes))
}

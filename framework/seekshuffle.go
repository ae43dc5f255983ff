package framework

import (
	"context"
	"fmt"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// derived is a record of a shuffle that came to a document's key: where the commit took
// effect that it was made of, and where it lies itself.
type derived struct {
	commit eventlog.Position
	offset int64
}

// moves are the events of a commit that move a document, each with how many records the
// shuffle gets of it.
type moves struct {
	offset  int64 // at which the commit took effect
	events  []partition.Event
	records []int
	seen    int // records that were met
}

// maxWindow is how many commits are looked up at once: they may hold 900 KiB each.
const maxWindow = 64

// byShuffle reads the partition of the shuffle for the records of the key: only they say
// in which order the events of several partitions met there. The events are then read
// where they were recorded, for the shuffle has of some views no more than what was made
// of them.
func (x *explainer) byShuffle(ctx context.Context) error {
	begin := x.from
	numbers := partition.NewNumbers(uint64(x.f.number))
	switch {
	case x.fold != nil || len(begin.judge) == 0:
		begin = bookmark{judge: numbers.AppendSnapshot(nil)}
	default:
		var rest []byte
		var err error
		if numbers, rest, err = partition.RestoreNumbers(begin.judge); err != nil || len(rest) > 0 {
			return fmt.Errorf("%w after: want the next of the page before", ErrInvalid)
		}
	}
	read, end, err := x.records(ctx, begin.next)
	if err != nil {
		return x.a.readError(ctx, err)
	}
	defer end()
	s := &shuffleSeek{explainer: x, read: read, numbers: numbers, begin: begin, past: begin.skip, last: make(map[int32]*moves)}
	s.begin.skip = 0
	for {
		more, err := s.window()
		if err != nil {
			return x.failed(ctx, err)
		}
		if !more {
			break
		}
	}
	if x.out.Looked.Next = min(read.next, read.end); s.done && read.next >= read.end {
		return nil
	}
	s.begin.skip = max(s.begin.skip, s.past)
	return x.next(s.begin)
}

// shuffleSeek is byShuffle at work.
type shuffleSeek struct {
	*explainer
	read    *records
	numbers *partition.Numbers
	begin   bookmark         // a place between commits, and how many records of the key are done with behind it
	past    int              // records of the key that pages before have listed
	last    map[int32]*moves // the commits met last, by partition of the events
	within  bool             // a commit, of which more records are to come
	done    bool             // with all that was read
}

// window takes the next records of the key, and reports whether there may be more and
// there is room for them.
func (s *shuffleSeek) window() (more bool, err error) {
	most := maxWindow
	if s.within { // a bound is not to end a page there
		most = 1
	}
	found, err := s.gather(most)
	if err != nil {
		return false, err
	}
	commits, err := s.look(found)
	if err != nil {
		return false, err
	}
	s.done = false
	for _, d := range found {
		room, err := s.one(d, commits)
		if err != nil {
			return false, err
		}
		if s.begin.skip++; !room {
			s.read.next = d.offset + 1 // no further
			return false, nil
		}
	}
	s.done, s.within = true, false
	for _, m := range s.last {
		s.within = s.within || m.left() > 0
	}
	if s.within {
		return len(found) > 0, nil
	}
	s.past = max(0, s.past-s.begin.skip)
	s.begin = bookmark{next: s.read.next, judge: s.numbers.AppendSnapshot(nil)}
	return len(found) == most, nil
}

// gather reads on to the next records of the key, at most so many.
func (s *shuffleSeek) gather(most int) (found []derived, err error) {
	var d partition.Derived
	for r := range s.read.all(func() bool { return !s.within }) {
		verdict, _, err := s.numbers.Step(r.Header, &d)
		if err != nil {
			return nil, err
		}
		if verdict != partition.Valid || d.Port == 0 || string(r.Key) != s.key {
			continue
		}
		found = append(found, derived{eventlog.Position{Partition: d.Source.Partition, Offset: d.Offset}, r.Offset})
		if len(found) == most {
			break
		}
	}
	return found, s.read.err
}

// look reads the commits of found records, those of each partition of the events in one
// go.
func (s *shuffleSeek) look(found []derived) (map[eventlog.Position]*moves, error) {
	commits := make(map[eventlog.Position]*moves)
	wanted := make(map[int32][]int64)
	for _, d := range found {
		if last := s.last[d.commit.Partition]; last != nil && last.offset == d.commit.Offset {
			commits[d.commit] = last
		}
		if commits[d.commit] == nil {
			commits[d.commit] = &moves{offset: d.commit.Offset}
			wanted[d.commit.Partition] = append(wanted[d.commit.Partition], d.commit.Offset)
		}
	}
	for part, offsets := range wanted {
		err := cluster.FetchCommits(s.read.ctx, s.p.Log, s.p.topic, part, offsets, func(events []partition.Event) error {
			return s.moved(commits[eventlog.Position{Partition: part, Offset: events[len(events)-1].Offset}], events, part)
		})
		if err != nil {
			return nil, err
		}
	}
	return commits, nil
}

// moved keeps the events of a commit that move the document.
func (s *shuffleSeek) moved(m *moves, events []partition.Event, part int32) error {
	for i := range events {
		keys, err := s.f.view.Origins.Moves(&events[i])
		if err != nil {
			return broken(&events[i], part, err)
		}
		n := 0
		for _, key := range keys {
			if key == s.key {
				n++
			}
		}
		if n > 0 {
			m.events, m.records = append(m.events, events[i]), append(m.records, n)
		}
	}
	return nil
}

// left returns how many records of the commit are still to come.
func (m *moves) left() int {
	n := -m.seen
	for _, records := range m.records {
		n += records
	}
	return n
}

// one lists the event that a record is the last of, if it is.
func (s *shuffleSeek) one(d derived, commits map[eventlog.Position]*moves) (room bool, err error) {
	m := commits[d.commit]
	s.last[d.commit.Partition] = m
	m.seen++
	n := 0
	for i := range m.events {
		if n += m.records[i]; m.seen > n {
			continue
		}
		if m.seen < n {
			return true, nil // more of the same event is to come
		}
		if s.begin.skip < s.past {
			return true, nil
		}
		return s.take(&m.events[i], d.commit, d.offset)
	}
	return false, fmt.Errorf("view %s, version %d: the shuffle has a record of the commit at %s for the key %.80q which its events do not move today: "+
		"raise the view's Version with any change of what moves what", s.f.view.Name, s.f.version, d.commit, s.key)
}

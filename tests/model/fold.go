package model

import "github.com/drivetrain-go/drivetrain/framework/partition"

// fold is what a reader makes of a prefix of the log.
type fold struct {
	Epoch, Owner uint8
	Open         uint8 // the unfinished commit, 1 + its number, 0: none
	Whole        uint8 // events of it so far
	Misled       bool  // a commit took effect that was decided on another history
	Version      [aggregates]uint8
	Memory       [maxCommands]uint8 // the commit that is remembered as a command's outcome, 1 + its number
	InEffect     [maxCommits]uint8  // events that count
	History      [aggregates]history
}

// verdict is what one record did. It uses the names of package partition, for
// cross_test.go compares the two.
type verdict struct {
	partition.Verdict
	partition.Reason
	cut bool // an unfinished commit became void
}

func void(r partition.Reason) verdict { return verdict{Verdict: partition.Void, Reason: r} }

// records returns how many records b holds.
func (m *Model) records(s *State, b *batch) uint8 {
	if b.Kind != commits {
		return 1
	}
	n := uint8(0)
	for _, c := range b.Holds {
		n += m.events(s, c)
	}
	return n
}

// events returns how many events commit c-1 has; 0 for c = 0.
func (m *Model) events(s *State, c uint8) uint8 {
	if c == 0 {
		return 0
	}
	return m.Commands[s.Commits[c-1].Command].Events
}

// entry folds what lies at one place of the log, and reports whether it was a
// valid claim.
func (m *Model) entry(f *fold, s *State, e entry) (claimed bool) {
	if e.Record > 0 {
		return m.record(f, s, e.Batch, e.Record-1).Verdict == partition.Claimed
	}
	for n := range m.records(s, &s.Batches[e.Batch]) {
		claimed = m.record(f, s, e.Batch, n).Verdict == partition.Claimed
	}
	return claimed
}

// record folds record n of a batch.
func (m *Model) record(f *fold, s *State, number, n uint8) verdict {
	b := &s.Batches[number]
	switch b.Kind {
	case claim:
		return m.claim(f, b)
	case probe:
		return verdict{Verdict: partition.Probe}
	}
	c := b.Holds[0]
	if first := m.events(s, c); n >= first {
		c, n = b.Holds[1], n-first
	}
	return m.event(f, s, c-1, n)
}

func (m *Model) claim(f *fold, b *batch) verdict {
	if b.Epoch < f.Epoch || b.Epoch == f.Epoch && m.Bug != EqualEpochs {
		return void(partition.OldEpoch)
	}
	f.Epoch, f.Owner = b.Epoch, b.Sender
	return verdict{Verdict: partition.Claimed, cut: f.cut()}
}

// cut makes the unfinished commit void, if there is one.
func (f *fold) cut() bool {
	was := f.Open != 0
	f.Open, f.Whole = 0, 0
	return was
}

// event folds event n of commit c.
func (m *Model) event(f *fold, s *State, c, n uint8) verdict {
	e := s.Commits[c].Epoch
	switch {
	case m.Bug == NoEpochCheck:
	case e < f.Epoch:
		return void(partition.OldEpoch)
	case e > f.Epoch:
		return void(partition.Unclaimed)
	}
	if m.Bug == IncompleteCommits {
		return m.single(f, s, c, n)
	}
	cut := f.Open != 0 && (f.Open != c+1 || f.Whole != n) && f.cut()
	if f.Whole != n {
		return verdict{partition.Void, partition.Incomplete, cut}
	}
	f.Open, f.Whole = c+1, n+1
	if f.Whole < m.events(s, c+1) {
		return verdict{Verdict: partition.Open, cut: cut}
	}
	v := m.judge(f, s, c)
	v.cut = v.cut || cut
	return v
}

// judge judges commit c, whose last event has come.
func (m *Model) judge(f *fold, s *State, c uint8) verdict {
	f.Open, f.Whole = 0, 0
	a, events := m.Commands[s.Commits[c].Command].Aggregate, m.events(s, c+1)
	if s.Commits[c].Base != f.Version[a] && m.Bug != NoVersionCheck {
		return verdict{partition.Void, partition.BadVersion, events > 1}
	}
	f.takes(s, a, c)
	f.Version[a] += events
	f.InEffect[c] += events
	return verdict{Verdict: partition.Valid}
}

// takes notes that commit c takes effect on aggregate a.
func (f *fold) takes(s *State, a, c uint8) {
	f.Misled = f.Misled || f.History[a] != s.Commits[c].Belief
	f.History[a] = f.History[a].with(c)
	f.Memory[s.Commits[c].Command] = c + 1
}

// single is a planted bug: the event takes effect alone.
func (m *Model) single(f *fold, s *State, c, n uint8) verdict {
	a := m.Commands[s.Commits[c].Command].Aggregate
	if s.Commits[c].Base+n != f.Version[a] {
		return void(partition.BadVersion)
	}
	if n == 0 {
		f.takes(s, a, c)
	}
	f.Version[a]++
	f.InEffect[c]++
	return verdict{Verdict: partition.Valid}
}

// read returns the fold of the first entries of the log.
func (m *Model) read(s *State, entries uint8) (f fold) {
	for _, e := range s.Log[:entries] {
		m.entry(&f, s, e)
	}
	return f
}

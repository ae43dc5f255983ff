package model

import "github.com/drivetrain-go/drivetrain/framework/partition"

// network lets each copy that is under way land: in any order, late, twice by
// Copies, and never, since no step has to be taken.
func (m *Model) network(s *State, visit visit) {
	for b := range s.Sent {
		if s.Batches[b].Copies == 0 {
			continue
		}
		n, _ := m.edit(s, 0)
		m.land(n, b)
		visit(n, step{act: lands, batch: b, at: s.Entries})
		if int(s.Copies) < m.Preset.Copies {
			n, _ = m.edit(s, 0)
			n.Copies++
			n.Batches[b].Copies++
			m.land(n, b)
			visit(n, step{act: landsAndStays, batch: b, at: s.Entries})
		}
	}
}

// land appends a copy of batch b, or its next record where batches are torn.
func (m *Model) land(s *State, b uint8) {
	k := &s.Batches[b]
	e := entry{Batch: b}
	if n := m.records(s, k); m.Torn && n > 1 {
		k.Landed++
		e.Record = k.Landed
		k.Landed %= n
	}
	if k.Landed == 0 {
		k.Copies--
	}
	m.countLanding(s, b)
	s.Log[s.Entries] = e
	s.Entries++
	m.each(s, e, func(number, n uint8) { m.countVerdict(m.record(&s.Reader, s, number, n)) })
}

func (m *Model) countVerdict(v verdict) {
	switch v.Verdict {
	case partition.Open:
		m.happened(CommitOpen)
	case partition.Void:
		m.happened(RecordVoid)
	}
	if v.cut {
		m.happened(CommitCut)
	}
}

func (m *Model) countLanding(s *State, b uint8) {
	if _, landed := s.last(b); landed && !m.Torn {
		m.happened(LandedTwice)
	}
	for i := range s.Owners {
		if f := s.Owners[i].Flight; f[0] == b+1 || f[1] == b+1 {
			return
		}
	}
	m.happened(LandedLate)
}

// last returns the last entry that batch b has in the log.
func (s *State) last(b uint8) (at uint8, landed bool) {
	for i := range s.Entries {
		if s.Log[i].Batch == b {
			at, landed = i, true
		}
	}
	return at, landed
}

package model

// settleBatches is how many appends one process needs until it serves for good:
// its claims that others' late ones depose, and its probes.
const settleBatches = 5

// order says which of what is under way lands first once faults have ended.
type order uint8

const (
	othersFirst order = iota
	asSent
	ownFirst // and others' when it serves
	orders
)

// settles lets faults end: nothing times out or is lost, and the group settles
// on one process, whichever. It must come to serve, resolve what it sent, and
// answer whoever waits.
func (m *Model) settles(s *State) string {
	happened := m.Happened // steps of settling are not counted
	defer func() { m.Happened = happened }()
	happened[Settled]++
	for i := range m.Owners {
		if i > 0 && s.Owners[i-1].ID == 0 {
			break
		}
		for o := range orders {
			n := *s
			if v := m.settle(&n, i, o); v != "" {
				return Settling + ": " + v
			}
		}
	}
	return ""
}

func (m *Model) settle(s *State, i int, first order) string {
	for range settleBatches {
		o := &s.Owners[i]
		if o.Mode == idle && !m.starts(s, o) {
			return "a deposed process does not claim"
		}
		proof := o.Flight[0] == 0
		if proof {
			m.landAll(s)
			o.Flight[0] = s.send(batch{Kind: probe, Sender: o.ID, Epoch: o.Epoch})
		}
		own := o.Flight[0] - 1
		m.landFor(s, own, first)
		m.acknowledge(s, o, s.base(own))
		if proof && o.Mode == serving {
			return m.settled(s, o)
		}
	}
	return "no process comes to serve"
}

// starts makes an idle process claim.
func (m *Model) starts(s *State, o *owner) bool {
	if o.ID == 0 {
		s.Incarnations++
		o.ID = s.Incarnations
	} else if m.Bug == StaysDeposed {
		return false
	}
	m.restore(s, o, s.Entries)
	m.sendClaim(s, o)
	return true
}

// settled says what is left undone by o, which serves.
func (m *Model) settled(s *State, o *owner) string {
	for i := range s.Queries {
		if q := &s.Queries[i]; q.State == waiting && q.Owner == o.ID {
			return "a query stays unanswered"
		}
	}
	if o.Unresolved != 0 {
		return "a command stays unresolved"
	}
	for _, broken := range [...]func(*State) string{m.fates, m.faults, m.commands, m.owners} {
		if v := broken(s); v != "" {
			return v
		}
	}
	return ""
}

func (m *Model) landAll(s *State) {
	for b := range s.Sent {
		m.landWhole(s, b)
	}
}

// landFor lands batch own, and others before it or not.
func (m *Model) landFor(s *State, own uint8, first order) {
	for b := range s.Sent {
		if first == asSent && b <= own || first == othersFirst && b != own {
			m.landWhole(s, b)
		}
	}
	m.landWhole(s, own)
}

// landWhole lands all copies of batch b that are under way.
func (m *Model) landWhole(s *State, b uint8) {
	for s.Batches[b].Copies > 0 {
		m.land(s, b)
	}
}

// base returns where the last copy of batch b begins.
func (s *State) base(b uint8) (at uint8) {
	for i, e := range s.Log[:s.Entries] {
		if e.Batch == b && e.Record <= 1 {
			at = uint8(i)
		}
	}
	return at
}

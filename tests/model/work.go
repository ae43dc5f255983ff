package model

// works lets clients ask an owner, and the owner decide and probe.
func (m *Model) works(s *State, i int, visit visit) {
	o := &s.Owners[i]
	m.arrives(s, i, visit)
	switch {
	case o.Mode == serving && o.Flight[0] == 0:
		m.probes(s, i, visit)
	case m.Bug == TwoInFlight && o.Mode == serving && o.Flight[1] == 0:
	case m.Bug == ActsBeforeReadBack && o.Mode == claiming && o.Flight[1] == 0:
	default:
		return
	}
	for a := range m.Commands {
		if !m.mayRun(s, o, a) {
			continue
		}
		m.decides(s, i, visit, a)
		for b := range m.Commands {
			if m.Batch > 1 && a != b && m.mayRun(s, o, b) {
				m.decides(s, i, visit, a, b)
			}
		}
	}
}

// mayRun reports whether o may decide a command: it is neither remembered as
// accepted nor under way.
func (m *Model) mayRun(s *State, o *owner, command int) bool {
	if m.Bug == NoDedup {
		return true
	}
	if o.Fold.Memory[command] != 0 {
		return false
	}
	for c := range s.Decided {
		if o.Unresolved&(1<<c) != 0 && int(s.Commits[c].Command) == command {
			return false
		}
	}
	return true
}

// decides lets an owner decide commands, each on the state that those before it
// leave, and send them in one batch.
func (m *Model) decides(s *State, i int, visit visit, commands ...int) {
	if int(s.Decided)+len(commands) > m.Preset.Commits {
		return
	}
	n, o := m.edit(s, i)
	b := batch{Kind: commits, Sender: o.ID, Epoch: o.Epoch}
	f := o.Fold
	if o.Flight[0] != 0 { // by a planted bug
		m.entry(&f, s, entry{Batch: o.Flight[0] - 1})
	}
	for j, command := range commands {
		b.Holds[j] = m.commit(n, o, &f, uint8(command))
	}
	sent := n.send(b)
	if o.Flight[0] == 0 {
		o.Flight[0] = sent
	} else {
		o.Flight[1] = sent
	}
	visit(n, step{decides, o.ID, sent - 1, 0})
}

// commit decides a command on f, moves f, and returns 1 + the commit's number.
func (m *Model) commit(s *State, o *owner, f *fold, command uint8) uint8 {
	for _, c := range s.Commits[:s.Decided] {
		if c.Command == command {
			m.happened(Retried)
			break
		}
	}
	c := s.Decided
	a := m.Commands[command].Aggregate
	s.Commits[c] = commit{Command: command, Epoch: o.Epoch, Base: f.Version[a], Belief: f.History[a]}
	s.Decided++
	f.History[a] = f.History[a].with(c)
	f.Version[a] += m.events(s, c+1)
	o.Unresolved |= 1 << c
	return c + 1
}

// probes lets an owner send a probe if somebody waits for an append.
func (m *Model) probes(s *State, i int, visit visit) {
	if int(s.Probes) >= m.Preset.Probes || !s.waits(s.Owners[i].ID) {
		return
	}
	n, o := m.edit(s, i)
	n.Probes++
	o.Flight[0] = n.send(batch{Kind: probe, Sender: o.ID, Epoch: o.Epoch})
	visit(n, step{probes, o.ID, n.Sent - 1, 0})
}

func (s *State) waits(id uint8) bool {
	for i := range s.Queries {
		if q := &s.Queries[i]; q.State == waiting && q.Owner == id && q.Batch == 0 {
			return true
		}
	}
	return false
}

// arrives lets a query come to an owner.
func (m *Model) arrives(s *State, i int, visit visit) {
	if int(s.Asked) >= m.Preset.Queries || m.Bug == RidesEarlierAppend && s.Owners[i].Flight[0] == 0 {
		return
	}
	for a := range uint8(aggregates) {
		if !m.used(a) {
			continue
		}
		n, o := m.edit(s, i)
		q := &n.Queries[n.Asked]
		n.Asked++
		*q = query{State: waiting, Owner: o.ID, Aggregate: a, Bound: n.Told[a]}
		m.receives(n, o, q)
		visit(n, step{asked, o.ID, a, 0})
	}
}

func (m *Model) used(a uint8) bool {
	for _, c := range m.Commands {
		if c.Aggregate == a {
			return true
		}
	}
	return false
}

// receives lets q wait, unless a planted bug knows better.
func (m *Model) receives(s *State, o *owner, q *query) {
	a, f := q.Aggregate, o.Fold
	switch m.Bug {
	case RidesEarlierAppend:
		q.Batch = o.Flight[0]
	case DecisionOfArrival:
		q.Version, q.Seen = f.Version[a], f.History[a]
	case AnswersFromFlight:
		if o.Flight[0] != 0 {
			m.entry(&f, s, entry{Batch: o.Flight[0] - 1})
		}
		m.answer(s, q, f.Version[a], f.History[a])
	case AnswersAtOnce:
		m.answer(s, q, f.Version[a], f.History[a])
	}
}

// answerCovered answers from f the queries that came before batch b was sent.
func (m *Model) answerCovered(s *State, o *owner, b uint8, f *fold) {
	for i := range s.Queries {
		q := &s.Queries[i]
		if q.State != waiting || q.Owner != o.ID || q.Batch != b+1 {
			continue
		}
		if m.Bug == DecisionOfArrival {
			m.answer(s, q, q.Version, q.Seen)
		} else {
			m.answer(s, q, f.Version[q.Aggregate], f.History[q.Aggregate])
		}
	}
}

// answer answers q. The order of the log is the one order in which all commands
// and queries can be put; an answer fits in when it lies between what had been
// told before the query came and what is in the log now.
func (m *Model) answer(s *State, q *query, version uint8, seen history) {
	m.happened(Answered)
	if q.Bound > 0 {
		m.happened(AnsweredNonZero)
	}
	s.Told[q.Aggregate] = max(s.Told[q.Aggregate], version)
	r := &s.Reader
	if version < q.Bound || version > r.Version[q.Aggregate] || !r.History[q.Aggregate].startsWith(seen) {
		s.Faults |= notLinear
		*q = query{State: answered, Bound: q.Bound, Version: version} // for the trace, which ends here
		return
	}
	*q = query{State: answered}
}

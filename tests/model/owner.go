package model

// claims lets an idle process, or a new one in a free place, read to what it is
// told is the end and claim the next epoch.
func (m *Model) claims(s *State, i int, visit visit) {
	fresh := s.Owners[i].ID == 0
	if m.Bug == StaysDeposed && !fresh {
		return
	}
	if int(s.Claims) >= m.Preset.Claims || fresh && int(s.Incarnations) >= m.Incarnations {
		return
	}
	from := s.Entries
	if m.StaleEnd {
		from = 0
	}
	for end := from; end <= s.Entries; end++ {
		n, o := m.edit(s, i)
		if fresh {
			n.Incarnations++
			o.ID = n.Incarnations
		}
		m.restore(n, o, end)
		m.sendClaim(n, o)
		by := step{claims, o.ID, n.Sent - 1, end}
		n.sort()
		visit(n, by)
	}
}

// restore gives o the fold of the log below end.
func (m *Model) restore(s *State, o *owner, end uint8) {
	o.Fold, o.Next = m.read(s, end), end
	if m.Bug == SnapshotWithoutOpen {
		o.Fold.cut()
	}
}

// sendClaim claims the epoch after all that o knows of.
func (m *Model) sendClaim(s *State, o *owner) {
	if o.Epoch > 0 {
		m.happened(ClaimedAgain)
	}
	o.Epoch = max(o.Epoch, o.Fold.Epoch) + 1
	o.Mode = claiming
	s.Claims++
	o.Flight = [2]uint8{s.send(batch{Kind: claim, Sender: o.ID, Epoch: o.Epoch})}
}

// send puts a batch into the network and returns 1 + its number. It covers every
// query that its sender has and that waits for an append.
func (s *State) send(b batch) uint8 {
	b.Copies = 1
	s.Batches[s.Sent] = b
	s.Sent++
	for i := range s.Queries {
		if q := &s.Queries[i]; q.State == waiting && q.Owner == b.Sender && q.Batch == 0 {
			q.Batch = s.Sent
		}
	}
	return s.Sent
}

// sort puts the youngest process first: places are all alike.
func (s *State) sort() {
	o := &s.Owners
	for i := 1; i < len(o); i++ {
		for j := i; j > 0 && o[j].ID > o[j-1].ID; j-- {
			o[j], o[j-1] = o[j-1], o[j]
		}
	}
}

// timesOut lets an append in flight be given up, or refused, which may be wrong.
// Its sender forgets it, reads on from where it is, and claims. After a probe it
// may also go on.
func (m *Model) timesOut(s *State, i int, visit visit) {
	o := &s.Owners[i]
	if o.Flight[0] == 0 {
		return
	}
	b := o.Flight[0] - 1
	if s.Batches[b].Kind == probe || m.Bug == TimeoutGoesOn && o.Mode == serving {
		n, o := m.edit(s, i)
		m.goesOn(n, o, b)
		visit(n, step{timesOutAndGoesOn, o.ID, b, 0})
	}
	if int(s.Claims) >= m.Preset.Claims {
		return
	}
	from := s.Entries
	if m.StaleEnd {
		from = o.Next
	}
	for end := from; end <= s.Entries; end++ {
		n, o := m.edit(s, i)
		m.forgets(n, o)
		for o.Next < end {
			m.reads(n, o)
		}
		m.happened(TimedOut)
		m.sendClaim(n, o)
		visit(n, step{timesOutAndClaims, o.ID, b, end})
	}
}

// forgets drops what is in flight; the queries that it covered wait for another.
func (m *Model) forgets(s *State, o *owner) {
	o.Flight = [2]uint8{}
	s.uncover(o.ID)
	if m.Bug == NotExecutedAtTimeout {
		m.tellAll(s, o, notExecuted)
	}
}

func (s *State) uncover(id uint8) {
	for i := range s.Queries {
		if q := &s.Queries[i]; q.State == waiting && q.Owner == id {
			q.Batch = 0
		}
	}
}

// goesOn drops batch b, a probe unless a bug is planted, and stays in the epoch.
func (m *Model) goesOn(s *State, o *owner, b uint8) {
	m.happened(ProbeTimedOut)
	if m.Bug == ProbeTimeoutAnswers {
		m.answerCovered(s, o, b, &o.Fold)
	}
	if m.Bug == TimeoutGoesOn {
		m.tellAll(s, o, notExecuted)
	}
	m.forgets(s, o)
}

// tellAll resolves all that o has sent.
func (m *Model) tellAll(s *State, o *owner, f fate) {
	for c := range s.Decided {
		if o.Unresolved&(1<<c) != 0 {
			m.tell(s, c, f)
		}
	}
	o.Unresolved = 0
}

// crashes ends a process: all that it knew is gone, and so are those who asked it.
func (m *Model) crashes(s *State, i int, visit visit) {
	if int(s.Crashes) >= m.Preset.Crashes {
		return
	}
	n, o := m.edit(s, i)
	id := o.ID
	m.happened(Crashed)
	n.Crashes++
	for i := range n.Queries {
		if q := &n.Queries[i]; q.Owner == id {
			*q = query{State: answered}
		}
	}
	*o = owner{}
	n.sort()
	visit(n, step{act: crashes, owner: id})
}

// learns tells an owner where a copy of its append lies, if one is whole.
func (m *Model) learns(s *State, i int, visit visit) {
	o := &s.Owners[i]
	if o.Flight[0] == 0 {
		return
	}
	b := o.Flight[0] - 1
	if s.Batches[b].Landed != 0 {
		return
	}
	for at, e := range s.Log[:s.Entries] {
		if e.Batch != b || e.Record > 1 {
			continue
		}
		n, o := m.edit(s, i)
		by := step{acknowledged, o.ID, b, uint8(at)}
		m.acknowledge(n, o, uint8(at))
		n.sort()
		visit(n, by)
	}
}

// acknowledge takes in that the append in flight lies at an entry.
func (m *Model) acknowledge(s *State, o *owner, at uint8) {
	b := o.Flight[0] - 1
	before := o.Fold
	o.Flight = [2]uint8{o.Flight[1]}
	switch {
	case at < o.Next:
		s.Faults |= wentBack
		return
	case at == o.Next && !m.ReadBack || m.trusts(s.Batches[b].Kind):
		m.contiguous(s, o, b, at)
	case !m.gap(s, o, b, at):
		return
	case m.Bug == StateBefore:
		m.answerCovered(s, o, b, &before)
		return
	}
	m.answerCovered(s, o, b, &o.Fold)
}

// trusts is a planted bug: the acknowledgement of such an append is enough.
func (m *Model) trusts(k kind) bool {
	return m.Bug == NoContiguity && k == commits || m.Bug == ClaimAcknowledged && k == claim
}

// contiguous folds a batch that lies where the owner's knowledge ended: nothing
// came between, so all of it has taken effect.
func (m *Model) contiguous(s *State, o *owner, b, at uint8) {
	k := &s.Batches[b]
	o.Next = at + 1
	if m.Torn {
		o.Next = at + m.records(s, k)
	}
	m.entry(&o.Fold, s, entry{Batch: b})
	o.Mode = serving
	switch k.Kind {
	case claim:
		m.happened(ClaimContiguous)
		m.neverWill(s, o)
	case commits:
		m.happened(CommitContiguous)
		m.accept(s, o, k) // unseen: whether that is right is what is explored
	case probe:
		m.happened(ProbeContiguous)
	}
}

// accept tells the callers of k's commits that they are accepted.
func (m *Model) accept(s *State, o *owner, k *batch) {
	for _, c := range k.Holds {
		if c != 0 {
			m.tell(s, c-1, accepted)
			o.Unresolved &^= 1 << (c - 1)
		}
	}
}

// gap reads up to the owner's batch and all of it. It reports whether the owner
// holds its epoch; if not, it is deposed.
func (m *Model) gap(s *State, o *owner, b, at uint8) bool {
	m.happened(GapRead)
	end := at + 1
	if m.Torn {
		end, _ = s.last(b)
		end++
	}
	for o.Next < end {
		m.readsTo(s, o, b, at)
	}
	if o.Fold.Epoch == o.Epoch && o.Fold.Owner == o.ID {
		o.Mode = serving
		return true
	}
	if m.Bug != DeposedGoesOn || o.Mode != serving {
		m.depose(s, o)
	}
	return false
}

// depose ends the owner's term; what it was asked waits until it serves again.
func (m *Model) depose(s *State, o *owner) {
	m.happened(Deposed)
	if m.Bug == AnswersWhileDeposed {
		for i := range s.Queries {
			if q := &s.Queries[i]; q.State == waiting && q.Owner == o.ID {
				m.answer(s, q, o.Fold.Version[q.Aggregate], o.Fold.History[q.Aggregate])
			}
		}
	}
	s.uncover(o.ID)
	*o = owner{ID: o.ID, Epoch: o.Epoch, Unresolved: o.Unresolved}
}

// neverWill tells the callers of what o sent before its fold's epoch, and has not
// found in effect, that it was not executed: now it never will be.
func (m *Model) neverWill(s *State, o *owner) {
	for c := range s.Decided {
		if o.Unresolved&(1<<c) != 0 && s.Commits[c].Epoch < o.Fold.Epoch {
			m.tell(s, c, notExecuted)
			o.Unresolved &^= 1 << c
		}
	}
}

// reads folds the next entry. A commit of its own that takes effect is accepted;
// at a valid claim what was sent before and is not in effect never will be.
func (m *Model) reads(s *State, o *owner) {
	claimed := m.entry(&o.Fold, s, s.Log[o.Next])
	o.Next++
	for c := range s.Decided {
		if o.Unresolved&(1<<c) != 0 && o.Fold.InEffect[c] >= m.events(s, c+1) {
			m.happened(AcceptedByGap)
			m.tell(s, c, accepted)
			o.Unresolved &^= 1 << c
		}
	}
	if claimed {
		m.neverWill(s, o)
	}
}

// readsTo reads an entry of the gap before batch b, acknowledged at an entry; a
// planted bug judges its commits by copies.
func (m *Model) readsTo(s *State, o *owner, b, at uint8) {
	k := &s.Batches[b]
	each := m.Bug == JudgesEachCopy
	if !each && m.Bug != JudgesCopy || k.Kind != commits || s.Log[o.Next].Batch != b {
		m.reads(s, o)
		return
	}
	before, judges := o.Fold.InEffect, each || o.Next == at
	m.entry(&o.Fold, s, s.Log[o.Next])
	o.Next++
	if judges {
		m.judgesCopy(s, o, k, &before)
	}
}

// judgesCopy takes a commit that the copy just read did not move for void.
func (m *Model) judgesCopy(s *State, o *owner, k *batch, before *[maxCommits]uint8) {
	for _, c := range k.Holds {
		if c == 0 {
			continue
		}
		f := notExecuted
		if o.Fold.InEffect[c-1] > before[c-1] {
			f = accepted
		}
		m.tell(s, c-1, f)
		o.Unresolved &^= 1 << (c - 1)
	}
}

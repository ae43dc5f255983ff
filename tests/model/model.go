package model

// Model is a preset as a Space.
type Model struct {
	Preset
	Happened [numberOfEvents]int // counted over all steps
	next     State               // the step being made
}

var _ Space[State, step] = (*Model)(nil)

// New returns the model of a preset. The error says what does not fit.
func New(p Preset) (*Model, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	return &Model{Preset: p}, nil
}

// Start returns the empty log, with nobody at work.
func (m *Model) Start() State { return State{} }

// step names what happened, for a trace.
type step struct {
	act   act
	owner uint8 // id
	batch uint8
	at    uint8 // entry, or number of entries
}

type act uint8

const (
	lands act = iota
	landsAndStays
	claims
	timesOutAndClaims
	timesOutAndGoesOn
	acknowledged
	decides
	probes
	asked
	crashes
)

type visit = func(*State, step)

func (m *Model) happened(e Event) { m.Happened[e]++ }

// Next makes every step that is possible in s.
func (m *Model) Next(s *State, visit visit) {
	for i := range m.Owners {
		if i > 0 && s.Owners[i-1].ID == 0 {
			break // one free place is as good as another
		}
		switch s.Owners[i].Mode {
		case idle:
			m.claims(s, i, visit)
		default:
			m.learns(s, i, visit)
			m.timesOut(s, i, visit)
			m.crashes(s, i, visit)
			m.works(s, i, visit)
		}
	}
	m.network(s, visit)
}

// edit returns a copy of s to make a step in, and owner i of it.
func (m *Model) edit(s *State, i int) (*State, *owner) {
	m.next = *s
	return &m.next, &m.next.Owners[i]
}

// tell gives the caller of commit c its answer.
func (m *Model) tell(s *State, c uint8, f fate) {
	k := &s.Commits[c]
	if k.Fate != untold {
		if k.Fate != f {
			s.Faults |= contradicted
		}
		return
	}
	k.Fate = f
	if f == notExecuted {
		m.happened(NotExecuted)
		return
	}
	a := m.Commands[k.Command].Aggregate
	s.Told[a] = max(s.Told[a], k.Base+m.events(s, c+1))
}

package model

// Faults that are seen when a step is made; the others are seen in a state.
const (
	contradicted = 1 << iota
	notLinear
	wentBack
)

// The invariants, in the words in which a violation is reported.
const (
	Exactly      = "accepted, but not valid exactly once"
	Never        = "answered not executed, but valid"
	Contradicted = "a caller was told both"
	Once         = "two valid commits of one command"
	Decided      = "decided on a state that is not the log's"
	Same         = "an owner's state is not a reader's from zero"
	Linear       = "an answer fits into no order of all commands and queries"
	Alone        = "two owners serve one epoch"
	Known        = "a fate stays unknown though nothing is in flight"
	Forward      = "an append is acknowledged below what was read"
	Settling     = "does not settle"
)

// Broken names the invariant that s breaks.
func (m *Model) Broken(s *State) string {
	for _, broken := range [...]func(*State) string{m.fates, m.faults, m.commands, m.owners} {
		if v := broken(s); v != "" {
			return v
		}
	}
	if m.Settles {
		return m.settles(s)
	}
	return ""
}

// fates compares what callers were told with what the log says.
func (m *Model) fates(s *State) string {
	for c := range s.Decided {
		in := s.Reader.InEffect[c]
		switch s.Commits[c].Fate {
		case accepted:
			if in != m.events(s, c+1) {
				return Exactly
			}
		case notExecuted:
			if in != 0 {
				return Never
			}
		}
	}
	return ""
}

func (m *Model) faults(s *State) string {
	switch {
	case s.Faults&contradicted != 0:
		return Contradicted
	case s.Faults&notLinear != 0:
		return Linear
	case s.Reader.Misled:
		return Decided
	}
	return ""
}

// commands looks for a command that took effect more than once, by one commit or
// by two.
func (m *Model) commands(s *State) string {
	var valid [maxCommands]uint8
	for c := range s.Decided {
		command := s.Commits[c].Command
		valid[command] += s.Reader.InEffect[c]
		if valid[command] > m.Commands[command].Events {
			return Once
		}
	}
	return ""
}

// owners looks at what the processes know and who serves.
func (m *Model) owners(s *State) string {
	for i := range s.Owners {
		o := &s.Owners[i]
		if o.Flight[0] == 0 && o.Unresolved != 0 {
			return Known
		}
		if o.Mode == idle {
			continue
		}
		if o.Next > s.Entries || o.Fold != m.read(s, o.Next) {
			return Same
		}
		if o.Mode != serving {
			continue
		}
		for j := range s.Owners[:i] {
			if other := &s.Owners[j]; other.Mode == serving && other.Epoch == o.Epoch {
				return Alone
			}
		}
	}
	if s.Faults&wentBack != 0 {
		return Forward
	}
	return ""
}

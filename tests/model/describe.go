package model

import (
	"fmt"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// Describe says what a step was. Processes are o1, o2, …; commands A, B, C;
// their commits A#1, A#2, …; aggregates x and y.
func (m *Model) Describe(from, to *State, by step) string {
	who := fmt.Sprintf("o%d", by.owner)
	switch by.act {
	case lands:
		return fmt.Sprintf("LOG[%d] ← %s", by.at, m.entryName(to, by.at))
	case landsAndStays:
		return fmt.Sprintf("LOG[%d] ← %s, and a copy stays under way", by.at, m.entryName(to, by.at))
	case claims:
		return fmt.Sprintf("%s has read %d entries and sends %s", who, by.at, m.batchName(to, by.batch))
	case timesOutAndClaims:
		return fmt.Sprintf("%s times out on %s, has read %d entries and sends %s", who, m.batchName(from, by.batch), by.at, m.batchName(to, to.Sent-1))
	case timesOutAndGoesOn:
		return fmt.Sprintf("%s times out on %s and goes on", who, m.batchName(from, by.batch))
	case acknowledged:
		return fmt.Sprintf("%s is told that %s lies at %d; %s", who, m.batchName(from, by.batch), by.at, m.learned(from, to, by))
	case decides, probes:
		return fmt.Sprintf("%s sends %s", who, m.batchName(to, by.batch))
	case asked:
		return fmt.Sprintf("%s is asked for %s's version; somebody has been told %d%s", who, aggregateName(by.batch), from.Told[by.batch], m.told(from, to))
	}
	return who + " crashes"
}

// learned says what an acknowledgement made of its owner.
func (m *Model) learned(from, to *State, by step) string {
	was, is := from.owner(by.owner), to.owner(by.owner)
	words := "as expected"
	switch {
	case by.at > was.Next && is.Mode == idle:
		words = fmt.Sprintf("it reads on from %d and is deposed", was.Next)
	case by.at > was.Next:
		words = fmt.Sprintf("it knew of %d entries and now knows of %d", was.Next, is.Next)
	case by.at < was.Next:
		words = fmt.Sprintf("it knew of %d entries", was.Next)
	}
	return words + m.told(from, to)
}

func (s *State) owner(id uint8) *owner {
	for i := range s.Owners {
		if s.Owners[i].ID == id {
			return &s.Owners[i]
		}
	}
	return &owner{}
}

// told lists the answers that a step gave.
func (m *Model) told(from, to *State) string {
	var b strings.Builder
	for c := range to.Decided {
		if f := to.Commits[c].Fate; c < from.Decided && f != from.Commits[c].Fate {
			fmt.Fprintf(&b, "; %s is answered %v", m.commitName(to, c), f)
		}
	}
	for i := range to.Asked {
		if to.Queries[i].State == answered && from.Queries[i].State != answered {
			b.WriteString("; the query is answered")
			if to.Faults&notLinear != 0 {
				fmt.Fprintf(&b, " with version %d", to.Queries[i].Version)
			}
		}
	}
	return b.String()
}

func (f fate) String() string { return [...]string{"nothing", "accepted", "not executed"}[f] }

func aggregateName(a uint8) string { return string("xy"[a]) }

func (m *Model) batchName(s *State, number uint8) string {
	b := &s.Batches[number]
	switch b.Kind {
	case claim:
		return fmt.Sprintf("claim{epoch %d, o%d}", b.Epoch, b.Sender)
	case probe:
		return fmt.Sprintf("probe{epoch %d, o%d}", b.Epoch, b.Sender)
	}
	names := m.commitName(s, b.Holds[0]-1)
	if b.Holds[1] != 0 {
		names += " " + m.commitName(s, b.Holds[1]-1)
	}
	return fmt.Sprintf("batch{epoch %d: %s}", b.Epoch, names)
}

// commitName is the command, which of its commits it is, and the versions.
func (m *Model) commitName(s *State, c uint8) string {
	k := &s.Commits[c]
	nth := 1
	for i := range c {
		if s.Commits[i].Command == k.Command {
			nth++
		}
	}
	a, n := m.Commands[k.Command].Aggregate, m.events(s, c+1)
	versions := fmt.Sprint(k.Base + 1)
	if n > 1 {
		versions += fmt.Sprintf("-%d", k.Base+n)
	}
	return fmt.Sprintf("%c#%d(%s %s)", 'A'+k.Command, nth, aggregateName(a), versions)
}

func (m *Model) entryName(s *State, at uint8) string {
	e := s.Log[at]
	name := m.batchName(s, e.Batch)
	if e.Record > 0 {
		name = fmt.Sprintf("record %d of %d of %s", e.Record, m.records(s, &s.Batches[e.Batch]), name)
	}
	return name
}

// Log returns the log of s with the verdict on each record, and what the callers
// of commits were told.
func (m *Model) Log(s *State) []string {
	var lines []string
	var f fold
	for at := range s.Entries {
		m.each(s, s.Log[at], func(number, n uint8) {
			lines = append(lines, fmt.Sprintf("LOG[%d] %s: %s", at, m.entryName(s, at), m.record(&f, s, number, n)))
		})
	}
	for c := range s.Decided {
		lines = append(lines, fmt.Sprintf("%s by epoch %d: %d of %d events in effect, caller told %v",
			m.commitName(s, c), s.Commits[c].Epoch, f.InEffect[c], m.events(s, c+1), s.Commits[c].Fate))
	}
	return lines
}

func (v verdict) String() string {
	if v.Verdict == partition.Void {
		return "void, " + v.Reason.String()
	}
	return v.Verdict.String()
}

// each calls do for the records that lie at an entry.
func (m *Model) each(s *State, e entry, do func(batch, n uint8)) {
	if e.Record > 0 {
		do(e.Batch, e.Record-1)
		return
	}
	for n := range m.records(s, &s.Batches[e.Batch]) {
		do(e.Batch, n)
	}
}

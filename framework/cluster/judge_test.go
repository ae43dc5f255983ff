package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// outcome names what a caller was told.
func (a *attempt) outcome() string {
	var rejection no
	var conflict *ConflictError
	switch {
	case a.state != nil && a.err == nil:
		return "read"
	case a.err == nil && len(a.res.Events) > 0:
		return "accepted"
	case a.err == nil:
		return "no-op"
	case errors.As(a.err, &rejection):
		return "rejected"
	case errors.As(a.err, &conflict):
		return "conflict"
	case unresolved(a.err):
		return "unresolved"
	case unavailable(a.err):
		return "unavailable"
	case errors.Is(a.err, ErrTooLate):
		return "too late"
	}
	return "failed"
}

// version returns the aggregate's version that the answer was decided on, which
// is also the tally's sum.
func (a *attempt) version() (version uint64) {
	var conflict *ConflictError
	if errors.As(a.err, &conflict) {
		return conflict.Actual
	}
	if a.err != nil {
		fmt.Sscanf(a.err.Error(), "sum is %d", &version)
		return version
	}
	return a.res.Version
}

func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report.Fail(w.seed, format, args...)
}

func (h *history) find(command event.ID) *commitSeen {
	for i := range h.commits {
		if h.commits[i].command == command {
			return &h.commits[i]
		}
	}
	return nil
}

// judge compares all that was said with what the log says.
func (w *world) judge() {
	records := w.log.Records(topic, 0)
	h := replay(records)
	byCommand := map[event.ID][]*attempt{}
	for _, a := range w.attempts {
		if a.state == nil {
			byCommand[a.command] = append(byCommand[a.command], a)
		}
		w.judgeOne(h, a)
	}
	seen := map[event.ID]bool{}
	for i := range h.commits {
		c := &h.commits[i]
		w.count("commit valid")
		if seen[c.command] {
			w.fail("command %v took effect twice", c.command)
		}
		seen[c.command] = true
		w.judgeCommit(c, byCommand[c.command])
	}
	w.report.Counts["epoch"] += int(h.epoch)
	for _, p := range w.all {
		w.judgeOwner(h, p)
		w.judgeFold(records, p)
	}
	w.judgeReader(h, records)
	w.report.Digest = w.digest(records)
}

func (w *world) judgeOne(h *history, a *attempt) {
	switch a.outcome() {
	case "accepted":
		if c := h.find(a.command); c == nil || !c.is(a) {
			w.fail("%v was accepted as %+v, but the log has %+v", a.command, a.res, c)
		}
	case "rejected", "conflict", "no-op":
		least, most := h.version(a.key, a.from), h.version(a.key, a.to)
		if v := a.version(); v < least || v > most {
			w.fail("%v on %s was answered %s (%v) on version %d; between arrival and answer it was %d to %d", a.command, a.key, a.outcome(), a.err, v, least, most)
		}
	case "read":
		s := a.state
		if v := h.version(a.key, s.Position.Offset+1); s.Position.Offset >= a.to || s.Version != v || h.state(a.key, v) != string(s.JSON) {
			w.fail("%s was shown as version %d %s at %v, where it has %d %s", a.key, s.Version, s.JSON, s.Position, v, h.state(a.key, v))
		}
	case "too late":
		if w.memory.Number > 100 || a.fresh {
			w.fail("%v was too late", a.command)
		}
	}
}

func (h *history) state(key string, version uint64) string {
	if h.states[key] == nil {
		return jsonOf(nil)
	}
	return h.states[key][version]
}

// is reports whether a was told what c is.
func (c *commitSeen) is(a *attempt) bool {
	if a.key != c.key || a.res.Position.Offset != c.last || c.last >= a.to || len(a.res.Events) != len(c.events) ||
		a.res.Version != c.first+uint64(len(c.events))-1 {
		return false
	}
	for i, e := range a.res.Events {
		if e.ID != c.events[i].id || e.Type != c.events[i].name || string(e.Data) != c.events[i].data || e.Version != c.first+uint64(i) {
			return false
		}
	}
	return true
}

// judgeCommit checks that a commit is owed to an attempt that nobody was told to
// be without effect.
func (w *world) judgeCommit(c *commitSeen, attempts []*attempt) {
	for _, no := range append(attempts, nil) {
		if no != nil && no.outcome() != "rejected" && no.outcome() != "conflict" && no.outcome() != "no-op" {
			continue
		}
		owed := false
		for _, a := range attempts {
			may := a.outcome() == "accepted" || a.outcome() == "unresolved"
			owed = owed || may && (no == nil || !a.end.Before(no.began))
		}
		if !owed {
			w.fail("%v took effect at %d, but no attempt explains it, besides %+v", c.command, c.last, no)
		}
	}
}

// judgeOwner compares what an owner held in the end with the log so far.
func (w *world) judgeOwner(h *history, p *process) {
	held := 0
	for i, key := range p.units.All() {
		a := *p.units.At(i)
		want := h.version(key, p.fold.Next())
		if a.folded != want {
			w.fail("an owner held version %d of %s at %d, it is %d", a.folded, key, p.fold.Next(), want)
		}
		if want > 0 {
			held++
		}
		state := a.state
		if a.packed != nil {
			state, _ = tallies{}.DecodeState(a.packed)
		}
		if state == nil || a.dirty {
			continue
		}
		if json, err := (tallies{}).StateJSON(state); err != nil || string(json) != h.state(key, want) || a.version != want {
			w.fail("an owner held %s version %d as %s, %v, at %d it is %d %s", key, a.version, json, err, p.fold.Next(), want, h.state(key, want))
		}
	}
	for key := range h.states {
		if h.version(key, p.fold.Next()) > 0 {
			held--
		}
	}
	if held != 0 {
		w.fail("an owner held %d aggregates too many", held)
	}
}

// judgeFold compares what an owner had folded, perhaps from a snapshot on, with what
// it comes to from the first record on.
func (w *world) judgeFold(records []eventlog.Record, p *process) {
	fold, offsets := partition.New(w.memory), map[string][]int64{}
	if p.fold.Next() > int64(len(records)) {
		w.fail("an owner has folded %d records of %d", p.fold.Next(), len(records))
		return
	}
	for i := range records[:p.fold.Next()] {
		r := &records[i]
		got, err := fold.Step(r.Offset, r.Key, r.Header, r.Value)
		if err != nil {
			w.fail("from the start: %v", err)
			return
		}
		for i := range got.Events {
			offsets[string(r.Key)] = append(offsets[string(r.Key)], got.Events[i].Offset)
		}
	}
	if got, want := p.fold.AppendSnapshot(nil), fold.AppendSnapshot(nil); !bytes.Equal(got, want) {
		w.fail("an owner's fold at %d is\n%x, it is\n%x", fold.Next(), got, want)
	}
	for key, want := range offsets {
		if a := p.find([]byte(key)); a == nil || !slices.Equal(a.offsets.List(0, len(want)+1), want) {
			w.fail("an owner has not the offsets of %s at %d: %v", key, fold.Next(), want)
		}
	}
}

// judgeReader follows the log as a view does, which is stopped anywhere and goes
// on from its snapshot.
func (w *world) judgeReader(h *history, records []eventlog.Record) {
	rng := rand.New(rand.NewPCG(w.seed, 2))
	fold, valid := partition.New(partition.Memory{}), 0
	for i := range records {
		r := &records[i]
		got, err := fold.Step(r.Offset, r.Key, r.Header, r.Value)
		if err != nil {
			w.fail("a reader: %v", err)
			return
		}
		w.count(strings.TrimSpace("verdict " + got.Verdict.String() + " " + got.Reason.String()))
		if got.Verdict != partition.Void && len(got.Voided) > 0 {
			w.count("verdict cut off")
		}
		if at, ok := h.beats[r.Offset]; ok != (got.Verdict == partition.Heartbeat) || at != got.Time {
			w.fail("a reader took the record at %d for %v of %d; it is a heartbeat of %d: %v", r.Offset, got.Verdict, got.Time, at, ok)
			return
		}
		if got.Verdict == partition.Valid {
			if valid == len(h.commits) || h.commits[valid].last != r.Offset || h.commits[valid].command != got.Events[0].Command {
				w.fail("a reader took %v for valid at %d, it is not", got.Events[0].Command, r.Offset)
				return
			}
			valid++
		}
		if rng.IntN(8) == 0 {
			if fold, err = partition.Restore(fold.AppendSnapshot(nil), partition.Memory{}); err != nil {
				w.fail("a reader: %v", err)
				return
			}
		}
	}
	if len(h.early) > 0 {
		w.fail("the events at %v are older than a heartbeat before them said", h.early)
	}
	if valid != len(h.commits) {
		w.fail("a reader found %d valid commits, there are %d", valid, len(h.commits))
	}
}

// digest is of the log and of all answers, in the order they came.
func (w *world) digest(records []eventlog.Record) uint64 {
	d := fnv.New64a()
	for i := range records {
		d.Write(records[i].Key)
		d.Write(records[i].Header)
		d.Write(records[i].Value)
	}
	var b []byte
	for _, a := range w.attempts {
		b = append(b[:0], a.command[:]...)
		for _, n := range []int64{a.began.UnixNano(), a.end.UnixNano(), a.from, a.to, a.res.Position.Offset} {
			b = binary.BigEndian.AppendUint64(b, uint64(n))
		}
		b = append(append(b, a.key...), a.outcome()...)
		if a.state != nil {
			b = append(b, a.state.JSON...)
		}
		if a.err != nil {
			b = append(b, a.err.Error()...)
		}
		d.Write(b)
	}
	return d.Sum64()
}

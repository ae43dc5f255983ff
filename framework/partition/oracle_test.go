package partition_test

import (
	"slices"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// fact is a record before it becomes bytes: what the generator writes and the
// oracle judges.
type fact struct {
	kind    byte // 'c' claim, 'p' probe, 'h' heartbeat, 'e' event, 'f' foreign
	epoch   uint64
	owner   event.ID
	key     string
	command event.ID
	version uint64
	index   int
	count   int
	at      time.Time
	digest  uint64
	raw     []byte // of a foreign record, its header
}

func (f fact) record(offset int64) record {
	r := record{offset: offset}
	switch f.kind {
	case 'c':
		r.header = partition.ClaimHeader(partition.Claim{Epoch: f.epoch, Owner: f.owner})
	case 'p':
		r.header = partition.ProbeHeader(partition.Claim{Epoch: f.epoch, Owner: f.owner})
	case 'h':
		r.header = partition.HeartbeatHeader(partition.Claim{Epoch: f.epoch, Owner: f.owner}, f.at.UnixNano())
	case 'f':
		r.header, r.value = f.raw, []byte("from another program")
	case 'e':
		e := event.Envelope{ID: f.command.Derive(f.index, f.at), Command: f.command, Digest: f.digest, Type: "thing.done",
			Version: f.version, Epoch: f.epoch, Index: f.index, Count: f.count, Time: f.at, Actor: "someone"}
		r.key, r.header, r.value = []byte(f.key), e.Append(nil), []byte(`{"n":1}`)
	}
	return r
}

// judgement is a verdict with what it says about other records, by their places
// in the log.
type judgement struct {
	verdict partition.Verdict
	reason  partition.Reason
	commit  []int
	voided  []int
	time    int64
}

// judge is the rule once more, said without state: each answer is looked for in
// the whole log before the place asked about. It takes time quadratic in the log.
func judge(log []fact) []judgement {
	out := make([]judgement, len(log))
	for i, f := range log {
		epoch := epochBefore(log, i)
		switch {
		case f.kind == 'f', (f.kind == 'c' || f.kind == 'h') && f.epoch == 0:
			out[i] = judgement{verdict: partition.Void, reason: partition.Foreign}
		case f.kind == 'p':
			out[i] = judgement{verdict: partition.Probe}
		case f.kind == 'c' && f.epoch <= epoch:
			out[i] = judgement{verdict: partition.Void, reason: partition.OldEpoch}
		case f.kind == 'c':
			out[i] = judgement{verdict: partition.Claimed, voided: unfinished(log, i)}
		case f.epoch < epoch:
			out[i] = judgement{verdict: partition.Void, reason: partition.OldEpoch}
		case f.epoch > epoch, f.epoch == 0, f.kind == 'h' && f.owner != ownerBefore(log, i):
			out[i] = judgement{verdict: partition.Void, reason: partition.Unclaimed}
		case f.kind == 'h':
			out[i] = judgement{verdict: partition.Heartbeat, time: f.at.UnixNano()}
		default:
			out[i] = judgeEvent(log, out, i)
		}
	}
	return out
}

func judgeEvent(log []fact, before []judgement, i int) judgement {
	run := runTo(log, i)
	var cut []int
	if was := unfinished(log, i); len(run) != len(was)+1 {
		cut = was
	}
	switch {
	case run == nil:
		return judgement{verdict: partition.Void, reason: partition.Incomplete, voided: cut}
	case len(run) < log[i].count:
		return judgement{verdict: partition.Open, voided: cut}
	}
	version := versionOf(log, before[:i], log[i].key)
	for n, j := range run {
		if log[j].version != version+uint64(n)+1 {
			return judgement{verdict: partition.Void, reason: partition.BadVersion, voided: append(cut, run[:len(run)-1]...)}
		}
	}
	return judgement{verdict: partition.Valid, commit: run, voided: cut}
}

// ownerBefore returns who was the first to claim the current epoch before place i.
func ownerBefore(log []fact, i int) (owner event.ID) {
	first := slices.IndexFunc(log[:i], func(f fact) bool { return f.kind == 'c' && f.epoch == epochBefore(log, i) })
	if first >= 0 {
		owner = log[first].owner
	}
	return owner
}

// epochBefore returns the current epoch before place i: as each valid claim is
// above all before it, that is the greatest epoch claimed.
func epochBefore(log []fact, i int) (epoch uint64) {
	for _, f := range log[:i] {
		if f.kind == 'c' {
			epoch = max(epoch, f.epoch)
		}
	}
	return epoch
}

// currentEvents returns the places up to i, and including it if it is an event,
// of the events of the epoch that is current at i, since its claim.
func currentEvents(log []fact, i int) (places []int) {
	epoch := epochBefore(log, i)
	for j := i; j >= 0 && epoch > 0; j-- {
		f := log[j]
		if f.kind == 'c' && j < i && f.epoch == epoch && epochBefore(log, j) < epoch {
			break
		}
		if f.kind == 'e' && f.epoch == epoch {
			places = append(places, j)
		}
	}
	slices.Reverse(places)
	return places
}

// runTo returns the places of the event at i and those before it in its commit,
// nil if these do not directly precede it among the current epoch's events.
func runTo(log []fact, i int) []int {
	all := currentEvents(log, i)
	n := log[i].index + 1
	if len(all) < n {
		return nil
	}
	run := all[len(all)-n:]
	for k, j := range run {
		f, last := log[j], log[i]
		if f.index != k || f.command != last.command || f.count != last.count || f.key != last.key {
			return nil
		}
	}
	return run
}

// unfinished returns the commit that is neither complete nor cut off before i.
func unfinished(log []fact, i int) []int {
	if i == 0 || log[i-1].kind == 'c' && log[i-1].epoch > epochBefore(log, i-1) {
		return nil // nothing since the claim
	}
	before := currentEvents(log[:i], i-1)
	if len(before) == 0 {
		return nil
	}
	last := before[len(before)-1]
	if log[last].index+1 == log[last].count {
		return nil // judged
	}
	return runTo(log, last)
}

// versionOf counts the valid events of an aggregate.
func versionOf(log []fact, before []judgement, key string) (n uint64) {
	for i := range before {
		if before[i].verdict == partition.Valid && log[i].key == key {
			n += uint64(len(before[i].commit))
		}
	}
	return n
}

// accepted is what the oracle remembers of a command.
type accepted struct {
	id      event.ID
	at      time.Time
	outcome partition.Outcome
}

// recall tells from the whole log which commands are remembered at its end and
// which id time the forgotten reach.
func recall(log []fact, judged []judgement, m partition.Memory) (kept []accepted, horizon time.Time) {
	var latest time.Time
	for i, j := range judged {
		if j.verdict != partition.Valid {
			continue
		}
		f := log[i]
		if f.at.After(latest) {
			latest = f.at
		}
		if !slices.ContainsFunc(kept, func(a accepted) bool { return a.id == f.command }) {
			o := partition.Outcome{First: int64(j.commit[0]), Last: int64(i), Digest: log[j.commit[0]].digest}
			kept = append(kept, accepted{f.command, f.at, o})
		}
		for len(kept) > 0 && (len(kept) > m.Number || latest.Sub(kept[0].at) > m.Age) {
			if at, ok := kept[0].id.Time(); ok && at.After(horizon) {
				horizon = at
			}
			kept = kept[1:]
		}
	}
	return kept, horizon
}

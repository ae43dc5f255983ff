package model

import "slices"

// two is what the presets are variations of: two processes, two claims, two
// commands on one aggregate, one append that lands twice.
func two(name, explores string, change func(*Preset)) Preset {
	p := Preset{Name: name, Explores: explores, Owners: 2, Incarnations: 3, Claims: 2, Commits: 2, Batch: 1, Copies: 1,
		Commands: []Command{{0, 1}, {0, 1}}}
	change(&p)
	return p
}

// asking lets one client ask.
func asking(p *Preset) { p.Queries, p.Probes = 1, 1 }

// overtaken is asking, and enough claims that the one asked may lose its epoch
// to another and win it back before it answers.
func overtaken(p *Preset) { asking(p); p.Claims = 3 }

// torn is a log that appends record by record. Its owners read back, and no
// append lands twice, for a copy could cut off a later commit of its own epoch.
func torn(p *Preset) {
	p.Torn, p.ReadBack, p.Copies, p.Commands = true, true, 0, []Command{{0, 2}, {0, 1}}
}

// Presets returns the explorations of the protocol as it is.
func Presets() []Preset { return slices.Concat(small(), large()) }

// small returns those that CI runs.
func small() []Preset { return slices.Concat(owners(), queries(), tearing()) }

// reaching is what every preset of owners must reach, and more.
func reaching(more ...Event) []Event {
	return append([]Event{ClaimContiguous, CommitContiguous, GapRead, AcceptedByGap, NotExecuted, Deposed, TimedOut, LandedLate, Retried,
		RecordVoid}, more...)
}

// owners are about claims and commits.
func owners() []Preset {
	return []Preset{
		two("stale-ends", "batches of two commits; a claimant may know less than the log's end", func(p *Preset) {
			p.Claims, p.Batch, p.StaleEnd = 3, 2, true
			p.States = 568_641
			p.Reaches = reaching(LandedTwice, ClaimedAgain)
		}),
		two("crashes", "a process crashes and another takes its place", func(p *Preset) {
			p.Claims, p.Batch, p.Crashes = 3, 2, 1
			p.States = 1_321_329
			p.Reaches = reaching(LandedTwice, Crashed)
		}),
		two("retries", "three commits of two commands, a crash", func(p *Preset) {
			p.Commits, p.Batch, p.Crashes, p.StaleEnd = 3, 2, 1, true
			p.States = 63_046
			p.Reaches = reaching(LandedTwice, Crashed)
		}),
		two("copies", "three commits, appends land twice two times", func(p *Preset) {
			p.Commits, p.Batch, p.Copies = 3, 2, 2
			p.States = 235_277
			p.Reaches = reaching(LandedTwice)
		}),
		two("four-claims", "four claims, no copies", func(p *Preset) {
			p.Claims, p.Batch, p.Copies = 4, 2, 0
			p.States = 619_158
			p.Reaches = reaching(ClaimedAgain)
		}),
		two("three-owners", "three processes, no crash", func(p *Preset) {
			p.Owners, p.Claims, p.Batch = 3, 3, 2
			p.States = 868_305
			p.Reaches = reaching(LandedTwice)
		}),
		two("two-aggregates", "three commands, of two events and one, on two aggregates", func(p *Preset) {
			p.Commits, p.Batch, p.StaleEnd = 3, 2, true
			p.Commands = []Command{{0, 2}, {1, 1}, {0, 1}}
			p.States = 167_002
			p.Reaches = reaching(LandedTwice)
		}),
		two("settles", "from every state, once faults end, any process comes to serve", func(p *Preset) {
			p.Batch, p.Crashes, p.Settles = 2, 1, true
			p.States = 23_290
			p.Reaches = reaching(Crashed, Settled)
		}),
	}
}

// queries are about what is answered without an append.
func queries() []Preset {
	return []Preset{
		two("queries", "a query, answered by a commit, a claim or a probe", func(p *Preset) {
			asking(p)
			p.Batch, p.StaleEnd = 2, true
			p.States = 362_207
			p.Reaches = reaching(ProbeContiguous, ProbeTimedOut, Answered, AnsweredNonZero)
		}),
		two("queries-overtaken", "a query to a process that loses its epoch and wins it back", func(p *Preset) {
			overtaken(p)
			p.Copies, p.Commits, p.StaleEnd = 0, 1, true
			p.States = 106_292
			p.Reaches = []Event{ProbeContiguous, Answered, AnsweredNonZero, ClaimedAgain, GapRead}
		}),
		two("queries-crashes", "a query and a crash", func(p *Preset) {
			asking(p)
			p.Crashes = 1
			p.States = 532_072
			p.Reaches = reaching(Answered, AnsweredNonZero, Crashed)
		}),
		two("two-queries", "two queries and two probes", func(p *Preset) {
			p.Queries, p.Probes, p.Copies = 2, 2, 0
			p.States = 637_395
			p.Reaches = reaching(ProbeTimedOut, Answered, AnsweredNonZero)
		}),
		two("queries-settle", "from every state, once faults end, who waits is answered", func(p *Preset) {
			asking(p)
			p.Copies, p.Settles = 0, true
			p.States = 15_351
			p.Reaches = reaching(ProbeTimedOut, Answered, Settled)
		}),
	}
}

// tearing is about unfinished commits.
func tearing() []Preset {
	return []Preset{
		two("torn", "batches torn into records, owners that read back: unfinished commits", func(p *Preset) {
			torn(p)
			p.Claims, p.Batch, p.StaleEnd = 3, 2, true
			p.States = 82_703
			p.Reaches = []Event{AcceptedByGap, NotExecuted, Deposed, LandedLate, Retried, CommitOpen, CommitCut}
		}),
		two("torn-crashes", "torn batches, three commands on two aggregates, a crash", func(p *Preset) {
			torn(p)
			p.Commits, p.Batch, p.Crashes, p.StaleEnd = 3, 2, 1, true
			p.Commands = []Command{{0, 2}, {0, 1}, {1, 2}}
			p.States = 88_583
			p.Reaches = []Event{AcceptedByGap, NotExecuted, Deposed, LandedLate, Retried, CommitOpen, CommitCut, Crashed}
		}),
	}
}

// large returns those of some minutes and some GiB.
func large() []Preset {
	presets := []Preset{
		two("large-crashes", "as crashes, with stale ends", func(p *Preset) {
			p.Claims, p.Batch, p.Crashes, p.StaleEnd = 3, 2, 1, true
			p.States = 1_865_492
		}),
		two("large-retries", "three commits, three claims, stale ends", func(p *Preset) {
			p.Claims, p.Commits, p.Batch, p.StaleEnd = 3, 3, 2, true
			p.States = 2_202_535
		}),
		two("large-copies", "three claims, appends land twice two times", func(p *Preset) {
			p.Claims, p.Batch, p.Copies = 3, 2, 2
			p.States = 4_819_323
		}),
		two("large-four-claims", "four claims, one append lands twice", func(p *Preset) {
			p.Claims, p.Batch = 4, 2
			p.States = 15_575_529
		}),
		two("large-three-owners", "three processes, stale ends", func(p *Preset) {
			p.Owners, p.Claims, p.Batch, p.StaleEnd = 3, 3, 2, true
			p.States = 1_273_055
		}),
		two("large-settles", "settling with two copies, a crash, stale ends", func(p *Preset) {
			p.Batch, p.Copies, p.Crashes, p.Settles, p.StaleEnd = 2, 2, 1, true, true
			p.States = 197_090
		}),
		two("large-queries", "a query, three claims, stale ends", func(p *Preset) {
			asking(p)
			p.Claims, p.StaleEnd = 3, true
			p.States = 21_316_523
		}),
		two("large-queries-copies", "a query, three commits, two copies", func(p *Preset) {
			asking(p)
			p.Commits, p.Batch, p.Copies = 3, 2, 2
			p.States = 12_000_413
		}),
		two("large-queries-crashes", "a query, three claims, a crash, stale ends", func(p *Preset) {
			asking(p)
			p.Claims, p.Crashes, p.Copies, p.StaleEnd = 3, 1, 0, true
			p.States = 2_650_389
		}),
		two("large-two-queries", "two queries, two probes, a copy", func(p *Preset) {
			p.Queries, p.Probes = 2, 2
			p.States = 15_337_885
		}),
		two("large-queries-settle", "settling of those who wait, with a copy and two probes", func(p *Preset) {
			asking(p)
			p.Probes, p.Settles = 2, true
			p.States = 1_903_536
		}),
		two("large-torn", "torn batches, three claims, three commits, a crash", func(p *Preset) {
			torn(p)
			p.Claims, p.Commits, p.Batch, p.Crashes, p.StaleEnd = 3, 3, 2, 1, true
			p.States = 1_782_736
		}),
	}
	for i := range presets {
		presets[i].Large = true
	}
	return presets
}

// Planted returns the explorations of the protocol with a fault in it.
func Planted() []Preset {
	bug := func(name, explores string, bug Bug, breaks string, change func(*Preset)) Preset {
		p := two(name, explores, change)
		p.Bug, p.Breaks = bug, breaks
		return p
	}
	as := func(*Preset) {}
	return []Preset{
		bug("epoch-check", "events count whatever their epoch", NoEpochCheck, Never, as),
		bug("equal-epochs", "a claim is valid when its epoch is the current one", EqualEpochs, Alone, as),
		bug("incomplete-commits", "an event takes effect before its commit is whole", IncompleteCommits, Never, torn),
		bug("version-check", "a commit is valid whatever its versions", NoVersionCheck, Decided, as),
		bug("dedup", "a command that was accepted runs again", NoDedup, Once, as),
		bug("snapshot-without-unfinished-commit", "a process starts from one", SnapshotWithoutOpen, Same, torn),

		bug("acting-before-read-back", "decides while its claim is in flight", ActsBeforeReadBack, Known, as),
		bug("claim-acknowledged-is-enough", "serves without reading the gap before its claim", ClaimAcknowledged, Same, as),
		bug("acknowledging-without-contiguity", "answers at whatever offset", NoContiguity, Exactly, as),
		bug("torn-batches", "contiguity on a log that appends no batch whole", None, Same, func(p *Preset) {
			torn(p)
			p.ReadBack = false
		}),
		bug("two-appends-in-flight", "sends a batch while another is in flight", TwoInFlight, Known, func(p *Preset) { p.Copies = 0 }),
		bug("two-appends-in-flight-apart", "the same on two aggregates", TwoInFlight, Forward, func(p *Preset) {
			p.Copies, p.Commands = 0, []Command{{0, 1}, {1, 1}}
		}),
		bug("judging-each-copy", "reads that a commit is valid, then that its copy is void", JudgesEachCopy, Contradicted, as),
		bug("judging-the-copy-acknowledged", "the second of two copies is void", JudgesCopy, Never, as),
		bug("timeout-goes-on", "takes what timed out for not executed, without a claim", TimeoutGoesOn, Never, as),
		bug("timeout-is-not-executed", "answers when an append times out, then claims", NotExecutedAtTimeout, Never, as),
		bug("deposed-goes-on", "goes on though it has read another's claim", DeposedGoesOn, Exactly, as),
		bug("deposed-stays-so", "a void read-back ends it", StaysDeposed, Settling+": a deposed process does not claim", func(p *Preset) {
			p.Settles = true
		}),

		bug("answering-at-once", "from folded state", AnswersAtOnce, Linear, asking),
		bug("answering-from-flight", "from its commits in flight", AnswersFromFlight, Linear, asking),
		bug("riding-on-an-earlier-append", "an append sent before the request came is enough", RidesEarlierAppend, Linear, asking),
		bug("state-before", "answers from the state before the gap", StateBefore, Linear, func(p *Preset) {
			overtaken(p)
			p.Copies, p.Commits, p.StaleEnd = 0, 1, true
		}),
		bug("decision-of-arrival", "answers what was decided when the request came", DecisionOfArrival, Linear, func(p *Preset) {
			overtaken(p)
			p.Copies = 0
		}),
		bug("probe-timeout-goes-on", "takes a probe that timed out for acknowledged", ProbeTimeoutAnswers, Linear, asking),
		bug("answering-while-deposed", "answers all who wait when it is deposed", AnswersWhileDeposed, Linear, asking),
	}
}

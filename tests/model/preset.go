package model

import "fmt"

// Preset bounds an exploration. Every number is a limit on what may happen in
// one run of the protocol; within them everything does.
type Preset struct {
	Name     string
	Explores string // in a line

	Owners       int // processes at a time
	Incarnations int // processes over all, each with its own owner id
	Crashes      int
	Claims       int
	Commits      int // decisions that append, retries of a command among them
	Batch        int // commits in one append, 1 or 2
	Copies       int // times that an append lands once more
	Queries      int // requests answered without an append of their own
	Probes       int
	Commands     []Command

	StaleEnd bool // whoever starts to claim may be told an end that is the end no more
	Torn     bool // a batch lands record by record, with others' between, and perhaps never whole
	ReadBack bool // owners read back all that they append, and make no use of contiguity
	Settles  bool // at every state: once faults end, any process comes to serve and resolves what it sent
	Bug      Bug  // planted

	Breaks  string // the invariant that must break; empty: all hold
	Reaches []Event
	States  int  // how many there are, so that no change makes them fewer unseen; of presets that hold
	Large   bool // not for CI
}

// Command is a command that clients send, again and again, to whoever serves.
type Command struct {
	Aggregate uint8 // 0 or 1
	Events    uint8 // 1 or 2
}

// Bug is a fault planted into the protocol, which the model must find.
type Bug uint8

// The planted bugs.
const (
	None Bug = iota
	// In the fold rule.
	NoEpochCheck      // events count whatever their epoch
	EqualEpochs       // a claim is valid when its epoch is the current one
	IncompleteCommits // an event takes effect by itself, before its commit is whole
	NoVersionCheck    // a commit is valid whatever its versions
	// In how an owner appends.
	ActsBeforeReadBack   // decides while its claim is in flight
	ClaimAcknowledged    // serves once its claim is acknowledged, at whatever offset
	NoContiguity         // folds and answers its batch once it is acknowledged, at whatever offset
	TwoInFlight          // sends a batch while another is in flight
	JudgesCopy           // judges the copy that was acknowledged alone
	JudgesEachCopy       // takes a void copy for a commit that was not executed
	NoDedup              // runs a command that was accepted before
	TimeoutGoesOn        // takes what timed out for not executed and goes on in its epoch
	DeposedGoesOn        // goes on in its epoch though it has read another's claim
	SnapshotWithoutOpen  // starts from a snapshot that lacks the unfinished commit
	NotExecutedAtTimeout // answers not executed when an append times out, then claims
	StaysDeposed         // does not claim again
	// In how an owner answers what appends nothing.
	AnswersAtOnce       // from folded state
	AnswersFromFlight   // from folded state and the commits in flight
	RidesEarlierAppend  // on the strength of an append sent before the request came
	StateBefore         // on the state before the gap
	DecisionOfArrival   // as it was decided on arrival
	ProbeTimeoutAnswers // takes a probe that timed out for acknowledged
	AnswersWhileDeposed // from what it has folded, when it reads that it is deposed
	numberOfBugs        = int(iota)
)

// Event is something that happens in an exploration and is counted, so that no
// preset holds for want of trying.
type Event uint8

// The events counted.
const (
	ClaimContiguous Event = iota
	CommitContiguous
	ProbeContiguous
	GapRead
	AcceptedByGap // found valid while reading
	NotExecuted   // answered so
	Deposed       // read another's claim
	ClaimedAgain  // by a process that had claimed before
	TimedOut      // and claimed
	ProbeTimedOut // and sent again without a claim
	Crashed
	LandedTwice     // a copy of what had landed before
	LandedLate      // after its sender had claimed again, was deposed or had crashed
	Retried         // a command was decided again
	Answered        // a query
	AnsweredNonZero // a query that had to know of earlier answers
	RecordVoid      // one landed in vain
	CommitOpen      // a part of a commit landed
	CommitCut       // an unfinished commit was made void
	Settled
	numberOfEvents = int(iota)
)

var eventNames = [...]string{"claims contiguous", "batches contiguous", "probes contiguous", "gaps read", "accepted by reading",
	"not executed", "deposed", "claimed again", "timed out and claimed", "probe sent again", "crashes", "landed twice", "landed late",
	"commands decided again", "queries answered", "queries answered above a bound", "records void", "events of unfinished commits",
	"commits cut off", "settled"}

func (e Event) String() string { return eventNames[e] }

// Bounds of a State. They are what the presets need; Check refuses more.
const (
	maxOwners   = 3
	maxCommands = 3
	maxCommits  = 4
	maxBatches  = 14
	maxLog      = 16
	maxQueries  = 2
	aggregates  = 2
)

// Check returns what of a preset does not fit into a State.
func (p *Preset) Check() error {
	batches, entries := p.room()
	switch {
	case p.Owners > maxOwners || p.Commands == nil || len(p.Commands) > maxCommands || p.Commits > maxCommits || p.Queries > maxQueries:
		return fmt.Errorf("preset %s: more owners, commands, commits or queries than a state holds", p.Name)
	case p.Batch < 1 || p.Batch > 2:
		return fmt.Errorf("preset %s: 1 or 2 commits in a batch", p.Name)
	case batches > maxBatches || entries > maxLog:
		return fmt.Errorf("preset %s: %d batches and %d entries, room for %d and %d", p.Name, batches, entries, maxBatches, maxLog)
	case p.Torn && p.Copies > 0:
		return fmt.Errorf("preset %s: a torn batch has one copy", p.Name)
	}
	return nil
}

// room returns how many batches and log entries a run may come to.
func (p *Preset) room() (batches, entries int) {
	batches = p.Claims + p.Commits + p.Probes
	if p.Settles {
		batches += settleBatches
	}
	entries = batches + p.Copies
	if p.Torn {
		entries += p.Commits // of at most two events
	}
	return batches, entries
}

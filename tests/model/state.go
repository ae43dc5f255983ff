package model

// State is the protocol at one moment: the log, the network, the processes, and
// what callers were told. It holds numbers only, few and small, and no pointer,
// so that it is hashed and kept as it lies in memory.
type State struct {
	Entries, Sent, Decided uint8 // used of Log, Batches, Commits
	Incarnations, Claims   uint8 // so far, as all below
	Crashes, Copies        uint8
	Asked, Probes          uint8
	Faults                 uint8 // invariants broken on the way here, see invariants.go
	Log                    [maxLog]entry
	Batches                [maxBatches]batch
	Commits                [maxCommits]commit
	Owners                 [maxOwners]owner  // the youngest first, free places last
	Reader                 fold              // of the whole log: what is true
	Told                   [aggregates]uint8 // the highest version that any answer implied
	Queries                [maxQueries]query
}

// entry is a place in the log. Brokers append a batch whole, so a batch is one
// entry, and entries compare as offsets do; torn, each record is one.
type entry struct {
	Batch  uint8
	Record uint8 // 1 + its place in the batch; 0: all of the batch
}

// kind is what a batch holds.
type kind uint8

const (
	claim kind = iota + 1
	commits
	probe
)

// batch is one append.
type batch struct {
	Kind   kind
	Sender uint8    // owner id
	Epoch  uint8    // claimed, or in which it was sent
	Holds  [2]uint8 // commits: 1 + their numbers, 0: none
	Copies uint8    // under way, each may land at any time or never
	Landed uint8    // records of a torn batch that are in the log, while some are not
}

// commit is the events that a command was once decided to cause. A retry that is
// decided anew makes another one.
type commit struct {
	Command uint8
	Epoch   uint8
	Base    uint8 // version of its aggregate that it was decided on
	Fate    fate  // what its caller was told
	Belief  history
}

type fate uint8

const (
	untold fate = iota
	accepted
	notExecuted
)

// history is the commits in effect on an aggregate, the latest in the lowest
// three bits, each by 1 + its number.
type history uint16

func (h history) with(c uint8) history { return h<<3 | history(c+1) }

// startsWith reports whether h has come out of earlier by adding commits.
func (h history) startsWith(earlier history) bool {
	for ; h != earlier; h >>= 3 {
		if h == 0 {
			return false
		}
	}
	return true
}

type mode uint8

const (
	idle mode = iota
	claiming
	serving
)

// owner is a process at work on the partition.
type owner struct {
	ID         uint8 // 0: none
	Mode       mode
	Epoch      uint8    // of its last claim
	Next       uint8    // entries that it knows of, in the protocol E
	Flight     [2]uint8 // 1 + batches in flight, 0: none; the second only by a planted bug
	Unresolved uint8    // a bit for each commit that was sent and whose fate is unknown
	Fold       fold
}

// query is a request that appends nothing: a strong read, a rejection, a no-op.
// Each comes down to the version on which it is decided.
type query struct {
	State     queryState
	Owner     uint8
	Aggregate uint8
	Bound     uint8 // the version that its answer must not be below
	Batch     uint8 // 1 + the first append sent after it came, 0: none yet
	Version   uint8 // found on arrival; by a planted bug
	Seen      history
}

type queryState uint8

const (
	unasked queryState = iota
	waiting
	answered
)

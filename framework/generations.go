package framework

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// GenerationState says what becomes of a generation of a view.
type GenerationState string

// The states of a generation.
const (
	Building GenerationState = "building" // it is being filled
	Ready    GenerationState = "ready"    // it is whole and follows the log, so it can be switched to
	Reading  GenerationState = "read"     // queries are answered from it
	Retired  GenerationState = "retired"  // it is given up, and deleted soon
)

// Generation is a complete copy of a view, as this process sees it.
type Generation struct {
	Number  int // counted up per view
	Version int // of the fold that makes it
	State   GenerationState
	Lag     int64         // events and derived records that it is behind the end of the log
	Done    int64         // events below which it holds all, over all partitions
	End     int64         // events that the log has
	Rate    float64       // events a second that it has taken in the last seconds
	Left    time.Duration // until it has caught up, at that rate; 0: it has, or nobody can say
	Carried bool          // processes that carry its version follow all partitions
	Created time.Time
	By      string // who wanted it
	Err     error  // why it does not go on; nil while it does
}

// Rebuild asks for a new generation of a view.
type Rebuild struct {
	Version int    // of the fold; 0: the greatest that this program carries
	Rate    int    // events a second that it may take over the whole application while it is building; 0: no limit
	By      string // who wants it, at most 256 bytes
}

// Switch asks for another generation to be read.
type Switch struct {
	Force  bool   // though it lags or differs
	Reason string // of force, which needs one, at most 256 bytes; it is recorded
	By     string // who wants it, at most 256 bytes
}

// Comparison says how two generations of a view differ at one place of the log: the
// one that is read, and another.
type Comparison struct {
	Equal       bool
	Documents   [2]int64  // of the one that is read and of the other
	Entries     [2]int64  // of sets
	Digests     [2]string // of all documents and entries
	Positions   eventlog.Positions
	Differences []Difference // the first, at most 20
}

// Difference is a document or entry that two generations do not agree on.
type Difference struct {
	Key   string
	Read  json.RawMessage // in the one that is read; null: it is not there
	Other json.RawMessage // in the other; null: it is not there
}

// GenerationError says that something may not be done with a generation of a view as
// it is now.
type GenerationError struct {
	View   string
	Number int
	State  GenerationState
	Reason string // what keeps it, and what to do
}

func (e *GenerationError) Error() string {
	return fmt.Sprintf("generation %d of view %s, which is %s: %s", e.Number, e.View, e.State, e.Reason)
}

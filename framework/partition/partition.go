// Package partition is the fold rule: what a record of an events partition
// means, computed from the records before it and from nothing else. Every
// reader of a partition (its owner, a view, a tool) steps the same [Fold] over
// it and so comes to the same verdicts:
//
//	fold := partition.New(partition.Memory{})
//	for _, r := range records {
//		got, err := fold.Step(r.Offset, r.Key, r.Header, r.Value)
//		if err != nil {
//			return err // a newer version of drivetrain wrote r: stop
//		}
//		if got.Verdict == partition.Valid {
//			apply(got.Events)
//		}
//	}
//
// The rule, whose wording was explored exhaustively (tests/model holds the
// explorer):
//
//   - A claim is valid when its epoch is greater than the current one.
//   - A commit is the events of one command, sent in one batch. Its records
//     follow one another among the event records of the current epoch; records
//     of other epochs, void claims, probes, heartbeats and foreign records may
//     lie between.
//   - A valid claim, or another commit's event, makes an unfinished commit void.
//   - A commit is judged as a whole at its last record: valid when its first
//     version is its aggregate's + 1 and the others follow. Then it takes effect
//     there, and that offset is its position. All else is void.
//   - A heartbeat of the current epoch's owner tells a time; it changes nothing.
//     One of another epoch or owner is void.
//
// The package is pure: no I/O, no clock, no goroutine.
package partition

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

// Verdict says what a record means.
type Verdict uint8

// The verdicts.
const (
	Valid     Verdict = iota + 1 // the last event of a commit that takes effect here
	Open                         // an event of a commit that is not finished yet
	Void                         // no effect; see Reason
	Claimed                      // a valid claim: the epoch and the owner are now its
	Probe                        // no effect, by design
	Heartbeat                    // no effect on commits: the owner has no event that is older than Result.Time
)

// String returns the verdict in lower case.
func (v Verdict) String() string {
	return [...]string{"none", "valid", "open", "void", "claimed", "probe", "heartbeat"}[v]
}

// Reason says why a record is void.
type Reason uint8

// The reasons.
const (
	NoReason   Reason = iota
	Foreign           // not a record of ours
	OldEpoch          // an event or heartbeat of an earlier owner, or a claim not above the current epoch
	Unclaimed         // an event of an epoch that nobody has claimed, or a heartbeat of one that its sender has not
	Incomplete        // a commit's event without those before it, or cut off by what follows
	BadVersion        // a commit that does not follow its aggregate's version
	Duplicate         // a derived record whose number was taken before
	Gap               // a derived record whose number is not the next one of its source
	OtherFold         // a derived record of another fold version
)

// String returns the reason in words.
func (r Reason) String() string {
	return [...]string{"", "foreign record", "old epoch", "unclaimed epoch", "incomplete commit", "version does not follow",
		"duplicate", "number does not follow", "another fold version"}[r]
}

// Result is what one record did.
type Result struct {
	Verdict Verdict
	Reason  Reason  // of Void
	Events  []Event // of Valid: the commit, in order; good until the next Step
	Voided  []Event // the unfinished commit that this record made void, if any; good until the next Step
	Time    int64   // of Heartbeat: Unix nanoseconds
}

// Event is an event of a commit.
type Event struct {
	event.Envelope
	Offset int64
	Key    []byte // "type/id" of its aggregate
	Data   []byte // the payload
}

// Claim is the content of a claim record.
type Claim struct {
	Epoch uint64
	Owner event.ID // drawn at random at process start
}

// Outcome is what a fold remembers of an accepted command: where its events
// lie, and the digest that tells a retry from another command.
type Outcome struct {
	First, Last int64
	Digest      uint64
}

// Memory bounds how long accepted commands are remembered, so that a retry is
// recognised. The zero Memory remembers none, as suits a view; its snapshots may
// still be restored by an owner, which then takes every earlier command for too
// late.
type Memory struct {
	Age    time.Duration // measured against the greatest event time so far; design: 24 h
	Number int           // at most so many
}

// ErrOrder is a record handed to Step before one that came earlier.
var ErrOrder = errors.New("record out of order")

// Fold is the state of one partition after a prefix of its records. Make one
// with New or Restore; it is not safe for concurrent use.
type Fold struct {
	epoch    uint64
	owner    event.ID
	next     int64
	versions Versions
	open     []Event // the unfinished commit; its last event has Index len(open)-1
	done     []Event // the events last handed out
	commands commands
	decoder  event.Decoder
}

// New returns the fold of an empty prefix.
func New(m Memory) *Fold { return NewOn(m, newVersions()) }

// NewOn is New with versions kept by v, which is empty.
func NewOn(m Memory, v Versions) *Fold { return &Fold{versions: v, commands: newCommands(m)} }

// Epoch returns the current epoch, 0 before the first claim.
func (f *Fold) Epoch() uint64 { return f.epoch }

// Owner returns who claimed the current epoch.
func (f *Fold) Owner() event.ID { return f.owner }

// Next returns the least offset that Step takes: one past the last record.
func (f *Fold) Next() int64 { return f.next }

// Version returns the version of the aggregate with this key, 0 if it has no
// event.
func (f *Fold) Version(key []byte) uint64 { return f.versions.Get(key) }

// Aggregates counts the aggregates that have an event.
func (f *Fold) Aggregates() (n int) {
	for range f.versions.All() {
		n++
	}
	return n
}

// Versions yields the version of each aggregate that has an event, by key.
func (f *Fold) Versions() iter.Seq2[string, uint64] { return f.versions.All() }

// Outcome returns what is remembered of an accepted command.
func (f *Fold) Outcome(command event.ID) (Outcome, bool) {
	return f.commands.find(command)
}

// TooLate reports whether command, which is not remembered, may be one that was
// forgotten: it must not run, for it may have run before.
func (f *Fold) TooLate(command event.ID) bool {
	at, ok := command.Time()
	return ok && at.UnixMilli() <= f.commands.horizon
}

// Step folds the next record. It keeps key and value while their commit is
// unfinished and hands them out again, so they must not be changed afterwards.
// Its errors are ErrOrder and event.ErrNewer, wrapped with the offset; after one
// the fold is unchanged.
func (f *Fold) Step(offset int64, key, header, value []byte) (Result, error) {
	if offset < f.next {
		return Result{}, fmt.Errorf("%w: offset %d after %d", ErrOrder, offset, f.next-1)
	}
	kind, err := event.KindOf(header)
	if errors.Is(err, event.ErrNewer) {
		return Result{}, fmt.Errorf("record %d: %w", offset, err)
	}
	f.next = offset + 1
	switch kind {
	case event.KindClaim:
		return f.claim(header), nil
	case event.KindProbe:
		return Result{Verdict: Probe}, nil
	case event.KindHeartbeat:
		return f.heartbeat(header), nil
	case event.KindEvent:
		return f.event(offset, key, header, value), nil
	}
	return void(Foreign), nil
}

func void(r Reason) Result { return Result{Verdict: Void, Reason: r} }

func (f *Fold) claim(header []byte) Result {
	c, err := DecodeClaim(header)
	if err != nil {
		return void(Foreign)
	}
	if c.Epoch <= f.epoch {
		return void(OldEpoch)
	}
	f.epoch, f.owner = c.Epoch, c.Owner
	return Result{Verdict: Claimed, Voided: f.drop()}
}

func (f *Fold) heartbeat(header []byte) Result {
	c, at, err := DecodeHeartbeat(header)
	switch {
	case err != nil:
		return void(Foreign)
	case c.Epoch < f.epoch:
		return void(OldEpoch)
	case c.Epoch > f.epoch || c.Owner != f.owner:
		return void(Unclaimed)
	}
	return Result{Verdict: Heartbeat, Time: at}
}

func (f *Fold) event(offset int64, key, header, value []byte) Result {
	n := len(f.open)
	f.open = slices.Grow(f.open, 1)
	e := &f.open[:n+1][n] // where it is to stay if it goes on, so that it is not moved
	e.Offset, e.Key, e.Data = offset, key, value
	switch err := f.decoder.Decode(header, &e.Envelope); {
	case err != nil || len(key) == 0:
		return void(Foreign)
	case e.Epoch < f.epoch:
		return void(OldEpoch)
	case e.Epoch > f.epoch || e.Epoch == 0:
		return void(Unclaimed)
	}
	var voided []Event
	if !f.continues(e) {
		voided = f.drop()
	}
	if e.Index != len(f.open) {
		return Result{Verdict: Void, Reason: Incomplete, Voided: voided}
	}
	if voided == nil {
		f.open = f.open[:n+1]
	} else {
		f.open = append(f.open, *e)
	}
	if len(f.open) < e.Count {
		return Result{Verdict: Open, Voided: voided}
	}
	r := f.judge()
	if voided != nil { // a commit of one event that cut off another
		r.Voided = voided
	}
	return r
}

// continues reports whether e is the next event of the unfinished commit.
func (f *Fold) continues(e *Event) bool {
	n := len(f.open)
	if n == 0 {
		return true
	}
	first := &f.open[0]
	return e.Index == n && e.Count == first.Count && e.Command == first.Command && string(e.Key) == string(first.Key)
}

// drop forgets the unfinished commit and returns it.
func (f *Fold) drop() []Event {
	if len(f.open) == 0 {
		return nil
	}
	dropped := f.open
	f.open = nil
	return dropped
}

// judge judges the commit whose last event has just come.
func (f *Fold) judge() Result {
	f.done, f.open = f.open, f.done[:0]
	version := f.versions.Get(f.done[0].Key)
	for i := range f.done {
		if f.done[i].Version != version+uint64(i)+1 {
			return Result{Verdict: Void, Reason: BadVersion, Voided: f.done[:len(f.done)-1]}
		}
	}
	last := &f.done[len(f.done)-1]
	f.versions.Set(last.Key, last.Version)
	f.commands.remember(last.Command, Outcome{f.done[0].Offset, last.Offset, f.done[0].Digest}, last.Time.UnixNano())
	return Result{Verdict: Valid, Events: f.done}
}

package stream

import "github.com/drivetrain-go/drivetrain/framework/partition"

// planted is a bug that a test plants, to see that the simulation finds it. It is
// zero in every program.
type planted int

const (
	plantNothing      planted = iota // as it should be
	plantDuplicates                  // a number that was taken before is taken again
	plantGaps                        // a number that does not follow is taken
	plantOtherFold                   // a record of another fold version is taken
	plantMarks                       // the judge is left out of a restore
	plantCounters                    // the numbers of what was emitted are left out of a restore
	plantLax                         // a store takes what a former writer brings
	plantAheadOfStore                // a snapshot is taken though its store has not got so far
	plantUnacked                     // a snapshot is stored before what it covers is acknowledged
	plantInFlight                    // a second append to a target is sent before the first is acknowledged
	plantOrder                       // emissions are written in the order of a map
	plantTimers                      // a timer that has fired still stands
	plantOffByOne                    // a restore goes on one record too late
	plantNoSave                      // what the cut shall hold is not encoded before it changes
	plantNoBury                      // a deleted key is left out of a delta
	plantSettled                     // what is published already is not left out
	plantLate                        // a watermark is the greatest, not the least, of the sources
	plantEager                       // an emission carries the watermark that its input leads to
	plantDue                         // a timer that is due when it is set waits until the watermark moves
	plantTouch                       // the timer that ends a state's time to live makes it longer
	plantTTL                         // the timer that ends a state's time to live is lost in a restore
	plantLateness                    // a window takes nothing once it has ended, whatever its lateness
	plantMaxTime                     // a shuffle is told the greatest time, not the watermark
	plantTold                        // what the shuffles were told is left out of a restore
	plantHead                        // the head of a snapshot is that of its end, not of its beginning
	plantAgain                       // a restore folds the last record again
	plantPosition                    // a transaction that is not answered publishes without its position
	plantAhead                       // a task that runs elsewhere by now stores what nobody has acknowledged
	plantGraves                      // a key that is deleted during a cut is missing in it
	plantArrival                     // of two prices of one time, the first one stands
	plantTaskBeat                    // an idle task, not the owner, says that time has passed
	plantOldBeat                     // a heartbeat of an earlier owner moves the watermark
	plantParkedOn                    // what comes under a parked key is folded
	plantParkedLost                  // what is parked is left out of a snapshot
	plantNoUndo                      // what a failed call has changed stays
	plantAnyVersion                  // a ruling on another version's keys is obeyed
	plantRuledTwice                  // a ruling is obeyed whatever event it is about
	plantNewestFirst                 // what is parked is folded again in another order
	plantParkedTimers                // a timer of a parked key fires
	plantTrimNewest                  // a shuffle is trimmed behind the newest snapshot, not the oldest that is kept
	plantTrimParked                  // a shuffle forgets what is parked
)

// takes reports whether a record that is void for a reason is taken all the same.
func (p planted) takes(why partition.Reason) bool {
	switch p {
	case plantDuplicates:
		return why == partition.Duplicate
	case plantGaps:
		return why == partition.Gap
	case plantOtherFold:
		return why == partition.OtherFold
	}
	return false
}

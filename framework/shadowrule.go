package framework

import (
	"context"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// How a dispute is settled: an answer is another one if it was so often in turn, and
// both are left if they have moved for so many tries.
const (
	shadowSure  = 4
	shadowTries = 8
)

// The pauses between two tries, which grow, and have no rhythm.
const (
	leastShadowPause = 2 * time.Millisecond
	mostShadowPause  = 16 * time.Millisecond
)

// reply is an answer of a generation.
type reply struct {
	json    []byte // nil: not found, or refused
	refused string // why it does not take the question; empty: it does
	at      eventlog.Positions
	same    string // of all that say the same the same
}

// dispute settles whether two generations of a view answer a question alike, while both
// move.
//
// What a generation answers is a function of how far it has come in the log, and it is
// not known how far exactly. But the log's end, asked for after an answer, lies behind all
// that the answer can hold; and an answer that has waited for that end holds as much. So
// if the read one is asked, then the other, and then the read one again, and each is behind the
// end that the log had after the one before, the other one has been at a place between those of
// the two that were read. If these two are the same and the other is not, the other one differs, unless the read
// one has gone to and fro in between. So that is asked for shadowSure times in turn, with answers
// that stay as they are, at moments without a rhythm. If any two neighbours are the same, both
// generations have come by the same answer.
type dispute struct {
	clock clock.Clock
	// ask asks the generation that is read, or the other one, once it has passed min.
	ask func(ctx context.Context, other bool, min eventlog.Positions) (reply, error)
	// end returns positions behind which the log holds nothing.
	end func(context.Context) (eventlog.Positions, error)
}

// settle begins with an answer of the one that is read. It returns the last answers of
// both. What did not answer is an error, and has failed.
func (d *dispute) settle(ctx context.Context, first reply) (o outcome, read, other reply, err error) {
	read = first
	if other, err = d.ask(ctx, true, read.at); err != nil {
		return shadowFailed, read, other, err
	}
	sure := 0
	pause := clock.Backoff{Least: leastShadowPause, Most: mostShadowPause}
	for try := 0; other.same != read.same && sure < shadowSure; try++ {
		if try == shadowTries {
			return shadowMoved, read, other, nil
		}
		if err = clock.Sleep(ctx, d.clock, pause.Next(d.clock)); err != nil {
			return shadowFailed, read, other, err
		}
		was, seen := read, other
		if other, err = d.behind(ctx, true); err != nil {
			return shadowFailed, read, other, err
		}
		if other.same == was.same {
			break
		}
		if read, err = d.behind(ctx, false); err != nil {
			return shadowFailed, read, other, err
		}
		switch {
		case read.same != was.same:
			sure = 0
		case sure > 0 && other.same != seen.same:
			sure = 1
		default:
			sure++
		}
	}
	if sure == shadowSure {
		return shadowDifferent, read, other, nil
	}
	return shadowEqual, read, other, nil
}

// behind asks a generation once it has passed all that the log holds now.
func (d *dispute) behind(ctx context.Context, other bool) (reply, error) {
	end, err := d.end(ctx)
	if err != nil {
		return reply{}, err
	}
	return d.ask(ctx, other, end)
}

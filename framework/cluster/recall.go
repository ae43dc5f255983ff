package cluster

import (
	"context"

	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// Recall returns the recorded outcome of a command, if the partition remembers
// one; known is false if it does not. Errors: *UnavailableError, *BrokenError,
// ErrKeyReused when the command was another one.
func (o *Owner) Recall(ctx context.Context, req Request) (res Result, known bool, err error) {
	var before partition.Outcome
	var offsets []int64
	err = o.look(ctx, req.Aggregate, req.ID, func(a *aggregate) error {
		if before, known = o.fold.Outcome(req.Command); !known {
			return nil
		}
		offsets = a.offsets.Between(before.First, before.Last)
		if before.Digest != req.Digest || len(offsets) == 0 {
			return ErrKeyReused
		}
		return nil
	})
	if err != nil || !known {
		return Result{}, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.cfg.AppendTimeout)
	defer cancel()
	events, err := Fetch(ctx, o.cfg.Log, o.cfg.Topic, o.cfg.Partition, offsets)
	if err != nil {
		return Result{}, false, &UnavailableError{Reason: "the recorded outcome cannot be read now", Unresolved: true, RetryAfter: retryAfter}
	}
	return o.result(events), true, nil
}

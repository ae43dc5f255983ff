package eventlog

import "context"

// Trimmer is a Log that can forget the beginning of a partition. In one that cannot,
// shuffles keep all that was ever written to them.
type Trimmer interface {
	// Trim deletes the records of a partition below an offset, for good: from nil on the
	// partition starts there, or later, and a Read from below is an ErrOffset. Where it
	// starts there already nothing is done. Beyond the end it is ErrOffset, and nothing is
	// deleted. A log may keep the bytes for a while.
	Trim(ctx context.Context, topic string, partition int32, below int64) error
	// Start returns where a partition starts, as in Lister and Outside.
	Start(ctx context.Context, topic string, partition int32) (int64, error)
}

package eventlog

import "context"

// Lister is a Log that can say what it holds, to tools that do not know the
// application.
type Lister interface {
	// Topics returns all topics, in no particular order.
	Topics(ctx context.Context) ([]Topic, error)
	// Start returns the offset of a partition's first record, or its end if there
	// is none. It is 0 unless records were deleted.
	Start(ctx context.Context, topic string, partition int32) (int64, error)
}

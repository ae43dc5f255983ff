package eventlog

import "context"

// Assigner is a Log that can share a topic's partitions among the processes of
// an application. With a Log that is none, one process serves all.
//
// An assignment only proposes: who may decide for a partition is settled in the
// partition itself, see package partition. So a process that was too slow to
// notice a change does no harm.
type Assigner interface {
	// Join makes the process a member of group, which shares the partitions of
	// topic. instance names the process over restarts, so that a quick one moves
	// nothing; empty: it is new each time.
	Join(ctx context.Context, group, topic, instance string) (Membership, error)
}

// Membership is a process's place in a group.
type Membership interface {
	// Next returns all partitions assigned to this process, ascending and perhaps
	// none, each time they have changed since the last call; it waits for that
	// until ctx ends. Any other error is for good, and nothing is assigned then:
	// another process has joined under the same instance, the group refuses this
	// one, or Close was called (ErrClosed).
	Next(ctx context.Context) ([]int32, error)
	// Close leaves the group, so that others take over at once.
	Close() error
}

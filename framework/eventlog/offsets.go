package eventlog

import (
	"context"
	"fmt"
)

// Offsets is a Log that also keeps how far named groups have got in its
// partitions, so that what a group has done is not done again after a restart.
type Offsets interface {
	// Commit notes that group has done with all of a partition below next, and
	// returns once that is durable. What is noted last counts, a lower offset
	// too: two processes that take turns in a group may only repeat work, which
	// whoever uses this must bear. ErrUnknownTopic, ErrClosed and CheckCommit's
	// errors say that nothing was noted; after any other the old offset or the
	// new one may be there. Next is not held against the partition's end.
	Commit(ctx context.Context, group, topic string, partition int32, next int64) error
	// Committed returns what group has committed last in a partition. It is not
	// known before the first Commit, and again once the log has forgotten it: a
	// driver that forgets says when.
	Committed(ctx context.Context, group, topic string, partition int32) (next int64, known bool, err error)
}

// CheckCommit returns an error for a group or an offset that cannot be: a group's
// name is made as a topic's. Drivers call it first, with 0 where there is no
// offset.
func CheckCommit(group string, next int64) error {
	if !topicName.MatchString(group) || group == "." || group == ".." {
		return fmt.Errorf("group %.80q: its name cannot be used; use 1 to 200 of the characters A-Z a-z 0-9 . _ -", group)
	}
	if next < 0 {
		return fmt.Errorf("group %s: offset %d cannot be committed; commit 0 or more", group, next)
	}
	return nil
}

package eventlog

import "context"

// Deleter is a Log that can delete topics. With one that cannot, what a retired
// generation of a view wrote there stays.
type Deleter interface {
	// Delete deletes a topic with all that it holds, and returns once it is gone. That
	// there is none is no error. Calls for it that are under way fail with
	// ErrUnknownTopic, or as those do whose outcome is unknown.
	Delete(ctx context.Context, topic string) error
}

package framework

import (
	"maps"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// What a partition behind a shuffle was once said to have passed it has passed, whatever
// is found of it later: another process may know less, and what was found first may be
// passed last.
func TestWhatIsPassedStaysPassed(t *testing.T) {
	s := &sight{old: reached{0: 5, 1: -1}, next: reached{0: 3, 1: 7, 2: 1}, at: 10}
	s.pass(stream.TaskStatus{Done: 9})
	if want := (reached{0: 5, 1: -1}); !maps.Equal(s.old, want) {
		t.Errorf("passed %v before the end that is waited for, want %v", s.old, want)
	}
	s.pass(stream.TaskStatus{Done: 10})
	if want := (reached{0: 5, 1: 7, 2: 1}); !maps.Equal(s.old, want) {
		t.Errorf("passed %v, want %v", s.old, want)
	}
	s.next, s.at = reached{0: 6, 1: 6}, 11
	s.learn(reached{0: 9, 1: 9}) // a query has waited for it
	s.pass(stream.TaskStatus{Done: 11})
	if want := (reached{0: 9, 1: 9, 2: 1}); !maps.Equal(s.old, want) {
		t.Errorf("passed %v after a query waited for more, want %v", s.old, want)
	}
}

package eventlogtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Bounds that the suite holds groups to.
const (
	settle   = 20 * time.Second // until a group has shared its partitions
	takeover = 5 * time.Second  // until those of one that left have others
	quiet    = 3 * time.Second  // for which a group that has settled changes nothing
)

// Assign tests logs that are an [eventlog.Assigner] against the contract. Open
// is called several times for each test, once for each process; all of its logs
// lie on the same server. The suite closes them.
func Assign(t *testing.T, open func(t *testing.T) eventlog.Log) {
	for _, c := range []struct {
		name string
		test func(*crowd)
	}{
		{"one member has all partitions", oneHasAll},
		{"members share the partitions evenly", membersShare},
		{"only what a new member takes moves", onlyTakenMoves},
		{"a member for which nothing is left is told so", spareIsTold},
		{"others take over from one that closes", closedIsReplaced},
		{"others take over from a log that closes", closedLogIsReplaced},
		{"groups do not share with each other", groupsAreApart},
		{"an instance that joins twice ends the first", instanceIsOnce},
		{"next ends with its context and with close", nextOfMemberEnds},
		{"joins that cannot be are refused", joinRefuses},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			f := newFixture(t, open(t))
			t.Cleanup(func() { f.log.Close(); goleak.VerifyNone(t, before) })
			c.test(&crowd{fixture: f, open: open, group: f.name()})
		})
	}
}

func spareIsTold(c *crowd) {
	topic := c.topic(1)
	first := c.join(topic, "")
	c.shared(1, settle, first)
	spare := c.join(topic, "")
	select {
	case <-spare.sets: // none, or the one partition if the group has moved it
	case <-time.After(settle):
		c.Fatal("it was told nothing")
	}
}

// crowd is a group and a way to make processes that join it.
type crowd struct {
	*fixture
	open  func(t *testing.T) eventlog.Log
	group string
}

// process is a log of its own with a membership, and the set it was told last.
type process struct {
	*crowd
	log    eventlog.Log
	member eventlog.Membership
	sets   chan []int32
	held   []int32
}

// join makes a process that follows its partitions.
func (c *crowd) join(topic, instance string) *process {
	c.Helper()
	p := &process{crowd: c, log: c.open(c.T), sets: make(chan []int32, 100)}
	c.Cleanup(func() { p.log.Close() })
	a, ok := p.log.(eventlog.Assigner)
	if !ok {
		c.Fatalf("%T is no eventlog.Assigner", p.log)
	}
	var err error
	if p.member, err = a.Join(c.within(patience), c.group, topic, instance); err != nil {
		c.Fatalf("join: %v", err)
	}
	go p.follow()
	return p
}

func (p *process) follow() {
	defer close(p.sets)
	for {
		set, err := p.member.Next(context.Background())
		if err != nil {
			return
		}
		p.sets <- set
	}
}

// shared waits until the processes have all of n partitions among them, none
// has two owners, and their shares differ by one at most; then that this stays.
func (c *crowd) shared(n int, within time.Duration, among ...*process) {
	c.Helper()
	deadline := time.After(within)
	for !isShared(n, among) {
		for _, p := range among {
			p.hear()
		}
		select {
		case <-deadline:
			c.Fatalf("after %v the partitions are not shared: %v", within, sets(among))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stays fails the test if a set changes for a while.
func (c *crowd) stays(among ...*process) {
	c.Helper()
	was := fmt.Sprint(sets(among))
	<-time.After(quiet)
	for _, p := range among {
		p.hear()
	}
	if is := fmt.Sprint(sets(among)); is != was {
		c.Fatalf("a group that had settled on %s went on to %s", was, is)
	}
}

// hear takes in what the process was told so far.
func (p *process) hear() {
	for {
		select {
		case set, open := <-p.sets:
			if p.held = set; !open {
				p.sets = nil
			}
			if !slices.IsSorted(set) {
				p.Errorf("next returned %v, want ascending partitions", set)
			}
		default:
			return
		}
	}
}

func sets(among []*process) (all [][]int32) {
	for _, p := range among {
		all = append(all, p.held)
	}
	return all
}

func isShared(n int, among []*process) bool {
	var all []int32
	least, most := n, 0
	for _, p := range among {
		all = append(all, p.held...)
		least, most = min(least, len(p.held)), max(most, len(p.held))
	}
	slices.Sort(all)
	return len(all) == n && len(slices.Compact(all)) == n && most-least <= 1
}

func oneHasAll(c *crowd) {
	p := c.join(c.topic(4), "")
	c.shared(4, settle, p)
	c.stays(p)
}

func membersShare(c *crowd) {
	topic := c.topic(16)
	a, b := c.join(topic, ""), c.join(topic, "b")
	c.shared(16, settle, a, b)
	c.stays(a, b)
}

func onlyTakenMoves(c *crowd) {
	topic := c.topic(16)
	a, b := c.join(topic, "a"), c.join(topic, "")
	c.shared(16, settle, a, b)
	before := sets([]*process{a, b})
	third := c.join(topic, "")
	c.shared(16, settle, a, b, third)
	for i, p := range []*process{a, b} {
		for _, part := range p.held {
			if !slices.Contains(before[i], part) {
				c.Errorf("partition %d moved between two that were there before: %v became %v", part, before, sets([]*process{a, b, third}))
			}
		}
	}
	c.stays(a, b, third)
}

func closedIsReplaced(c *crowd) {
	topic := c.topic(16)
	a, b, third := c.join(topic, ""), c.join(topic, "b"), c.join(topic, "")
	c.shared(16, settle, a, b, third)
	for _, leaver := range []*process{b, third} {
		if err := leaver.member.Close(); err != nil {
			c.Fatalf("close: %v", err)
		}
		if err := leaver.member.Close(); err != nil {
			c.Errorf("close again: %v", err)
		}
		if leaver == b {
			c.shared(16, takeover, a, third)
		}
	}
	c.shared(16, takeover, a)
}

func closedLogIsReplaced(c *crowd) {
	topic := c.topic(4)
	a, b := c.join(topic, ""), c.join(topic, "b")
	c.shared(4, settle, a, b)
	if err := b.log.Close(); err != nil {
		c.Fatalf("close: %v", err)
	}
	c.shared(4, takeover, a)
	if _, err := b.member.Next(c.within(patience)); !errors.Is(err, eventlog.ErrClosed) {
		c.Errorf("next of a closed log: %v, want ErrClosed", err)
	}
}

func groupsAreApart(c *crowd) {
	topic := c.topic(4)
	a := c.join(topic, "same")
	other := *c
	other.group += "-other"
	b := other.join(topic, "same")
	c.shared(4, settle, a)
	c.shared(4, settle, b)
	c.stays(a, b)
}

func instanceIsOnce(c *crowd) {
	topic := c.topic(4)
	a := c.join(topic, "twin")
	c.shared(4, settle, a)
	b := c.join(topic, "twin")
	c.shared(4, settle, b)
	ended := c.within(settle)
	for a.sets != nil && ended.Err() == nil {
		a.hear()
		<-time.After(5 * time.Millisecond)
	}
	_, err := a.member.Next(ended)
	if err == nil || ended.Err() != nil || !strings.Contains(err.Error(), c.group) || !strings.Contains(err.Error(), "twin") {
		c.Errorf("next of the first: %v, want an error that names the group %s and the instance twin", err, c.group)
	}
	if err := a.member.Close(); err != nil {
		c.Errorf("close of the first: %v", err)
	}
	c.stays(b)
}

func nextOfMemberEnds(c *crowd) {
	topic := c.topic(2)
	a := c.log.(eventlog.Assigner)
	m, err := a.Join(c.within(patience), c.group, topic, "")
	if err != nil {
		c.Fatalf("join: %v", err)
	}
	if set, err := m.Next(c.within(settle)); err != nil || !slices.Equal(set, []int32{0, 1}) {
		c.Fatalf("next: %v, %v, want [0 1]", set, err)
	}
	if set, err := m.Next(c.within(50 * time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		c.Fatalf("next: %v, %v, want none within its context", set, err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := m.Next(context.Background())
		ended <- err
	}()
	<-time.After(20 * time.Millisecond)
	if err := m.Close(); err != nil {
		c.Fatalf("close: %v", err)
	}
	if err := inTime(c.fixture, "next of a closed member", patience, ended); !errors.Is(err, eventlog.ErrClosed) {
		c.Errorf("next under way: %v, want ErrClosed", err)
	}
	if set, err := m.Next(c.within(patience)); !errors.Is(err, eventlog.ErrClosed) {
		c.Errorf("next after close: %v, %v, want ErrClosed", set, err)
	}
}

func joinRefuses(c *crowd) {
	a, topic := c.log.(eventlog.Assigner), c.topic(1)
	if m, err := a.Join(c.within(patience), c.group, c.name(), ""); !errors.Is(err, eventlog.ErrUnknownTopic) {
		c.Errorf("an unknown topic: %v, %v", m, err)
	}
	if m, err := a.Join(c.within(patience), "", topic, ""); err == nil {
		c.Errorf("a group without a name: %v", m)
	}
	over, cancel := context.WithCancel(c.Context())
	cancel()
	if m, err := a.Join(over, c.group, topic, ""); !errors.Is(err, context.Canceled) {
		c.Errorf("an ended context: %v, %v", m, err)
	}
	if err := c.log.Close(); err != nil {
		c.Fatalf("close: %v", err)
	}
	if m, err := a.Join(c.within(patience), c.group, topic, ""); !errors.Is(err, eventlog.ErrClosed) {
		c.Errorf("a closed log: %v, %v", m, err)
	}
}

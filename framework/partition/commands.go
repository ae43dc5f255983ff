package partition

import (
	"math"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

// commands remembers accepted commands in log order and forgets the oldest. Its
// times are numbers, so that a long memory holds no pointer to be traced.
type commands struct {
	memory  Memory
	byID    map[event.ID]Outcome
	queue   []remembered // in log order, from head on
	head    int
	latest  int64 // the greatest event time so far, in Unix nanoseconds; none: the least number
	horizon int64 // the greatest id time among the forgotten, in Unix milliseconds; none: -1
}

type remembered struct {
	id event.ID
	at int64 // event time, in Unix nanoseconds
}

func newCommands(m Memory) commands {
	return commands{memory: m, byID: make(map[event.ID]Outcome), latest: math.MinInt64, horizon: -1}
}

// remember takes in an accepted command with its event time.
func (c *commands) remember(id event.ID, o Outcome, at int64) {
	c.latest = max(c.latest, at)
	if c.memory.Number <= 0 {
		c.raise(id)
		return
	}
	if _, known := c.byID[id]; !known {
		c.byID[id] = o
		c.queue = append(c.queue, remembered{id, at})
	}
	c.forget()
}

// forget drops from the front what is too old or too much, and raises the
// horizon to each dropped id's own time.
func (c *commands) forget() {
	oldest := c.oldest()
	for c.head < len(c.queue) {
		front := c.queue[c.head]
		if len(c.queue)-c.head <= c.memory.Number && front.at >= oldest {
			break
		}
		delete(c.byID, front.id)
		c.raise(front.id)
		c.head++
	}
	if c.head > len(c.queue)/2 {
		c.queue = append(c.queue[:0], c.queue[c.head:]...)
		c.head = 0
	}
}

// oldest returns the least event time that is still remembered.
func (c *commands) oldest() int64 {
	age := int64(c.memory.Age)
	if c.latest < math.MinInt64+age {
		return math.MinInt64
	}
	return c.latest - age
}

// raise lifts the horizon to the time that id carries, if any.
func (c *commands) raise(id event.ID) {
	if at, ok := id.Time(); ok {
		c.horizon = max(c.horizon, at.UnixMilli())
	}
}

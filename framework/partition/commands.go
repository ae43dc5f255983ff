package partition

import (
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

// commands remembers accepted commands in log order and forgets the oldest.
type commands struct {
	memory  Memory
	byID    map[event.ID]Outcome
	queue   []remembered // in log order, from head on
	head    int
	latest  time.Time // the greatest event time so far
	horizon time.Time // the greatest id time among the forgotten
}

type remembered struct {
	id event.ID
	at time.Time // event time
}

func newCommands(m Memory) commands {
	return commands{memory: m, byID: make(map[event.ID]Outcome)}
}

func (c *commands) remember(id event.ID, o Outcome, at time.Time) {
	if at.After(c.latest) {
		c.latest = at
	}
	if _, known := c.byID[id]; !known && c.memory.Number > 0 {
		c.byID[id] = o
		c.queue = append(c.queue, remembered{id, at})
	}
	c.forget()
}

// forget drops from the front what is too old or too much, and raises the
// horizon to each dropped id's own time.
func (c *commands) forget() {
	oldest := c.latest.Add(-c.memory.Age)
	for c.head < len(c.queue) {
		front := c.queue[c.head]
		if len(c.queue)-c.head <= c.memory.Number && !front.at.Before(oldest) {
			break
		}
		delete(c.byID, front.id)
		if at, ok := front.id.Time(); ok && at.After(c.horizon) {
			c.horizon = at
		}
		c.head++
	}
	if c.head > len(c.queue)/2 {
		c.queue = append(c.queue[:0], c.queue[c.head:]...)
		c.head = 0
	}
}

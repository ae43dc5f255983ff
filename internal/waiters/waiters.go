// Package waiters tells those who wait that something has changed, without a
// goroutine or a queue for each of them.
package waiters

import "sync"

// List is the channels of those who wait. Each hears of one change, and is added
// again by who wants to hear of more. The zero List is empty; it is safe for
// concurrent use.
type List struct {
	mu sync.Mutex
	on map[chan<- struct{}]struct{}
}

// Add lets the next Wake send to c, if c has room: give it some. A channel that is
// there already is sent to once.
func (l *List) Add(c chan<- struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on == nil {
		l.on = make(map[chan<- struct{}]struct{})
	}
	l.on[c] = struct{}{}
}

// Remove takes c off, if it is there: nothing is sent to it any more.
func (l *List) Remove(c chan<- struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.on, c)
}

// Wake sends to all channels that have room, and takes all off. It does not wait.
func (l *List) Wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.on {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	clear(l.on)
}

// Len returns how many channels wait.
func (l *List) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.on)
}

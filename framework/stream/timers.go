package stream

import "cmp"

// alarm is a timer as a task's clock sees it. The unit's own list says whether it
// still stands.
type alarm struct {
	at       int64
	operator int
	key      string
	name     string
}

// before is the order in which timers fire: time, operator, key, name.
func (a *alarm) before(b *alarm) bool {
	if a.at != b.at {
		return a.at < b.at
	}
	if a.operator != b.operator {
		return a.operator < b.operator
	}
	if order := cmp.Compare(a.key, b.key); order != 0 {
		return order < 0
	}
	return a.name < b.name
}

// alarms is a binary heap, the first to fire on top. Package container/heap would
// put each on the heap of the other kind too.
type alarms []alarm

func (a *alarms) push(x alarm) {
	h := append(*a, x)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !h[i].before(&h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
	*a = h
}

func (a *alarms) pop() alarm {
	h := *a
	top, last := h[0], len(h)-1
	h[0], h[last] = h[last], alarm{}
	h = h[:last]
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(h) && h[child].before(&h[least]) {
				least = child
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	*a = h
	return top
}

package waiters

import "testing"

func heard(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestWhoWaitsHearsOfOneChange(t *testing.T) {
	var b List
	b.Wake() // nobody
	x, y, full := make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
	b.Add(x)
	b.Add(x)
	b.Add(y)
	b.Add(full)
	b.Remove(y)
	if b.Len() != 2 {
		t.Errorf("%d are on it, want 2", b.Len())
	}
	b.Wake() // must not wait for full
	if !heard(x) || heard(y) {
		t.Error("x was to hear it, y not")
	}
	b.Wake()
	if heard(x) || b.Len() != 0 {
		t.Error("it was heard twice")
	}
	b.Add(x)
	b.Wake()
	if !heard(x) {
		t.Error("who came back heard nothing")
	}
}

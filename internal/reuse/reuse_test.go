package reuse

import "testing"

func TestWhatIsGivenBackIsUsedAgain(t *testing.T) {
	var p Pool[int]
	first := append(p.Take(1000), 7)
	p.Give(first)
	again := p.Take(900)
	if &again[:1][0] != &first[0] || len(again) != 0 || first[0] != 0 {
		t.Errorf("another slice, of %d, or one that holds %d still", len(again), first[0])
	}
	p.Give(again)
	if s := p.Take(1001); cap(s) < 1001 {
		t.Errorf("room for %d, want 1001", cap(s))
	}
	if s := p.Take(10); cap(s) >= 1000 {
		t.Error("a slice that is far too large")
	}
}

func TestLittleWaits(t *testing.T) {
	var p Pool[int]
	for range 100 {
		p.Give(make([]int, 0, 1000))
		p.Give(make([]int, 0, Least-1))
		p.Give(make([]int, 0, Most+1))
	}
	if held := 1000 * len(p.free); held != p.holds || held > Most || held < Most/2 {
		t.Errorf("%d wait to be used again, and %d are said to; want at most %d", held, p.holds, Most)
	}
	p.Give(make([]int, 0, Most))
	if len(p.free) != 1 || p.holds != Most {
		t.Errorf("%d slices of %d together, want the last alone", len(p.free), p.holds)
	}
}

package esstore_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/esstore"
)

// wantRefreshes asks for what lies below an offset of partition 0, and checks how many
// refreshes there have been since the test began.
func (k *task) wantRefreshes(want int, below int64) {
	k.Helper()
	hits, err := k.s.Find(k.Context(), posts, view.Query{Size: 1, Shown: map[int32]int64{0: below}})
	if err != nil || hits.Seen[0] < below {
		k.Errorf("shown to %d: seen to %d, %v", below, hits.Seen[0], err)
	}
	if n := k.called("refresh"); n != want {
		k.Errorf("shown to %d: %d refreshes, want %d", below, n, want)
	}
}

func TestASearchRefreshesForWhatNoRefreshHasShown(t *testing.T) {
	k := newTask(t)
	k.must(k.write("a"))
	k.wantRefreshes(1, 1)
	k.wantRefreshes(1, 1)
	k.must(k.write("b"))
	k.wantRefreshes(1, 1) // of b it does not ask
	k.wantRefreshes(2, 2)
	k.must(k.write("c"))
	k.must(k.s.Refresh(t.Context(), posts))
	k.wantRefreshes(3, 3) // whoever has refreshed
	other := open(t, esstore.Config{URLs: []string{k.URL}})
	k.must(other.Prepare(t.Context(), posts, postFields))
	hits, err := other.Find(t.Context(), posts, view.Query{Size: 1, Shown: map[int32]int64{0: 3}})
	if n := k.called("refresh"); err != nil || n != 4 || hits.Seen[0] != 3 {
		t.Errorf("a store that has seen none: %d refreshes, seen to %d, %v; want 4, as it cannot know of the others", n, hits.Seen[0], err)
	}
}

// TestWhatIsWrittenDuringARefreshNeedsAnother has the mark move after the refresh has
// begun, and before it is over.
func TestWhatIsWrittenDuringARefreshNeedsAnother(t *testing.T) {
	k := newTask(t)
	k.must(k.write("a"))
	k.setFault(first("refresh", func(w http.ResponseWriter, r *http.Request) {
		k.must(k.write("late"))
		k.serve(w, r)
	}))
	k.wantRefreshes(1, 1)
	k.wantRefreshes(2, 2)
}

// TestASearchWaitsForTheRefreshThatWillShowWhatItAsksFor asks while a refresh is under way
// that began when all of that was there; one that asks for more waits for the next.
func TestASearchWaitsForTheRefreshThatWillShowWhatItAsksFor(t *testing.T) {
	k := newTask(t)
	k.must(k.write("a"))
	began, goOn := make(chan struct{}), make(chan struct{})
	k.setFault(first("refresh", func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-goOn
		k.serve(w, r)
	}))
	found := make(chan error, 3)
	find := func(below int64) {
		hits, err := k.s.Find(t.Context(), posts, view.Query{Size: 1, Shown: map[int32]int64{0: below}})
		if err == nil && hits.Seen[0] < below {
			err = fmt.Errorf("it has looked through what lies below %d, and was asked for %d", hits.Seen[0], below)
		}
		found <- err
	}
	go find(1)
	<-began
	k.must(k.write("late"))
	go find(1)
	go find(2)
	select {
	case err := <-found:
		t.Errorf("a search did not wait until the refresh was over: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	for range 3 {
		k.must(<-found)
	}
	k.wantRefreshes(2, 2)
}

// TestNoRefreshIsMadeForWhatTheOneUnderWayWillShow is the same with none that asks for more.
func TestNoRefreshIsMadeForWhatTheOneUnderWayWillShow(t *testing.T) {
	k := newTask(t)
	k.must(k.write("a"))
	second := make(chan error, 1)
	k.setFault(first("refresh", func(w http.ResponseWriter, r *http.Request) {
		go func() {
			_, err := k.s.Find(t.Context(), posts, view.Query{Size: 1, Shown: map[int32]int64{0: 1}})
			second <- err
		}()
		time.Sleep(50 * time.Millisecond) // until that waits
		k.serve(w, r)
	}))
	k.wantRefreshes(1, 1)
	k.must(<-second)
	k.wantRefreshes(1, 1)
}

func TestARefreshThatFailsShowsNothing(t *testing.T) {
	k := newTask(t)
	k.must(k.write("a"))
	for _, answer := range []string{`{"_shards":{"failed":1}}`, `{}`} {
		k.setFault(first("refresh", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
		if _, err := k.s.Find(t.Context(), posts, view.Query{Size: 1, Shown: map[int32]int64{0: 1}}); err == nil {
			t.Errorf("a refresh that was answered %s is taken for one", answer)
		}
	}
	k.wantRefreshes(3, 1)
}

func TestARefreshOfAnIndexThatIsGoneDoesNotCountForTheNewOne(t *testing.T) {
	k := newTask(t)
	k.must(k.write("a"))
	k.wantRefreshes(1, 1)
	k.must(k.s.Drop(t.Context(), posts))
	k.must(k.s.Prepare(t.Context(), posts, postFields))
	k.mark = view.Mark{}
	k.open()
	k.must(k.write("a"))
	k.wantRefreshes(2, 1)
	k.mu.Lock()
	delete(k.indices, index) // and behind our back
	k.mu.Unlock()
	k.mark = view.Mark{}
	k.open()
	k.must(k.write("a"))
	k.wantRefreshes(3, 1)
}

func TestPartsThatAreScannedTogetherShareARefresh(t *testing.T) {
	k := newTask(t)
	k.must(k.write("a"))
	other := open(t, esstore.Config{URLs: []string{k.URL}}) // another process, which has no part in the writing
	k.must(other.Prepare(t.Context(), posts, postFields))
	parts := []int32{0, 1, 2, 3}
	for _, p := range parts[1:] {
		mark, err := k.s.Open(t.Context(), posts, p)
		k.must(err)
		k.must(k.s.Write(t.Context(), posts, &view.Batch{Partition: p, Epoch: mark.Epoch, Next: 5, Puts: []view.Put{{Key: "a", Value: []byte(`{}`), Offset: 4}}}))
	}
	scan := func(want int) {
		t.Helper()
		for _, p := range parts {
			page, err := other.Scan(t.Context(), posts, p, "", 10)
			if next := map[bool]int64{true: 1, false: 5}[p == 0]; err != nil || page.Mark.Next != next {
				t.Errorf("partition %d: at %+v, %v; want %d", p, page.Mark, err, next)
			}
		}
		if n := k.called("refresh"); n != want {
			t.Errorf("%d refreshes, want %d", n, want)
		}
	}
	_, err := other.Marks(t.Context(), posts, parts)
	k.must(err)
	scan(1)
	scan(1)
	k.must(k.write("b"))
	_, err = other.Scan(t.Context(), posts, 0, "", 10)
	if n := k.called("refresh"); err != nil || n != 2 {
		t.Errorf("a part that was written to: %d refreshes, want one more than 1, %v", n, err)
	}
}

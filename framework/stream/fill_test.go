package stream

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

// heard is a log that notes from where it is read.
type heard struct {
	*memlog.Log
	mu   sync.Mutex
	from []int64
}

func (h *heard) Read(topic string, part int32, from int64) (eventlog.Reader, error) {
	h.mu.Lock()
	h.from = append(h.from, from)
	h.mu.Unlock()
	return h.Log.Read(topic, part, from)
}

func (h *heard) last() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.from[len(h.from)-1]
}

// kept starts a task that keeps snapshots, each second.
func (p *play) kept(log eventlog.Log, blobs snapshot.BlobStore) (*Task, func()) {
	t := p.task(p.count(0), Config{Log: log, Snapshots: blobs, SnapshotEvery: time.Second})
	return t, p.run(t)
}

func TestATaskWithAStoreStartsFromItsSnapshot(t *testing.T) {
	script(t, func(p *play) {
		log, blobs := &heard{Log: p.log}, snapshot.Memory()
		for i := range 100 {
			p.commit(fmt.Sprint(i%3), 1, "e")
		}
		_, stop := p.kept(log, blobs)
		time.Sleep(3 * time.Second)
		stop()
		p.commit("1", 2, "e")
		task, stop := p.kept(log, blobs)
		if from := log.last(); from != 101 {
			t.Errorf("it was read from %d, want 101", from)
		}
		p.holds("@103 0=34 1=35 2=33")
		if s := task.Status(); !s.Whole() || s.Done != 103 {
			t.Errorf("status %+v", s)
		}
		stop()
	})
}

// Else the store would lack for ever what lies between.
func TestASnapshotBeyondWhatTheStoreHoldsIsNotUsed(t *testing.T) {
	script(t, func(p *play) {
		log, blobs := &heard{Log: p.log}, snapshot.Memory()
		for i := range 10 {
			p.commit(fmt.Sprint(i%3), 1, "e")
		}
		_, stop := p.kept(log, blobs)
		time.Sleep(3 * time.Second)
		stop()
		p.store.empty()
		_, stop = p.kept(log, blobs)
		if from := log.last(); from != 0 {
			t.Errorf("it was read from %d, want 0", from)
		}
		p.holds("@11 0=4 1=3 2=3")
		stop()
	})
}

// A mark that stays behind while nothing changes must not keep the snapshot from
// being used.
func TestTheMarkIsMovedForASnapshot(t *testing.T) {
	script(t, func(p *play) {
		log, blobs := &heard{Log: p.log}, snapshot.Memory()
		p.commit("a", 1, "e")
		p.commit("a", 1, "quiet")
		_, stop := p.kept(log, blobs)
		time.Sleep(3 * time.Second)
		stop()
		p.holds("@3 a=1")
		_, stop = p.kept(log, blobs)
		if from := log.last(); from != 3 {
			t.Errorf("it was read from %d, want 3", from)
		}
		stop()
	})
}

// While a write takes its time, the log is folded on, up to a bound.
func TestASlowStoreMakesItsTaskWait(t *testing.T) {
	script(t, func(p *play) {
		release := make(chan struct{})
		p.part.failing(func(call string) error {
			if strings.HasPrefix(call, "write") {
				<-release
			}
			return nil
		})
		task, _ := p.start(p.log)
		p.commit("first", 1, "e")
		synctest.Wait()
		for i := range 9000 {
			p.commit(fmt.Sprint(i), 1, "e")
		}
		synctest.Wait()
		s := task.Status()
		if s.Next < maxPending || s.Next > maxPending+slice+2 {
			t.Errorf("folded up to %d while the store is slow, want about %d", s.Next, maxPending)
		}
		close(release)
		synctest.Wait()
		if s := task.Status(); s.Done != 9002 {
			t.Errorf("status %+v", s)
		}
	})
}

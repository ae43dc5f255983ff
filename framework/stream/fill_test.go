package stream

import (
	"context"
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

func TestATaskWithAStoreStartsFromASnapshotThatIsNotAheadOfIt(t *testing.T) {
	for name, c := range map[string]struct {
		before, between func(*play)
		from            int64 // where the second run begins to read
		holds           string
	}{
		"it is behind the snapshot": {
			before:  func(p *play) { p.commit("0", 34, "e"); p.commit("1", 66, "e") },
			between: func(p *play) { p.commit("1", 2, "e") },
			from:    101, holds: "@103 0=34 1=68",
		},
		// Else the store would lack for ever what lies between.
		"the store was emptied": {
			before:  func(p *play) { p.commit("0", 4, "e"); p.commit("1", 6, "e") },
			between: func(p *play) { p.store.empty() },
			from:    0, holds: "@11 0=4 1=6",
		},
		// The mark is moved for a snapshot, or it would never be used.
		"nothing had changed before the snapshot": {
			before:  func(p *play) { p.commit("a", 1, "e"); p.commit("a", 1, "quiet") },
			between: func(p *play) { p.holds("@3 a=1") },
			from:    3, holds: "@3 a=1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			script(t, func(p *play) {
				log, blobs := &heard{Log: p.log}, snapshot.Memory()
				c.before(p)
				_, stop := p.kept(log, blobs)
				time.Sleep(3 * time.Second)
				stop()
				c.between(p)
				task, _ := p.kept(log, blobs)
				if from := log.last(); from != c.from {
					t.Errorf("it was read from %d, want %d", from, c.from)
				}
				p.holds(c.holds)
				if s := task.Status(); !s.Whole() {
					t.Errorf("status %+v", s)
				}
			})
		})
	}
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

// slowly is a log that brings a hundred records each 505 ms.
type slowly struct{ *memlog.Log }

func (l slowly) Read(topic string, part int32, from int64) (eventlog.Reader, error) {
	r, err := l.Log.Read(topic, part, from)
	return &slowReader{Reader: r}, err
}

type slowReader struct {
	eventlog.Reader
	rest []eventlog.Record
}

func (r *slowReader) Next(ctx context.Context) (records []eventlog.Record, err error) {
	time.Sleep(505 * time.Millisecond)
	if len(r.rest) == 0 {
		if r.rest, err = r.Reader.Next(ctx); err != nil {
			return nil, err
		}
	}
	n := min(len(r.rest), 100)
	records, r.rest = r.rest[:n], r.rest[n:]
	return records, nil
}

// TestChangesWaitFarBehindTheEnd reads 3,000 commits of three keys, the claim before
// them, and one commit later.
func TestChangesWaitFarBehindTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		behind int
		every  time.Duration
		writes []string // the first; the rest follow each run of 100
	}{
		"each 5 s":                {behind: 1 << 16, writes: []string{"write 900 a,b,c", "write 1900 a,b,c", "write 2900 a,b,c", "write 3001 a,b,c"}},
		"each 5 s, marks watched": {behind: 1 << 16, every: 50 * time.Millisecond, writes: []string{"write 900 a,b,c", "write 1900 a,b,c", "write 2900 a,b,c", "write 3001 a,b,c"}},
		"above MostBehind":        {behind: 3, writes: []string{"write 100 a,b,c", "write 200 a,b,c"}},
		"not at all":              {writes: []string{"write 100 a,b,c", "write 200 a,b,c"}},
	} {
		t.Run(name, func(t *testing.T) {
			script(t, func(p *play) {
				for n := range 3000 {
					p.commit(string(rune('a'+n%3)), 1, "e")
				}
				counts := p.count(c.every)
				counts.stages[0].stores[0].behind, counts.stages[0].stores[0].most = c.behind, 3
				task := p.task(counts, Config{Log: slowly{p.log}})
				p.run(task)
				time.Sleep(20 * time.Second)
				calls := p.part.noted()
				if want := strings.Join(c.writes, "; "); !strings.HasPrefix(strings.ReplaceAll(calls, "check; ", ""), "open; "+want) {
					t.Errorf("calls %s, want %s", calls, want)
				}
				p.holds("@3001 a=1000 b=1000 c=1000")
				p.commit("a", 1, "e") // at the end nothing waits
				time.Sleep(600 * time.Millisecond)
				p.holds("@3002 a=1001 b=1000 c=1000")
			})
		})
	}
}

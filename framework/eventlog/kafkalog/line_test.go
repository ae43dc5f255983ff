package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

const lineTopic = "lines"

// openLines returns a log, and one topic in it.
func openLines(t *testing.T, cfg Config, partitions int, opts ...kfake.Opt) (*kfake.Cluster, *Log) {
	t.Helper()
	c := kafkatest.Start(t, opts...)
	cfg.Brokers = c.ListenAddrs()
	log, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: lineTopic, Partitions: partitions}); err != nil {
		t.Fatal(err)
	}
	return c, log
}

// write appends n records whose value is their offset.
func write(t *testing.T, log *Log, part int32, from, n int64) {
	t.Helper()
	for at := from; at < from+n; {
		var batch []eventlog.Record
		for range min(from+n-at, 500) {
			batch = append(batch, eventlog.Record{Value: fmt.Appendf(nil, "%100d", at+int64(len(batch)))})
		}
		if _, err := log.Append(t.Context(), lineTopic, part, batch); err != nil {
			t.Error(err)
			return
		}
		at += int64(len(batch))
	}
}

// tracked is a reader whose records are checked one by one.
type tracked struct {
	*reader
	at int64
}

func track(t *testing.T, log *Log, part int32, from int64) *tracked {
	t.Helper()
	r, err := log.Read(lineTopic, part, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return &tracked{r.(*reader), from}
}

// to reads up to an offset.
func (r *tracked) to(ctx context.Context, end int64) error {
	for r.at < end {
		run, err := r.Next(ctx)
		if err != nil {
			return fmt.Errorf("at %d of %d: %w", r.at, end, err)
		}
		for _, one := range run {
			if one.Offset != r.at || string(one.Value) != fmt.Sprintf("%100d", r.at) {
				return fmt.Errorf("record %d, %s, where %d follows", one.Offset, one.Value, r.at)
			}
			r.at++
		}
		r.Recycle(run)
	}
	return nil
}

// follows reports whether the reader is in the first slot.
func (r *tracked) follows() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.feed != nil && r.feed.slot.first
}

// together reads with all of them to an offset, and with another Next of each behind it.
func together(t *testing.T, all []*tracked, end int64) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	var reading, waiting sync.WaitGroup
	for _, r := range all {
		reading.Add(1)
		waiting.Go(func() {
			err := r.to(ctx, end)
			reading.Done()
			if err != nil {
				t.Error(err)
			} else if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("behind the end: %v", err)
			}
		})
	}
	reading.Wait()
	return func() { cancel(); waiting.Wait() }
}

func TestReadersThatFollowShareOneClient(t *testing.T) {
	const parts, each, n = 3, 4, 3000
	var fetches atomic.Int64
	c, log := openLines(t, Config{}, parts, kfake.NumBrokers(1))
	c.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		fetches.Add(1)
		return nil, nil, false
	})
	var all []*tracked
	for part := range int32(parts) {
		write(t, log, part, 0, n)
		for i := range int64(each) {
			all = append(all, track(t, log, part, i*n/each)) // each begins elsewhere
		}
	}
	stop := together(t, all, n)
	gather(t, all)
	before := fetches.Load()
	<-time.After(time.Second)
	if got, most := fetches.Load()-before, int64(time.Second/log.cfg.FetchWait)+5; got > most {
		t.Errorf("%d fetches a second where nothing comes, want those of one client, %d", got, most)
	}
	stop()
	for part := range int32(parts) {
		write(t, log, part, n, 100)
	}
	together(t, all, n+100)()
	if f, err := track(t, log, 0, n+100).attached(t.Context()); err != nil || !f.slot.first {
		t.Errorf("one that begins where others are: %v, or it has a client of its own", err)
	}
	if len(log.slots.list) > each {
		t.Errorf("%d clients, want %d at most", len(log.slots.list), each)
	}
}

// gather waits until all readers, which wait for records, are in the first slot.
func gather(t *testing.T, all []*tracked) {
	t.Helper()
	for began := time.Now(); slices.ContainsFunc(all, func(r *tracked) bool { return !r.follows() }); <-time.After(5 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("readers that have come as far as each other do not share a client")
		}
	}
}

func TestASlowReaderLeavesThoseWithWhomItSharesALine(t *testing.T) {
	const first, n, readAhead = 10, 20_000, 64 << 10
	_, log := openLines(t, Config{ReadAhead: readAhead}, 1)
	write(t, log, 0, 0, first)
	slow, quick := track(t, log, 0, 0), track(t, log, 0, first)
	both := []*tracked{slow, quick}
	stop := together(t, both, first)
	gather(t, both)
	stop()
	write(t, log, 0, first, n)
	stop = together(t, []*tracked{quick}, first+n) // and the slow one takes nothing
	slow.feed.mu.Lock()
	if waits, most := slow.feed.bytes, readAhead+500*(100+overhead); waits > most { // a batch may come on top
		t.Errorf("%d bytes wait for the slow one, want %d at most", waits, most)
	}
	slow.feed.mu.Unlock()
	together(t, []*tracked{slow}, first+n)()
	stop()
}

func TestAnErrorReachesAllThatShareALine(t *testing.T) {
	_, log := openLines(t, Config{}, 1)
	write(t, log, 0, 0, 10)
	all := []*tracked{track(t, log, 0, 0), track(t, log, 0, 10), track(t, log, 0, 10)}
	stop := together(t, all, 10)
	gather(t, all)
	stop()
	s := log.slots.list[0]
	s.mu.Lock()
	shared := len(s.lines[place{lineTopic, 0}].feeds)
	s.tell(lineTopic, -1, &kgo.ErrDataLoss{Topic: lineTopic, ConsumedTo: 9, ResetTo: 4})
	s.mu.Unlock()
	if shared != len(all) {
		t.Fatalf("%d share the line, want %d", shared, len(all))
	}
	for _, r := range all {
		if _, err := r.Next(t.Context()); !errors.Is(err, eventlog.ErrOffset) {
			t.Errorf("error %v, want ErrOffset", err)
		}
	}
	write(t, log, 0, 10, 10)
	together(t, all, 20)() // from where each was
}

// TestReadersThatComeGoAndDawdleMissNothing lets readers of one partition begin
// anywhere, stop, and wait now and then, while it grows.
func TestReadersThatComeGoAndDawdleMissNothing(t *testing.T) {
	const parts, readers, lives, n = 2, 6, 12, 12_000
	_, log := openLines(t, Config{ReadAhead: 64 << 10}, parts)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var written [parts]atomic.Int64
	var writing, reading sync.WaitGroup
	for part := range int32(parts) {
		writing.Go(func() {
			for at := int64(0); at < n; at += 200 {
				write(t, log, part, at, 200)
				written[part].Store(at + 200)
				<-time.After(2 * time.Millisecond)
			}
		})
	}
	for one := range uint64(readers * parts) {
		reading.Go(func() {
			random := rand.New(rand.NewPCG(one, 3))
			part := int32(one % parts)
			for range lives {
				end := written[part].Load()
				r := track(t, log, part, max(0, end-random.Int64N(2000)))
				for r.at < min(n, end+1000) {
					if err := r.to(ctx, min(n, r.at+1+random.Int64N(400))); err != nil {
						t.Errorf("reader %d: %v", one, err)
						return
					}
					if random.IntN(20) == 0 {
						<-time.After(time.Duration(random.IntN(30)) * time.Millisecond)
					}
				}
				r.Close()
			}
		})
	}
	writing.Wait()
	reading.Wait()
	for i, s := range log.slots.list {
		s.mu.Lock()
		if len(s.lines) > 0 {
			t.Errorf("%d lines are left in slot %d", len(s.lines), i)
		}
		s.mu.Unlock()
	}
}

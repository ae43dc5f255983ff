package cluster

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// counting is a log that counts the records read.
type counting struct {
	*memlog.Log
	read atomic.Int64
}

func (c *counting) Read(topic string, part int32, from int64) (eventlog.Reader, error) {
	r, err := c.Log.Read(topic, part, from)
	return &countingReader{r, c}, err
}

type countingReader struct {
	eventlog.Reader
	of *counting
}

func (r *countingReader) Next(ctx context.Context) ([]eventlog.Record, error) {
	run, err := r.Reader.Next(ctx)
	r.of.read.Add(int64(len(run)))
	return run, err
}

// logged is what an owner logs.
type logged struct{ bytes.Buffer }

func (l *logged) says(p *play, want string) {
	p.Helper()
	if !strings.Contains(l.String(), want) {
		p.Errorf("the log does not say %q:\n%s", want, l)
	}
}

func keeps(store snapshot.BlobStore, more ...func(*OwnerConfig)) func(*OwnerConfig) {
	return func(c *OwnerConfig) {
		c.App, c.Snapshots = "t", store
		for _, f := range more {
			f(c)
		}
	}
}

// successor is an owner that starts after the one before has stopped, with what it has
// read and logged.
func (p *play) successor(store snapshot.BlobStore, more ...func(*OwnerConfig)) (*node, *counting, *logged) {
	said, read := &logged{}, &counting{Log: p.log.Connect()}
	n := p.node(keeps(store, append(more, func(c *OwnerConfig) {
		read.Log, c.Log = c.Log.(*memlog.Log), read
		c.Logger = slog.New(slog.NewTextHandler(said, nil))
	})...))
	return n, read, said
}

// before lets an owner accept n commands, by turns of three aggregates, snapshot
// that, accept one of another aggregate and tail more, and stop.
func (p *play) before(store snapshot.BlobStore, n, tail int) {
	first := p.node(keeps(store))
	for i := range n + tail + 1 {
		if i == n {
			time.Sleep(2 * stream.SnapshotEvery)
			synctest.Wait()
			first.send(ask("mark", n+tail+1, add("x"))).accepted(1)
		}
		if i == n+tail {
			break
		}
		first.send(ask(fmt.Sprint(i%3), i, add("a", "b"))).accepted(uint64(i/3*2 + 2))
	}
	first.stop()
}

func TestAnOwnerStartsFromASnapshotAndReadsOnlyWhatCameAfter(t *testing.T) {
	script(t, func(p *play) {
		store := snapshot.Memory()
		p.before(store, 300, 6)
		n, read, said := p.successor(store)
		said.says(p, "partition restored from a snapshot")
		if got := read.read.Load(); got > 40 { // the tail, the record that the snapshot is held against, and what lies in one run with it
			p.Errorf("%d of %d records were read", got, len(p.log.Records(topic, 0)))
		}
		n.shows("0", `{"sum":204,"by":{"a":102,"b":102}}`)
		n.shows("mark", `{"sum":1,"by":{"x":1}}`)
		if res := n.send(ask("1", 1, add("again"))).accepted(2); len(res.Events) != 2 { // remembered from before the snapshot
			p.Errorf("the retry was answered %+v", res)
		}
		n.send(ask("0", 900, between(204, 205, "c"))).accepted(205)
		offsets, _, err := n.Offsets(p.Context(), tallies{}, "2", 0, 1000)
		if err != nil || len(offsets) != 204 {
			p.Errorf("%d events of aggregate 2, %v, want 204", len(offsets), err)
		}
		p.valid(308)
	})
}

func TestADamagedSnapshotIsPassedOverForAnOlderOneOrTheLog(t *testing.T) {
	script(t, func(p *play) {
		store := snapshot.Memory()
		p.before(store, 30, 0)
		p.add(store)
		names, err := store.List(p.Context(), "t/owner/")
		if err != nil {
			p.Fatal(err)
		}
		for round, want := range []string{"partition restored from a snapshot", "damaged"} {
			damage(p, store, names, byte(round+1))
			n, read, said := p.successor(store, func(c *OwnerConfig) { c.SnapshotEvery = time.Hour })
			said.says(p, "a snapshot is not used")
			said.says(p, want)
			if all := int64(len(p.log.Records(topic, 0))); round == 1 && read.read.Load() < all-1 {
				p.Errorf("without a snapshot %d of %d records were read", read.read.Load(), all)
			}
			n.shows("0", `{"sum":21,"by":{"a":10,"b":10,"c":1}}`)
			n.stop()
		}
	})
}

// add lets another owner add to what before did, and snapshot it.
func (p *play) add(store snapshot.BlobStore) {
	n := p.node(keeps(store))
	n.send(ask("0", 500, add("c"))).accepted(21)
	time.Sleep(2 * stream.SnapshotEvery)
	synctest.Wait()
	n.stop()
}

// damage changes a byte of the newest manifest by 1, or of all by more.
func damage(p *play, store *snapshot.MemoryStore, names []string, by byte) {
	for i := len(names) - 1; i >= 0; i-- {
		if !strings.HasSuffix(names[i], ".manifest") {
			continue
		}
		body, err := store.Get(p.Context(), names[i])
		if err != nil {
			p.Fatal(err)
		}
		var b bytes.Buffer
		b.ReadFrom(body)
		b.Bytes()[b.Len()/2] ^= by
		if err := store.Put(p.Context(), names[i], &b); err != nil {
			p.Fatal(err)
		}
		if by == 1 {
			return
		}
	}
}

// reshaped is tallies of another shape.
type reshaped struct{ tallies }

func (reshaped) Shape() string { return "v2 test" }

func TestASnapshotOfAnotherShapeIsRefusedByName(t *testing.T) {
	script(t, func(p *play) {
		store := snapshot.Memory()
		p.before(store, 30, 0)
		n, _, said := p.successor(store, func(c *OwnerConfig) { c.Aggregates = map[string]Aggregate{"tally": reshaped{}} })
		said.says(p, `its state is \"tally v1 test\", not \"tally v2 test\"`)
		n.shows("0", `{"sum":20,"by":{"a":10,"b":10}}`)
	})
}

func TestASnapshotOfAnotherLogIsRefused(t *testing.T) {
	script(t, func(p *play) {
		store := snapshot.Memory()
		p.before(store, 30, 0)
		for records, want := range map[int]string{3: "beyond the log's end", 200: "the log has another record at"} {
			p.log = memlog.New()
			if err := p.log.Ensure(p.Context(), eventlog.Topic{Name: topic, Partitions: 1}); err != nil {
				p.Fatal(err)
			}
			p.claim(1)
			for i := range records {
				p.commit(1, "other", uint64(i+1), i, "added", "z")
			}
			n, _, said := p.successor(store, func(c *OwnerConfig) { c.SnapshotEvery = time.Hour })
			said.says(p, want)
			n.shows("0", `{"sum":0,"by":{}}`)
			n.shows("other", fmt.Sprintf(`{"sum":%d,"by":{"z":%d}}`, records, records))
			n.stop()
		}
	})
}

// plain is tallies whose states are not kept.
type plain struct{ tallies }

func (plain) Shape() string { return "" }

func TestAStateThatIsNotKeptIsFoldedAnewWhenItIsAskedFor(t *testing.T) {
	script(t, func(p *play) {
		store := snapshot.Memory()
		keepsNone := func(c *OwnerConfig) { c.Aggregates = map[string]Aggregate{"tally": plain{}} }
		first := p.node(keeps(store, keepsNone))
		first.send(ask("0", 1, add("a", "b"))).accepted(2)
		first.send(ask("1", 2, add("a"))).accepted(1)
		time.Sleep(2 * stream.SnapshotEvery)
		first.stop()
		n, read, said := p.successor(store, keepsNone)
		said.says(p, "partition restored from a snapshot")
		before := read.read.Load()
		n.shows("0", `{"sum":2,"by":{"a":1,"b":1}}`)
		if read.read.Load() == before {
			p.Error("the state came from somewhere, and not from the log")
		}
		n.send(ask("1", 3, between(1, 2, "c"))).accepted(2)
	})
}

func TestABrokenAggregateIsBrokenAfterARestartToo(t *testing.T) {
	script(t, func(p *play) {
		store := snapshot.Memory()
		p.claim(1)
		p.commit(1, "0", 1, 1, "added", "a")
		p.commit(1, "0", 2, 2, "boom", "b")
		first := p.node(keeps(store))
		var broken *BrokenError
		is := func(err error) bool { return errors.As(err, &broken) }
		first.send(ask("0", 3, add("c"))).refused(is)
		time.Sleep(2 * stream.SnapshotEvery)
		first.stop()
		n, _, said := p.successor(store)
		said.says(p, "partition restored from a snapshot")
		n.send(ask("0", 3, add("c"))).refused(is)
		n.send(ask("1", 4, add("c"))).accepted(1)
	})
}

func TestWithoutAnAnswerOfTheStoreTheLogIsFolded(t *testing.T) {
	script(t, func(p *play) {
		store := snapshot.Memory()
		p.before(store, 30, 0)
		store.Inject(func(context.Context, snapshot.Op, string) snapshot.Fault { return snapshot.Fault{Err: errStore} })
		n, _, said := p.successor(store)
		time.Sleep(time.Minute)
		synctest.Wait()
		said.says(p, "snapshots cannot be read; the log is folded instead")
		n.shows("0", `{"sum":20,"by":{"a":10,"b":10}}`)
	})
}

func TestAnIdleOwnerSnapshotsOnceAndThenRests(t *testing.T) {
	script(t, func(p *play) {
		var puts atomic.Int64
		store := snapshot.Memory()
		store.Inject(func(_ context.Context, op snapshot.Op, _ string) (f snapshot.Fault) {
			if op == snapshot.OpPut {
				puts.Add(1)
			}
			return f
		})
		n := p.node(keeps(store))
		n.send(ask("0", 1, add("a"))).accepted(1)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := puts.Load(); got != 2 {
			p.Errorf("%d blobs and manifests were stored, want one of each", got)
		}
	})
}

// The files in testdata/v1 are what format 1 wrote: a log, and the snapshots of its
// owner. They are read for ever. No test writes these files, unless DRIVETRAIN_GOLDEN
// is set, for a new format in a folder of its own.
const golden = "testdata/v1/owner.txt"

func TestSnapshotsOfFormat1AreRestored(t *testing.T) {
	script(t, func(p *play) {
		if os.Getenv("DRIVETRAIN_GOLDEN") != "" {
			writeGolden(p)
		}
		text, err := os.ReadFile(golden)
		if err != nil {
			p.Fatal(err)
		}
		store := snapshot.Memory()
		p.log = memlog.New()
		if err := p.log.Ensure(p.Context(), eventlog.Topic{Name: topic, Partitions: 1}); err != nil {
			p.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Split(strings.TrimSpace(line), " ")
			switch {
			case f[0] == "record":
				p.append(eventlog.Record{Key: unhex(p, f[1]), Header: unhex(p, f[2]), Value: unhex(p, f[3])})
			case f[0] == "blob":
				if err := store.Put(p.Context(), f[1], bytes.NewReader(unhex(p, f[2]))); err != nil {
					p.Fatal(err)
				}
			}
		}
		n, _, said := p.successor(store)
		said.says(p, "partition restored from a snapshot")
		if strings.Contains(said.String(), "not used") {
			p.Errorf("a snapshot of format 1 is not used:\n%s", said)
		}
		n.shows("0", `{"sum":3,"by":{"a":1,"b":1,"c":1}}`)
		n.send(ask("0", 1, add("again"))).accepted(2)
		n.send(ask("1", 9, between(1, 2, "d"))).accepted(2)
	})
}

func unhex(p *play, s string) []byte {
	b, err := hex.DecodeString(strings.TrimPrefix(s, "-"))
	if err != nil {
		p.Fatal(err)
	}
	return b
}

// writeGolden makes the golden file: a full snapshot and a delta.
func writeGolden(p *play) {
	store := snapshot.Memory()
	n := p.node(keeps(store, func(c *OwnerConfig) { c.Process = event.ID{7} }))
	n.send(ask("0", 1, add("a", "b"))).accepted(2)
	n.send(ask("1", 2, add("a"))).accepted(1)
	time.Sleep(2 * stream.SnapshotEvery)
	n.send(ask("0", 3, add("c"))).accepted(3)
	time.Sleep(2 * stream.SnapshotEvery)
	n.stop()
	var b strings.Builder
	fmt.Fprintln(&b, "# An owner's log and its snapshots, format 1: records with key, header and value, blobs with name and bytes, in hexadecimal.")
	for _, r := range p.log.Records(topic, 0) {
		fmt.Fprintf(&b, "record -%x -%x -%x\n", r.Key, r.Header, r.Value)
	}
	names, err := store.List(p.Context(), "")
	if err != nil {
		p.Fatal(err)
	}
	for _, name := range names {
		body, err := store.Get(p.Context(), name)
		if err != nil {
			p.Fatal(err)
		}
		var data bytes.Buffer
		data.ReadFrom(body)
		fmt.Fprintf(&b, "blob %s -%x\n", name, data.Bytes())
	}
	if err := errors.Join(os.MkdirAll("testdata/v1", 0o755), os.WriteFile(golden, []byte(b.String()), 0o644)); err != nil {
		p.Fatal(err)
	}
}

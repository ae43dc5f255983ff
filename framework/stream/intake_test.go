package stream

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

var (
	textCodec = Codec[string]{
		Append: func(b []byte, v *string) ([]byte, error) { return append(b, *v...), nil },
		Decode: func(data []byte, v *string) error { *v = string(data); return nil },
	}
	clicksIn = &Intake{Name: "click-intake", Topic: "clicks", Partitions: 3}
)

// shown writes a record as a source decodes it.
func shown(r *Record) string {
	s := fmt.Sprintf("%d@%d %q %q missing=%v", r.Partition, r.Offset, r.Key, r.Value, r.Value == nil)
	if !r.Time.IsZero() {
		s += r.Time.Format(" 15:04:05.000")
	}
	for key, value := range eventlog.Headers(r.Headers) {
		s += fmt.Sprintf(" %s=%q", key, value)
	}
	return s
}

// mirror publishes what a source sees of each record, and how often its key came.
func mirror(version uint64, src *Source[string]) *Topology {
	t := &Topology{Name: "mirror", Version: version, Partitions: 2}
	src.Name = "clicks"
	src.Decode = func(r *Record, v *string) error { *v = shown(r); return nil }
	seen, _ := Via(From(t, src), &Process[int64, string, string]{Name: "count", State: simInts,
		OnEvent: func(c *Context[int64, string], v string) error {
			*c.State()++
			c.Emit(fmt.Sprintf("%s #%d", v, *c.State()))
			return nil
		}})
	to := KeyBy(seen, "all", func(string) string { return "all" }, textCodec)
	To(to, &Publish[string]{Name: "seen", Topic: "seen", Codec: textCodec})
	return t
}

// recordsOf makes records of all shapes.
func recordsOf(n int) (all []eventlog.Record) {
	for i := range n {
		r := eventlog.Record{Key: fmt.Append(nil, "k", i%4), Value: fmt.Append(nil, "v", i), At: 1_500_000_000_000 + int64(i)}
		switch i % 5 {
		case 1:
			r.Key, r.At = nil, 0
		case 2:
			r.Value = nil
		case 3:
			r.Header = eventlog.AppendHeader(eventlog.AppendHeader(nil, "a", []byte("1")), "a", nil)
		case 4:
			r.Value = []byte{}
		}
		all = append(all, r)
	}
	return all
}

// TestACopyIsReadAsTheTopicWouldBe copies under all faults, and reads the copy under
// all faults; no record is missing, doubled or changed.
func TestACopyIsReadAsTheTopicWouldBe(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 5))
		in := Simulate(clicksIn.Topology(), SimulationConfig{Seed: seed, Topics: map[string]int{"clicks": 3}, Faults: 0.7})
		var want []string
		next, counts := map[int32]int64{}, map[string]int{}
		for _, rec := range recordsOf(120) {
			p := int32(r.IntN(3))
			in.SendTo("clicks", p, rec)
			of := &Record{Partition: p, Offset: next[p], Key: rec.Key, Value: rec.Value, Headers: rec.Header}
			if rec.At > 0 {
				of.Time = time.UnixMilli(rec.At).UTC()
			}
			next[p]++
			key := fmt.Sprint(p, " ", string(rec.Key)) // a state is its partition's
			counts[key]++
			want = append(want, fmt.Sprintf("%s #%d", shown(of), counts[key]))
		}
		for !in.Done() {
			in.Step()
		}
		if err := in.Settle(); err != nil {
			t.Fatal(err)
		}
		out := Simulate(mirror(1, &Source[string]{Intake: clicksIn}), SimulationConfig{Seed: seed, Topics: map[string]int{clicksIn.CopyTopic(): 3, "seen": 1}, Faults: 0.7})
		for p, log := range in.Records(clicksIn.CopyTopic()) {
			for _, rec := range log {
				out.SendTo(clicksIn.CopyTopic(), int32(p), rec)
			}
		}
		for !out.Done() {
			out.Step()
		}
		if err := out.Settle(); err != nil {
			t.Fatal(err)
		}
		all, err := out.Published("seen")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range all {
			got = append(got, string(p.Value))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: seen\n%s\nwant\n%s", seed, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestANewVersionIsFoldedFromTheCopyAlone lets the topic of others lose everything
// behind the copy.
func TestANewVersionIsFoldedFromTheCopyAlone(t *testing.T) {
	b, log := memBench(t, map[string]int{"clicks": 2, "seen": 1})
	_, stopIntake := b.run(clicksIn.Topology())
	defer stopIntake()
	b.send("clicks", 0, "a", "1", "2")
	b.send("clicks", 1, "b", "3")
	_, stop := b.run(mirror(1, &Source[string]{Intake: clicksIn}))
	one := []string{`0@0 "a" "1" missing=false #1`, `0@1 "a" "2" missing=false #2`, `1@0 "b" "3" missing=false #1`}
	b.publishes(log, "seen", one...)
	stop()
	trim(t, log, "clicks", 0, 2)
	trim(t, log, "clicks", 1, 1)
	b.send("clicks", 0, "a", "4")
	twice := append(slices.Repeat(one, 2), `0@2 "a" "4" missing=false #3`)
	slices.Sort(twice)
	_, stop = b.run(mirror(2, &Source[string]{Intake: clicksIn}))
	defer stop()
	b.publishes(log, "seen", twice...)
}

func TestAnIntakeWithoutSnapshotsStopsOnceItsTopicHasLostWhatItCopied(t *testing.T) {
	b, log := memBench(t, map[string]int{"clicks": 1})
	b.send("clicks", 0, "a", "1", "2", "3")
	_, stop := b.run(clicksIn.Topology())
	b.until("the copy", func() bool { return len(log.Records(clicksIn.CopyTopic(), 0)) == 3 })
	stop()
	trim(t, log, "clicks", 0, 1)
	b.snapshots = snapshot.Memory()
	r, stop := b.run(clicksIn.Topology())
	defer stop()
	if err := b.stopped(r, "in"); !strings.Contains(err.Error(), "shuffle copy holds, or held, what the task made") || !strings.Contains(err.Error(), "another Name") {
		t.Errorf("it stopped with %v", err)
	}
	if s := r.Status(); len(s) != 1 {
		t.Errorf("it has %d tasks, one of them for nobody", len(s))
	}
}

func TestATopicWithMorePartitionsThanItsCopyStops(t *testing.T) {
	b, _ := memBench(t, map[string]int{"clicks": 4})
	b.send("clicks", 3, "a", "1")
	r, stop := b.run(clicksIn.Topology())
	defer stop()
	if err := b.stopped(r, "in"); !strings.Contains(err.Error(), "clicks has a partition 3, its copy only 3 partitions") {
		t.Errorf("it stopped with %v", err)
	}
}

func TestCopiesOfFormat1AreReadAndWritten(t *testing.T) {
	r := Record{Time: time.UnixMilli(1_500_000_000_003).UTC(), Value: []byte("v3"), Headers: eventlog.AppendHeader(nil, "a", []byte("1"))}
	want := golden(t, "testdata/v1/copy.hex")
	if got, err := appendCopied(nil, &r); err != nil || !bytes.Equal(got, want) {
		t.Errorf("it is written as\n%x, %v, was\n%x", got, err, want)
	}
	var got eventlog.Record
	if err := readCopied(want, &got); err != nil || got.At != 1_500_000_000_003 || string(got.Value) != "v3" || !bytes.Equal(got.Header, r.Headers) {
		t.Errorf("%+v, %v", got, err)
	}
	for n := range len(want) - 2 {
		if err := readCopied(want[:n], &got); err == nil {
			t.Errorf("%d of %d bytes were taken", n, len(want))
		}
	}
	if err := readCopied(append([]byte{copyFormat + 1}, want[1:]...), &got); !strings.Contains(fmt.Sprint(err), event.ErrNewer.Error()) {
		t.Errorf("a later format: %v", err)
	}
}

func TestASourceReadsATopicOrAnIntake(t *testing.T) {
	decode := func(*Record, *string) error { return nil }
	for want, src := range map[string]*Source[string]{
		"not both":                {Name: "a", Topic: "a", Intake: clicksIn, Decode: decode},
		"a: set Topic and Decode": {Name: "a", Decode: decode},
		"b: set Topic and Decode": {Name: "b", Topic: "a"},
		"Uncommitted":             {Name: "a", Intake: clicksIn, Uncommitted: true, Decode: decode},
	} {
		func() {
			defer func() {
				if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), want) {
					t.Errorf("panicked with %v, want %q", p, want)
				}
			}()
			From(&Topology{Name: "t"}, src)
		}()
	}
}

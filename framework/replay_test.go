package framework_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

var replayed = eventlog.Topic{Name: "app.events", Partitions: 3}

// scribe writes a log of which it knows what took effect, as owners and zombies write
// one.
type scribe struct {
	*testing.T
	log      *memlog.Log
	random   *rand.Rand
	epoch    [3]uint64
	versions map[string]uint64
	serial   int
	valid    []string // the valid events, by partition, as told writes them
}

func newScribe(t *testing.T, seed uint64) *scribe {
	s := &scribe{T: t, log: memlog.New(), random: rand.New(rand.NewPCG(seed, 0)), versions: map[string]uint64{}}
	if err := s.log.Ensure(t.Context(), replayed); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scribe) append(part int32, r ...eventlog.Record) int64 {
	base, err := s.log.Append(s.Context(), replayed.Name, part, r)
	if err != nil {
		s.Fatal(err)
	}
	return base
}

func (s *scribe) claim(part int32) {
	s.epoch[part]++
	s.append(part, eventlog.Record{Header: partition.ClaimHeader(partition.Claim{Epoch: s.epoch[part], Owner: event.ID{byte(s.epoch[part])}})})
}

// commit writes one of n events; void if its epoch or version is not the present one.
func (s *scribe) commit(part int32, key string, n int, epoch, version uint64) {
	s.serial++
	at := noonOf(s.serial)
	var records []eventlog.Record
	for i := range n {
		e := event.Envelope{ID: event.NewID(at, [10]byte{1, byte(i)}), Command: event.NewID(at, [10]byte{}), Type: fmt.Sprintf("it.happened-%d", s.serial%3),
			Version: version + uint64(i), Epoch: epoch, Index: i, Count: n, Time: at}
		records = append(records, eventlog.Record{Key: []byte(key), Header: e.Append(nil), Value: []byte(`{}`)})
	}
	base := s.append(part, records...)
	if epoch != s.epoch[part] || version != s.versions[key]+1 {
		return
	}
	s.versions[key] += uint64(n)
	for i := range n {
		s.valid = append(s.valid, fmt.Sprintf("%d@%d %s %d it.happened-%d", part, base+int64(i), key, version+uint64(i), s.serial%3))
	}
}

func noonOf(serial int) time.Time {
	return time.Date(2020, 1, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(serial) * time.Second)
}

func (s *scribe) fill(steps int) {
	for range 3 {
		for part := range int32(3) {
			s.claim(part)
			for range steps / 9 {
				key := fmt.Sprintf("%s/%d", []string{"a", "b"}[s.random.IntN(2)], int(part)+3*s.random.IntN(5))
				epoch, version := s.epoch[part], s.versions[key]+1
				switch s.random.IntN(8) {
				case 0:
					epoch--
				case 1:
					version++
				case 2:
					s.append(part, eventlog.Record{Header: partition.ProbeHeader(partition.Claim{Epoch: epoch, Owner: event.ID{byte(epoch)}})})
				}
				s.commit(part, key, 1+s.random.IntN(4), epoch, version)
			}
		}
	}
}

// of returns those of a partition after the other, that want takes.
func (s *scribe) of(want func(told string) bool) string {
	var b strings.Builder
	for part := range 3 {
		for _, v := range s.valid {
			if strings.HasPrefix(v, fmt.Sprint(part, "@")) && want(v) {
				fmt.Fprintln(&b, v)
			}
		}
	}
	return b.String()
}

func replayOf(t *testing.T, log eventlog.Log, o framework.ReplayOptions) string {
	t.Helper()
	var b strings.Builder
	err := framework.Replay(t.Context(), log, replayed, o, func(part int32, e *partition.Event) error {
		fmt.Fprintf(&b, "%d@%d %s %d %s\n", part, e.Offset, e.Key, e.Version, e.Type)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAReplayHandsOnWhatTookEffectAndNothingElse(t *testing.T) {
	for seed := range uint64(20) {
		s := newScribe(t, seed)
		s.fill(300)
		cut := func(told string) (part int32, offset int64, key, name string) {
			if _, err := fmt.Sscanf(told, "%d@%d %s", &part, &offset, &key); err != nil {
				t.Fatal(err)
			}
			return part, offset, key, told[strings.LastIndexByte(told, ' ')+1:]
		}
		at := func(part int32, offset int64) eventlog.Position {
			return eventlog.Position{Partition: part, Offset: offset}
		}
		for name, c := range map[string]struct {
			o    framework.ReplayOptions
			want func(string) bool
		}{
			"all":        {framework.ReplayOptions{}, func(string) bool { return true }},
			"aggregates": {framework.ReplayOptions{Aggregates: []string{"b", "x"}}, func(v string) bool { _, _, key, _ := cut(v); return key[0] == 'b' }},
			"types":      {framework.ReplayOptions{Types: []string{"it.happened-1"}}, func(v string) bool { _, _, _, name := cut(v); return name == "it.happened-1" }},
			"keys":       {framework.ReplayOptions{Keys: []string{"a/4", "b/2"}}, func(v string) bool { _, _, key, _ := cut(v); return key == "a/4" || key == "b/2" }},
			"from": {framework.ReplayOptions{From: eventlog.NewPositions(at(0, 17), at(2, 0))}, func(v string) bool {
				part, offset, _, _ := cut(v)
				return part == 2 || part == 0 && offset >= 17
			}},
			"none": {framework.ReplayOptions{Aggregates: []string{"c"}}, func(string) bool { return false }},
			"from and until": {framework.ReplayOptions{From: eventlog.NewPositions(at(0, 0), at(1, 9)), Until: eventlog.NewPositions(at(1, 1<<40), at(2, 3))},
				func(v string) bool { part, offset, _, _ := cut(v); return part == 1 && offset >= 9 }},
		} {
			if got, want := replayOf(t, s.log, c.o), s.of(c.want); got != want {
				t.Fatalf("seed %d, %s: replayed\n%s\nwant\n%s", seed, name, got, want)
			}
		}
	}
}

// A commit takes effect at its last event; before that, nobody has seen any of it.
func TestAReplayEndsWithWholeCommits(t *testing.T) {
	s := newScribe(t, 1)
	s.claim(0)
	s.commit(0, "a/1", 3, 1, 1) // at 1, 2, 3
	s.commit(0, "a/1", 1, 1, 4) // at 4
	for until, want := range map[int64]int{0: 0, 1: 0, 2: 0, 3: 3, 4: 4, 9: 4} {
		got := replayOf(t, s.log, framework.ReplayOptions{Until: eventlog.NewPositions(eventlog.Position{Offset: until})})
		if n := strings.Count(got, "\n"); n != want {
			t.Errorf("until %d: %d events, want %d", until, n, want)
		}
	}
	if got := replayOf(t, s.log, framework.ReplayOptions{From: eventlog.NewPositions(eventlog.Position{Offset: 2})}); strings.Count(got, "\n") != 3 {
		t.Errorf("from the midst of a commit: %s", got)
	}
	since := framework.ReplayOptions{Since: noonOf(2)}
	before := framework.ReplayOptions{Before: noonOf(2)}
	if a, b := replayOf(t, s.log, before), replayOf(t, s.log, since); strings.Count(a, "\n") != 3 || strings.Count(b, "\n") != 1 {
		t.Errorf("before a time:\n%ssince then:\n%s", a, b)
	}
}

func TestAReplayThatWasBrokenOffGoesOnFromItsProgress(t *testing.T) {
	broken := errors.New("enough")
	for seed := range uint64(5) {
		s := newScribe(t, seed)
		s.fill(60)
		whole := strings.SplitAfter(strings.TrimSuffix(replayOf(t, s.log, framework.ReplayOptions{}), "\n"), "\n")
		for stop := range whole {
			next := map[int32]int64{}
			var first []string
			err := framework.Replay(t.Context(), s.log, replayed, framework.ReplayOptions{Rate: 1e6, // so that progress is told often
				Progress: func(p framework.ReplayProgress) { next[p.Partition] = p.Next }}, func(part int32, e *partition.Event) error {
				if len(first) == stop {
					return broken
				}
				first = append(first, fmt.Sprintf("%d@%d", part, e.Offset))
				return nil
			})
			if !errors.Is(err, broken) {
				t.Fatal(err)
			}
			from := eventlog.NewPositions()
			for part := range int32(3) {
				from.Offsets[part] = next[part]
			}
			rest := replayOf(t, s.log, framework.ReplayOptions{From: from})
			seen := map[string]bool{}
			for _, f := range first {
				seen[f] = true
			}
			for line := range strings.Lines(rest) {
				seen[strings.Fields(line)[0]] = true
			}
			if len(seen) != len(whole) {
				t.Fatalf("seed %d, broken off after %d: %d events seen from %v on, want %d", seed, stop, len(seen), from, len(whole))
			}
		}
	}
}

func TestAReplayKeepsToItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScribe(t, 1)
		s.claim(0)
		for v := range uint64(1000) {
			s.commit(0, "a/1", 1, 1, v+1)
		}
		began := time.Now()
		got := replayOf(t, s.log, framework.ReplayOptions{Rate: 100})
		if took := time.Since(began); strings.Count(got, "\n") != 1000 || took < 9900*time.Millisecond || took > 10*time.Second {
			t.Errorf("1000 events at 100 a second took %v", took)
		}
	})
}

// trimmed is a log whose beginning was deleted.
type trimmed struct{ eventlog.Log }

func (trimmed) Start(context.Context, string, int32) (int64, error) { return 7, nil }

func TestAReplayOfWhatNobodyCanJudgeIsRefused(t *testing.T) {
	s := newScribe(t, 1)
	nothing := func(int32, *partition.Event) error { return nil }
	err := framework.Replay(t.Context(), trimmed{s.log}, replayed, framework.ReplayOptions{}, nothing)
	if topic, ok := errors.AsType[*eventlog.TopicError](err); !ok || !strings.Contains(topic.Problem, "begins at 7") {
		t.Errorf("a log without its beginning: %v", err)
	}
	s.append(0, eventlog.Record{Header: []byte{event.Format + 1, 1}})
	if err := framework.Replay(t.Context(), s.log, replayed, framework.ReplayOptions{}, nothing); !errors.Is(err, event.ErrNewer) {
		t.Errorf("a record of a newer version: %v", err)
	}
	for _, o := range []framework.ReplayOptions{{Rate: -1}, {From: eventlog.NewPositions(eventlog.Position{Partition: 3})}, {Until: eventlog.NewPositions(eventlog.Position{Partition: 4})}} {
		if err := framework.Replay(t.Context(), s.log, replayed, o, nothing); !errors.Is(err, framework.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

package model

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"os"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// The model has a fold of its own, so that its rule can be spoilt, and so that
// the rule is written twice. Here both are stepped over the same logs.

// crossed is a model that hands each log to compare once.
type crossed struct {
	*Model
	seed maphash.Seed
	seen map[uint64]struct{}
	key  []byte
	real *comparison
}

func cross(m *Model) *crossed {
	return &crossed{Model: m, seed: maphash.MakeSeed(), seen: make(map[uint64]struct{}), real: newComparison(m)}
}

func (c *crossed) Broken(s *State) string {
	if v := c.Model.Broken(s); v != "" {
		return v
	}
	c.key = c.appendLog(c.key[:0], s)
	h := maphash.Bytes(c.seed, c.key)
	if _, ok := c.seen[h]; ok {
		return ""
	}
	c.seen[h] = struct{}{}
	return c.real.compare(s)
}

// appendLog appends what decides the meaning of a log.
func (m *Model) appendLog(b []byte, s *State) []byte {
	for at := range s.Entries {
		m.each(s, s.Log[at], func(number, n uint8) {
			k := &s.Batches[number]
			b = append(b, byte(k.Kind), k.Sender, k.Epoch, n)
			for _, c := range k.Holds {
				if c != 0 {
					b = append(b, c, s.Commits[c-1].Command, s.Commits[c-1].Base)
				}
			}
			b = append(b, 0xff)
		})
	}
	return b
}

// comparison steps partition.Fold over the records of a log, and compares.
type comparison struct {
	*Model
	memory   partition.Memory
	verdicts map[verdict]int
	records  int
}

func newComparison(m *Model) *comparison {
	return &comparison{Model: m, memory: partition.Memory{Age: time.Hour, Number: 100}, verdicts: make(map[verdict]int)}
}

// compare says where the two folds differ over the log of s, and whether a fold
// that is restored from a snapshot at any record goes on alike.
func (c *comparison) compare(s *State) string {
	var mine fold
	theirs := partition.New(c.memory)
	var differs string
	offset := int64(0)
	for at := range s.Entries {
		c.each(s, s.Log[at], func(number, n uint8) {
			if differs != "" {
				return
			}
			differs, theirs = c.step(s, &mine, theirs, offset, number, n)
			if differs == "" {
				differs = c.beat(s, &mine, theirs, offset+1, number)
			}
			offset += 3 // control records of others lie between, as on Kafka
		})
	}
	if differs == "" {
		differs = c.state(s, &mine, theirs)
	}
	return differs
}

func (c *comparison) step(s *State, mine *fold, theirs *partition.Fold, offset int64, number, n uint8) (string, *partition.Fold) {
	want := c.record(mine, s, number, n)
	key, header := c.encode(s, number, n)
	r, err := theirs.Step(offset, key, header, nil)
	if err != nil {
		return err.Error(), theirs
	}
	c.records++
	c.verdicts[want]++
	if got := (verdict{r.Verdict, r.Reason, len(r.Voided) > 0}); got != want {
		return fmt.Sprintf("record at %d: partition.Fold says %v (cut %v), the model %v (cut %v)", offset, got, got.cut, want, want.cut), theirs
	}
	restored, err := partition.Restore(theirs.AppendSnapshot(nil), c.memory)
	if err != nil {
		return err.Error(), theirs
	}
	return "", restored
}

// beat lets a batch's sender say what time it is. The model knows no heartbeats, as
// they change nothing; here one counts if its sender owns the partition.
func (c *comparison) beat(s *State, mine *fold, theirs *partition.Fold, offset int64, number uint8) string {
	b := &s.Batches[number]
	owns := b.Epoch > 0 && b.Epoch == mine.Epoch && b.Sender == mine.Owner
	r, err := theirs.Step(offset, nil, partition.HeartbeatHeader(partition.Claim{Epoch: uint64(b.Epoch), Owner: ownerID(b.Sender)}, 7), nil)
	if err != nil || (r.Verdict == partition.Heartbeat) != owns || len(r.Voided) > 0 {
		return fmt.Sprintf("a heartbeat at %d of epoch %d, o%d, in epoch %d of o%d: %v, %v", offset, b.Epoch, b.Sender, mine.Epoch, mine.Owner, r.Verdict, err)
	}
	return ""
}

// state compares what the folds have come to.
func (c *comparison) state(s *State, mine *fold, theirs *partition.Fold) string {
	if theirs.Epoch() != uint64(mine.Epoch) || theirs.Owner() != ownerID(mine.Owner) {
		return fmt.Sprintf("epoch %d of %v, the model has %d of o%d", theirs.Epoch(), theirs.Owner(), mine.Epoch, mine.Owner)
	}
	for a, version := range mine.Version {
		if got := theirs.Version(key(uint8(a))); got != uint64(version) {
			return fmt.Sprintf("version of %s: %d, the model has %d", key(uint8(a)), got, version)
		}
	}
	for command := range c.Commands {
		o, known := theirs.Outcome(commandID(uint8(command)))
		commit := mine.Memory[command]
		if known != (commit != 0) || known && o.Digest != uint64(commit) {
			return fmt.Sprintf("command %d: outcome of commit %d, the model has %d", command, o.Digest, commit)
		}
	}
	return ""
}

// encode makes record n of a batch as an owner would.
func (c *comparison) encode(s *State, number, n uint8) (recordKey, header []byte) {
	b := &s.Batches[number]
	term := partition.Claim{Epoch: uint64(b.Epoch), Owner: ownerID(b.Sender)}
	switch b.Kind {
	case claim:
		return nil, partition.ClaimHeader(term)
	case probe:
		return nil, partition.ProbeHeader(term)
	}
	commit := b.Holds[0]
	if first := c.events(s, commit); n >= first {
		commit, n = b.Holds[1], n-first
	}
	k := &s.Commits[commit-1]
	e := event.Envelope{ID: event.ID{1, commit, n}, Command: commandID(k.Command), Digest: uint64(commit), Type: "happened",
		Version: uint64(k.Base+n) + 1, Epoch: uint64(k.Epoch), Index: int(n), Count: int(c.events(s, commit)), Time: time.Unix(0, 0)}
	return key(c.Commands[k.Command].Aggregate), e.Append(nil)
}

func key(aggregate uint8) []byte       { return partition.Key("letter", aggregateName(aggregate)) }
func ownerID(id uint8) event.ID        { return numbered(2, id) }
func commandID(command uint8) event.ID { return numbered(3, command+1) }

// numbered returns an id that carries no time; number 0 is none.
func numbered(what, number uint8) (id event.ID) {
	if number != 0 {
		binary.BigEndian.PutUint16(id[:], uint16(what)<<8|uint16(number))
	}
	return id
}

// The protocol reaches few of all logs. These are all: every sequence of the
// records of eight batches, torn apart, with repetition.
func TestPartitionFoldAgreesOnEveryShortLog(t *testing.T) {
	length := 5
	if os.Getenv("MODEL") == "large" {
		length = 6
	}
	c := newComparison(alphabetModel(t, None))
	s := alphabet()
	letters := c.letters(&s)
	logs := everyLog(&s, letters, length, func() {
		if differs := c.compare(&s); differs != "" {
			t.Fatalf("%s\n%q", differs, c.Log(&s))
		}
	})
	t.Logf("%d logs of %d records out of %d", logs, length, len(letters))
	for _, v := range []verdict{{partition.Valid, 0, true}, {partition.Open, 0, true}, {partition.Claimed, 0, true}, {partition.Void, partition.Incomplete, true},
		{partition.Void, partition.BadVersion, true}, void(partition.Incomplete), void(partition.Unclaimed), void(partition.OldEpoch)} {
		if c.verdicts[v] == 0 {
			t.Errorf("no record was %v, cut %v", v, v.cut)
		}
	}
}

// The comparison sees it when the two rules differ.
func TestSpoiltFoldsDifferFromPartitionFold(t *testing.T) {
	for name, bug := range map[string]Bug{"epochs": NoEpochCheck, "equal epochs": EqualEpochs, "incomplete": IncompleteCommits, "versions": NoVersionCheck} {
		c := newComparison(alphabetModel(t, bug))
		s := alphabet()
		differ := 0
		logs := everyLog(&s, c.letters(&s), 4, func() {
			if c.compare(&s) != "" {
				differ++
			}
		})
		if differ == 0 {
			t.Errorf("%s: no difference over %d logs", name, logs)
		}
	}
}

func alphabetModel(t *testing.T, bug Bug) *Model {
	t.Helper()
	m, err := New(Preset{Name: "alphabet", Owners: 1, Commits: 4, Batch: 1, Torn: true, Commands: []Command{{0, 2}, {0, 1}, {1, 2}}, Bug: bug})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// letters returns each record of each batch, as an entry.
func (m *Model) letters(s *State) (all []entry) {
	for b := range s.Sent {
		for n := range m.records(s, &s.Batches[b]) {
			all = append(all, entry{b, n + 1})
		}
	}
	return all
}

// alphabet returns a state without a log whose batches hold claims of two epochs,
// a probe, and commits of both that fit together in some orders.
func alphabet() State {
	s := State{Decided: 4, Commits: [maxCommits]commit{
		{Command: 0, Epoch: 1}, {Command: 1, Epoch: 1, Base: 2}, {Command: 0, Epoch: 2}, {Command: 2, Epoch: 2},
	}}
	for _, b := range []batch{
		{Kind: claim, Sender: 1, Epoch: 1}, {Kind: claim, Sender: 2, Epoch: 1}, {Kind: claim, Sender: 2, Epoch: 2}, {Kind: probe, Sender: 1, Epoch: 1},
		{Kind: commits, Sender: 1, Epoch: 1, Holds: [2]uint8{1}}, {Kind: commits, Sender: 1, Epoch: 1, Holds: [2]uint8{2}},
		{Kind: commits, Sender: 2, Epoch: 2, Holds: [2]uint8{3}}, {Kind: commits, Sender: 2, Epoch: 2, Holds: [2]uint8{4}},
	} {
		s.Batches[s.Sent] = b
		s.Sent++
	}
	return s
}

// everyLog puts each sequence of letters into s and calls do.
func everyLog(s *State, letters []entry, length int, do func()) (logs int) {
	if length == 0 {
		do()
		return 1
	}
	at := s.Entries
	s.Entries++
	for _, l := range letters {
		s.Log[at] = l
		logs += everyLog(s, letters, length-1, do)
	}
	s.Entries--
	return logs
}

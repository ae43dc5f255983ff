package partition_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// TestScripts runs the scripts in testdata, one file per subject. A line is a
// record or a question, then "->", then the whole answer:
//
//	claim 1 alice                            -> claimed
//	event 1 tribe/a cmd=c1 v=1 1/2           -> open
//	event 1 tribe/a cmd=c1 v=2 2/2           -> valid tribe/a v1..v2
//	command c1                               -> first=1 last=2 digest=1
//
// Records get the offsets 0, 1, 2 and so on. Of each there is one line:
//
//	claim EPOCH OWNER
//	probe EPOCH OWNER
//	heartbeat EPOCH OWNER at=TIME
//	event EPOCH KEY cmd=COMMAND v=VERSION PLACE/COUNT [at=TIME] [digest=NUMBER]
//	header HEX                  a record with key tribe/a and these bytes for a header
//	copy OFFSET                 the record at OFFSET once more
//	skip NUMBER                 as many offsets hold nothing; no answer
//	again OFFSET                the record at OFFSET is read again, at that offset
//
// A COMMAND c1 has a UUIDv7 of time 0, c1@2h one of two hours later, key:c1 an ID
// that carries no time. Times are counted from one fixed day. Questions are
//
//	epoch                       -> EPOCH OWNER
//	version KEY                 -> VERSION
//	next                        -> OFFSET
//	command COMMAND             -> first=OFFSET last=OFFSET digest=NUMBER, or unknown
//	toolate COMMAND             -> yes or no
//
// and without an answer: memory age=TIME number=NUMBER, in the first line;
// snapshot NAME; restore NAME [age=TIME number=NUMBER].
//
// Every script runs thrice: as it stands, with a snapshot and a restore before
// each line, and, as far as the verdicts go, with a fold that remembers nothing.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	modes := []struct {
		name string
		mode mode
	}{{"plain", plain}, {"restored before each line", restored}, {"as a view", view}}
	for _, file := range files {
		for _, m := range modes {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+m.name, func(t *testing.T) {
				run(t, file, m.mode)
			})
		}
	}
}

type mode int

const (
	plain mode = iota
	restored
	view
)

func run(t *testing.T, file string, m mode) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &script{mode: m, fold: partition.New(partition.Memory{}), snapshots: make(map[string][]byte)}
	s.run(t, file, string(text))
}

func (s *script) run(t *testing.T, file, text string) {
	t.Helper()
	for n, line := range strings.Split(text, "\n") {
		if line, _, _ = strings.Cut(line, "#"); strings.TrimSpace(line) == "" {
			continue
		}
		act, want, _ := strings.Cut(line, "->")
		want = strings.TrimSpace(want)
		got, err := s.line(strings.Fields(act))
		if err != nil {
			t.Fatalf("%s:%d: %v", file, n+1, err)
		}
		if got != want && !(s.mode == view && ofOwner(act)) {
			t.Errorf("%s:%d: %s\n got %s\nwant %s", file, n+1, strings.TrimSpace(act), got, want)
		}
	}
}

// ofOwner says whether a line asks what only a fold with memory can answer.
func ofOwner(act string) bool {
	return strings.HasPrefix(act, "command") || strings.HasPrefix(act, "toolate")
}

// script is the state of a run.
type script struct {
	mode      mode
	memory    partition.Memory
	fold      *partition.Fold
	log       []record
	at        int64 // the next offset
	snapshots map[string][]byte
}

type record struct {
	offset             int64
	key, header, value []byte
}

func (s *script) line(words []string) (string, error) {
	a := &args{words: words[1:]}
	if s.mode == restored && words[0] != "memory" {
		fold, err := partition.Restore(s.fold.AppendSnapshot(nil), s.memory)
		if err != nil {
			return "", err
		}
		s.fold = fold
	}
	got, err := s.act(words[0], a)
	if len(a.words) > 0 {
		a.fail("what does %q mean here?", a.words[0])
	}
	if err = errors.Join(err, a.err); err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(words, " "), err)
	}
	return got, nil
}

func (s *script) act(word string, a *args) (string, error) {
	switch word {
	case "memory":
		s.remember(a)
		s.fold = partition.New(s.memory)
		return "", nil
	case "snapshot":
		s.snapshots[a.next()] = s.fold.AppendSnapshot(nil)
		return "", nil
	case "restore":
		return "", s.restore(a)
	case "skip":
		s.at += int64(a.number(a.next()))
		return "", nil
	case "again":
		offset := int64(a.number(a.next()))
		return s.step(s.recorded(offset, a)), nil
	case "claim", "probe", "heartbeat", "event", "header", "copy":
		r := s.record(word, a)
		if a.err != nil {
			return "", nil
		}
		r.offset = s.at
		s.at++
		s.log = append(s.log, r)
		return s.step(r), nil
	}
	return s.ask(word, a)
}

func (s *script) remember(a *args) {
	s.memory = partition.Memory{Age: a.duration(a.named("age")), Number: int(a.number(a.named("number")))}
	if s.mode == view {
		s.memory = partition.Memory{}
	}
}

func (s *script) restore(a *args) error {
	b, ok := s.snapshots[a.next()]
	if !ok {
		return errors.New("no such snapshot")
	}
	if len(a.words) > 0 {
		s.remember(a)
	}
	fold, err := partition.Restore(b, s.memory)
	if err == nil {
		s.fold, s.at = fold, fold.Next()
	}
	return err
}

func (s *script) recorded(offset int64, a *args) record {
	for _, r := range s.log {
		if r.offset == offset {
			return r
		}
	}
	a.fail("no record at %d", offset)
	return record{}
}

// record builds the record that a line writes.
func (s *script) record(word string, a *args) record {
	switch word {
	case "claim":
		return record{header: partition.ClaimHeader(a.claim())}
	case "probe":
		return record{header: partition.ProbeHeader(a.claim())}
	case "heartbeat":
		c := a.claim()
		return record{header: partition.HeartbeatHeader(c, base.Add(a.duration(a.named("at"))).UnixNano())}
	case "copy":
		return s.recorded(int64(a.number(a.next())), a)
	case "header":
		header, err := hex.DecodeString(a.next())
		if err != nil {
			a.fail("%v", err)
		}
		return record{key: []byte("tribe/a"), header: header}
	}
	e := event.Envelope{Epoch: a.number(a.next()), Type: "tribe.joined"}
	key := a.next()
	e.Command = commandID(a, a.named("cmd"))
	e.Version = a.number(a.named("v"))
	place, count, _ := strings.Cut(a.next(), "/")
	e.Index, e.Count = int(a.number(place))-1, int(a.number(count))
	e.Time = base.Add(a.duration(a.optional("at", "0s")))
	e.Digest = a.number(a.optional("digest", "1"))
	if key == "none" {
		key = ""
	}
	return record{key: []byte(key), header: e.Append(nil), value: []byte("{}")}
}

func (s *script) step(r record) string {
	got, err := s.fold.Step(r.offset, r.key, r.header, r.value)
	switch {
	case errors.Is(err, partition.ErrOrder):
		return "refused: out of order"
	case errors.Is(err, event.ErrNewer):
		return "refused: newer version"
	case err != nil:
		return err.Error()
	}
	return render(got)
}

// render writes a result in words.
func render(r partition.Result) string {
	b := new(strings.Builder)
	b.WriteString(r.Verdict.String())
	if r.Reason != partition.NoReason {
		fmt.Fprintf(b, ": %s", r.Reason)
	}
	if r.Verdict == partition.Heartbeat {
		fmt.Fprintf(b, " %v", time.Unix(0, r.Time).Sub(base))
	}
	if n := len(r.Events); n > 0 {
		fmt.Fprintf(b, " %s v%d", r.Events[0].Key, r.Events[0].Version)
		if n > 1 {
			fmt.Fprintf(b, "..v%d", r.Events[n-1].Version)
		}
	}
	for i, e := range r.Voided {
		if i == 0 {
			b.WriteString(", voids")
		}
		fmt.Fprintf(b, " %d", e.Offset)
	}
	return b.String()
}

func (s *script) ask(word string, a *args) (string, error) {
	switch word {
	case "epoch":
		return fmt.Sprintf("%d %s", s.fold.Epoch(), ownerName(s.fold.Owner())), nil
	case "version":
		return fmt.Sprint(s.fold.Version([]byte(a.next()))), nil
	case "next":
		return fmt.Sprint(s.fold.Next()), nil
	case "command":
		o, ok := s.fold.Outcome(commandID(a, a.next()))
		if !ok {
			return "unknown", nil
		}
		return fmt.Sprintf("first=%d last=%d digest=%d", o.First, o.Last, o.Digest), nil
	case "toolate":
		if s.fold.TooLate(commandID(a, a.next())) {
			return "yes", nil
		}
		return "no", nil
	}
	return "", errors.New("no such word")
}

// base is the day from which scripts count.
var base = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// commandID returns the ID that a script means by name.
func commandID(a *args, name string) event.ID {
	if rest, ok := strings.CutPrefix(name, "key:"); ok {
		return event.Scoped(rest)
	}
	name, at, timed := strings.Cut(name, "@")
	after := time.Duration(0)
	if timed {
		after = a.duration(at)
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	return event.NewID(base.Add(after), [10]byte(h.Sum([]byte("id"))))
}

// ownerID makes an ID of a name of up to 16 letters, ownerName reads it back.
func ownerID(name string) (id event.ID) {
	copy(id[:], name)
	return id
}

func ownerName(id event.ID) string {
	if id.IsZero() {
		return "nobody"
	}
	return string(bytes.TrimRight(id[:], "\x00"))
}

// args takes a line's words one by one; err is the first that does not fit.
type args struct {
	words []string
	err   error
}

func (a *args) fail(format string, v ...any) {
	if a.err == nil {
		a.err = fmt.Errorf(format, v...)
	}
}

func (a *args) next() string {
	if len(a.words) == 0 {
		a.fail("too few words")
		return ""
	}
	w := a.words[0]
	a.words = a.words[1:]
	return w
}

func (a *args) named(name string) string {
	w := a.next()
	value, ok := strings.CutPrefix(w, name+"=")
	if !ok {
		a.fail("%q: want %s=", w, name)
	}
	return value
}

func (a *args) optional(name, otherwise string) string {
	if len(a.words) == 0 || !strings.HasPrefix(a.words[0], name+"=") {
		return otherwise
	}
	return a.named(name)
}

func (a *args) number(w string) uint64 {
	n, err := strconv.ParseUint(w, 10, 64)
	if err != nil {
		a.fail("%v", err)
	}
	return n
}

func (a *args) duration(w string) time.Duration {
	d, err := time.ParseDuration(w)
	if err != nil {
		a.fail("%v", err)
	}
	return d
}

func (a *args) claim() partition.Claim {
	return partition.Claim{Epoch: a.number(a.next()), Owner: ownerID(a.next())}
}

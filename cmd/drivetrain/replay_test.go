package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
)

var update = flag.Bool("update", false, "write what testdata lacks")

// replayArgs makes the flags of log those of replay.
func replayArgs(log []string, more ...string) []string {
	return append(append([]string{"replay"}, log[1:]...), more...)
}

// various is a log with all that an event may have, and with what is none.
func various() []eventlog.Record {
	all := fact("c/1", 1, 1, 4, 0, 1)
	e := event.Envelope{ID: id(104), Command: id(4), Type: "it.happened", Version: 1, Epoch: 1, Count: 1, Time: at, Actor: "mäya <m>",
		Correlation: id(50), Causation: id(51), Tenant: "t", Subject: "s"}
	all.Header, all.Value = e.Append(nil), []byte("{\n \"text\": \"<ü>\",\n \"n\": 12345678901234567890\n}")
	raw, none, key := fact("c/1", 2, 1, 5, 0, 1), fact("c/1", 3, 1, 6, 0, 1), fact("c/\xff", 1, 1, 7, 0, 1)
	raw.Value, none.Value = []byte("\"\xff\""), nil
	return []eventlog.Record{
		claim(1),
		fact("a/1", 1, 1, 1, 0, 2), fact("a/1", 2, 1, 1, 1, 2), probe(1),
		fact("a/1", 9, 1, 2, 0, 1), // void
		fact("b/1", 1, 0, 3, 0, 1), // void
		all, raw, none, key,
		fact("a/1", 3, 1, 8, 0, 2), // never whole
	}
}

// The file is kept for ever: others read what it has.
func TestAFileOfEventsIsWrittenAsItAlwaysWas(t *testing.T) {
	const golden = "testdata/replay.v1.ndjson"
	for name, write := range writers() {
		t.Run(name, func(t *testing.T) {
			log := write(t, various(), nil, []eventlog.Record{claim(1), fact("a/2", 1, 1, 9, 0, 1)})
			printed := drivetrain(t, replayArgs(log, "--file", "-")...)
			if printed.code != 0 || printed.problems != "" {
				t.Fatalf("%+v", printed)
			}
			if _, err := os.Stat(golden); *update && os.IsNotExist(err) {
				if err := os.WriteFile(golden, []byte(printed.out), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if printed.out != string(want) {
				t.Errorf("printed\n%s\nwant\n%s", printed.out, want)
			}
			file := filepath.Join(t.TempDir(), "events.ndjson")
			if got := drivetrain(t, replayArgs(log, "--file", file)...); got != (result{}) {
				t.Fatalf("%+v", got)
			}
			if got := read(t, file); got != string(want) {
				t.Errorf("the file has\n%s", got)
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v: others may read it", info.Mode(), err)
			}
		})
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// happened is a log with events at times a minute apart.
func happened() []eventlog.Record {
	records := []eventlog.Record{claim(1)}
	for n, key := range []string{"a/1", "b/1", "a/1", "c/1"} {
		version := uint64(1 + n/2)
		if key != "a/1" {
			version = 1
		}
		e := event.Envelope{ID: id(byte(100 + n)), Command: id(byte(n)), Type: fmt.Sprint("it.happened-", n%2), Version: version, Epoch: 1, Count: 1,
			Time: at.Truncate(time.Minute).Add(time.Duration(n) * time.Minute)}
		records = append(records, eventlog.Record{Key: []byte(key), Header: e.Append(nil), Value: []byte("{}")})
	}
	return records
}

func positions(out string) (list []string) {
	for line := range strings.Lines(out) {
		var l entry
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			panic(fmt.Errorf("%s: %w", line, err))
		}
		list = append(list, l.Position)
	}
	return list
}

func TestWhatIsReplayedIsChosen(t *testing.T) {
	log := []string{"log", "--data", folder(t, happened(), nil, happened())}
	for args, want := range map[string]string{
		"":                              "0@1 0@2 0@3 0@4 2@1 2@2 2@3 2@4",
		"--from 0":                      "0@1 0@2 0@3 0@4 2@1 2@2 2@3 2@4",
		"--from 2@3":                    "2@3 2@4",
		"--from 0@4,2@3 --until 2@3":    "2@3",
		"--until 0@2":                   "0@1 0@2",
		"--from 2026-03-01T12:02:00Z":   "0@3 0@4 2@3 2@4",
		"--until 2026-03-01T12:01:00Z":  "0@1 0@2 2@1 2@2",
		"--from 2026-03-01T13:02:01.5Z": "",
		"--from 2026-03-01T14:01:00+02:00 --until 2026-03-01T12:01:59.999999999Z": "0@2 2@2",
		"--aggregate b --aggregate c":          "0@2 0@4 2@2 2@4",
		"--type it.happened-1":                 "0@2 0@4 2@2 2@4",
		"--key a/1 --from 0@2":                 "0@3",
		"--key a/1 --type it.happened-1":       "",
		"--aggregate a --rate 1000 --from 2@0": "2@1 2@3",
	} {
		got := drivetrain(t, replayArgs(log, append(strings.Fields(args), "--file", "-")...)...)
		if list := strings.Join(positions(got.out), " "); got.code != 0 || list != want {
			t.Errorf("%s: code %d, %s, %q, want %q", args, got.code, got.problems, list, want)
		}
	}
	for args, want := range map[string]string{
		"":                          "where to?",
		"--file x --to y":           "where to?",
		"--file - --resume":         "--resume needs --file",
		"--to y --resume":           "--resume needs --file",
		"--to y":                    "--to needs --to-brokers",
		"--to app.events":           "applications write such topics themselves",
		"--file - --to-brokers x:1": "--to-brokers needs --to",
		"--file - --from yesterday": "--from \"yesterday\": want a time",
		"--file - --until c@7":      "--until \"c@7\": want a time",
		"--file - --key hikers":     "want type/id",
		"--file - --rate=-1":        "--rate -1",
	} {
		got := drivetrain(t, replayArgs(log, strings.Fields(args)...)...)
		if got.code != 2 || !strings.Contains(got.problems, want) {
			t.Errorf("%s: %+v, want %q", args, got, want)
		}
	}
	got := drivetrain(t, replayArgs(log, "--file", "-", "--from", "3@0")...)
	wantProblem(t, got, "topic app.events has partitions 0 to 2")
}

func TestAFileThatWasBrokenOffIsWrittenToItsEnd(t *testing.T) {
	dir := folder(t, happened(), nil, happened())
	log := []string{"log", "--data", dir}
	want := drivetrain(t, replayArgs(log, "--file", "-")...).out
	name := filepath.Join(t.TempDir(), "events.ndjson")
	lines := strings.SplitAfter(want, "\n")
	for n := 0; n <= len(want); n += 97 {
		if err := os.WriteFile(name, []byte(want[:n]), 0o600); err != nil {
			t.Fatal(err)
		}
		got := drivetrain(t, replayArgs(log, "--file", name, "--resume")...)
		if got.code != 0 || read(t, name) != want {
			t.Fatalf("cut after %d bytes: %+v\n%s", n, got, read(t, name))
		}
		if half := n > 0 && want[n-1] != '\n'; half != strings.Contains(got.problems, "is not whole and is written anew") {
			t.Errorf("cut after %d bytes: %q", n, got.problems)
		}
	}
	add := func(part int32, r ...eventlog.Record) {
		l, err := boltlog.Open(filepath.Join(dir, file), boltlog.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if _, err := l.Append(t.Context(), "app.events", part, r); err != nil {
			t.Fatal(err)
		}
	}
	add(0, fact("d/1", 1, 1, 20, 0, 1))
	add(1, claim(1), fact("e/1", 1, 1, 21, 0, 1))
	if got := drivetrain(t, replayArgs(log, "--file", name, "--resume")...); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if got, all := read(t, name), positions(read(t, name)); !strings.HasPrefix(got, want) || strings.Join(all[len(lines)-1:], " ") != "0@5 1@1" {
		t.Errorf("what came since: %v", all)
	}
}

func TestAFileThatDoesNotFitIsLeftAsItIs(t *testing.T) {
	log := []string{"log", "--data", folder(t, happened(), nil, happened())}
	other := []string{"log", "--data", folder(t, various(), nil, happened()[:1])}
	whole := drivetrain(t, replayArgs(log, "--file", "-")...).out
	lines := strings.SplitAfter(whole, "\n")
	for name, c := range map[string]struct {
		file, args string
		log        []string
		want       string
	}{
		"there already":    {whole, "", log, "exists; go on with it by --resume"},
		"of another log":   {lines[0], "--resume", other, "is of another log: app.events has no event " + id(100).String() + " at 0@1"},
		"of a longer log":  {lines[4], "--resume", other, "is of another log: app.events has no event " + id(100).String() + " at 2@1"},
		"other filters":    {whole, "--resume --key a/1", log, "which is not wanted now"},
		"other partitions": {whole, "--resume --from 2@0", log, "at 0@4, which is not wanted now"},
		"another's":        {lines[0] + "{\"a\":1}\n" + lines[1], "--resume", log, "line 2: it is no event"},
		"out of order":     {lines[1] + lines[0], "--resume", log, "line 2: its event at 0@1 does not lie behind"},
		"twice":            {lines[0] + lines[0], "--resume", log, "line 2: its event at 0@1 does not lie behind"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "events.ndjson")
			if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			wantProblem(t, drivetrain(t, replayArgs(c.log, append(strings.Fields(c.args), "--file", file)...)...), c.want)
			if read(t, file) != c.file {
				t.Errorf("the file is now\n%s", read(t, file))
			}
		})
	}
}

// heap is a log of many events, of which it knows how many took effect, and what their
// numbers come to.
func heap(t *testing.T, n int) (dir string, count int, sums map[string]int) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	dir, sums = t.TempDir(), map[string]int{}
	log, err := boltlog.Open(filepath.Join(dir, file), boltlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	write(t, log, "app.events", []eventlog.Record{claim(2)}, []eventlog.Record{claim(2)}, []eventlog.Record{claim(2)}, []eventlog.Record{claim(2)})
	versions := map[string]uint64{}
	for serial := 0; count < n; {
		part := int32(random.IntN(4))
		var batch []eventlog.Record
		for len(batch) < 2000 {
			key := fmt.Sprintf("account/%d", int(part)+4*random.IntN(5000))
			size, epoch, version := 1+random.IntN(3), uint64(2), versions[key]+1
			switch random.IntN(20) {
			case 0:
				epoch = 1
			case 1:
				version += 2
			}
			for i := range size {
				serial++
				e := event.Envelope{ID: event.NewID(at.Add(time.Duration(serial)*time.Millisecond), [10]byte{}), Command: event.NewID(at, [10]byte{byte(serial >> 16), byte(serial >> 8), byte(serial), byte(size - i)}),
					Type: "account.moved", Version: version + uint64(i), Epoch: epoch, Index: i, Count: size, Time: at.Add(time.Duration(serial) * time.Millisecond), Actor: "maya"}
				if i > 0 {
					e.Command = commandOf(batch[len(batch)-1])
				}
				batch = append(batch, eventlog.Record{Key: []byte(key), Header: e.Append(nil), Value: []byte(`{"amount":` + strconv.Itoa(serial%1000) + `,"reason":"a text of some length, as events have one"}`)})
				if epoch == 2 && version == versions[key]+1 {
					sums[key] += serial % 1000
				}
			}
			if epoch == 2 && version == versions[key]+1 {
				versions[key] += uint64(size)
				count += size
			}
		}
		add(t, log, "app.events", part, batch...)
	}
	return dir, count, sums
}

func commandOf(r eventlog.Record) event.ID {
	var e event.Envelope
	var d event.Decoder
	if err := d.Decode(r.Header, &e); err != nil {
		panic(err)
	}
	return e.Command
}

// heapSize is how many events a replay is tried with: 20,000, or REPLAY_EVENTS.
func heapSize() int {
	if n, err := strconv.Atoi(os.Getenv("REPLAY_EVENTS")); err == nil {
		return n
	}
	return 20_000
}

func TestManyEventsAreReplayedAsATallySays(t *testing.T) {
	dir, count, want := heap(t, heapSize())
	before := sha256.Sum256([]byte(read(t, filepath.Join(dir, file))))
	name := filepath.Join(t.TempDir(), "events.ndjson")
	began := time.Now()
	got := drivetrain(t, "replay", "--data", dir, "--file", name)
	took := time.Since(began)
	if got.code != 0 || got.out != "" {
		t.Fatalf("%+v", got)
	}
	t.Logf("%d events to a file in %v: %.0f a second", count, took, float64(count)/took.Seconds())
	sums, lines := map[string]int{}, 0
	for line := range bytes.Lines([]byte(read(t, name))) {
		var l struct {
			Key  string
			Data struct{ Amount int }
		}
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		sums[l.Key] += l.Data.Amount
		lines++
	}
	if lines != count || fmt.Sprint(sums) != fmt.Sprint(want) {
		t.Errorf("%d events with other sums, want %d", lines, count)
	}
	if sha256.Sum256([]byte(read(t, filepath.Join(dir, file)))) != before {
		t.Error("the log was written to")
	}
	if names, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || !slices.Equal(names, []string{filepath.Join(dir, file)}) {
		t.Errorf("the folder holds %v, %v", names, err)
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
)

func TestEachRecordIsPrintedWithItsVerdict(t *testing.T) {
	records := []eventlog.Record{
		fact("a/1", 1, 1, 1, 0, 1), // nobody has claimed yet
		claim(1),
		fact("a/1", 1, 1, 2, 0, 1),
		fact("a/1", 2, 1, 3, 0, 2), // a commit of two, with a probe and a stranger between
		probe(1),
		{Key: []byte("x"), Value: []byte("not ours")},
		fact("a/1", 3, 1, 3, 1, 2),
		fact("a/1", 3, 1, 4, 0, 1), // a version that is taken
		fact("b/1", 5, 1, 5, 0, 2), // a commit that is judged as a whole
		fact("b/1", 6, 1, 5, 1, 2),
		fact("c/1", 1, 1, 6, 0, 2), // cut off by another's
		fact("d/1", 1, 1, 7, 0, 1),
		fact("c/1", 1, 1, 8, 0, 2), // cut off by one that is void itself
		fact("d/1", 9, 1, 9, 0, 1),
		fact("c/1", 1, 1, 10, 0, 2), // cut off by a claim
		claim(1),
		claim(2),
		fact("d/1", 2, 1, 11, 0, 1), // a zombie's
		fact("e/1", 1, 2, 12, 1, 2), // without its beginning
		fact("e/1", 1, 2, 13, 0, 2), // at the end, not finished
		probe(2),
		heartbeat(2),
		heartbeat(1), // a zombie's
	}
	want := `0@0 event a/1: void unclaimed epoch
0@1 claim : claimed
0@2 event a/1: valid
0@3 event a/1: valid
0@4 probe : probe
0@5 foreign x: void foreign record
0@6 event a/1: valid
0@7 event a/1: void version does not follow
0@8 event b/1: void version does not follow
0@9 event b/1: void version does not follow
0@10 event c/1: void incomplete commit
0@11 event d/1: valid
0@12 event c/1: void incomplete commit
0@13 event d/1: void version does not follow
0@14 event c/1: void incomplete commit
0@15 claim : void old epoch
0@16 claim : claimed
0@17 event d/1: void old epoch
0@18 event e/1: void incomplete commit
0@19 event e/1: open
0@20 probe : probe
0@21 heartbeat : heartbeat
0@22 heartbeat : void old epoch
`
	for name, write := range writers() {
		t.Run(name, func(t *testing.T) {
			if got := brief(lines(t, drivetrain(t, write(t, records)...))); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestARecordIsPrintedWhole(t *testing.T) {
	bytes := fact("a/2", 1, 1, 3, 0, 1)
	bytes.Value = []byte{0xff, 0}
	records := []eventlog.Record{claim(1), fact("a/1", 1, 1, 2, 0, 1), bytes, {Key: []byte{0xff}, Header: []byte("hm")}}
	want := `{"partition":0,"offset":0,"kind":"claim","epoch":1,"owner":"019ca945-0a7b-7000-8000-000000000001","verdict":"claimed"}
{"partition":0,"offset":1,"kind":"event","key":"a/1","id":"019ca945-0a7b-7000-8000-000000000066","type":"it.happened","version":1,"epoch":1,"command":"019ca945-0a7b-7000-8000-000000000002","index":0,"count":1,"time":"2026-03-01T12:00:00.123456789Z","actor":"maya","data":{"n":12345678901234567890,"text":"<a>"},"verdict":"valid"}
{"partition":0,"offset":2,"kind":"event","key":"a/2","id":"019ca945-0a7b-7000-8000-000000000067","type":"it.happened","version":1,"epoch":1,"command":"019ca945-0a7b-7000-8000-000000000003","index":0,"count":1,"time":"2026-03-01T12:00:00.123456789Z","actor":"maya","data_base64":"/wA=","verdict":"valid"}
`
	for name, write := range writers() {
		t.Run(name, func(t *testing.T) {
			args := write(t, records)
			got := drivetrain(t, append(args, "--limit", "3")...)
			if got.code != 0 || got.out != want {
				t.Errorf("exit code %d, %s\ngot\n%s\nwant\n%s", got.code, got.problems, got.out, want)
			}
			stopped := drivetrain(t, args...)
			if stopped.code != 1 || stopped.out != want || !strings.Contains(stopped.problems, "partition 0: record 3: written by a newer version") {
				t.Errorf("a record of format 104: %+v", stopped)
			}
		})
	}
}

func TestPartFromAndLimitChoose(t *testing.T) {
	some := []eventlog.Record{claim(1), fact("a/1", 1, 1, 1, 0, 2), fact("a/1", 2, 1, 1, 1, 2)}
	for name, write := range writers() {
		t.Run(name, func(t *testing.T) { chooses(t, write(t, some, nil, some)) })
	}
}

func chooses(t *testing.T, log []string) {
	const all = "0@0 claim : claimed\n0@1 event a/1: valid\n0@2 event a/1: valid\n2@0 claim : claimed\n2@1 event a/1: valid\n2@2 event a/1: valid\n"
	for _, c := range []struct {
		args string
		want string
	}{
		{"", all},
		{"--partition 2", all[len(all)/2:]},
		{"--partition 2 --partition 0", all},
		{"--from 2@2", "2@2 event a/1: valid\n"},
		{"--from 0@2,2@1", "0@2 event a/1: valid\n2@1 event a/1: valid\n2@2 event a/1: valid\n"},
		{"--from 0@2,2@1 --partition 0", "0@2 event a/1: valid\n"},
		{"--from 0@9", ""},
		{"--limit 1", "0@0 claim : claimed\n"},
		{"--limit 4", all[:strings.Index(all, "2@1")]},
		{"--limit 6", all},
		{"--limit 1 --from 2@1", "2@1 event a/1: valid\n"},
	} {
		t.Run(c.args, func(t *testing.T) {
			got := brief(lines(t, drivetrain(t, append(log, strings.Fields(c.args)...)...)))
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestWhereThereIsNothingToPrintItSaysSo(t *testing.T) {
	for name, write := range writers() {
		t.Run(name, func(t *testing.T) {
			for want, args := range map[string][]string{
				".events holds no records\n":                             write(t, nil, nil),
				".events holds no records in the partitions asked for\n": append(write(t, []eventlog.Record{claim(1)}, nil), "--partition", "1"),
			} {
				got := drivetrain(t, args...)
				if got.code != 0 || got.out != "" || !strings.HasPrefix(got.problems, "drivetrain: topic ") || !strings.HasSuffix(got.problems, want) {
					t.Errorf("%+v\nwant %s", got, want)
				}
			}
		})
	}
}

func TestATopicIsNamedByItselfOrByItsApplication(t *testing.T) {
	dir := folder(t, []eventlog.Record{claim(1)})
	topics(t, dir, "b.events")
	for _, flag := range []string{"--topic=app.events", "--app=app"} {
		if got := brief(lines(t, drivetrain(t, "log", "--data", dir, flag))); got != "0@0 claim : claimed\n" {
			t.Errorf("%s: printed %q", flag, got)
		}
	}
}

func TestWhatCannotBeDoneIsSaidWithCode1(t *testing.T) {
	sound := folder(t, []eventlog.Record{claim(1)})
	busy := folder(t, nil)
	open, err := boltlog.Open(filepath.Join(busy, file), boltlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	two := t.TempDir()
	topics(t, two, "a.events", "b.events")
	for _, c := range []struct{ name, dir, args, want string }{
		{"missing", filepath.Join(sound, "none"), "", "does not exist; --data must name the data folder"},
		{"in use", busy, "", "drivetrain.db is in use by another process; stop that process first"},
		{"another's file", foreign(t), "", "not a boltlog file"},
		{"another's database", database(t, nil), "", "not a boltlog file"},
		{"newer", newer(t), "", "written by a newer version of drivetrain: format 9"},
		{"cut off", cut(t), "", "is damaged"},
		{"empty", t.TempDir(), "", "does not exist"},
		{"no topic", topics(t, t.TempDir()), "", "holds no topic yet"},
		{"topics to choose from", two, "", "name the topic with --topic, or the application with --app; the log holds a.events, b.events"},
		{"unknown topic", sound, "--topic x", `holds no topic "x"; of events it holds app.events`},
		{"unknown partition", sound, "--partition 7", "topic app.events has no partition 7; it has 0 to 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := drivetrain(t, append([]string{"log", "--data", c.dir}, strings.Fields(c.args)...)...)
			if got.code != 1 || got.out != "" || !strings.Contains(got.problems, c.want) {
				t.Errorf("%+v\nwant %s", got, c.want)
			}
			for line := range strings.Lines(got.problems) {
				if !strings.HasPrefix(line, "drivetrain: ") {
					t.Errorf("a line does not say whose it is: %s", line)
				}
			}
		})
	}
}

func TestADamagedPartitionIsPrintedUpToTheDamageAndTheOthersWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, file)
	log, err := boltlog.Open(path, boltlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: "app.events", Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	spoilt := fact("a/1", 1, 1, 1, 0, 1)
	spoilt.Value = []byte(`"to be spoilt"`)
	for n, r := range []eventlog.Record{claim(1), spoilt, claim(1)} {
		if _, err := log.Append(t.Context(), "app.events", int32(n/2), []eventlog.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(data), "to be spoilt", "to be spoiLt")), 0o600); err != nil {
		t.Fatal(err)
	}
	got := drivetrain(t, "log", "--data", dir)
	if got.code != 1 || !strings.Contains(got.problems, "is damaged: topic app.events, partition 0, from offset 1") {
		t.Errorf("exit code %d: %s", got.code, got.problems)
	}
	if want := "0@0 claim : claimed\n1@0 claim : claimed\n"; brief(parse(t, got.out)) != want {
		t.Errorf("printed\n%s", got.out)
	}
}

func TestWhatIsNotUnderstoodIsOneLineAndCode2(t *testing.T) {
	for args, want := range map[string]string{
		"":                                      `expected one of "log", "replay", "view", "dead-letters", "version"`,
		"logs":                                  "logs",
		"log":                                   "which log? give --data=DIR, or --brokers=HOST:PORT,... or KAFKA_BROKERS",
		"log --data x --brokers y:1":            "--data and --brokers exclude each other",
		"log --data x --follow":                 "--follow needs --brokers",
		"log --data x --app y --topic z":        "--app and --topic exclude each other",
		"log --data x --from 3":                 "want partition@offset such as 3@81234, several joined by commas; see",
		"log --data x --from c@3":               "no control log",
		"log --data x --limit=-1":               "--limit -1",
		"log --data x --limit many":             "many",
		"log --data x --from 1@2 --partition 2": "--from 1@2 does not name it; add 2@0 there",
		"log --data x --unheard":                "unknown flag --unheard",
	} {
		got := drivetrain(t, strings.Fields(args)...)
		if got.code != 2 || got.out != "" || !strings.Contains(got.problems, want) || strings.Count(got.problems, "\n") != 1 {
			t.Errorf("%q: %+v\nwant %s", args, got, want)
		}
	}
}

func TestHelpAndVersionAreSaid(t *testing.T) {
	for args, want := range map[string]string{
		"--help":      "Looks at what a Drivetrain application has left behind, and tells one that runs",
		"view --help": "drivetrain view rebuild tribe-card --wait",
		"log --help":  "All events of a commit have the verdict of the commit.",
		"version":     "reads record headers up to format 1, fold snapshots of format 1",
	} {
		if got := drivetrain(t, strings.Fields(args)...); got.code != 0 || got.problems != "" || !strings.Contains(got.out, want) {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

func TestTheFileIsTheEmbeddedApplications(t *testing.T) {
	if file != embedded.File {
		t.Errorf("looks for %s, but embedded writes %s", file, embedded.File)
	}
}

// topics makes a log that holds empty topics.
func topics(t *testing.T, dir string, names ...string) string {
	t.Helper()
	log, err := boltlog.Open(filepath.Join(dir, file), boltlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for _, name := range names {
		if err := log.Ensure(t.Context(), eventlog.Topic{Name: name, Partitions: 1}); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func foreign(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strings.Repeat("another's", 2000)), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// database makes a bbolt file and lets fill put something into it.
func database(t *testing.T, fill func(*bbolt.Tx) error) string {
	t.Helper()
	dir := t.TempDir()
	change(t, dir, fill)
	return dir
}

func change(t *testing.T, dir string, fill func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, file), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if fill != nil {
		if err := db.Update(fill); err != nil {
			t.Fatal(err)
		}
	}
}

// newer makes a log of a later file format.
func newer(t *testing.T) string {
	t.Helper()
	dir := topics(t, t.TempDir())
	change(t, dir, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("drivetrain.log")).Put([]byte("format"), []byte{9})
	})
	return dir
}

func cut(t *testing.T) string {
	t.Helper()
	dir := folder(t, []eventlog.Record{claim(1)})
	if err := os.Truncate(filepath.Join(dir, file), int64(2*os.Getpagesize()+100)); err != nil {
		t.Fatal(err)
	}
	return dir
}

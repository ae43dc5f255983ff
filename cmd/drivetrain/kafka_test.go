package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

// cluster starts a fake one and returns its brokers as a flag takes them.
func cluster(t *testing.T, opts ...kfake.Opt) (*kfake.Cluster, string) {
	t.Helper()
	c := kafkatest.Start(t, opts...)
	return c, strings.Join(c.ListenAddrs(), ",")
}

// stranger is another program's client.
func stranger(t *testing.T, c *kfake.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(c.ListenAddrs()...), kgo.DisableClientMetrics())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// hold makes empty topics.
func hold(t *testing.T, c *kfake.Cluster, names ...string) {
	t.Helper()
	if len(names) == 0 {
		return
	}
	if _, err := kadm.NewClient(stranger(t, c)).CreateTopics(t.Context(), 1, 1, nil, names...); err != nil {
		t.Fatal(err)
	}
}

// wantProblem fails unless the program printed nothing and said want.
func wantProblem(t *testing.T, got result, want string) {
	t.Helper()
	if got.code != 1 || got.out != "" || !strings.Contains(got.problems, want) || strings.Count(got.problems, "\n") != 1 {
		t.Errorf("%+v\nwant %s", got, want)
	}
}

func TestATopicOfAClusterIsChosen(t *testing.T) {
	var many []string
	for n := range 23 {
		many = append(many, fmt.Sprintf("app-%02d.events", n))
	}
	for _, c := range []struct {
		name   string
		topics []string
		args   string
		want   string
	}{
		{"none there", nil, "", "the log holds no topic yet, or none that this user may see"},
		{"none of events", []string{"orders"}, "", "the log holds no topic whose name ends with .events; name another one with --topic"},
		{"unknown, none of events", []string{"orders"}, "--app shop", `the log holds no topic "shop.events"; nor one whose name ends with .events`},
		{"unknown", []string{"orders", "b.events", "a.events"}, "--topic a", `the log holds no topic "a"; of events it holds a.events, b.events` + "\n"},
		{"several", []string{"orders", "b.events", "a.events"}, "", "name the topic with --topic, or the application with --app; the log holds a.events, b.events\n"},
		{"many", many, "", "app-18.events, app-19.events, and 3 more\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake, brokers := cluster(t)
			hold(t, fake, c.topics...)
			wantProblem(t, drivetrain(t, append([]string{"log", "--brokers", brokers}, strings.Fields(c.args)...)...), c.want)
		})
	}
}

func TestTheOnlyTopicOfEventsNeedsNoName(t *testing.T) {
	fake, brokers := cluster(t)
	hold(t, fake, "orders", "events")
	write(t, connect(t, fake.ListenAddrs()), "app.events", []eventlog.Record{claim(1)})
	if got := brief(lines(t, drivetrain(t, "log", "--brokers", brokers))); got != "0@0 claim : claimed\n" {
		t.Errorf("printed %q", got)
	}
}

func TestTheEnvironmentNamesBrokersUnlessAFlagNamesALog(t *testing.T) {
	fake, brokers := cluster(t)
	write(t, connect(t, fake.ListenAddrs()), "app.events", []eventlog.Record{claim(1)})
	dir := folder(t, []eventlog.Record{probe(1)})
	const nobody = "KAFKA_BROKERS=127.0.0.1:1"
	for _, c := range []struct{ env, args, want string }{
		{"KAFKA_BROKERS=" + strings.ReplaceAll(brokers, ",", ", "), "", "claim"},
		{nobody, "--brokers " + brokers, "claim"},
		{nobody, "--data " + dir, "probe"},
	} {
		got := lines(t, drivetrainWith(t, []string{c.env}, append([]string{"log"}, strings.Fields(c.args)...)...))
		if len(got) != 1 || got[0].Kind != c.want {
			t.Errorf("%+v: printed %+v", c, got)
		}
	}
	wantProblem(t, drivetrainWith(t, []string{nobody}, "log"), "no broker answers at 127.0.0.1:1, without TLS: ")
}

func TestTheEnvironmentSaysHowToConnect(t *testing.T) {
	_, brokers := cluster(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "maya", "secret"))
	env := func(password string) []string {
		return []string{"KAFKA_SASL=scram-sha-256", "KAFKA_USER=maya", "KAFKA_PASSWORD=" + password}
	}
	wantProblem(t, drivetrainWith(t, env("secret"), "log", "--brokers", brokers), "holds no topic yet")
	got := drivetrainWith(t, env("hunter2"), "log", "--brokers", brokers)
	wantProblem(t, got, "with SASL scram-sha-256 as maya, without TLS: ")
	if strings.Contains(got.problems, "hunter2") {
		t.Errorf("the password is shown: %s", got.problems)
	}
	got = drivetrainWith(t, append(env("secret"), "KAFKA_TLS=yes"), "log", "--brokers", brokers)
	wantProblem(t, got, "with TLS: ")
}

// Kafka's markers end what others write in transactions, so the last offset may
// be none of a record.
func TestATopicThatIsNotOursIsForeign(t *testing.T) {
	fake, brokers := cluster(t)
	hold(t, fake, "orders")
	client := stranger(t, fake, kgo.TransactionalID("shop"), kgo.DefaultProduceTopic("orders"))
	record := &kgo.Record{Key: []byte("7"), Value: []byte("two books")}
	if err := errors.Join(client.BeginTransaction(), client.ProduceSync(t.Context(), record).FirstErr(),
		client.EndTransaction(t.Context(), kgo.TryCommit)); err != nil {
		t.Fatal(err)
	}
	got := lines(t, drivetrain(t, "log", "--brokers", brokers, "--topic", "orders"))
	if len(got) != 2 || got[0].Key != "7" || string(got[0].DataBytes) != "two books" {
		t.Fatalf("printed %+v", got)
	}
	for _, l := range got {
		if l.Kind != "foreign" || l.Verdict != "void" || l.Reason != "foreign record" {
			t.Errorf("printed %+v", l)
		}
	}
}

func TestALogWhoseBeginningWasDeletedIsPrintedWithAWarning(t *testing.T) {
	fake, brokers := cluster(t)
	records := []eventlog.Record{claim(1), fact("a/1", 1, 1, 1, 0, 1), claim(2), fact("a/1", 2, 2, 2, 0, 1), fact("b/1", 1, 2, 3, 0, 1)}
	write(t, connect(t, fake.ListenAddrs()), "app.events", records, []eventlog.Record{claim(1)})
	below := kadm.Offsets{}
	below.AddOffset("app.events", 0, 2, -1)
	if _, err := kadm.NewClient(stranger(t, fake)).DeleteRecords(t.Context(), below); err != nil {
		t.Fatal(err)
	}
	const warning = "drivetrain: app.events/0 begins at 2: the records before it were deleted, and without them verdicts may be wrong\n"
	for args, want := range map[string]string{
		"":              "0@2 claim : claimed\n0@3 event a/1: void version does not follow\n0@4 event b/1: valid\n1@0 claim : claimed\n",
		"--from 0@4":    "0@4 event b/1: valid\n",
		"--partition 0": "0@2 claim : claimed\n0@3 event a/1: void version does not follow\n0@4 event b/1: valid\n",
	} {
		got := drivetrain(t, append([]string{"log", "--brokers", brokers}, strings.Fields(args)...)...)
		if got.code != 0 || brief(parse(t, got.out)) != want || got.problems != warning {
			t.Errorf("%q: %+v\nwant %s", args, got, want)
		}
	}
}

func TestItOnlyReads(t *testing.T) {
	fake, brokers := cluster(t)
	write(t, connect(t, fake.ListenAddrs()), "app.events", []eventlog.Record{claim(1)})
	var mu sync.Mutex
	asked := map[string]bool{}
	fake.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		asked[kmsg.NameForKey(req.Key())] = true
		return nil, nil, false
	})
	lines(t, drivetrain(t, "log", "--brokers", brokers))
	wantProblem(t, drivetrain(t, "log", "--brokers", brokers, "--topic", "other"), `no topic "other"`)
	mu.Lock()
	defer mu.Unlock()
	for _, may := range []string{"ApiVersions", "Metadata", "ListOffsets", "Fetch"} {
		if !asked[may] {
			t.Errorf("it did not ask for %s", may)
		}
		delete(asked, may)
	}
	if len(asked) > 0 {
		t.Errorf("it asked for %v", asked)
	}
}

func TestALogIsFollowedUntilInterrupted(t *testing.T) {
	brokers, app := kafkatest.Brokers(t), fmt.Sprintf("followed-%d", os.Getpid())
	log := connect(t, brokers)
	write(t, log, app+".events", []eventlog.Record{claim(1)}, nil)
	cmd := command(t, nil, "log", "--brokers", strings.Join(brokers, ","), "--app", app, "-f")
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	printed := bufio.NewScanner(out)
	next := func() string {
		t.Helper()
		if !printed.Scan() {
			t.Fatalf("it ended: %s", problems.String())
		}
		return brief(parse(t, printed.Text()))
	}
	if got := next(); got != "0@0 claim : claimed\n" {
		t.Errorf("what was there is printed as %s", got)
	}
	for n := range uint64(3) {
		add(t, log, app+".events", 1, claim(n+1))
		if got, want := next(), fmt.Sprintf("1@%d claim : claimed\n", n); got != want {
			t.Errorf("what came is printed as %s, want %s", got, want)
		}
	}
	add(t, log, app+".events", 0, fact("a/1", 1, 1, 1, 0, 2), fact("a/1", 2, 1, 1, 1, 2), fact("b/1", 1, 1, 2, 0, 2))
	if got := next() + next(); got != "0@1 event a/1: valid\n0@2 event a/1: valid\n" {
		t.Errorf("a commit is printed as\n%s", got)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if got := next(); got != "0@3 event b/1: open\n" {
		t.Errorf("a commit that has not ended is printed as %s", got)
	}
	if err := cmd.Wait(); err != nil || problems.String() != "" {
		t.Errorf("interrupted, it ended with %v: %s", err, problems.String())
	}
}

func TestFollowingEndsAtTheLimit(t *testing.T) {
	fake, brokers := cluster(t)
	write(t, connect(t, fake.ListenAddrs()), "app.events", []eventlog.Record{claim(1), claim(2)}, []eventlog.Record{claim(1), claim(2)}, nil)
	if got := lines(t, drivetrain(t, "log", "--brokers", brokers, "--follow", "--limit", "3")); len(got) != 3 {
		t.Errorf("printed %+v", got)
	}
}

func TestFollowingEndsWithAPartitionThatCannotGoOn(t *testing.T) {
	fake, brokers := cluster(t)
	newer := eventlog.Record{Header: []byte("hm")} // of format 104
	write(t, connect(t, fake.ListenAddrs()), "app.events", nil, []eventlog.Record{newer})
	wantProblem(t, drivetrain(t, "log", "--brokers", brokers, "--follow"), "partition 1: record 0: written by a newer version")
}

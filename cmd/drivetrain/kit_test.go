package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

var binary string // the built program

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "drivetrain")
	if err == nil {
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "drivetrain")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the program:", err)
		return 1
	}
	return m.Run()
}

type result struct {
	code          int
	out, problems string
}

func drivetrain(t *testing.T, args ...string) result {
	t.Helper()
	return drivetrainWith(t, nil, args...)
}

// drivetrainWith runs the program with settings of the environment.
func drivetrainWith(t *testing.T, env []string, args ...string) result {
	t.Helper()
	var out, problems bytes.Buffer
	cmd := command(t, env, args...)
	cmd.Stdout, cmd.Stderr = &out, &problems
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), problems.String()}
}

// command is the program, to be started. Of Kafka it knows what env says.
func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "KAFKA_") })
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// lines reads what the program printed, and fails unless it went well.
func lines(t *testing.T, got result) []line {
	t.Helper()
	if got.code != 0 || got.problems != "" {
		t.Fatalf("exit code %d: %s", got.code, got.problems)
	}
	return parse(t, got.out)
}

func parse(t *testing.T, out string) []line {
	t.Helper()
	var ls []line
	for text := range strings.Lines(out) {
		var l line
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		ls = append(ls, l)
	}
	return ls
}

// brief returns lines as "offset kind key verdict reason".
func brief(ls []line) string {
	var b strings.Builder
	for _, l := range ls {
		fmt.Fprintln(&b, strings.TrimSpace(fmt.Sprintf("%d@%d %s %s: %s %s", l.Partition, l.Offset, l.Kind, l.Key, l.Verdict, l.Reason)))
	}
	return b.String()
}

// writers are the logs that there are: each writes the partitions of a topic and
// returns the flags by which it is printed.
func writers() map[string]func(t *testing.T, parts ...[]eventlog.Record) []string {
	return map[string]func(t *testing.T, parts ...[]eventlog.Record) []string{
		"in a folder": func(t *testing.T, parts ...[]eventlog.Record) []string {
			t.Helper()
			return []string{"log", "--data", folder(t, parts...)}
		},
		"on Kafka": func(t *testing.T, parts ...[]eventlog.Record) []string {
			t.Helper()
			brokers, app := kafkatest.Brokers(t), fmt.Sprintf("drivetrain-%d", time.Now().UnixNano())
			write(t, connect(t, brokers), app+".events", parts...)
			return []string{"log", "--brokers", strings.Join(brokers, ","), "--app", app}
		},
	}
}

// write makes a topic of parts.
func write(t *testing.T, log eventlog.Log, topic string, parts ...[]eventlog.Record) {
	t.Helper()
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: topic, Partitions: len(parts)}); err != nil {
		t.Fatal(err)
	}
	for n, records := range parts {
		if len(records) > 0 {
			add(t, log, topic, int32(n), records...)
		}
	}
}

func add(t *testing.T, log eventlog.Log, topic string, part int32, records ...eventlog.Record) {
	t.Helper()
	if _, err := log.Append(t.Context(), topic, part, records); err != nil {
		t.Fatal(err)
	}
}

// folder makes a data folder with a log of one topic.
func folder(t *testing.T, parts ...[]eventlog.Record) string {
	t.Helper()
	dir := t.TempDir()
	log, err := boltlog.Open(filepath.Join(dir, file), boltlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	write(t, log, "app.events", parts...)
	return dir
}

// connect opens a log on Kafka that is closed with the test.
func connect(t *testing.T, brokers []string) *kafkalog.Log {
	t.Helper()
	log, err := kafkalog.Open(t.Context(), kafkalog.Config{Brokers: brokers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}

var at = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

func id(n byte) event.ID { return event.NewID(at, [10]byte{9: n}) }

func claim(epoch uint64) eventlog.Record {
	return eventlog.Record{Header: partition.ClaimHeader(partition.Claim{Epoch: epoch, Owner: id(byte(epoch))})}
}

func probe(epoch uint64) eventlog.Record {
	return eventlog.Record{Header: partition.ProbeHeader(partition.Claim{Epoch: epoch, Owner: id(byte(epoch))})}
}

func heartbeat(epoch uint64) eventlog.Record {
	return eventlog.Record{Header: partition.HeartbeatHeader(partition.Claim{Epoch: epoch, Owner: id(byte(epoch))}, at.UnixNano())}
}

// fact is event index of count of a command.
func fact(key string, version, epoch uint64, command byte, index, count int) eventlog.Record {
	e := event.Envelope{ID: id(100 + command), Command: id(command), Type: "it.happened", Version: version, Epoch: epoch,
		Index: index, Count: count, Time: at, Actor: "maya"}
	return eventlog.Record{Key: []byte(key), Header: e.Append(nil), Value: []byte(`{"n":12345678901234567890,"text":"<a>"}`)}
}

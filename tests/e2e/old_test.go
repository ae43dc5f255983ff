package e2e

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

func mapOf(t *testing.T, doc string) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(doc), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

const oldPartitions = 16

// oldKey is the idempotency key of the command that made an aggregate in
// writeOldLog: a UUIDv7 of that time.
func oldKey(at time.Time) string { return event.NewID(at, [10]byte{1}).String() }

// writeOldLog writes a log as an earlier version left it: names and shapes of
// events that are not written any more.
func writeOldLog(t *testing.T, folder string, at time.Time) {
	t.Helper()
	log, err := boltlog.Open(filepath.Join(folder, "drivetrain.db"), boltlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	topic := eventlog.Topic{Name: "drivetribe.events", Partitions: oldPartitions}
	if err := log.Ensure(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	for _, old := range []struct{ aggregate, id, name, data string }{
		{"tribe", "hikers", "tribe.created", `{"name":"Hikers"}`},
		{"post", "ridge", "post.published.v0", `{"tribe":"hikers","author":"maya","body":"The ridge is open."}`},
	} {
		key := partition.Key(old.aggregate, old.id)
		part := eventlog.PartitionOf(key, oldPartitions)
		end, err := log.End(t.Context(), topic.Name, part)
		if err != nil {
			t.Fatal(err)
		}
		command := event.Scoped(oldKey(at), "maya", old.aggregate, old.id)
		e := event.Envelope{ID: command.Derive(1, at), Command: command, Type: old.name, Version: 1, Epoch: uint64(end) + 1,
			Count: 1, Time: at, Actor: "maya"}
		if _, err := log.Append(t.Context(), topic.Name, part, []eventlog.Record{
			{Header: partition.ClaimHeader(partition.Claim{Epoch: uint64(end) + 1, Owner: event.NewID(at, [10]byte{2})})},
			{Key: key, Header: e.Append(nil), Value: []byte(old.data)},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestALogOfLongAgoIsRead starts the program on a log with a renamed and a
// reshaped event. It goes on with the aggregates and shows them under today's
// names; a command whose outcome is forgotten by then is not run again.
func TestALogOfLongAgoIsRead(t *testing.T) {
	if !alone() {
		return
	}
	t.Parallel()
	data, at := t.TempDir(), time.Now().Add(-48*time.Hour)
	writeOldLog(t, data, at)
	p := startReady(t, data)
	joined := must(t, p, "ines", "/v1/tribe/hikers/join", "")
	bumped := must(t, p, "ines", "/v1/post/ridge/bump", "")
	if joined.Version != 2 || bumped.Version != 2 {
		t.Errorf("versions %d and %d, want 2 and 2", joined.Version, bumped.Version)
	}
	for path, want := range map[string]string{
		"/v1/views/tribe-card/hikers": `{"id":"hikers","name":"Hikers","members":1,"posts":1}`,
		"/v1/views/post-card/ridge":   `{"id":"ridge","tribe":"hikers","author":"maya","text":"The ridge is open.","bumps":1,"comments":0}`,
	} {
		a, err := ask(t.Context(), http.MethodGet, p.base+path, "", "Min-Position", joined.Position+","+bumped.Position)
		if err != nil || !sameJSON(string(a.body), mapOf(t, want)) {
			t.Errorf("%s: %d %s, %v, want %s", path, a.status, a.body, err, want)
		}
	}
	if status, doc := p.try("/v1/tribe/hikers/events"); status != 200 || !strings.Contains(doc, `"type":"tribe.founded"`) || strings.Contains(doc, "created") {
		t.Errorf("events of the tribe: %d %s", status, doc)
	}
	tooLate(t, p, at)
}

// tooLate sends the command of long ago again: its outcome was forgotten when the
// new events came.
func tooLate(t *testing.T, p *program, at time.Time) {
	t.Helper()
	a, err := ask(t.Context(), http.MethodPost, p.base+"/v1/tribe/hikers/found", `{"name":"Hikers"}`, "User", "maya", "Idempotency-Key", oldKey(at))
	if err != nil {
		t.Fatal(err)
	}
	if got := readProblem(t, a); a.status != http.StatusConflict || got.Type != "/problems/too-late-to-retry" {
		t.Errorf("a retry of two days ago: %d %s", a.status, a.body)
	}
}

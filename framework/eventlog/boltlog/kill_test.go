//go:build unix

package boltlog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
	"github.com/drivetrain-go/drivetrain/internal/children"
)

const (
	killTopic      = "kill"
	killPartitions = 3
)

// appendForEver appends batches whose records tell what belongs together, and
// prints each that was acknowledged.
func appendForEver(path string) error {
	l, err := boltlog.Open(path, boltlog.Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := l.Ensure(ctx, eventlog.Topic{Name: killTopic, Partitions: killPartitions}); err != nil {
		return err
	}
	failed := make(chan error)
	for who := range 6 {
		go func() {
			for i := 0; ; i++ {
				part, n := int32(who%killPartitions), 1+i%5
				id := fmt.Sprintf("%d.%d.%d", os.Getpid(), who, i)
				base, err := l.Append(ctx, killTopic, part, killBatch(id, n))
				if err != nil {
					failed <- err
					return
				}
				// One write of a line is one system call: a kill cannot tear it.
				os.Stdout.WriteString(fmt.Sprintf("%d %d %d %s\n", part, base, n, id))
			}
		}()
	}
	return <-failed
}

func killBatch(id string, n int) []eventlog.Record {
	var b []eventlog.Record
	for i := range n {
		b = append(b, eventlog.Record{Key: []byte(id), Value: fmt.Appendf(nil, "%d/%d %s", i, n, strings.Repeat("x", 200*i))})
	}
	return b
}

func TestWhatWasAcknowledgedSurvivesKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	acked := map[string]string{} // id → part, base and number
	for round := range 5 {
		killedAs(t, "append", path, time.Duration(50+rand.IntN(250))*time.Millisecond, func(f []string) {
			acked[f[3]] = strings.Join(f[:3], " ")
		})
		if len(acked) == 0 {
			t.Fatalf("round %d: nothing was acknowledged", round)
		}
		verifyKilled(t, path, acked)
	}
	t.Logf("%d batches acknowledged", len(acked))
}

// killedAs runs a child, kills it some time after its first acknowledgement and
// tells what it acknowledged, each as four fields.
func killedAs(t *testing.T, child, path string, after time.Duration, acked func(fields []string)) {
	t.Helper()
	children.Kill(t, child, path, after, func(line string) {
		if f := strings.Fields(line); len(f) == 4 {
			acked(f)
		}
	})
}

// verifyKilled checks that all acknowledged batches are there, once, and that
// whatever is there is whole.
func verifyKilled(t *testing.T, path string, acked map[string]string) {
	t.Helper()
	l := open(t, path, boltlog.Options{})
	defer l.Close()
	found := map[string]bool{}
	for part := range int32(killPartitions) {
		all := readAll(t, l, killTopic, part)
		for at := 0; at < len(all); {
			id := string(all[at].Key)
			var i, n int
			if _, err := fmt.Sscanf(string(all[at].Value), "%d/%d", &i, &n); err != nil || i != 0 || at+n > len(all) {
				t.Fatalf("batch %s is torn at %d of %d", id, at, len(all))
			}
			want := killBatch(id, n)
			for j, rec := range all[at : at+n] {
				if string(rec.Key) != id || string(rec.Value) != string(want[j].Value) {
					t.Fatalf("batch %s is torn at its record %d", id, j)
				}
			}
			where := fmt.Sprint(part, at, n)
			if found[id] {
				t.Fatalf("batch %s is there twice", id)
			}
			if a, ok := acked[id]; ok && a != where {
				t.Fatalf("batch %s was acknowledged at %s and is at %s", id, a, where)
			}
			found[id] = true
			at += n
		}
	}
	for id, where := range acked {
		if !found[id] {
			t.Fatalf("batch %s, acknowledged at %s, is lost", id, where)
		}
	}
}

// readAll returns a partition's records.
func readAll(t *testing.T, l eventlog.Log, topic string, part int32) []eventlog.Record {
	t.Helper()
	end, err := l.End(t.Context(), topic, part)
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Read(topic, part, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []eventlog.Record
	for int64(len(all)) < end {
		run, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, run...)
	}
	return all
}

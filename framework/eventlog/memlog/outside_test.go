package memlog_test

import (
	"errors"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/eventlogtest"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
)

func TestOutside(t *testing.T) {
	eventlogtest.Outside(t, eventlogtest.OutsideFeatures{
		Remake: func(_ *testing.T, log eventlog.Log, topic string) { log.(*memlog.Log).Remake(topic) },
	}, func(*testing.T) eventlog.Log { return memlog.New() })
}

func TestTransact(t *testing.T) {
	logs := make(map[*testing.T]*memlog.Log)
	eventlogtest.Transact(t, func(t *testing.T) eventlog.Log {
		if logs[t] == nil {
			logs[t] = memlog.New()
		}
		return logs[t].Connect()
	})
}

func TestACommitSuffersItsFaults(t *testing.T) {
	for _, c := range []struct {
		fault    memlog.Fault
		want     error
		surely   bool // the error says that it was not committed
		happened bool
	}{
		{memlog.None, nil, false, true},
		{memlog.Late, nil, false, true}, // is no fault of a commit
		{memlog.Lost, memlog.ErrNoAnswer, false, false},
		{memlog.Unacked, memlog.ErrNoAnswer, false, true},
		{memlog.Fenced, eventlog.ErrFenced, true, false},
	} {
		log := memlog.New()
		if err := log.Ensure(t.Context(), eventlog.Topic{Name: "t", Partitions: 2}); err != nil {
			t.Fatal(err)
		}
		tx, err := log.Transact(t.Context(), "name")
		if err != nil {
			t.Fatal(err)
		}
		log.OnCommit(func(name string) memlog.Fault {
			if name != "name" {
				t.Errorf("the hook was told of %q", name)
			}
			return c.fault
		})
		outputs := []eventlog.Output{{Topic: "t", Partition: 0, Records: []eventlog.Record{{}}}, {Topic: "t", Partition: 1, Records: []eventlog.Record{{}, {}}}}
		err = tx.Commit(t.Context(), outputs, "g", "t", 0, 9)
		if !errors.Is(err, c.want) || errors.Is(err, eventlog.ErrNotCommitted) != c.surely {
			t.Errorf("%v: %v, want %v", c.fault, err, c.want)
		}
		log.OnCommit(nil)
		if again := tx.Commit(t.Context(), nil, "g", "t", 0, 10); (again == nil) != (c.want == nil) {
			t.Errorf("%v: the next commit: %v", c.fault, again)
		}
		tx, err = log.Transact(t.Context(), "name")
		if err != nil {
			t.Fatal(err)
		}
		next, err := tx.Committed(t.Context(), "g", "t", 0)
		if want := map[bool]int64{true: 9, false: -1}[c.happened]; c.want != nil && next != want || err != nil {
			t.Errorf("%v: offset %d, %v, want %d", c.fault, next, err, want)
		}
		if n := len(log.Records("t", 0)) + len(log.Records("t", 1)); n != map[bool]int{true: 3, false: 0}[c.happened] {
			t.Errorf("%v: %d records, committed %v", c.fault, n, c.happened)
		}
	}
}

func TestCommitFaultsAreDrawnByTheSeed(t *testing.T) {
	run := func(seed uint64) (counts [3]int) {
		log := memlog.New()
		log.SetFaults(seed, memlog.Faults{CommitLost: 0.2, CommitUnacked: 0.2, CommitFenced: 0.2})
		for range 200 {
			tx, err := log.Transact(t.Context(), "name")
			if err != nil {
				t.Fatal(err)
			}
			_ = tx.Commit(t.Context(), nil, "g", "t", 0, 1)
		}
		return [3]int{log.Count(memlog.Lost), log.Count(memlog.Unacked), log.Count(memlog.Fenced)}
	}
	a, again := run(1), run(1)
	if a != again || min(a[0], a[1], a[2]) < 15 {
		t.Errorf("faults %v and %v, want the same, and about 40 of each", a, again)
	}
}

package control_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

func held(cut, generation int, partition int32, next int64) eventlog.Record {
	return control.Held{ID: id(cut), Generation: generation, Partition: partition, Next: next}.Record()
}

// TestACutSaysWhereItHolds: the cut is of generations 3 and 4 at offset 7 of
// partition 0.
func TestACutSaysWhereItHolds(t *testing.T) {
	both := []eventlog.Record{generation(3, 3), turn(1, 0, 3), generation(4, 5), cut(1, 3, 4)}
	for name, row := range map[string]struct {
		then []eventlog.Record
		next int64 // where generation 4 is held; -1: it is not
		took bool
	}{
		"it is held":                       {[]eventlog.Record{held(1, 4, 0, 9)}, 9, true},
		"at the offset itself":             {[]eventlog.Record{held(1, 4, 0, 7)}, 7, true},
		"not before it":                    {[]eventlog.Record{held(1, 4, 0, 6)}, -1, false},
		"the last word counts":             {[]eventlog.Record{held(1, 4, 0, 9), held(1, 4, 0, 12)}, 12, true},
		"not at another partition":         {[]eventlog.Record{held(1, 4, 1, 9)}, -1, false},
		"not another generation":           {[]eventlog.Record{held(1, 5, 0, 9)}, -1, false},
		"not by a cut that is not":         {[]eventlog.Record{held(2, 4, 0, 9)}, -1, false},
		"not by one that was released":     {[]eventlog.Record{held(1, 4, 0, 9), control.Released{ID: id(1)}.Record()}, -1, true},
		"nor when it comes behind that":    {[]eventlog.Record{control.Released{ID: id(1)}.Record(), held(1, 4, 0, 9)}, -1, false},
		"nor once a generation is retired": {[]eventlog.Record{held(1, 3, 0, 9), retired(4)}, -1, true},
	} {
		f := folded(t, append(both[:len(both):len(both)], row.then...)...)
		h, ok := f.Held(id(1), 4, 0)
		next := h.Next
		if !ok {
			next = -1
		}
		if next != row.next || f.Took() != row.took {
			t.Errorf("%s: held at %d, took %v; want %d, %v", name, next, f.Took(), row.next, row.took)
		}
	}
}

// testdata/v1/held.txt is read for ever. No test writes it.
func TestTheRecordOfWhatIsHeldIsReadAsItWasFirstWritten(t *testing.T) {
	text, err := os.ReadFile("testdata/v1/held.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	header, value, _ := strings.Cut(lines[len(lines)-1], " ")
	want := control.Held{ID: event.ID{0: 3, 15: 0xfc}, Generation: 2, Partition: 15, Next: 81}.Record()
	if got := hex.EncodeToString(want.Header); got != header || string(want.Value) != value {
		t.Errorf("written is %s %s, was %s %s", got, want.Value, header, value)
	}
}

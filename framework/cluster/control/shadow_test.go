package control_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

func shadow(number, nth int, share float64) eventlog.Record {
	return control.Shadow{View: "cards", Number: number, Turn: nth, Share: share, At: noon}.Record()
}

// TestWhatShareOfTheQueriesAGenerationIsAsked: generation 3 is read, 4 and 5 are there
// beside it. What is expected is of generation 4.
func TestWhatShareOfTheQueriesAGenerationIsAsked(t *testing.T) {
	all := []eventlog.Record{generation(3, 3), turn(1, 0, 3), generation(4, 4), generation(5, 4)}
	long := control.Shadow{View: "cards", Number: 4, Turn: 1, Share: 0.1, By: strings.Repeat("x", control.MaxText+1)}
	for name, row := range map[string]struct {
		then []eventlog.Record
		want control.Shadowing
		took bool
	}{
		"a share":                              {[]eventlog.Record{shadow(4, 1, 0.1)}, control.Shadowing{Share: 0.1, Turn: 1, Begun: 1}, true},
		"another one goes on":                  {[]eventlog.Record{shadow(4, 1, 0.1), shadow(4, 2, 1)}, control.Shadowing{Share: 1, Turn: 2, Begun: 1}, true},
		"none ends it":                         {[]eventlog.Record{shadow(4, 1, 0.1), shadow(4, 2, 0)}, control.Shadowing{Turn: 2, Begun: 1}, true},
		"then it begins anew":                  {[]eventlog.Record{shadow(4, 1, 0.1), shadow(4, 2, 0), shadow(4, 3, 0.2)}, control.Shadowing{Share: 0.2, Turn: 3, Begun: 3}, true},
		"the same share is none":               {[]eventlog.Record{shadow(4, 1, 0.1), shadow(4, 2, 0.1)}, control.Shadowing{Share: 0.1, Turn: 1, Begun: 1}, false},
		"nothing is ended that has not begun":  {[]eventlog.Record{shadow(4, 1, 0)}, control.Shadowing{}, false},
		"not by who missed a turn":             {[]eventlog.Record{shadow(4, 1, 0.1), shadow(4, 1, 0.2)}, control.Shadowing{Share: 0.1, Turn: 1, Begun: 1}, false},
		"a late copy begins nothing":           {[]eventlog.Record{shadow(4, 1, 0.1), shadow(4, 2, 0), shadow(4, 1, 0.1)}, control.Shadowing{Turn: 2, Begun: 1}, false},
		"not more than all":                    {[]eventlog.Record{shadow(4, 1, 1.01)}, control.Shadowing{}, false},
		"nor less than none":                   {[]eventlog.Record{shadow(4, 1, -0.1)}, control.Shadowing{}, false},
		"not the one that is read":             {[]eventlog.Record{shadow(3, 1, 0.1)}, control.Shadowing{}, false},
		"nor what is not there":                {[]eventlog.Record{shadow(6, 1, 0.1)}, control.Shadowing{}, false},
		"nor by a long name":                   {[]eventlog.Record{long.Record()}, control.Shadowing{}, false},
		"a switch to it ends it":               {[]eventlog.Record{shadow(4, 1, 0.1), turn(2, 3, 4)}, control.Shadowing{Turn: 2, Begun: 1}, true},
		"one to another ends it":               {[]eventlog.Record{shadow(4, 1, 0.1), turn(2, 3, 5)}, control.Shadowing{Turn: 2, Begun: 1}, true},
		"a late record begins nothing then":    {[]eventlog.Record{shadow(4, 1, 0.1), turn(2, 3, 5), shadow(4, 2, 0.2)}, control.Shadowing{Turn: 2, Begun: 1}, false},
		"retiring it ends it":                  {[]eventlog.Record{shadow(4, 1, 0.1), retired(4)}, control.Shadowing{Turn: 2, Begun: 1}, true},
		"what is retired is not asked":         {[]eventlog.Record{retired(4), shadow(4, 1, 0.1)}, control.Shadowing{}, false},
		"retiring another one changes nothing": {[]eventlog.Record{shadow(4, 1, 0.1), retired(5)}, control.Shadowing{Share: 0.1, Turn: 1, Begun: 1}, true},
	} {
		f := folded(t, append(all[:len(all):len(all)], row.then...)...)
		l := f.Lineage("cards")
		if got := l.Find(4).Shadowed; got != row.want || f.Took() != row.took {
			t.Errorf("%s: %+v, took %v; want %+v, %v", name, got, f.Took(), row.want, row.took)
		}
	}
	if f := folded(t, generation(3, 3), shadow(3, 1, 0.1)); f.Took() {
		t.Error("where none is read, one is asked too")
	}
}

// testdata/v1/shadow.txt is read for ever. No test writes it.
func TestTheRecordOfAShareIsReadAsItWasFirstWritten(t *testing.T) {
	text, err := os.ReadFile("testdata/v1/shadow.txt")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 26, 12, 30, 15, 123456789, time.UTC)
	want := []control.Shadow{{View: "tribe-card", Number: 2, Turn: 1, Share: 0.05, By: "maya", At: at}, {View: "tribe-card", Number: 2, Turn: 2, At: at}}
	records := []eventlog.Record{control.Generation{View: "tribe-card", Number: 1, Version: 1}.Record(),
		control.Switch{View: "tribe-card", Turn: 1, To: 1}.Record(), control.Generation{View: "tribe-card", Number: 2, Version: 1}.Record()}
	n := 0
	for line := range strings.Lines(string(text)) {
		header, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if r := want[n].Record(); hex.EncodeToString(r.Header) != header || string(r.Value) != value {
			t.Errorf("written is %x %s, was %s", r.Header, r.Value, line)
		}
		head, err := hex.DecodeString(header)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, eventlog.Record{Header: head, Value: []byte(value)})
		f := folded(t, records...)
		l := f.Lineage("tribe-card")
		if got := l.Find(2).Shadowed; !f.Took() || got.Share != want[n].Share || got.Turn != want[n].Turn {
			t.Errorf("%s makes %+v, took %v", line, got, f.Took())
		}
		n++
	}
	if n != len(want) {
		t.Errorf("%d records", n)
	}
}

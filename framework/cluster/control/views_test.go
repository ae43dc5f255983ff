package control_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func generation(number, version int) eventlog.Record {
	return control.Generation{View: "cards", Number: number, Version: version, At: noon}.Record()
}

func turn(nth, from, to int) eventlog.Record {
	return control.Switch{View: "cards", Turn: nth, From: from, To: to, At: noon}.Record()
}

func retired(number int) eventlog.Record {
	return control.Retired{View: "cards", Number: number, At: noon}.Record()
}

func cut(n int, generations ...int) eventlog.Record {
	return control.Cut{View: "cards", ID: id(n), Generations: generations, At: map[int32]int64{0: 7}, Until: noon}.Record()
}

// state is what a fold says of a view, in one line.
func state(f *control.Fold) string {
	var b strings.Builder
	for _, g := range f.Lineage("cards").Generations {
		fmt.Fprintf(&b, "%dv%d", g.Number, g.Version)
		if g.Retired != nil {
			b.WriteString("-")
		}
		if g.Dropped {
			b.WriteString("-")
		}
		b.WriteString(" ")
	}
	fmt.Fprintf(&b, "read %d", f.Read("cards"))
	for _, c := range f.Cuts() {
		fmt.Fprintf(&b, " cut %v", c.Generations)
	}
	return b.String()
}

// TestWhatARecordOfAViewDoes: each row is a log, and what it makes. The last record of
// each takes effect or not, as took says.
func TestWhatARecordOfAViewDoes(t *testing.T) {
	first := []eventlog.Record{generation(3, 3), turn(1, 0, 3)}
	both := append(slices.Clone(first), generation(4, 5))
	log := func(before []eventlog.Record, then ...eventlog.Record) []eventlog.Record {
		return append(slices.Clone(before), then...)
	}
	for name, row := range map[string]struct {
		log  []eventlog.Record
		want string
		took bool
	}{
		"a view begins with any number":              {log(nil, generation(3, 2)), "3v2 read 0", true},
		"but not with none":                          {log(nil, generation(0, 2)), "read 0", false},
		"nor of no version":                          {log(nil, generation(1, 0)), "read 0", false},
		"the first is read":                          {first, "3v3 read 3", true},
		"the next number is built":                   {both, "3v3 4v5 read 3", true},
		"a number that is taken is not":              {log(both, generation(4, 6)), "3v3 4v5 read 3", false},
		"nor one that leaves others out":             {log(both, generation(6, 6)), "3v3 4v5 read 3", false},
		"it is switched to":                          {log(both, turn(2, 3, 4)), "3v3 4v5 read 4", true},
		"not from what is not read":                  {log(both, turn(2, 4, 3)), "3v3 4v5 read 3", false},
		"not from nothing once something is":         {log(both, turn(2, 0, 4)), "3v3 4v5 read 3", false},
		"not to what is not there":                   {log(both, turn(2, 3, 5)), "3v3 4v5 read 3", false},
		"not to itself":                              {log(both, turn(2, 3, 3)), "3v3 4v5 read 3", false},
		"not at another's turn":                      {log(both, turn(1, 3, 4)), "3v3 4v5 read 3", false},
		"and back":                                   {log(both, turn(2, 3, 4), turn(3, 4, 3)), "3v3 4v5 read 3", true},
		"a late copy does not undo that":             {log(both, turn(2, 3, 4), turn(3, 4, 3), turn(2, 3, 4)), "3v3 4v5 read 3", false},
		"what is read is not retired":                {log(both, retired(3)), "3v3 4v5 read 3", false},
		"what is not is":                             {log(both, retired(4)), "3v3 4v5- read 3", true},
		"once":                                       {log(both, retired(4), retired(4)), "3v3 4v5- read 3", false},
		"what is not there is not":                   {log(both, retired(5)), "3v3 4v5 read 3", false},
		"a retired one is not switched to":           {log(both, retired(4), turn(2, 3, 4)), "3v3 4v5- read 3", false},
		"its number is not given again":              {log(both, retired(4), generation(4, 6)), "3v3 4v5- read 3", false},
		"the next one is":                            {log(both, retired(4), generation(5, 5)), "3v3 4v5- 5v5 read 3", true},
		"a retired one is dropped":                   {log(both, retired(4), control.Dropped{View: "cards", Number: 4}.Record()), "3v3 4v5-- read 3", true},
		"another is not":                             {log(both, control.Dropped{View: "cards", Number: 4}.Record()), "3v3 4v5 read 3", false},
		"a cut stands":                               {log(both, cut(1, 3, 4)), "3v3 4v5 read 3 cut [3 4]", true},
		"once of its name":                           {log(both, cut(1, 3, 4), cut(1, 3)), "3v3 4v5 read 3 cut [3 4]", false},
		"not of what is not there":                   {log(both, cut(1, 3, 5)), "3v3 4v5 read 3", false},
		"until it is released":                       {log(both, cut(1, 3, 4), control.Released{ID: id(1)}.Record()), "3v3 4v5 read 3", true},
		"a late copy does not stand":                 {log(both, cut(1, 3, 4), control.Released{ID: id(1)}.Record(), cut(1, 3, 4)), "3v3 4v5 read 3", false},
		"what does not stand is not released":        {log(both, control.Released{ID: id(1)}.Record()), "3v3 4v5 read 3", false},
		"a cut ends with a generation that it is of": {log(both, cut(1, 3, 4), cut(2, 3), retired(4)), "3v3 4v5- read 3 cut [3]", true},
	} {
		f := folded(t, row.log...)
		if got := state(f); got != row.want || f.Took() != row.took {
			t.Errorf("%s: %s, took %v; want %s, %v", name, got, f.Took(), row.want, row.took)
		}
	}
}

// What is beyond the limits has no effect, or lets the oldest be forgotten.
func TestTheLimitsOfWhatIsKeptOfAView(t *testing.T) {
	long := strings.Repeat("x", control.MaxText+1)
	records := []eventlog.Record{
		control.Generation{View: "cards", Number: 1, Version: 1, By: long}.Record(),
		control.Generation{View: long, Number: 1, Version: 1}.Record(),
		control.Generation{Number: 1, Version: 1}.Record(),
		control.Generation{View: "cards", Number: 1, Version: 1, Rate: -1}.Record(),
	}
	if got := folded(t, records...).Views(); len(got) > 0 {
		t.Errorf("views %v", got)
	}
	records = []eventlog.Record{generation(1, 1), turn(1, 0, 1)}
	for n := range control.MaxKept {
		records = append(records, generation(n+2, 1))
	}
	f := folded(t, records...)
	if got := len(f.Lineage("cards").Generations); got != control.MaxKept || f.Took() {
		t.Errorf("%d generations are kept", got)
	}
	if f = folded(t, append(records, retired(2), generation(control.MaxKept+1, 1))...); !f.Took() {
		t.Error("one that was retired still takes room")
	}
	records = []eventlog.Record{generation(1, 1), turn(1, 0, 1)}
	for n := range control.MaxRetired + 3 {
		records = append(records, generation(n+2, 1), retired(n+2))
	}
	if got := folded(t, records...).Lineage("cards").Generations; len(got) != control.MaxRetired+1 || got[0].Number != 1 || got[1].Number != 5 {
		t.Errorf("%d generations, the second %+v", len(got), got[1])
	}
	records = []eventlog.Record{generation(1, 1), generation(2, 1), turn(1, 0, 1)}
	for n := range control.MaxSwitches + 1 {
		records = append(records, turn(n+2, n%2+1, 2-n%2))
	}
	f = folded(t, records...)
	if got := f.Lineage("cards").Switches; len(got) != control.MaxSwitches || got[0].Turn != 3 || f.Lineage("cards").Turns != control.MaxSwitches+2 {
		t.Errorf("%d switches, the first %+v, turn %d", len(got), got[0], f.Lineage("cards").Turns)
	}
	records = []eventlog.Record{generation(1, 1)}
	for n := range control.MaxCuts + 1 {
		records = append(records, cut(n, 1))
	}
	if got := folded(t, records...).Cuts(); len(got) != control.MaxCuts || got[0].ID != id(1) {
		t.Errorf("%d cuts, the first %+v", len(got), got[0])
	}
}

// carry reports whether a member carries a version of a view.
func carry(f *control.Fold, view string, version int) bool {
	return slices.ContainsFunc(f.Members(), func(m control.Member) bool { return m.Carries(view, version) })
}

func TestAProcessSaysWhatVersionsItCarries(t *testing.T) {
	m := member(1, "a")
	m.Views = map[string][]int{"cards": {1, 3}}
	f := folded(t, m.Record(), member(2, "b").Record())
	for version, want := range map[int]bool{1: true, 2: false, 3: true} {
		if got := carry(f, "cards", version); got != want || carry(f, "feed", version) {
			t.Errorf("version %d is carried: %v", version, !want)
		}
	}
	if f = folded(t, m.Record(), m.Left()); carry(f, "cards", 1) {
		t.Error("what a process that has left carried still is")
	}
	m.Views["cards"] = make([]int, control.MaxKept+1)
	if f = folded(t, m.Record()); len(f.Members()) > 0 {
		t.Error("a member beyond the limits is listed")
	}
}

// people let two of them work on a view at once, each from what it saw of the log some
// records ago, with copies of what was written coming again at any later time.
type people struct {
	*rapid.T
	log    []eventlog.Record
	folds  []*control.Fold // of each prefix of the log
	tooks  map[string]int  // how often a record took effect
	fresh  bool            // the last one was written by who had seen all
	copied bool            // or it is a copy of an earlier one
}

func (p *people) write(r eventlog.Record) {
	r.Offset = int64(len(p.log))
	p.log = append(p.log, r)
	f := control.New()
	for i := range p.log {
		if err := f.Step(&p.log[i]); err != nil {
			p.Fatal(err)
		}
	}
	p.folds = append(p.folds, f)
	if f.Took() {
		p.tooks[string(r.Header)+string(r.Value)]++
	} else if p.fresh && !p.copied {
		p.Fatalf("record %d had no effect, though who wrote it had seen all: %s", r.Offset, r.Value)
	}
}

// act lets someone do what makes sense by what it sees.
func (p *people) act() {
	seen := rapid.IntRange(max(0, len(p.folds)-4), len(p.folds)-1).Draw(p.T, "seen")
	f := p.folds[seen]
	p.fresh, p.copied = seen == len(p.folds)-1, false
	at := noon.Add(time.Duration(len(p.log))) // no two records are the same but copies
	var others []int
	for _, g := range f.Lineage("cards").Generations {
		if g.Retired == nil && g.Number != f.Read("cards") {
			others = append(others, g.Number)
		}
	}
	what := rapid.IntRange(0, 4).Draw(p.T, "what")
	if what == 0 && len(others) < control.MaxKept-1 || len(others) == 0 && what != 3 {
		p.write(control.Generation{View: "cards", Number: f.Lineage("cards").Greatest + 1, Version: 1, At: at}.Record())
		return
	}
	switch {
	case what == 1:
		p.write(control.Switch{View: "cards", Turn: f.Lineage("cards").Turns + 1, From: f.Read("cards"), To: rapid.SampledFrom(others).Draw(p.T, "to"), At: at}.Record())
	case what == 2:
		p.write(control.Retired{View: "cards", Number: rapid.SampledFrom(others).Draw(p.T, "number"), At: at}.Record())
	case what == 4 && f.Read("cards") > 0:
		all := f.Lineage("cards")
		g := all.Find(rapid.SampledFrom(others).Draw(p.T, "number"))
		share := rapid.SampledFrom([]float64{0, 0.5, 1}).Filter(func(s float64) bool { return s != g.Shadowed.Share }).Draw(p.T, "share")
		p.write(control.Shadow{View: "cards", Number: g.Number, Turn: g.Shadowed.Turn + 1, Share: share, At: at}.Record())
	case len(p.log) > 0:
		p.copied = true
		p.write(p.log[rapid.IntRange(0, len(p.log)-1).Draw(p.T, "copy")])
	}
}

// Whatever two people do at once, and whatever comes again: each record takes effect
// once at most, a view is read in one generation that is there, numbers and turns go
// up by one, each switch goes on where the one before it ended, and only what is neither
// read nor retired is asked a share of the queries.
func TestAnyInterleavingOfTwoPeopleAndOfCopiesIsOneHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &people{T: t, folds: []*control.Fold{control.New()}, tooks: make(map[string]int)}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			p.act()
		}
		for record, n := range p.tooks {
			if n > 1 {
				t.Errorf("it took effect %d times: %q", n, record)
			}
		}
		read, turns := 0, 0
		for n, f := range p.folds {
			now := f.Read("cards")
			if now != read {
				s := f.Lineage("cards").Switches
				if last := s[len(s)-1]; last.From != read || last.To != now || last.Turn != turns+1 {
					t.Fatalf("after %d records: from %d by %+v, turn %d", n, read, last, turns)
				}
				read, turns = now, turns+1
			}
			all := f.Lineage("cards")
			if g := all.Find(now); now > 0 && (g == nil || g.Retired != nil) {
				t.Fatalf("after %d records generation %d is read: %+v", n, now, g)
			}
			if f.Lineage("cards").Turns != turns {
				t.Fatalf("after %d records turn %d, want %d", n, f.Lineage("cards").Turns, turns)
			}
			for i, g := range f.Lineage("cards").Generations {
				if g.Number != i+1 {
					t.Fatalf("after %d records the %dth generation is %+v", n, i, g)
				}
				if g.Shadowed.Share > 0 && (g.Retired != nil || g.Number == now) {
					t.Fatalf("after %d records generation %d is asked too: %+v", n, g.Number, g)
				}
			}
		}
	})
}

// testdata/v1/views.txt is what the records of views were first written as; it is read
// for ever. No test writes it.
func TestRecordsOfViewsAreReadAsTheyWereFirstWritten(t *testing.T) {
	text, err := os.ReadFile("testdata/v1/views.txt")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 26, 12, 30, 15, 123456789, time.UTC)
	one := control.Member{Process: event.ID{0: 1, 15: 0xfe}, Started: at, Views: map[string][]int{"tribe-card": {1, 2}, "feed": {1}}}
	gone := control.Retired{View: "tribe-card", Number: 1, By: "maya", At: at}
	want := []eventlog.Record{one.Record(),
		control.Generation{View: "tribe-card", Number: 1, Version: 1, At: at}.Record(),
		control.Switch{View: "tribe-card", Turn: 1, From: 0, To: 1, At: at}.Record(),
		control.Generation{View: "tribe-card", Number: 2, Version: 2, Rate: 20_000, By: "maya", At: at}.Record(),
		control.Cut{View: "tribe-card", ID: event.ID{0: 3, 15: 0xfc}, Generations: []int{1, 2}, At: map[int32]int64{0: 81, 15: 4}, Until: at}.Record(),
		control.Released{ID: event.ID{0: 3, 15: 0xfc}}.Record(),
		control.Switch{View: "tribe-card", Turn: 2, From: 1, To: 2, Forced: true, Reason: "by hand", By: "maya", At: at}.Record(),
		control.Switch{View: "tribe-card", Turn: 3, From: 2, To: 1, Back: true, By: "maya", At: at}.Record(),
		control.Switch{View: "tribe-card", Turn: 4, From: 1, To: 2, At: at}.Record(),
		gone.Record(),
		control.Dropped{View: "tribe-card", Number: 1}.Record(),
	}
	f, n := control.New(), 0
	for line := range strings.Lines(string(text)) {
		header, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		r := eventlog.Record{Offset: int64(n), Value: []byte(value)}
		if r.Header, err = hex.DecodeString(header); err != nil {
			t.Fatal(err)
		}
		if err := f.Step(&r); err != nil || n > 0 && !f.Took() {
			t.Fatalf("%s: took %v, %v", line, f.Took(), err)
		}
		if control.Format == 1 && (string(r.Header) != string(want[n].Header) || value != string(want[n].Value)) {
			t.Errorf("written is %x %s, was %s", want[n].Header, want[n].Value, line)
		}
		n++
	}
	generations := []control.Generation{{View: "tribe-card", Number: 1, Version: 1, At: at, Retired: &gone, Dropped: true},
		{View: "tribe-card", Number: 2, Version: 2, Rate: 20_000, By: "maya", At: at}}
	if n != len(want) || f.Read("tribe-card") != 2 || f.Lineage("tribe-card").Turns != 4 || !reflect.DeepEqual(f.Lineage("tribe-card").Generations, generations) || !reflect.DeepEqual(f.Members(), []control.Member{one}) {
		t.Errorf("%d records make %+v", n, f)
	}
}

// A program of before there were generations stops at their records, rather than going
// on to read and write what others have given up.
func TestTheKindsOfViewsComeBehindThoseOfBefore(t *testing.T) {
	for _, r := range []eventlog.Record{generation(1, 1), turn(1, 0, 1), retired(1), control.Dropped{}.Record(), cut(1, 1), control.Released{}.Record(), shadow(1, 1, 0.5)} {
		if r.Header[0] != 1 || r.Header[1] <= byte(control.KindOwner) {
			t.Errorf("header %v: a program whose last kind is %d would take it for another's", r.Header, control.KindOwner)
		}
	}
	f := control.New()
	if err := f.Step(&eventlog.Record{Header: []byte{control.Format, byte(control.KindShadow) + 1}}); !errors.Is(err, event.ErrNewer) {
		t.Errorf("a kind behind these: %v", err)
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestDifferencesAreShownSideBySide(t *testing.T) {
	long := strings.Repeat("the same for long, ", 10)
	c := comparison{Documents: [2]int64{20000, 19999}, Entries: [2]int64{3, 3}, Digests: [2]string{"aa", "bb"}, Position: "0@7", Differences: []difference{
		{Key: "a", Read: json.RawMessage(`{"name":"Ann <a>","tags":["x","y"],"at":{"city":"Bern","zip":1e2},"n":12345678901234567890}`),
			Other: json.RawMessage(`{"name":"Ann <b>","tags":["x"],"at":{"city":"Bern","zip":1e2},"n":12345678901234567891,"more":{}}`)},
		{Key: "b\x1b[2J", Read: json.RawMessage(`{"text":"` + long + `here"}`), Other: json.RawMessage(`{"text":"` + long + `there"}`)},
		{Key: "c", Read: json.RawMessage(`{"n":1,"m":2}`), Other: json.RawMessage(`{"m":2, "n":1}`)},
		{Key: "d", Other: json.RawMessage(`{"n":1}`)},
		{Key: "e", Read: json.RawMessage(`"text"`), Other: json.RawMessage("null")},
		{Key: "f", Read: json.RawMessage(`1`), Other: json.RawMessage("2")},
	}}
	var out bytes.Buffer
	if err := c.print(&out, "cards", 3, 20); err != nil {
		t.Fatal(err)
	}
	want := `generation 3 of cards differs from the one that is read, at 0@7:

                 READ                                          GENERATION 3
documents        20,000                                        19,999
entries of sets  3                                             3
digest           aa                                            bb

a
  more           -                                             {}
  n              12345678901234567890                          12345678901234567891
  name           "Ann <a>"                                     "Ann <b>"
  tags[1]        "y"                                           -
  the same: 3

b` + "\ufffd" + `[2J
  text           …ame for long, here"   …ame for long, there"

c
  document  the same values, written otherwise

d                is not there                                  {"n":1}

e                "text"                                        is not there

f
  document       1                                             2

these are the first 6 differences of the parts that differ; there may be more
`
	squeeze := func(s string) string {
		var b strings.Builder
		for line := range strings.Lines(s) {
			fmt.Fprintln(&b, strings.Join(strings.Fields(line), " "))
		}
		return b.String()
	}
	if squeeze(out.String()) != squeeze(want) {
		t.Errorf("it shows\n%s\nwant\n%s", out.String(), want)
	}
	for line := range strings.Lines(out.String()) {
		if len([]rune(line)) > 20+2*(maxWidth+2) && !strings.HasPrefix(line, "these") {
			t.Errorf("a line of %d characters: %s", len(line), line)
		}
	}
}

func TestOfDifferencesNotMoreAreShownThanIsWanted(t *testing.T) {
	var read, other strings.Builder
	for n := range 1000 {
		fmt.Fprintf(&read, `,"f%04d":%d`, n, n)
		fmt.Fprintf(&other, `,"f%04d":%d`, n, n+1)
	}
	one := difference{Key: strings.Repeat("k", 1000), Read: json.RawMessage("{" + read.String()[1:] + "}"), Other: json.RawMessage("{" + other.String()[1:] + "}")}
	c := comparison{Differences: []difference{one, one, one}}
	var out bytes.Buffer
	if err := c.print(&out, "cards", 3, 2); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Count(got, "\n  f0") != 2*maxFields || strings.Count(got, "and 990 more") != 2 || out.Len() > 4000 || !strings.Contains(got, "the first 2 differences") {
		t.Errorf("it shows %d bytes:\n%s", out.Len(), got)
	}
}

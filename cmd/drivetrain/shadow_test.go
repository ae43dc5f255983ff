package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// asked asks for all gauges, and waits until it is known how generation 3 answers.
func (o operated) asked(t *testing.T, times int) {
	t.Helper()
	for n := range times {
		o.read(t, fmt.Sprint("g", n%10))
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		got := o.view(t, "list levels --json")
		var all struct{ Items []generation }
		if err := json.Unmarshal([]byte(got.out), &all); err != nil {
			t.Fatal(err)
		}
		for _, g := range all.Items {
			if s := g.Shadow; s != nil && s.Equal+s.Different+s.Moved+s.Failed == int64(times) {
				return
			}
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("it lists\n%s", got.out)
		}
	}
}

func TestAnOperatorLetsAGenerationBeAskedToo(t *testing.T) {
	o := operate(t)
	went(t, o.view(t, "rebuild levels --wait"), 0, "generation 3 of levels is ready")
	went(t, o.view(t, "shadow levels 3"), 0, "generation 3 of levels was not asked queries beside the one that is read")
	went(t, o.view(t, "shadow levels 3 --share 1"), 0, "generation 3 of levels is asked 100 % of the queries too; see what comes of it with: drivetrain view shadow levels 3 --admin "+o.admin)
	o.asked(t, 20)
	went(t, o.view(t, "shadow levels 3"), 0, "generation 3 of levels: asked 100 % of the queries too: 20 asked, 20 equal, 0 different, 0 moved, 0 failed, 0 dropped\n")
	went(t, o.view(t, "list levels"), 0, "drivetrain: generation 3 of levels: asked 100 % of the queries too: 20 asked, 20 equal")
	went(t, o.view(t, "shadow levels 3 --share 0.05"), 0, "generation 3 of levels is asked 5 % of the queries too")
	went(t, o.view(t, "shadow levels 3 --share 0"), 0, "generation 3 of levels is asked no queries beside the one that is read any more")
	went(t, o.view(t, "shadow levels 3"), 0, "any more: 20 asked, 20 equal")
	went(t, o.view(t, "switch levels 3"), 0, "generation 3 of levels is read")
}

func TestAGenerationThatAnswersOtherwiseIsShownAndExitsWith3(t *testing.T) {
	o := operate(t)
	went(t, o.view(t, "rebuild levels --version 1 --wait"), 0, "generation 3 of levels is ready")
	went(t, o.view(t, "shadow levels 3 --share 1 --json"), 0, `^{"generation":3,"share":1}\n$`)
	o.asked(t, 10)
	went(t, o.view(t, "shadow levels 3"), 3, "10 asked, 9 equal, 1 different", `READ +GENERATION 3\n`, `\ng1\n +place +"north" +"south"\n +value +6 +12\n +the same: 1\n`,
		"these are the first differences, one of each question", "drivetrain: the generations differ: generation 3 of levels answers otherwise than the one that is read\n")
	went(t, o.view(t, "shadow levels 3 --json"), 3, `"shadow":{"share":1,"asked":10,.*"first":\[{"question":{"key":"g1","limit":20},"read":{"value":6,`)
	went(t, o.view(t, "switch levels 3"), 1, `\(409\): .*it answered 1 otherwise than what is read; look at these answers, and force the switch with a reason`)
	went(t, o.view(t, "shadow levels 2 --share 0.5"), 1, `\(409\): generation 2 of view levels, which is read: it answers all queries; name another one`)
	went(t, o.view(t, "shadow levels 3 --share 1.5"), 2, "--share 1.5: want 0 to 1, such as 0.05")
	went(t, o.view(t, "shadow levels 3 --share few"), 2, "share")
	went(t, o.view(t, "shadow levels 9 --share 0.5"), 1, `No such path \(404\)`)
}

// TestAQuestionIsShownAsItsURL has each part of one.
func TestAQuestionIsShownAsItsURL(t *testing.T) {
	for text, want := range map[string]string{
		`{"key":"hikers","limit":20}`:                           "hikers",
		`{"key":"all","from":"t3","after":"x"}`:                 "all?from=t3&after=x",
		`{"text":"oak","sort":"-n","skip":5,"is":{"id":"t1"}}`:  "?q=oak&id=t1&sort=-n&skip=5",
		`{"is":{"id":"","a":"b"},"ranges":{"n":{"from":"2"}}}`:  "?a=b&id=&n.from=2",
		`{"ranges":{"n":{"from":"2","to":"3"},"m":{"to":"1"}}}`: "?m.to=1&n.from=2&n.to=3",
		`{}`: "?",
	} {
		var q shadowQuestion
		if err := json.Unmarshal([]byte(text), &q); err != nil || q.String() != want {
			t.Errorf("%s: %s, %v; want %s", text, q.String(), err, want)
		}
	}
	refused := shadowDifference{Question: shadowQuestion{Text: "oak\n"}, Read: json.RawMessage(`{"a":1}`), Refused: "no such field"}
	if got := strings.Join(refused.rows()[0][:], "|"); got != `?q=oak |{"a":1}|refuses it: no such field` {
		t.Errorf("a refusal is shown as %s", got)
	}
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/api"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/projections"
)

type measured struct {
	Value int `json:"value"`
}

type measure struct {
	Value int `json:"value"`
	aggregates.Meta
}

// level is a gauge, as state and as document.
type level struct {
	Value int    `json:"value"`
	Count int    `json:"count"`
	Place string `json:"place"`
}

func (l level) evolve(m measured) level {
	return level{m.Value, l.Count + 1, "north"}
}

var gauges = &aggregates.Type[level, measured]{Name: "gauge", Evolve: level.evolve,
	Events: event.Types[measured]{"gauge.measured": event.As[measured, measured]()}}

// levels is a view of gauges. Version 2 is read; version 1 makes a mistake.
func levels(version int) *projections.View[level, measured] {
	return &projections.View[level, measured]{Name: "levels", Version: version, From: gauges.Stream(),
		Fold: func(l level, e projections.Event[measured]) level {
			if l = l.evolve(e.Fact); version == 1 && e.ID == "g1" {
				l.Value, l.Place = 2*l.Value, "south"
			}
			return l
		}}
}

// operated is an application in this process that an operator looks after.
type operated struct {
	app           *framework.App
	public, admin string // URLs
}

// operate runs an application with 10 gauges of 6 events each.
func operate(t *testing.T) operated {
	t.Helper()
	cfg := embedded.Config(t.TempDir())
	cfg.Partitions = 2
	app := framework.New(cfg)
	commands.Handle(app, gauges, "measure", func(_ level, c measure) ([]measured, error) { return []measured{{c.Value}}, nil })
	projections.Register(app, levels(1), levels(2))
	ctx, stop := context.WithCancel(context.Background())
	listening, ended := make(chan [2]net.Addr, 1), make(chan error, 1)
	go func() {
		ended <- api.Serve(ctx, app, "127.0.0.1:0", api.AdminAddr("127.0.0.1:0"), api.Listening(func(public, admin net.Addr) {
			listening <- [2]net.Addr{public, admin}
		}))
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	addrs := <-listening
	for began := time.Now(); len(app.Unready()) > 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("not ready: %v", app.Unready())
		}
	}
	var all sync.WaitGroup
	for n := range 10 {
		all.Go(func() {
			for value := range 6 {
				call := framework.Call{Aggregate: "gauge", ID: fmt.Sprint("g", n), Command: "measure", Body: fmt.Appendf(nil, `{"value":%d}`, value+1), Actor: "maya"}
				if _, err := app.Execute(t.Context(), call); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	return operated{app, "http://" + addrs[0].String(), "http://" + addrs[1].String()}
}

// view runs drivetrain view.
func (o operated) view(t *testing.T, args string) result {
	t.Helper()
	return drivetrainWith(t, []string{"DRIVETRAIN_ADMIN=" + o.admin, "DRIVETRAIN_BY=maya"}, append([]string{"view"}, strings.Fields(args)...)...)
}

// went fails the test unless a command ended with a code and said these.
func went(t *testing.T, got result, code int, said ...string) {
	t.Helper()
	all := got.out + got.problems
	for _, part := range said {
		if got.code != code || !regexp.MustCompile(part).MatchString(all) {
			t.Fatalf("code %d, want %d and %s:\n%s\nand on standard error\n%s", got.code, code, part, got.out, got.problems)
		}
	}
}

// read returns the number of the generation that is read, and the document of a gauge.
func (o operated) read(t *testing.T, gauge string) (int, string) {
	t.Helper()
	a, err := o.app.Ask(t.Context(), "levels", framework.Query{Key: gauge})
	if err != nil {
		t.Fatal(err)
	}
	return a.Generation, string(a.JSON)
}

func TestAnOperatorRebuildsComparesSwitchesRollsBackAndRetires(t *testing.T) {
	o := operate(t)
	went(t, o.view(t, "list"), 0, `VIEW +GENERATION +STATE`, `levels +2 +read +2 +62 +0 `)
	went(t, o.view(t, "progress levels"), 0, "no generation of levels is being built")
	went(t, o.view(t, "rebuild levels"), 0, "generation 3 of levels is being built, or is ready already; follow it with: drivetrain view progress levels 3 --admin "+o.admin)
	went(t, o.view(t, "progress levels 3"), 0, "generation 3 of levels is ready; compare it with: drivetrain view compare levels 3 --admin ")
	went(t, o.view(t, "compare levels 3"), 0, "generation 3 of levels holds the same as the one that is read, at 0@.*: 10 documents, 0 entries")
	went(t, o.view(t, "switch levels 3"), 0, "generation 3 of levels is read")
	went(t, o.view(t, "switch levels 3"), 0, "generation 3 of levels is read")
	went(t, o.view(t, "rollback levels"), 0, "generation 2 of levels is read")
	went(t, o.view(t, "rollback levels"), 0, "generation 2 of levels is read")
	went(t, o.view(t, "retire levels 3"), 0, "generation 3 of levels is given up")
	went(t, o.view(t, "retire levels 3"), 0, "generation 3 of levels is given up")
	went(t, o.view(t, "progress levels 3"), 1, "generation 3 of levels is retired")
	got := o.view(t, "list levels")
	went(t, got, 0, "1 retired are not listed; see --all", `levels +2 +read .* maya|levels +2 +read`)
	if strings.Contains(got.out, "retired") {
		t.Errorf("it lists\n%s", got.out)
	}
	went(t, o.view(t, "list levels --all"), 0, `levels +3 +retired +2 .*maya\n`)
}

func TestACompareThatFindsDifferencesShowsThemAndExitsWith3(t *testing.T) {
	o := operate(t)
	went(t, o.view(t, "rebuild levels --version 1 --wait"), 0, "generation 3 of levels is ready")
	went(t, o.view(t, "compare levels 3"), 3, "generation 3 of levels differs from the one that is read, at 0@", `READ +GENERATION 3\n`,
		`documents +10 +10\n`, `\ng1\n +place +"north" +"south"\n +value +6 +12\n +the same: 1\n`,
		"drivetrain: the generations differ: generation 3 of levels and the one that is read\n")
	went(t, o.view(t, "compare levels 3 --json"), 3, `"equal":false,"documents":\[10,10\],.*"differences":\[\{"key":"g1","read":\{"value":6,`)
	went(t, o.view(t, "switch levels 3"), 1, `Not with this generation now \(409\): .*it differs from what is read, .*"g1"; compare them, or force the switch with a reason`)
	went(t, o.view(t, "switch levels 3 --force"), 2, "--force needs --reason=TEXT")
	went(t, o.view(t, "switch levels 3 --force --reason mistaken"), 0, "generation 3 of levels is read")
	if n, doc := o.read(t, "g1"); n != 3 || !strings.Contains(doc, "south") {
		t.Errorf("read is %d: %s", n, doc)
	}
	went(t, o.view(t, "rollback levels"), 0, "generation 2 of levels is read")
	if n, doc := o.read(t, "g1"); n != 2 || !strings.Contains(doc, "north") {
		t.Errorf("read is %d: %s", n, doc)
	}
}

// Whoever follows sees a line a second at most; who stops following stops nothing else.
func TestARebuildWhoseFollowerIsInterruptedGoesOn(t *testing.T) {
	t.Parallel() // it waits most of the time, as do the others that are
	o := operate(t)
	cmd := command(t, []string{"DRIVETRAIN_ADMIN=" + o.admin}, "view", "rebuild", "levels", "--rate", "12", "--wait")
	problems, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewReader(problems)
	first, err := said.ReadString('\n')
	if want := regexp.MustCompile(`^drivetrain: generation 3 of levels: \d+ of 62 events, \d+/s, \d+ behind`); err != nil || !want.MatchString(first) {
		t.Fatalf("it says %q, %v", first, err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(said)
	_ = cmd.Wait()
	if want := "drivetrain: not followed any more; generation 3 of levels goes on being built; follow it again with: drivetrain view progress levels 3 --admin " + o.admin + "\n"; string(rest) != want || cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("code %d: %s, want %s", cmd.ProcessState.ExitCode(), rest, want)
	}
	went(t, o.view(t, "list levels"), 0, `levels +3 +building +2 +\d+ of 62 `)
	went(t, o.view(t, "compare levels 3"), 1, `\(409\): generation 3 of levels|\(409\): generation 3 of view levels, which is building`)
	began := time.Now()
	got := o.view(t, "progress levels")
	went(t, got, 0, "generation 3 of levels is ready")
	if n := strings.Count(got.problems, "\n"); n < 1 || float64(n) > 1+time.Since(began).Seconds() {
		t.Errorf("%d lines in %v:\n%s", n, time.Since(began), got.problems)
	}
}

// Two operators who do the same at once are both told that it is done; where what they
// want excludes the other, one is told why not.
func TestTwoOperatorsAtOnce(t *testing.T) {
	o := operate(t)
	both := func(a, b string) (got [2]result) {
		var all sync.WaitGroup
		for i, args := range []string{a, b} {
			all.Go(func() { got[i] = o.view(t, args) })
		}
		all.Wait()
		return got
	}
	for _, got := range both("rebuild levels --wait", "rebuild levels --wait") {
		went(t, got, 0, "generation 3 of levels is ready")
	}
	for _, got := range both("switch levels 3", "switch levels 3") {
		went(t, got, 0, "generation 3 of levels is read")
	}
	for _, got := range both("rollback levels", "rollback levels") {
		went(t, got, 0, "generation 2 of levels is read")
	}
	got := both("switch levels 3", "retire levels 3")
	switch n, _ := o.read(t, "g1"); n {
	case 3:
		went(t, got[0], 0, "generation 3 of levels is read")
		went(t, got[1], 1, `\(409\).*switch to another one first`)
	case 2:
		went(t, got[0], 1, `\(409\).*which is retired`)
		went(t, got[1], 0, "generation 3 of levels is given up")
	default:
		t.Errorf("read is %d", n)
	}
	for _, got := range both("retire levels 9", "retire levels 9") {
		went(t, got, 1, `No such path \(404\): unknown generation 9 of view "levels"`)
	}
}

func TestWhatAnOperatorGotWrongIsALineThatSaysWhatToDo(t *testing.T) {
	o := operate(t)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }))
	defer page.Close()
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(503)
		io.WriteString(w, `{"type":"/problems/unresolved","title":"Outcome not known yet","detail":"the control log did not answer\u001b[2J\n!"}`)
	}))
	defer busy.Close()
	for args, want := range map[string]struct {
		code int
		text string
	}{
		"list nothing":                        {1, `No such path (404): unknown view "nothing"; there are: levels`},
		"rebuild nothing":                     {1, `unknown view "nothing"; there are: levels`},
		"rebuild levels --version 9":          {1, `Invalid values (422): `},
		"progress levels 9":                   {1, "there is no generation 9 of levels; look with: drivetrain view list levels"},
		"compare levels 2":                    {1, "(409): generation 2 of view levels, which is read: it is the one that others are compared with; name another"},
		"retire levels 2":                     {1, "(409): generation 2 of view levels, which is read: switch to another one first"},
		"rollback levels":                     {1, "(409): generation 2 of view levels, which is read: no other was read before it"},
		"switch levels 2 --reason why":        {2, "--reason is that of --force"},
		"switch levels x":                     {2, "x"},
		"compare levels 0":                    {2, "generation 0: want its number, from 1"},
		"rebuild levels --rate=-1":            {2, "--rate -1: want 0 or more"},
		"list --admin localhost:1":            {2, `--admin "localhost:1": want an http or https URL such as http://127.0.0.1:8081`},
		"list --admin http://127.0.0.1:1":     {1, "nothing answers at http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused; start the application, with an admin listener, or name another by --admin or DRIVETRAIN_ADMIN"},
		"list levels --admin " + o.public:     {1, "does --admin name the admin listener, and not the API for clients?"},
		"rebuild levels --admin " + o.public:  {1, "does --admin name the admin listener, and not the API for clients?"},
		"list --admin " + page.URL:            {1, page.URL + " answers what is not understood: is it the admin listener of an application?"},
		"rollback levels --admin " + busy.URL: {1, "Outcome not known yet (503): the control log did not answer\ufffd[2J !; look with drivetrain view list, or give the command again: it may be repeated"},
	} {
		got := o.view(t, args)
		if got.code != want.code || got.out != "" || !strings.HasPrefix(got.problems, "drivetrain: ") || !strings.Contains(got.problems, want.text) || strings.Count(got.problems, "\n") != 1 {
			t.Errorf("%s: %+v, want %d %q", args, got, want.code, want.text)
		}
	}
}

// Who breaks a command off is told what may have come of it.
func TestACommandThatIsInterruptedSaysWhatIsKnown(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"compare levels 3": "the comparison was broken off; nothing has changed",
		"switch levels 3":  "broken off before an answer: it may have been done; look with: drivetrain view list levels --admin http://",
		"rebuild levels":   "it may have been done; look with: drivetrain view list levels --admin http://",
		"retire levels 3":  "it may have been done; look with: drivetrain view list levels --admin http://",
		"rollback levels":  "it may have been done; look with: drivetrain view list levels --admin http://",

		"shadow levels 3 --share 0.5": "it may have been done; look with: drivetrain view list levels --admin http://",
	} {
		came := make(chan struct{})
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			close(came)
			<-r.Context().Done()
		}))
		var problems strings.Builder
		cmd := command(t, nil, append([]string{"view"}, append(strings.Fields(args), "--admin", s.URL)...)...)
		cmd.Stderr = &problems
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-came
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait()
		if got := problems.String(); cmd.ProcessState.ExitCode() != 1 || !strings.HasPrefix(got, "drivetrain: ") || !strings.Contains(got, want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: code %d: %s, want %s", args, cmd.ProcessState.ExitCode(), got, want)
		}
		s.Close()
	}
}

// scripted is an admin listener that answers one after the other, and the last for ever.
func scripted(t *testing.T, answers ...string) string {
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(answers[0], `"title"`) {
			w.WriteHeader(503)
		}
		io.WriteString(w, answers[0])
		if len(answers) > 1 {
			answers = answers[1:]
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

const unwell = `{"type":"/problems/unavailable","title":"Not available now","detail":"the application is not running"}`

func TestAFollowerOutlivesAnApplicationThatIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	one := `{"items":[{"generation":1,"state":"read"},{"generation":2,"state":"building","done":10,"end":20000,"lag":20005,"events_per_second":9.7,"seconds_left":2000.4,"error":"partition 1:\nno room"}]}`
	whole := `{"items":[{"generation":2,"state":"ready","done":20000,"end":20000}]}`
	got := drivetrain(t, "view", "progress", "cards", "2", "--admin", scripted(t, one, unwell, unwell, one, whole))
	went(t, got, 0, "generation 2 of cards is ready")
	for _, want := range []string{"drivetrain: generation 2 of cards: 10 of 20,000 events, 9/s, 20,005 behind, 33m20s left\n",
		"drivetrain: Not available now (503): the application is not running; try again; trying again for 30s\n",
		"drivetrain: generation 2 of cards does not go on: partition 1: no room\n"} {
		if strings.Count(got.problems, want) < 1 || strings.Count(got.problems, "503") != 1 || strings.Count(got.problems, "does not go on") != 1 {
			t.Errorf("it says\n%s\nwant\n%s", got.problems, want)
		}
	}
	got = drivetrain(t, "view", "progress", "cards", "2", "--timeout", "2s", "--admin", scripted(t, one, unwell))
	went(t, got, 1, `drivetrain: not followed any more: Not available now \(503\)`)
	got = drivetrain(t, "view", "progress", "cards", "2", "--admin", scripted(t, one, `{"items":[{"generation":2,"state":"retired"}]}`))
	went(t, got, 1, "generation 2 of cards is retired")
}

func TestWithJSONTheAnswersOfTheApplicationArePrinted(t *testing.T) {
	o := operate(t)
	got := o.view(t, "rebuild levels --wait --json")
	all := strings.Split(strings.TrimSpace(got.out), "\n")
	var last generation
	if err := json.Unmarshal([]byte(all[len(all)-1]), &last); err != nil || got.code != 0 || got.problems != "" || all[0] != `{"generation":3}` || last.Number != 3 || last.State != ready {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, c := range [][2]string{
		{"list --json", `{"items":[{"view":"levels","kind":"document","generations":[{"generation":2,`},
		{"list levels --json", `{"items":[{"generation":2,"version":2,"state":"read"`},
		{"compare levels 3 --json", `{"equal":true,"documents":[10,10],`},
		{"switch levels 3 --json", `{"generation":3}` + "\n"},
		{"rollback levels --json", `{"generation":2}` + "\n"},
	} {
		if got := o.view(t, c[0]); got.code != 0 || !strings.HasPrefix(got.out, c[1]) || strings.Count(got.out, "\n") != 1 || got.problems != "" {
			t.Errorf("%s: %+v, want %s", c[0], got, c[1])
		}
	}
	if got := o.view(t, "retire levels 3 --json"); got != (result{}) {
		t.Errorf("%+v", got)
	}
}

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// scripted is what a server answers, one after the other: status, Generation, Position
// and body.
type scripted []struct {
	status               int
	generation, position string
	body                 string
}

// answered asks for a post's card once for each answer of a script, the last one as of a
// position if that is given, and returns what clients found wrong.
func answered(t *testing.T, s scripted, min string) []string {
	t.Helper()
	next := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		one := s[next]
		next++
		w.Header().Set("Generation", one.generation)
		w.Header().Set("Position", one.position)
		w.WriteHeader(one.status)
		fmt.Fprint(w, one.body)
	}))
	defer server.Close()
	p := &program{base: server.URL, out: &output{}}
	f := newFire(t, newPast(100, 1), p, p)
	f.made.note("post-card", 1, 1)
	f.made.note("post-card", 2, markedVersion)
	for n := range s {
		q := f.card("a")
		if n == len(s)-1 {
			q.min = min
		}
		r := &request{fire: f, phase: f.phase.Load(), planned: time.Now(), life: f.lives[0].Load()}
		r.ask(q)
	}
	found := f.fails
	f.fails, f.failed = nil, 0 // they were to be found
	return found
}

func TestTheFireFindsWhatIsPlanted(t *testing.T) {
	const plain, marked = `{"id":"a","text":"Hello"}`, `{"id":"a","text":"§ Hello"}`
	for name, c := range map[string]struct {
		script scripted
		min    string
		want   string // empty: nothing is wrong
	}{
		"nothing":                         {scripted{{200, "1", "3@5;c@1", plain}, {200, "2", "3@4;c@2", marked}, {200, "1", "3@6;c@3", plain}}, "3@6", ""},
		"a document of another version":   {scripted{{200, "2", "3@5;c@1", plain}}, "", "is not by version 3"},
		"a marked document of the first":  {scripted{{200, "1", "3@5;c@1", marked}}, "", "is not by version 1"},
		"another document":                {scripted{{200, "1", "3@5;c@1", `{"id":"b","text":"Hello"}`}}, "", `it is {"id":"b"`},
		"a position that goes back":       {scripted{{200, "1", "3@5;c@1", plain}, {200, "1", "3@4;c@1", plain}}, "", "behind 3@5"},
		"a position without offsets":      {scripted{{200, "1", "3@5;c@1", plain}, {200, "1", ";c@1", plain}}, "", "behind"},
		"a switch that is undone":         {scripted{{200, "2", "3@5;c@2", marked}, {200, "1", "3@5;c@1", plain}}, "", "behind"},
		"less than what was asked for":    {scripted{{200, "1", "3@5;c@1", plain}}, "3@6", "behind 3@6 of Min-Position"},
		"an answer that there is nothing": {scripted{{404, "1", "3@5;c@1", "{}"}}, "", "404"},
		"an answer that it is not ready":  {scripted{{503, "1", "3@5;c@1", "{}"}}, "", "503"},
		"no generation":                   {scripted{{200, "", "3@5;c@1", plain}}, "", "Generation"},
	} {
		t.Run(name, func(t *testing.T) {
			found := strings.Join(answered(t, c.script, c.min), "\n")
			if (found == "") != (c.want == "") || !strings.Contains(found, c.want) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}

func TestTheFireFindsWhatASearchLacks(t *testing.T) {
	f := newFire(t, newPast(100, 1), &program{out: &output{}}, &program{out: &output{}})
	for doc, want := range map[string]string{
		`{"items":[{"id":"a","text":"Red cars"}]}`: "",
		`{"items":[]}`: "a is not found",
		`{"items":[{"id":"b","text":"cars, red"}]}`:                         "a is not found",
		`{"items":[{"id":"a","text":"Red cars"},{"id":"b","text":"cars"}]}`: `"cars" does not hold "red cars"`,
		`{"items":[{"id":"a","text":"§ Red cars"}]}`:                        "is not by version 1",
	} {
		if err := f.found("red cars", "a").check([]byte(doc), 1); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", doc, err, want)
		}
	}
}

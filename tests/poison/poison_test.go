package poison

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// within bounds each wait.
const within = 60 * time.Second

// shop is the program's process, and what a test knows of its data.
type shop struct {
	*testing.T
	app, dir      string
	public, admin string
	cmd           *exec.Cmd

	titles map[string][]string // that each book was given, in order
	last   map[string]string   // position of the last one
	gone   map[string]bool     // books whose cursed titles are discarded
}

// open starts the program with versions 1 to versions of its views, and waits until it
// is ready.
func (s *shop) open(versions int) {
	s.Helper()
	program, err := os.Executable()
	if err != nil {
		s.Fatal(err)
	}
	s.cmd = exec.Command(program)
	s.cmd.Env = append(os.Environ(), envApp+"="+s.app, envDir+"="+s.dir, fmt.Sprintf("%s=%d", envVersions, versions))
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(s.kill)
	line, _ := bufio.NewReader(out).ReadString('\n')
	public, admin, ok := strings.Cut(strings.TrimSpace(line), " ")
	if !ok {
		s.Fatalf("the program says %q, want where it listens", line)
	}
	s.public, s.admin = "http://"+public, "http://"+admin
	s.until("ready", func() bool { return s.try(http.MethodGet, s.public+"/readyz", "").status == http.StatusOK })
}

// kill ends the program by SIGKILL.
func (s *shop) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.cmd.Wait()
}

// restart kills it and starts it again.
func (s *shop) restart(versions int) {
	s.Helper()
	s.kill()
	s.open(versions)
}

func (s *shop) until(what string, done func() bool) {
	s.Helper()
	for began := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > within {
			s.Fatalf("not %s within %v", what, within)
		}
	}
}

// answer is what the program answers.
type answer struct {
	status   int
	position string
	body     []byte
}

func (s *shop) try(method, to, body string, header ...string) answer {
	s.Helper()
	r, err := http.NewRequest(method, to, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("User", "ann")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Timeout: within}
	res, err := client.Do(r)
	if err != nil {
		return answer{}
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return answer{}
	}
	return answer{res.StatusCode, res.Header.Get("Position"), data}
}

// ask is try, for an answer of that status, which is read into out, nil: it is left.
func (s *shop) ask(status int, out any, method, to, body string, header ...string) answer {
	s.Helper()
	a := s.try(method, to, body, header...)
	if a.status != status {
		s.Fatalf("%s %s %s: %d %s, want %d", method, to, body, a.status, a.body, status)
	}
	if out != nil {
		if err := json.Unmarshal(a.body, out); err != nil {
			s.Fatalf("%s %s: %s: %v", method, to, a.body, err)
		}
	}
	return a
}

func (s *shop) put(book, title string) {
	s.Helper()
	a := s.ask(200, nil, http.MethodPost, s.public+"/v1/book/"+book+"/put", fmt.Sprintf(`{"title":%q}`, title))
	s.titles[book], s.last[book] = append(s.titles[book], title), a.position
}

// oracle says what a book's document is as a version makes it, by value: nil where its
// first title is cursed.
func (s *shop) oracle(book, name string, version int) *shown {
	var d *shown
	for _, title := range s.titles[book] {
		if strings.HasPrefix(title, "cursed") && version < mended {
			if s.gone[book] {
				continue
			}
			break
		}
		if d == nil {
			d = &shown{Name: name}
		} else {
			d.Titles[0] += "!"
		}
		d.Titles = append(d.Titles, title)
	}
	return d
}

// audit compares all documents of all views with the oracle's.
func (s *shop) audit(when string, version int) {
	s.Helper()
	for book := range s.titles {
		for name, path := range map[string]string{book: "/v1/views/titles/" + book, "shelf" + book: "/v1/views/shelves/shelf" + book} {
			want := s.oracle(book, name, version)
			a := s.try(http.MethodGet, s.public+path, "", "Min-Position", s.last[book])
			s.same(when+", "+path, want, a)
		}
		path := "/v1/views/found?" + url.Values{"name": {book}}.Encode()
		var page struct {
			Items []json.RawMessage `json:"items"`
		}
		s.ask(200, &page, http.MethodGet, s.public+path, "", "Min-Position", s.last[book])
		a := answer{status: 404}
		if len(page.Items) > 0 {
			a = answer{status: 200, body: page.Items[0]}
		}
		s.same(when+", "+path, s.oracle(book, book, version), a)
	}
}

func (s *shop) same(what string, want *shown, a answer) {
	s.Helper()
	if want == nil {
		if a.status != 404 {
			s.Errorf("%s: %d %s, want none", what, a.status, a.body)
		}
		return
	}
	data, err := json.Marshal(want)
	if err != nil {
		s.Fatal(err)
	}
	if a.status != 200 || !bytes.Equal(bytes.TrimSpace(a.body), data) {
		s.Errorf("%s: %d %s, want %s", what, a.status, a.body, data)
	}
}

// letters returns the ids of what is parked, by view and key, once there are so many.
func (s *shop) letters(many int) map[string]string {
	s.Helper()
	var ids map[string]string
	s.until(fmt.Sprintf("%d dead letters", many), func() bool {
		var page struct {
			Items []struct {
				ID, State, View, Key string
				Attempts             int
			} `json:"items"`
		}
		s.ask(200, &page, http.MethodGet, s.admin+"/v1/dead-letters", "")
		ids = make(map[string]string)
		for _, l := range page.Items {
			if l.State != "parked" {
				s.Fatalf("a dead letter is %+v", l)
			}
			ids[l.View+" "+l.Key] = l.ID
		}
		return len(ids) == many
	})
	return ids
}

// of returns the ids of a book's letters.
func of(ids map[string]string, book string) (list []string) {
	for _, key := range []string{"titles book/" + book, "found book/" + book, "shelves shelf" + book} {
		list = append(list, ids[key])
	}
	return list
}

// rule rules on a letter, and says whether its key is free.
func (s *shop) rule(id, act string) (freed bool) {
	s.Helper()
	var out struct{ Obeyed, Freed bool }
	s.ask(200, &out, http.MethodPost, s.admin+"/v1/dead-letters/"+id+"/"+act, `{"reason":"a test","by":"tester"}`)
	if !out.Obeyed {
		s.Errorf("%s %s is not obeyed", act, id)
	}
	return out.Freed
}

// TestPoisonStaysParkedWhateverIsKilled: books 3, 7 and 11 of 24 have a title that the
// first version of the views cannot fold.
func TestPoisonStaysParkedWhateverIsKilled(t *testing.T) {
	s := &shop{T: t, app: fmt.Sprintf("poison-%d", time.Now().UnixNano()), dir: t.TempDir(),
		titles: map[string][]string{}, last: map[string]string{}, gone: map[string]bool{}}
	s.open(1)
	for round := range 6 {
		for book := range 24 {
			title := fmt.Sprintf("title %d", round)
			if book == 3 && round == 1 || book == 7 && round == 3 || book == 11 && round == 0 {
				title = "cursed"
			}
			s.put(fmt.Sprint(book), title)
		}
	}
	s.audit("at first", 1)
	first := s.letters(9)
	s.restart(1)
	s.audit("killed", 1)
	ids := s.letters(9)
	for key, id := range first {
		if ids[key] != id {
			t.Errorf("%s is parked as %s, was as %s before the kill", key, ids[key], id)
		}
	}
	for _, id := range of(ids, "3") {
		if !s.rule(id, "discard") {
			t.Errorf("%s is not free once it is discarded", id)
		}
	}
	s.gone["3"] = true
	for _, id := range of(ids, "7") {
		if s.rule(id, "retry") {
			t.Errorf("%s is free though its fold is as it was", id)
		}
	}
	s.restart(1)
	s.audit("ruled on, and killed", 1)
	for _, book := range []string{"3", "7", "11", "5"} {
		s.put(book, "later")
	}
	s.audit("with more events", 1)
	s.letters(6)
	s.restart(mended)
	for _, view := range []string{"titles", "shelves", "found"} {
		s.replace(view)
	}
	s.audit("mended", mended)
	s.letters(0)
	s.restart(mended)
	s.audit("mended, and killed", mended)
	s.letters(0)
}

// replace builds the mended version of a view, lets it be read, and retires the first.
func (s *shop) replace(view string) {
	s.Helper()
	all := s.admin + "/v1/views/" + view + "/generations"
	var built struct{ Generation int }
	s.ask(202, &built, http.MethodPost, all, `{"version":2}`)
	one := fmt.Sprintf("%s/%d", all, built.Generation)
	s.until("ready", func() bool {
		var g struct{ State string }
		s.ask(200, &g, http.MethodGet, one, "")
		return g.State == "ready"
	})
	var c struct {
		Equal       bool
		Parked      [2]int
		Differences []struct{ Key string }
	}
	s.ask(200, &c, http.MethodPost, one+"/compare", "")
	var keys []string
	for _, d := range c.Differences {
		keys = append(keys, strings.TrimPrefix(d.Key, "shelf"))
	}
	slices.Sort(keys)
	if c.Equal || c.Parked != [2]int{2, 0} || !slices.Equal(keys, []string{"11", "3", "7"}) {
		s.Errorf("the mended version of %s differs in %q, %d parked, equal %v; want 3, 7, 11 and two parked", view, keys, c.Parked, c.Equal)
	}
	s.ask(409, nil, http.MethodPost, one+"/switch", "")
	s.ask(200, nil, http.MethodPost, one+"/switch", `{"force":true,"reason":"the fold is mended"}`)
	s.ask(204, nil, http.MethodDelete, all+"/1", "")
}

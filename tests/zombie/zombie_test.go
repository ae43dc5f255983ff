package zombie

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// writer is a writer's process.
type writer struct {
	*testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out chan string
}

func start(t *testing.T, app, redis, search string) *writer {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{T: t, cmd: exec.Command(program), out: make(chan string, 16)}
	w.cmd.Env = append(os.Environ(), envApp+"="+app, envRedis+"="+redis, envSearch+"="+search)
	w.cmd.Stderr = os.Stderr
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill()
		_ = w.cmd.Wait()
	})
	go func() {
		defer close(w.out)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			w.out <- lines.Text()
		}
	}()
	return w
}

// tell lets a writer have the story up to n.
func (w *writer) tell(n int) {
	w.Helper()
	if _, err := fmt.Fprintln(w.in, n); err != nil {
		w.Fatal(err)
	}
}

// reaches waits until both stores have the story up to n, as the writer says; before that
// it may say that they have less.
func (w *writer) reaches(n int) {
	w.Helper()
	late := time.After(30 * time.Second)
	for at := -1; at != n; {
		select {
		case line := <-w.out:
			if _, err := fmt.Sscanf(line, "at %d", &at); err != nil || at > n {
				w.Fatalf("a writer said %q, want that it is at %d", line, n)
			}
		case <-late:
			w.Fatalf("a writer is not at %d", n)
		}
	}
}

func (w *writer) signal(s syscall.Signal) {
	w.Helper()
	if err := w.cmd.Process.Signal(s); err != nil {
		w.Fatal(err)
	}
}

// TestLateWritesOfAZombieChangeNothing stops a writer that has sent its second
// versions of all notes, which a gate before either store holds. Another one takes over,
// and removes half of the notes. When Elasticsearch has forgotten deletes of that
// age, the gates let the late writes through, and the first writer goes on.
func TestLateWritesOfAZombieChangeNothing(t *testing.T) {
	redis, search := os.Getenv(envRedis), os.Getenv(envSearch)
	if redis == "" || search == "" {
		return
	}
	s := &stores{t, fmt.Sprintf("zombie-%d", time.Now().UnixNano()), search}
	t.Cleanup(s.remove)
	beforeRedis, beforeSearch := newGate(t, redis, toRedis), newGate(t, host(search), toSearch)
	one := start(t, s.app, beforeRedis.Addr().String(), "http://"+beforeSearch.Addr().String())
	one.tell(onceAll)
	one.reaches(onceAll)
	beforeRedis.arm()
	beforeSearch.arm()
	one.tell(twiceAll)
	for name, g := range map[string]*gate{"Redis": beforeRedis, "Elasticsearch": beforeSearch} {
		select {
		case <-g.held:
		case <-time.After(20 * time.Second):
			t.Fatalf("no write to %s was held", name)
		}
	}
	one.tell(theEnd) // as it would have read on
	time.Sleep(50 * time.Millisecond)
	one.signal(syscall.SIGSTOP)
	two := start(t, s.app, redis, search)
	two.tell(theEnd)
	two.reaches(theEnd)
	s.check("the zombie sleeps")
	s.forgetDeletes()
	close(beforeRedis.open)
	close(beforeSearch.open)
	time.Sleep(time.Second) // the late writes come
	s.check("its late writes have come")
	one.signal(syscall.SIGCONT)
	one.reaches(theEnd)
	s.check("the zombie has gone on")
}

// stores is what both stores hold of an application, read by clients of the test's
// own.
type stores struct {
	*testing.T
	app    string
	search string
}

// check compares what the stores hold with the story's end.
func (s *stores) check(when string) {
	s.Helper()
	want := make(map[string]note)
	for n := range theEnd {
		id, version, isGone := told(n)
		if want[id] = (note{Text: textOf(version), Version: version}); isGone {
			delete(want, id)
		}
	}
	s.compare(when+": Redis", s.inRedis(), want)
	s.compare(when+": Elasticsearch", s.inSearch(), want)
}

func (s *stores) compare(where string, got map[string]string, want map[string]note) {
	s.Helper()
	for id, text := range got {
		var n note
		if err := json.Unmarshal([]byte(text), &n); err != nil || n != want[id] {
			s.Errorf("%s: %s is %s, want %+v", where, id, text, want[id])
		}
	}
	for id := range want {
		if got[id] == "" {
			s.Errorf("%s: %s is missing", where, id)
		}
	}
	if len(want) != many-gone {
		s.Fatalf("the story ends with %d notes", len(want))
	}
}

func (s *stores) inRedis() map[string]string {
	client := redisClient()
	defer client.Close()
	fields, err := client.HGetAll(s.Context(), "{"+s.app+":card:1:0}").Result()
	if err != nil {
		s.Fatal(err)
	}
	got := make(map[string]string)
	for field, value := range fields {
		if id, ok := strings.CutPrefix(field, ":"); ok {
			got[id] = value
		}
	}
	return got
}

func (s *stores) index() string { return "/drivetrain." + s.app + ".hit.1" }

func (s *stores) inSearch() map[string]string {
	s.call(http.MethodPost, s.index()+"/_refresh", "")
	var found struct {
		Hits struct {
			Hits []struct {
				Source struct{ Key, Value string } `json:"_source"`
			} `json:"hits"`
		} `json:"hits"`
	}
	if err := json.Unmarshal([]byte(s.call(http.MethodPost, s.index()+"/_search", `{"size":1000,"query":{"term":{"kind":"document"}}}`)), &found); err != nil {
		s.Fatal(err)
	}
	got := make(map[string]string)
	for _, h := range found.Hits.Hits {
		got[h.Source.Key] = h.Source.Value
	}
	return got
}

// forgetDeletes waits until Elasticsearch takes a late put of a document that was
// really deleted, in an index with our retention of deletes: it has forgotten the
// delete. Ours does not depend on that, for it keeps a tombstone.
func (s *stores) forgetDeletes() {
	s.Helper()
	var settings map[string]struct {
		Settings struct {
			Index struct {
				Deletes string `json:"gc_deletes"`
			} `json:"index"`
		} `json:"settings"`
	}
	if err := json.Unmarshal([]byte(s.call(http.MethodGet, s.index()+"/_settings", "")), &settings); err != nil {
		s.Fatal(err)
	}
	retention := settings[strings.TrimPrefix(s.index(), "/")].Settings.Index.Deletes
	control := "/" + s.app + "-control"
	s.call(http.MethodPut, control, fmt.Sprintf(`{"settings":{"number_of_replicas":0,"index.gc_deletes":%q}}`, retention))
	defer s.call(http.MethodDelete, control, "")
	s.call(http.MethodPut, control+"/_doc/a?version_type=external&version=1", `{}`)
	s.call(http.MethodDelete, control+"/_doc/a?version_type=external&version=3", "")
	began := time.Now()
	for {
		status, _ := s.try(http.MethodPut, control+"/_doc/a?version_type=external&version=2", `{}`)
		if status/100 == 2 {
			break
		}
		if time.Since(began) > 20*time.Second {
			s.Fatalf("a delete is remembered for %v, answered %d", time.Since(began), status)
		}
		time.Sleep(100 * time.Millisecond)
		s.call(http.MethodPost, control+"/_refresh", "")
	}
	s.Logf("with a retention of %s a deleted document was back %v after its delete", retention, time.Since(began).Round(time.Millisecond))
	s.call(http.MethodPost, s.index()+"/_forcemerge?only_expunge_deletes=true&flush=true", "")
}

func (s *stores) call(method, path, body string) string {
	s.Helper()
	status, text := s.try(method, path, body)
	if status/100 != 2 {
		s.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	return text
}

func (s *stores) try(method, path, body string) (status int, text string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(s.search, "/")+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		s.Fatal(err)
	}
	return answer.StatusCode, string(data)
}

// remove deletes what the application has in both stores.
func (s *stores) remove() {
	client := redisClient()
	defer client.Close()
	if err := client.Del(context.Background(), "{"+s.app+":card:1:0}").Err(); err != nil {
		s.Log(err)
	}
	if status, text := s.try(http.MethodDelete, s.index(), ""); status/100 != 2 {
		s.Log(text)
	}
}

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// sender sends commands and keeps what was answered, as a tally does.
type sender struct {
	t       *testing.T
	p       *program
	entries []entry
}

// send sends a command once. It returns the answer; if that is definite, the
// entry has it.
func (s *sender) send(c command) answer {
	s.t.Helper()
	s.add(c)
	return s.again(&s.entries[len(s.entries)-1])
}

// add keeps a command that is to be sent.
func (s *sender) add(c command) {
	c.Seq, c.Want = len(s.entries)+1, 200
	c.Key = fmt.Sprintf("key-%d", c.Seq)
	s.entries = append(s.entries, entry{command: c})
}

// again sends a command, as often as it is called.

func (s *sender) again(e *entry) answer {
	s.t.Helper()
	a, err := ask(s.t.Context(), http.MethodPost, fmt.Sprintf("%s/v1/%s/%s/%s", s.p.base, e.Aggregate, e.ID, e.Name), string(e.Body),
		"User", e.Actor, "Idempotency-Key", e.Key)
	if err != nil {
		s.t.Error(err)
		return a
	}
	if a.status != http.StatusServiceUnavailable {
		var got outcome
		if err := json.Unmarshal(a.body, &got); err != nil {
			s.t.Errorf("%d with a body that is no JSON: %q", a.status, a.body)
		}
		got.Status = a.status
		e.got = append(e.got, got)
	}
	return a
}

// check stops the program and audits all that was answered.
func (s *sender) check(data string) {
	s.t.Helper()
	got, err := everyView(s.t.Context(), s.p.base, imagine(s.entries), "Min-Position", latest(s.entries))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.p.stop(s.t); err != nil {
		s.t.Errorf("it stopped with %v; it wrote:\n%s", err, s.p.out)
	}
	log, err := readLog(filepath.Join(data, "drivetrain.db"), "drivetribe.events")
	if err != nil {
		s.t.Fatal(err)
	}
	a := newAudit(s.entries, log)
	a.views(got)
	for _, problem := range a.problems {
		s.t.Error(problem)
	}
}

// TestAFullDiskRefusesCommandsAndLosesNothing fills the disk, here a limit on the
// size of a file. Commands are then refused and queries go on; once there is room
// again, all that was acknowledged is there, and what was not runs once.
func TestAFullDiskRefusesCommandsAndLosesNothing(t *testing.T) {
	if !alone() {
		return
	}
	t.Parallel()
	data := t.TempDir()
	s := &sender{t: t, p: startLimited(t, 1<<20, data)}
	s.send(command{Aggregate: "tribe", ID: "hikers", Actor: "maya", Name: "found", Body: body("name", "Hikers")})
	refused := fillDisk(t, s)
	whileFull(t, s)
	s.p.stop(t) // whatever it says, it must end
	if out := s.p.out.String(); strings.Contains(out, "goroutine ") || strings.Contains(out, "panic") {
		t.Errorf("it wrote a stack:\n%s", out)
	}
	s.p = startReady(t, data)
	again := 0
	for i := range s.entries {
		if e := &s.entries[i]; len(e.got) == 0 {
			again++
			if a := s.again(e); a.status != 200 {
				t.Errorf("command %d, sent again with room: %d %s", e.Seq, a.status, a.body)
			}
		}
	}
	t.Logf("%d commands, %d refused with 503 and accepted later; the first refusal: %s", len(s.entries), again, refused.body)
	s.check(data)
}

// fillDisk sends posts until one is refused, and returns the refusal.
func fillDisk(t *testing.T, s *sender) answer {
	t.Helper()
	text := strings.Repeat("Zopela muti. ", 300)
	for n := range 1000 {
		a := s.send(command{Aggregate: "post", ID: fmt.Sprintf("p%d", n), Actor: "maya", Name: "publish",
			Body: body("tribe", "hikers", "text", fmt.Sprintf("%s Number%d.", text, n))})
		if a.status == http.StatusOK {
			continue
		}
		if n < 10 {
			t.Fatalf("refused already at %d: %d %s", n, a.status, a.body)
		}
		return a
	}
	t.Fatal("the disk was never full")
	return answer{}
}

// whileFull sends more, all at once: what finds no room is refused in the same
// way, and queries are answered.
func whileFull(t *testing.T, s *sender) {
	t.Helper()
	first, began := len(s.entries), time.Now()
	var wg sync.WaitGroup
	for n := range 16 {
		s.add(command{Aggregate: "post", ID: fmt.Sprintf("late%d", n), Actor: "maya", Name: "publish",
			Body: body("tribe", "hikers", "text", strings.Repeat("Late. ", 800))})
	}
	refused := make([]answer, 16)
	for n := range refused {
		wg.Go(func() { refused[n] = s.again(&s.entries[first+n]) })
	}
	wg.Wait()
	took, left := time.Since(began), 0
	for _, a := range refused {
		if a.status == http.StatusOK {
			continue // a page that was free had room for it
		}
		left++
		got := readProblem(t, a)
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || got.Type != "/problems/unavailable" && got.Type != "/problems/unresolved" {
			t.Errorf("with a full disk: %d %v %s", a.status, a.header, a.body)
		}
	}
	if left < 8 || took > 13*time.Second {
		t.Errorf("%d of 16 commands were refused, after %v", left, took)
	}
	t.Logf("with a full disk %d of 16 commands were refused, all within %v", left, took.Round(time.Millisecond))
	for _, path := range []string{"/v1/views/post-card/p0", "/v1/views/tribe-feed/hikers", "/v1/views/search?q=number3"} {
		if status, doc := s.p.try(path); status != http.StatusOK {
			t.Errorf("GET %s with a full disk: %d %s", path, status, doc)
		}
	}
	posts := imagine(s.entries).tribes["hikers"].Posts
	a, err := ask(t.Context(), http.MethodGet, s.p.base+"/v1/views/tribe-card/hikers", "", "Min-Position", latest(s.entries))
	if err != nil || !strings.Contains(string(a.body), fmt.Sprintf(`"posts":%d}`, posts)) {
		t.Errorf("%d posts were acknowledged, the card says %s, %v", posts, a.body, err)
	}
}

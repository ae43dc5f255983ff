package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const announced = 300 // tribes that a test founds

// founders founds tribes over HTTP, again until each is founded, and lets a member
// join it, which nobody else shall hear of.
type founders struct {
	to      atomic.Pointer[program]
	founded atomic.Int64
	done    sync.WaitGroup
}

func (f *founders) begin(ctx context.Context, n int) {
	todo := make(chan int, n)
	for i := range n {
		todo <- i
	}
	close(todo)
	for range 8 {
		f.done.Go(func() {
			for i := range todo {
				f.until(ctx, fmt.Sprintf("/v1/tribe/t%d/found", i), fmt.Sprintf(`{"name":"Tribe %d"}`, i), strconv.Itoa(i))
				f.until(ctx, fmt.Sprintf("/v1/tribe/t%d/join", i), "", "join-"+strconv.Itoa(i))
				f.founded.Add(1)
			}
		})
	}
}

func (f *founders) until(ctx context.Context, path, body, key string) {
	for ctx.Err() == nil {
		a, err := ask(ctx, http.MethodPost, f.to.Load().base+path, body, "User", "maya", "Idempotency-Key", key)
		if err == nil && a.status == http.StatusOK {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// announcement is a message of the topic APP.out.
type announcement struct {
	SpecVersion string `json:"specversion"`
	ID          string `json:"id"`
	Source      string `json:"source"`
	Type        string `json:"type"`
	Subject     string `json:"subject"`
	Time        string `json:"time"`
	ContentType string `json:"datacontenttype"`
	Data        struct {
		Name string `json:"name"`
	} `json:"data"`
}

// announcements reads APP.out by a client of the test's own.
func (s *site) announcements(t testing.TB) (all []announcement) {
	t.Helper()
	topic, err := readTopic(t.Context(), s.kafka, s.app+".out")
	if err != nil {
		t.Fatal(err)
	}
	for _, records := range topic {
		for _, r := range records {
			var a announcement
			if err := json.Unmarshal(r.value, &a); err != nil {
				t.Fatalf("%s: %v", r.value, err)
			}
			all = append(all, a)
		}
	}
	return all
}

// expected is what must be announced, by the log.
func (s *site) expected(t testing.TB) map[string]announcement {
	t.Helper()
	want := make(map[string]announcement)
	for _, c := range judge(s.readLog(t)).valid {
		for _, e := range c.events {
			if e.name != "tribe.founded" {
				continue
			}
			a := announcement{SpecVersion: "1.0", ID: e.id, Source: "//" + s.app, Type: e.name, Subject: c.key[len("tribe/"):],
				Time: time.Unix(0, e.time).UTC().Format(time.RFC3339Nano), ContentType: "application/json"}
			if err := json.Unmarshal(e.data, &a.Data); err != nil {
				t.Fatal(err)
			}
			want[e.id] = a
		}
	}
	return want
}

// TestEachFoundedTribeIsAnnouncedThroughAKill founds tribes on servers, kills the
// program half-way, and finds each tribe of the log in the topic for others, by
// its event's id, and nothing else. Starting once more announces nothing again.
func TestEachFoundedTribeIsAnnouncedThroughAKill(t *testing.T) {
	for _, b := range onServers() {
		t.Run(b.name, func(t *testing.T) {
			s := newSite(t, b)
			p := foundThroughAKill(t, s)
			var got []announcement
			seen := make(map[string]int)
			for began := time.Now(); len(seen) < announced; time.Sleep(200 * time.Millisecond) {
				if time.Since(began) > time.Minute {
					t.Fatalf("after a minute %d tribes are announced, want %d; it wrote:\n%s", len(seen), announced, p.out)
				}
				got = s.announcements(t)
				clear(seen)
				for _, a := range got {
					seen[a.ID]++
				}
			}
			stopped(t, p)
			got = s.announcements(t)
			checkAnnounced(t, got, s.expected(t))
			t.Logf("%d messages for %d tribes", len(got), announced)
			p = s.startReady(t, 0)
			time.Sleep(3 * time.Second)
			stopped(t, p)
			if again := s.announcements(t); len(again) != len(got) {
				t.Errorf("a clean restart announced %d more", len(again)-len(got))
			}
		})
	}
}

// foundThroughAKill founds tribes and kills the program half-way.
func foundThroughAKill(t *testing.T, s *site) *program {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var f founders
	p := s.startReady(t, 0)
	f.to.Store(p)
	f.begin(ctx, announced)
	for f.founded.Load() < announced/2 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	p.kill()
	p = s.start(t, 0)
	f.to.Store(p)
	p.ready(t)
	f.done.Wait()
	if ctx.Err() != nil {
		t.Fatalf("%d tribes were founded within two minutes, want %d; it wrote:\n%s", f.founded.Load(), announced, p.out)
	}
	return p
}

// checkAnnounced holds what was announced against what must be.
func checkAnnounced(t *testing.T, got []announcement, want map[string]announcement) {
	t.Helper()
	missing := maps.Clone(want)
	for _, a := range got {
		if a != want[a.ID] {
			t.Errorf("announced %+v, in the log is %+v", a, want[a.ID])
		}
		delete(missing, a.ID)
	}
	if len(want) != announced || len(missing) > 0 {
		t.Errorf("%d tribes in the log, want %d; not announced: %v", len(want), announced, slices.Collect(maps.Keys(missing)))
	}
}

var effectEvents = regexp.MustCompile(`(?m)^drivetrain_effect_events_total\{effect="announce-tribes"\} (\d+)$`)

// acted is how many events the process's effect has done with since it started.
func (p *program) acted(t testing.TB) int {
	t.Helper()
	a, err := ask(t.Context(), http.MethodGet, p.admin+"/metrics", "")
	if err != nil {
		t.Fatal(err)
	}
	m := effectEvents.FindSubmatch(a.body)
	if m == nil {
		t.Fatalf("no figure of the effect: %d %.2000s", a.status, a.body)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestEffectsOutliveTheStores starts the embedded program, whose stores are empty
// at each start: after a clean stop no effect runs again, after a kill only those
// of the last moment.
func TestEffectsOutliveTheStores(t *testing.T) {
	if !alone() {
		return
	}
	t.Parallel()
	data := t.TempDir()
	p := startReady(t, data)
	for i := range 50 {
		must(t, p, "maya", fmt.Sprintf("/v1/tribe/t%d/found", i), `{"name":"Hikers"}`)
	}
	waitActed(t, p, 50)
	stopped(t, p)
	p = startReady(t, data)
	time.Sleep(time.Second)
	if n := p.acted(t); n != 0 {
		t.Errorf("a clean restart ran %d effects again", n)
	}
	must(t, p, "maya", "/v1/tribe/late/found", `{"name":"Late"}`)
	waitActed(t, p, 1)
	time.Sleep(time.Second) // for its progress to be kept
	must(t, p, "maya", "/v1/tribe/later/found", `{"name":"Later"}`)
	p.kill()
	p = startReady(t, data)
	time.Sleep(time.Second)
	if n := p.acted(t); n > 1 {
		t.Errorf("after a kill %d effects ran again, want the last at most", n)
	}
}

func waitActed(t *testing.T, p *program, want int) {
	t.Helper()
	for began := time.Now(); p.acted(t) < want; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%d effects, want %d; it wrote:\n%s", p.acted(t), want, p.out)
		}
	}
	if n := p.acted(t); n != want {
		t.Errorf("%d effects, want %d", n, want)
	}
}

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// number reads a number from the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestEverythingAcknowledgedOutlivesAKill drives the program with many clients,
// kills it half-way, starts it again on the same data, and lets an auditor
// compare what was answered with the log, with every view and with the stores.
func TestEverythingAcknowledgedOutlivesAKill(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			s := newSite(t, b)
			r := s.newRun(t, int(number(t, "E2E_COMMANDS", 3000)), s.startReady(t, 0))
			r.begin()
			next := killHalfWay(t, r)
			r.end("no answer")
			r.inspect([]*program{next})
		})
	}
}

// run is traffic to an application, and its tally.
type run struct {
	*traffic
	t     *testing.T
	site  *site
	began time.Time
	done  chan struct{}
}

// newRun prepares traffic of some number of commands to processes.
func (s *site) newRun(t *testing.T, total int, to ...*program) *run {
	t.Helper()
	seed := number(t, "E2E_SEED", uint64(time.Now().UnixNano()))
	t.Logf("at most %d commands, E2E_SEED=%d, application %s", total, seed, s.app)
	tl, err := newTally(s.tally())
	if err != nil {
		t.Fatal(err)
	}
	return &run{traffic: newTraffic(t, tl, total, seed, to...), t: t, site: s, done: make(chan struct{})}
}

// tally is the path of the tally's file.
func (s *site) tally() string { return filepath.Join(s.dir, "tally.ndjson") }

// begin lets the traffic run.
func (r *run) begin() {
	r.began = time.Now()
	go func() {
		defer close(r.done)
		r.run()
	}()
}

// reach waits until so many commands have a definite answer.
func (r *run) reach(settled int64) {
	r.t.Helper()
	for r.settled.Load() < settled {
		select {
		case <-r.done:
			r.t.Fatalf("all ended after %d commands, before the %dth", r.settled.Load(), settled)
		case <-time.After(time.Millisecond):
		}
	}
}

// end waits until all commands have their answers, and reports. These kinds of
// answers must have come, beside those that always do.
func (r *run) end(kinds ...string) {
	r.t.Helper()
	<-r.done
	took := time.Since(r.began)
	if err := r.tally.close(); err != nil {
		r.t.Fatal(err)
	}
	report(r.t, r.traffic, took, kinds)
}

// killHalfWay kills the process at a random moment near the middle, starts it
// again and returns the new one.
func killHalfWay(t *testing.T, r *run) *program {
	t.Helper()
	random := rand.New(rand.NewPCG(r.seed, 99))
	r.reach(int64(float64(r.total) * (0.45 + 0.1*random.Float64())))
	time.Sleep(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
	r.site.running[0].kill()
	killed := r.settled.Load()
	began := time.Now()
	next := r.site.start(t, 0)
	r.direct(next)
	next.ready(t)
	t.Logf("killed after %d answers; ready again %v after its start", killed, time.Since(began).Round(time.Millisecond))
	return next
}

// report prints what the clients saw, and fails on what they should not have.
func report(t *testing.T, tr *traffic, took time.Duration, kinds []string) {
	t.Helper()
	t.Logf("%d commands in %v, all stops included: %.0f commands/s, p50 %v, p99 %v", tr.seq.Load(), took.Round(time.Millisecond),
		float64(tr.seq.Load())/took.Seconds(), tr.percentile(0.5).Round(10*time.Microsecond), tr.percentile(0.99).Round(10*time.Microsecond))
	for _, kind := range slices.Sorted(maps.Keys(tr.kinds)) {
		t.Logf("  %-28s %6d", kind, tr.kinds[kind])
	}
	for _, f := range tr.fails {
		t.Error(f)
	}
	for _, kind := range append(kinds, "200", "200 no-op", "422 rejected", "403 forbidden", "412 conflict", "sent again",
		"read own post", "read own tribe", "read post-card", "read tribe-feed", "read search", "read comments") {
		if tr.kinds[kind] == 0 {
			t.Errorf("%q did not happen, so this run tests less than it should", kind)
		}
	}
}

// inspect reads every view from each process and what lies in the stores, stops
// the processes, and audits it all, with what others than the traffic have sent.
func (r *run) inspect(from []*program, others ...entry) {
	t := r.t
	t.Helper()
	entries, err := readTally(r.site.tally())
	if err != nil {
		t.Fatal(err)
	}
	r.site.inspect(t, from, from, append(entries, others...))
}

// inspect reads every view from some processes and what lies in the stores, stops all, and
// audits it.
func (s *site) inspect(t *testing.T, from, all []*program, entries []entry) {
	t.Helper()
	var got []answers
	for _, p := range from {
		views, err := everyView(t.Context(), p.base, imagine(entries), "Min-Position", latest(entries))
		if err != nil {
			t.Fatalf("%v\nit wrote:\n%.4000s", err, p.out)
		}
		got = append(got, views)
	}
	var kept stores
	if !s.embedded() {
		var err error
		if kept, err = s.readStores(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range all {
		stopped(t, p)
	}
	a := newAudit(entries, s.readLog(t))
	for _, views := range got {
		a.views(views)
	}
	if !s.embedded() {
		a.inStores(kept)
	}
	verdict(t, a, got[0])
}

// stopped stops a process in order.
func stopped(t testing.TB, p *program) {
	t.Helper()
	if err := p.stop(t); err != nil {
		t.Errorf("it stopped with %v; it wrote:\n%s", err, p.out)
	}
	if s := p.out.String(); strings.Contains(s, "goroutine ") {
		t.Errorf("it wrote a stack:\n%s", s)
	}
}

// verdict fails with what the audit has found.
func verdict(t *testing.T, a *audit, got answers) {
	t.Helper()
	t.Logf("audited %d commands against %d valid commits, %d void events; %d tribe cards, %d post cards, %d feeds, %d searches",
		len(a.entries), len(a.log.valid), a.log.void, len(got.tribeCards), len(got.postCards), len(got.feeds), len(got.searches))
	for n, problem := range a.problems {
		if n == maxFails {
			t.Fatalf("and %d more", len(a.problems)-n)
		}
		t.Error(problem)
	}
}

// latest is the position of the last event of each partition that was answered.
func latest(entries []entry) string {
	last := make(map[string]int64)
	for _, e := range entries {
		for _, got := range e.got {
			if p, offset, ok := strings.Cut(got.Position, "@"); ok {
				if n, err := strconv.ParseInt(offset, 10, 64); err == nil {
					last[p] = max(last[p], n)
				}
			}
		}
	}
	var positions []string
	for p, offset := range last {
		positions = append(positions, p+"@"+strconv.FormatInt(offset, 10))
	}
	return strings.Join(positions, ",")
}

// everyView asks the program for all that the audit compares.
// headers are pairs of name and value.
func everyView(ctx context.Context, base string, w *world, headers ...string) (answers, error) {
	got := answers{tribeCards: map[string]string{}, postCards: map[string]string{}, feeds: map[string][]string{}, searches: map[question]found{}}
	f := &fetcher{ctx: ctx, base: base, headers: headers}
	for _, id := range w.places() {
		f.add(func() error { return f.card("tribe-card", id, got.tribeCards) })
		f.add(func() error { return f.feed(id, got.feeds) })
	}
	for id := range w.posts {
		f.add(func() error { return f.card("post-card", id, got.postCards) })
	}
	for _, q := range w.questions() {
		f.add(func() error { return f.search(q, got.searches) })
	}
	return got, f.all()
}

// fetcher fetches views, several at a time.
type fetcher struct {
	ctx     context.Context
	base    string
	headers []string
	todo    []func() error
	mu      sync.Mutex // of the maps that are filled
}

func (f *fetcher) add(get func() error) { f.todo = append(f.todo, get) }

func (f *fetcher) all() error {
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for n := range errs {
		wg.Go(func() {
			for i := n; i < len(f.todo) && errs[n] == nil; i += len(errs) {
				errs[n] = f.todo[i]()
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// get returns a view's answer; it is empty if there is no such document.
func (f *fetcher) get(path string) (string, error) {
	a, err := ask(f.ctx, http.MethodGet, f.base+path, "", f.headers...)
	switch {
	case err != nil:
		return "", err
	case a.status == http.StatusNotFound:
		return "", nil
	case a.status != http.StatusOK:
		return "", fmt.Errorf("GET %s: %d %s", path, a.status, a.body)
	}
	return string(a.body), nil
}

func (f *fetcher) card(view, id string, into map[string]string) error {
	doc, err := f.get("/v1/views/" + view + "/" + id)
	f.mu.Lock()
	defer f.mu.Unlock()
	into[id] = doc
	return err
}

// page is what a feed or a search answers.
type page struct {
	Items []json.RawMessage `json:"items"`
	Next  string            `json:"next"`
	Total int               `json:"total"`
}

func (f *fetcher) page(path string) (p page, err error) {
	doc, err := f.get(path)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal([]byte(doc), &p); err != nil {
		return p, fmt.Errorf("GET %s: %w", path, err)
	}
	return p, nil
}

// feed reads a feed to its end, some by small pages.
func (f *fetcher) feed(tribe string, into map[string][]string) error {
	limit := 100
	if len(tribe)%2 == 0 {
		limit = 7
	}
	items := []string{}
	for after := ""; ; {
		p, err := f.page(fmt.Sprintf("/v1/views/tribe-feed/%s?limit=%d&after=%s", tribe, limit, url.QueryEscape(after)))
		if err != nil {
			return err
		}
		for _, item := range p.Items {
			items = append(items, string(item))
		}
		if after = p.Next; after == "" {
			f.mu.Lock()
			defer f.mu.Unlock()
			into[tribe] = items
			return nil
		}
	}
}

// depth is how many hits of a search can be left out.
const depth = 9_900

// search reads a search to its end, some by leaving out what was read, the others from
// where the page before has ended.
func (f *fetcher) search(q question, into map[question]found) error {
	got := found{}
	for after := ""; ; {
		path := fmt.Sprintf("/v1/views/search?q=%s&limit=100&after=%s", url.QueryEscape(q.words), after)
		if len(q.words)%2 == 0 && len(got.items) < depth {
			path = fmt.Sprintf("/v1/views/search?q=%s&limit=100&skip=%d", url.QueryEscape(q.words), len(got.items))
		}
		if q.kind != "" {
			path += "&kind=" + q.kind
		}
		p, err := f.page(path)
		if err != nil {
			return err
		}
		got.total = p.Total
		for _, item := range p.Items {
			got.items = append(got.items, string(item))
		}
		if after = p.Next; len(p.Items) == 0 || len(got.items) >= p.Total {
			f.mu.Lock()
			defer f.mu.Unlock()
			into[q] = got
			return nil
		}
	}
}

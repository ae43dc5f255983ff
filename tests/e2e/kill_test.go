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
// compare what was answered with the log's file and with every view.
func TestEverythingAcknowledgedOutlivesAKill(t *testing.T) {
	total, seed := int(number(t, "E2E_COMMANDS", 3000)), number(t, "E2E_SEED", uint64(time.Now().UnixNano()))
	t.Logf("%d commands, E2E_SEED=%d", total, seed)
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	tl, err := newTally(filepath.Join(dir, "tally.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	p := startReady(t, data)
	tr := newTraffic(t, p.base, tl, total, seed)
	began := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tr.run()
	}()
	p = killHalfWay(t, tr, p, data, done)
	<-done
	took := time.Since(began)
	if err := tl.close(); err != nil {
		t.Fatal(err)
	}
	report(t, tr, took)
	inspect(t, p, dir)
}

// killHalfWay kills the program at a random moment near the middle, starts it
// again and returns the new one.
func killHalfWay(t *testing.T, tr *traffic, p *program, data string, done <-chan struct{}) *program {
	t.Helper()
	r := rand.New(rand.NewPCG(tr.seed, 99))
	at := int64(float64(tr.total) * (0.45 + 0.1*r.Float64()))
	for tr.settled.Load() < at {
		select {
		case <-done:
			t.Fatalf("all ended after %d commands, before the kill", tr.settled.Load())
		case <-time.After(time.Millisecond):
		}
	}
	time.Sleep(time.Duration(r.Int64N(int64(20 * time.Millisecond))))
	p.kill()
	killed := tr.settled.Load()
	began := time.Now()
	next := start(t, data)
	tr.base.Store(&next.base)
	next.ready(t)
	t.Logf("killed after %d answers; ready again %v after its start", killed, time.Since(began).Round(time.Millisecond))
	return next
}

// report prints what the clients saw, and fails on what they should not have.
func report(t *testing.T, tr *traffic, took time.Duration) {
	t.Helper()
	t.Logf("%d commands in %v, the restart included: %.0f commands/s, p50 %v, p99 %v", tr.seq.Load(), took.Round(time.Millisecond),
		float64(tr.seq.Load())/took.Seconds(), tr.percentile(0.5).Round(10*time.Microsecond), tr.percentile(0.99).Round(10*time.Microsecond))
	for _, kind := range slices.Sorted(maps.Keys(tr.kinds)) {
		t.Logf("  %-28s %6d", kind, tr.kinds[kind])
	}
	for _, f := range tr.fails {
		t.Error(f)
	}
	for _, kind := range []string{"200", "200 no-op", "422 rejected", "403 forbidden", "412 conflict", "no answer", "sent again",
		"read own post", "read own tribe", "read post-card", "read tribe-feed", "read search", "read comments"} {
		if tr.kinds[kind] == 0 {
			t.Errorf("%q did not happen, so this run tests less than it should", kind)
		}
	}
}

// inspect reads every view, stops the program, and audits it all.
func inspect(t *testing.T, p *program, dir string) {
	t.Helper()
	entries, err := readTally(filepath.Join(dir, "tally.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := everyView(t.Context(), p.base, imagine(entries))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.stop(t); err != nil {
		t.Errorf("it stopped with %v; it wrote:\n%s", err, p.out)
	}
	if s := p.out.String(); strings.Contains(s, "goroutine ") {
		t.Errorf("it wrote a stack:\n%s", s)
	}
	log, err := readLog(filepath.Join(dir, "data", "drivetrain.db"), "drivetribe.events")
	if err != nil {
		t.Fatal(err)
	}
	a := newAudit(entries, log)
	a.views(got)
	t.Logf("audited %d commands against %d valid commits, %d void events; %d tribe cards, %d post cards, %d feeds, %d searches",
		len(entries), len(a.log.valid), a.log.void, len(got.tribeCards), len(got.postCards), len(got.feeds), len(got.searches))
	for n, problem := range a.problems {
		if n == maxFails {
			t.Fatalf("and %d more", len(a.problems)-n)
		}
		t.Error(problem)
	}
}

// everyView asks the program for all that the audit compares.
func everyView(ctx context.Context, base string, w *world) (answers, error) {
	got := answers{tribeCards: map[string]string{}, postCards: map[string]string{}, feeds: map[string][]string{}, searches: map[question]found{}}
	f := &fetcher{ctx: ctx, base: base}
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
	ctx  context.Context
	base string
	todo []func() error
	mu   sync.Mutex // of the maps that are filled
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
	a, err := ask(f.ctx, http.MethodGet, f.base+path, "")
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

// search reads a search to its end.
func (f *fetcher) search(q question, into map[question]found) error {
	got := found{}
	for {
		path := fmt.Sprintf("/v1/views/search?q=%s&limit=100&skip=%d", url.QueryEscape(q.words), len(got.items))
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
		if len(p.Items) == 0 || len(got.items) >= p.Total {
			f.mu.Lock()
			defer f.mu.Unlock()
			into[q] = got
			return nil
		}
	}
}

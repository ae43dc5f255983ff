package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// generation is one of a view as the operators' API shows it.
type generation struct {
	Generation int     `json:"generation"`
	Version    int     `json:"version"`
	State      string  `json:"state"`
	Lag        int64   `json:"lag"`
	Done       int64   `json:"done"`
	End        int64   `json:"end"`
	Rate       float64 `json:"events_per_second"`
	Left       float64 `json:"seconds_left"`
	Error      string  `json:"error"`
}

// comparison is what comparing two generations came to.
type comparison struct {
	Equal       bool      `json:"equal"`
	Documents   [2]int64  `json:"documents"`
	Entries     [2]int64  `json:"entries"`
	Digests     [2]string `json:"digests"`
	Differences []struct {
		Key         string `json:"key"`
		Read, Other json.RawMessage
	} `json:"differences"`
}

// tendWithin is how long an operator's step may be refused or not be answered while
// processes are killed, before it is given up.
const tendWithin = 90 * time.Second

// order sends a request about a view's generations to a process's operators' API.
func (f *fire) order(l *life, method, view, path, body string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.ctx), tendWithin)
	defer cancel()
	return askBy(ctx, patient, method, l.admin+"/v1/views/"+view+path, body)
}

// patient is a client for what may take long, as a comparison.
var patient = &http.Client{Timeout: tendWithin}

// tend sends such a request, again while it cannot be done yet, and reads the answer. It
// fails the test if that is not what is wanted.
func (f *fire) tend(l *life, want int, method, view, path, body string, into any) {
	f.t.Helper()
	for began := time.Now(); ; time.Sleep(5 * pause) {
		a, err := f.order(l, method, view, path, body)
		later := err == nil && (a.status == http.StatusServiceUnavailable || a.status == http.StatusConflict && want != http.StatusConflict && strings.Contains(string(a.body), "building"))
		switch {
		case err == nil && a.status == want:
			if into != nil {
				if err := json.Unmarshal(a.body, into); err != nil {
					f.t.Fatalf("%s %s%s: %s: %v", method, view, path, a.body, err)
				}
			}
			return
		case !later || time.Since(began) > tendWithin:
			f.t.Fatalf("%s %s%s %s of process %d: %d %s, %v; want %d", method, view, path, body, l.n, a.status, a.body, err, want)
		}
	}
}

// generations returns those of a view by number.
func (f *fire) generations(l *life, view string) map[int]generation {
	f.t.Helper()
	var list struct{ Items []generation }
	f.tend(l, http.StatusOK, http.MethodGet, view, "/generations", "", &list)
	all := make(map[int]generation)
	for _, g := range list.Items {
		all[g.Generation] = g
	}
	return all
}

// rebuild lets a generation of a version be built, which it asks for twice.
func (f *fire) rebuild(l *life, view string, version, rate int) (number int) {
	f.t.Helper()
	var first, again struct{ Generation int }
	order := fmt.Sprintf(`{"version":%d,"rate":%d,"by":"e2e"}`, version, rate)
	f.tend(l, http.StatusAccepted, http.MethodPost, view, "/generations", order, &first)
	f.tend(f.other(l), http.StatusAccepted, http.MethodPost, view, "/generations", order, &again)
	if first.Generation != again.Generation {
		f.t.Errorf("version %d of %s is asked for twice, and generations %d and %d are built", version, view, first.Generation, again.Generation)
	}
	f.made.note(view, first.Generation, version)
	return first.Generation
}

// watch waits until a generation is ready. While no process ends it goes forward only,
// unless it is the first one that is looked at.
func (f *fire) watch(l *life, view string, number int, until func(generation) bool) generation {
	f.t.Helper()
	var before generation
	well := time.Now()
	for began := well; ; time.Sleep(10 * pause) {
		g, ok := f.generations(l, view)[number]
		switch {
		case !ok:
			f.t.Fatalf("generation %d of %s is not listed", number, view)
		case until(g):
			return g
		case f.calm.Load() && g.Done < before.Done:
			f.t.Errorf("generation %d of %s went back from %d events to %d", number, view, before.Done, g.Done)
		case time.Since(began) > 10*tendWithin:
			f.t.Fatalf("generation %d of %s is not there: %+v", number, view, g)
		case g.Error == "":
			well = time.Now()
		case time.Since(well) > tendWithin/3:
			f.t.Fatalf("generation %d of %s does not go on: %s", number, view, g.Error)
		}
		before = g
	}
}

func isReady(g generation) bool { return g.State == "ready" }

// compare compares a generation with the one that is read.
func (f *fire) compare(l *life, view string, number int) (c comparison) {
	f.t.Helper()
	f.tend(l, http.StatusOK, http.MethodPost, view, fmt.Sprintf("/generations/%d/compare", number), "", &c)
	return c
}

// switchTo lets a generation be read, which must be what is read then, of every process.
func (f *fire) switchTo(l *life, view string, number int, order string) {
	f.t.Helper()
	f.tend(l, http.StatusOK, http.MethodPost, view, fmt.Sprintf("/generations/%d/switch", number), order, nil)
	f.isRead(view, number)
}

func (f *fire) isRead(view string, number int) {
	f.t.Helper()
	for n := range f.lives {
		l := f.lives[n].Load()
		for began := time.Now(); f.generations(l, view)[number].State != "read"; time.Sleep(pause) {
			if time.Since(began) > 5*time.Second {
				f.t.Fatalf("process %d reads %s in %+v, want generation %d", n, view, f.generations(l, view), number)
			}
		}
	}
}

// refused checks that a switch is refused for what differs.
func (f *fire) refused(l *life, view string, number int) {
	f.t.Helper()
	path := fmt.Sprintf("/generations/%d/switch", number)
	var said problem
	f.tend(l, http.StatusConflict, http.MethodPost, view, path, `{"by":"e2e"}`, &said)
	if !strings.Contains(said.Detail, "differs") {
		f.t.Errorf("a switch of %s to generation %d is refused: %s", view, number, said.Detail)
	}
	f.tend(l, http.StatusUnprocessableEntity, http.MethodPost, view, path, `{"force":true}`, nil)
}

// differs checks that a comparison names documents that two generations do not agree on,
// as both have them.
func (f *fire) differs(l *life, view string, number int) {
	f.t.Helper()
	c := f.compare(l, view, number)
	if c.Equal || len(c.Differences) == 0 || c.Digests[0] == c.Digests[1] {
		f.t.Errorf("generations of two versions of %s: %+v", view, c)
		return
	}
	for _, d := range c.Differences {
		if d.Key == "" || string(d.Read) == string(d.Other) {
			f.t.Errorf("a difference of %s: %q: %s and %s", view, d.Key, d.Read, d.Other)
		}
	}
	f.t.Logf("%s: generation %d differs in %d at least, such as %s: %.100s and %.100s", view, number, len(c.Differences), c.Differences[0].Key, c.Differences[0].Read, c.Differences[0].Other)
}

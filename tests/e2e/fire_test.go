package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fire is requests at a fixed rate to processes that are killed and started again: each
// is sent when its time has come, whether earlier ones are answered or not, and what it
// takes counts from then.
type fire struct {
	t       *testing.T
	past    past
	ctx     context.Context
	stop    context.CancelFunc
	under   sync.WaitGroup
	room    chan struct{} // holds one for each request under way
	lives   [2]atomic.Pointer[life]
	turn    atomic.Int64
	calm    atomic.Bool // no process is killed or started: what one has reached, the other reaches soon
	phase   atomic.Pointer[phase]
	retried atomic.Int64 // requests that a killed process had got, sent to the other
	seq     atomic.Int64
	made    versionsOf

	mu       sync.Mutex
	commands []entry
	fails    []string
	failed   int
	seen     map[sight]time.Time // when a generation of a view last answered
	answers  map[sight]int
	latest   map[string]string // the position that was last answered, by view and path
}

// sight is a generation of a view.
type sight struct {
	view       string
	generation int
}

// versionsOf is by what version each generation is made.
type versionsOf struct {
	mu  sync.Mutex
	all map[sight]int
}

func (v *versionsOf) note(view string, generation, version int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.all[sight{view, generation}] = version
}

func (v *versionsOf) of(view string, generation int) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.all[sight{view, generation}]
}

// life is a process from its start to its end.
type life struct {
	*program
	n     int
	away  atomic.Bool // it gets no new requests
	dying atomic.Bool // it is killed: who has asked it may ask the other one

	told atomic.Int64 // the greatest place of the control log that was answered
	mu   sync.Mutex
	far  map[string]map[int]map[int]int64 // the greatest positions, by group and sort of answers
}

// phase is a time whose requests are measured together.
type phase struct {
	name   string
	began  time.Time
	lasted time.Duration // once it is over
	mu     sync.Mutex
	took   map[string][]time.Duration // by kind of request
}

// mostUnderWay is how many requests wait for an answer at once; later ones wait for
// room, which counts for them.
const mostUnderWay = 512

func newFire(t *testing.T, p past, one, two *program) *fire {
	f := &fire{t: t, past: p, room: make(chan struct{}, mostUnderWay), seen: make(map[sight]time.Time), answers: make(map[sight]int), latest: make(map[string]string)}
	f.made.all = make(map[sight]int)
	f.ctx, f.stop = context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(f.report)
	f.enter("before")
	f.join(0, one)
	f.join(1, two)
	return f
}

// join lets a process get requests.
func (f *fire) join(n int, p *program) {
	f.lives[n].Store(&life{program: p, n: n, far: make(map[string]map[int]map[int]int64)})
}

// enter begins a phase, and returns the one that ends.
func (f *fire) enter(name string) *phase {
	p := f.phase.Swap(&phase{name: name, began: time.Now(), took: make(map[string][]time.Duration)})
	if p != nil {
		p.lasted = time.Since(p.began)
	}
	return p
}

// end stops all requests and waits for their answers.
func (f *fire) end() {
	f.stop()
	f.under.Wait()
}

// report ends all, and fails the test with what clients have seen that must not be.
func (f *fire) report() {
	f.end()
	for _, one := range f.fails {
		f.t.Error(one)
	}
	if f.failed > len(f.fails) {
		f.t.Errorf("and %d more", f.failed-len(f.fails))
	}
}

func (f *fire) failf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed++; len(f.fails) < maxFails {
		f.fails = append(f.fails, f.phase.Load().name+": "+fmt.Sprintf(format, args...))
	}
}

// atRate calls one so many times a second, until the fire ends. What is under way then
// goes on.
func (f *fire) atRate(rate int, one func(n int, ask *request)) {
	f.under.Go(func() {
		began := time.Now()
		for n := 0; ; n++ {
			planned := began.Add(time.Duration(n) * time.Second / time.Duration(rate))
			select {
			case <-time.After(time.Until(planned)):
			case <-f.ctx.Done():
				return
			}
			select {
			case f.room <- struct{}{}:
			case <-f.ctx.Done():
				return
			}
			f.under.Go(func() {
				defer func() { <-f.room }()
				one(n, &request{fire: f, phase: f.phase.Load(), planned: planned})
			})
		}
	})
}

// request is one that is sent at its time.
type request struct {
	*fire
	phase   *phase
	planned time.Time
	life    *life // that it was last sent to
}

// done notes how long it took.
func (r *request) done(kind string) {
	took := time.Since(r.planned)
	r.phase.mu.Lock()
	defer r.phase.mu.Unlock()
	r.phase.took[kind] = append(r.phase.took[kind], took)
}

// choose takes the next process that gets requests, not this one if it can.
func (r *request) choose(not *life) *life {
	first := int(r.turn.Add(1))
	for i := range len(r.lives) {
		if l := r.lives[(first+i)%len(r.lives)].Load(); !l.away.Load() && l != not {
			return l
		}
	}
	return r.lives[first%len(r.lives)].Load()
}

// other is the process that is not this one.
func (f *fire) other(l *life) *life { return f.lives[1-l.n].Load() }

// failed returns what the process has last written of queries that failed.
func (l *life) failed() string {
	lines := slices.DeleteFunc(strings.Split(l.out.String(), "\n"), func(line string) bool { return !strings.Contains(line, "a query failed") })
	return strings.Join(lines[max(0, len(lines)-2):], "\n")
}

// read gets a path. What has reached a process that was killed, and was not answered, is
// asked again of the other one, as a balancer would; nothing else is.
func (r *request) read(path string, headers ...string) (a answer, ok bool) {
	for {
		a, err := ask(context.WithoutCancel(r.ctx), http.MethodGet, r.life.base+path, "", headers...)
		switch {
		case err == nil && a.status == http.StatusOK:
			return a, true
		case err == nil:
			r.failf("GET %s of process %d: %d %s\n%s", path, r.life.n, a.status, a.body, r.life.failed())
			return a, false
		case !r.life.dying.Load() || time.Since(r.planned) > giveUp:
			r.failf("GET %s of process %d: %v", path, r.life.n, err)
			return a, false
		}
		r.retried.Add(1)
		r.life = r.choose(r.life)
	}
}

// query is a request for a view. What answers those of one group tells how far it is in
// the same partitions.
type query struct {
	kind, view, path, group string // path is what follows the view's name
	joins                   bool   // another view is read too, whose generations come and go
	check                   func(doc []byte, version int) error
	min                     string // the position that it must have reached; empty: any
}

// ask asks a view and checks what each answer must be: by one generation, and no earlier
// than what the process has answered before the request, or the request asks for.
func (r *request) ask(q query) {
	if r.life == nil {
		r.life = r.choose(nil)
	}
	asked, before, turn := r.life, r.life.reached(q.view+"/"+q.group), r.life.told.Load()
	var headers []string
	if q.min != "" {
		headers = []string{"Min-Position", q.min}
	}
	a, ok := r.read("/v1/views/"+q.view+q.path, headers...)
	if !ok {
		return
	}
	r.done(q.kind)
	number, err := strconv.Atoi(a.header.Get("Generation"))
	position := a.header.Get("Position")
	at, control, wrong := positions(position)
	if err != nil || wrong != nil {
		r.failf("%s%s: Generation %q, Position %q", q.view, q.path, a.header.Get("Generation"), position)
		return
	}
	if err := q.check(a.body, r.made.of(q.view, number)); err != nil {
		r.failf("%s%s, generation %d, position %s: %v", q.view, q.path, number, position, err)
	}
	sort := number // of answers: those of one sort go no further back
	if q.joins {
		sort += int(control) << 16
	}
	if asked == r.life { // else another process has answered
		r.follows(q, before[sort], at, turn, control, "what was answered before")
	}
	if q.min != "" {
		least, turn, _ := positions(q.min)
		r.follows(q, least, at, turn, control, "Min-Position")
	}
	r.life.reach(q.view+"/"+q.group, sort, at, control)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[sight{q.view, number}] = time.Now()
	r.answers[sight{q.view, number}]++
	r.latest[q.view+q.path] = position
}

// follows checks that a position lies nowhere before another.
func (f *fire) follows(q query, before, at map[int]int64, turn, control int64, what string) {
	for n, offset := range at {
		if offset < before[n] {
			f.failf("%s%s: position %d@%d, behind %d@%d of %s", q.view, q.path, n, offset, n, before[n], what)
		}
	}
	if control < turn || len(at) == 0 && len(before) > 0 && q.view != "search" { // a search says how far it is only if it is asked to be
		f.failf("%s%s: position %v;c@%d, behind %v;c@%d of %s", q.view, q.path, at, control, before, turn, what)
	}
}

// reached returns the positions that answers of each sort have named so far to a group,
// which nobody changes.
func (l *life) reached(group string) map[int]map[int]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.far[group])
}

func (l *life) reach(group string, sort int, at map[int]int64, control int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.far[group] == nil {
		l.far[group] = make(map[int]map[int]int64)
	}
	next := maps.Clone(l.far[group][sort])
	if next == nil {
		next = make(map[int]int64)
	}
	for n, offset := range at {
		next[n] = max(next[n], offset)
	}
	l.far[group][sort] = next
	l.told.Store(max(l.told.Load(), control))
}

// positions reads a position: p@offset joined by commas, and ;c@offset.
func positions(text string) (at map[int]int64, control int64, err error) {
	offsets, turn, _ := strings.Cut(text, ";")
	at = make(map[int]int64)
	if turn != "" {
		if control, err = strconv.ParseInt(strings.TrimPrefix(turn, "c@"), 10, 64); err != nil {
			return nil, 0, fmt.Errorf("position %q: %w", text, err)
		}
	}
	for one := range strings.SplitSeq(offsets, ",") {
		if one == "" {
			continue
		}
		p, offset, _ := strings.Cut(one, "@")
		n, wrong := strconv.Atoi(p)
		if at[n], err = strconv.ParseInt(offset, 10, 64); err != nil || wrong != nil {
			return nil, 0, fmt.Errorf("position %q: %q", text, one)
		}
	}
	return at, control, nil
}

// send sends a command until its answer is definite, to the other process after each
// that is not, and keeps both.
func (r *request) send(c command) outcome {
	c.Seq = int(r.seq.Add(1))
	c.Key, c.Want = fmt.Sprintf("fire-%d", c.Seq), http.StatusOK
	r.life = r.choose(nil)
	for why := ""; ; time.Sleep(pause) {
		a, err := ask(context.WithoutCancel(r.ctx), http.MethodPost, fmt.Sprintf("%s/v1/%s/%s/%s", r.life.base, c.Aggregate, c.ID, c.Name), string(c.Body),
			"User", c.Actor, "Idempotency-Key", c.Key)
		if err == nil && a.status != http.StatusServiceUnavailable {
			got, err := outcomeOf(a)
			if err != nil {
				r.failf("%s of %s: %v", c.Name, c.ID, err)
			}
			r.done("commands")
			r.mu.Lock()
			defer r.mu.Unlock()
			r.commands = append(r.commands, entry{command: c, got: []outcome{got}})
			return got
		}
		if why = fmt.Sprintf("%v %d %s", err, a.status, a.body); time.Since(r.planned) > giveUp {
			r.failf("%s of %s: no definite answer within %v: %s", c.Name, c.ID, giveUp, why)
			return outcome{}
		}
		r.life = r.choose(r.life)
	}
}

// p99 returns what 99 of 100 requests of some kinds took at most.
func (p *phase) p99(kinds ...string) time.Duration { return p.share(0.99, kinds...) }

// share returns what a share of the requests of some kinds took at most.
func (p *phase) share(share float64, kinds ...string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var took []time.Duration
	for _, kind := range kinds {
		took = append(took, p.took[kind]...)
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[min(int(share*float64(len(took))), len(took)-1)]
}

// print shows what the requests of a phase took, by kind.
func (p *phase) print(t *testing.T) {
	p.mu.Lock()
	took := maps.Clone(p.took)
	p.mu.Unlock()
	at := func(share float64, kind string) time.Duration {
		return p.share(share, kind).Round(10 * time.Microsecond)
	}
	for _, kind := range slices.Sorted(maps.Keys(took)) {
		t.Logf("%-20s %-18s %6d in %5.1f s: p50 %v, p90 %v, p99 %v, worst %v", p.name, kind, len(took[kind]), p.lasted.Seconds(), at(0.5, kind), at(0.9, kind), at(0.99, kind), at(1, kind))
	}
}

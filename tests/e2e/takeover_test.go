package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// session is how long a process may be silent before the others take over.
const session = 6 * time.Second

// inPartition is a tribe that nobody founds, in each partition.
var inPartition = sync.OnceValue(func() []string {
	ids, left := make([]string, oldPartitions), oldPartitions
	for n := 0; left > 0; n++ {
		id := fmt.Sprintf("unfounded-%d", n)
		if p := partitionOf("tribe/"+id, oldPartitions); ids[p] == "" {
			ids[p], left = id, left-1
		}
	}
	return ids
})

// passedOn marks a request as one that another process has passed on, so that it
// is answered by the process that gets it or not at all.
const passedOn = "Drivetrain-Forwarded"

// decides reports whether a process answers a command for a tribe by itself, one
// that does nothing.
func (p *program) decides(t testing.TB, tribe string) bool {
	t.Helper()
	a, err := ask(t.Context(), http.MethodPost, p.base+"/v1/tribe/"+tribe+"/leave", "", "User", "nobody", passedOn, "1")
	return err == nil && a.status == http.StatusOK
}

// serves returns how many partitions a process serves: where it decides.
func (p *program) serves(t testing.TB) (n int) {
	t.Helper()
	for _, id := range inPartition() {
		if p.decides(t, id) {
			n++
		}
	}
	return n
}

// TestProcessesTakeOverFromAKilledOne drives two processes of one application,
// kills one, starts it again later, and audits what both say in the end.
func TestProcessesTakeOverFromAKilledOne(t *testing.T) {
	for _, b := range onServers() {
		t.Run(b.name, func(t *testing.T) {
			s := newSite(t, b)
			one, two := s.startPair(t)
			r := s.newRun(t, 1<<30, one, two)
			r.rest = 10 * time.Millisecond
			r.begin()
			r.reach(1000)
			one.kill()
			r.waitServed(two, "the killed process's partitions", session+10*time.Second)
			killed := r.settled.Load()
			r.direct(two)
			r.reach(killed + 500)
			one = s.startReady(t, 0)
			r.direct(one, two)
			shared(t, one, two)
			r.reach(r.settled.Load() + 500)
			r.over.Store(true)
			r.end("no answer", "503", "answered by process 0", "answered by process 1")
			r.inspect([]*program{one, two})
		})
	}
}

// TestAPausedProcessAnswersNothingFalse stops one of two processes for longer
// than its session, and lets it go on. Requests wait for it the whole time, so
// that it answers them with what it held for true when it was stopped, if it
// does not find out.
func TestAPausedProcessAnswersNothingFalse(t *testing.T) {
	for _, b := range onServers() {
		t.Run(b.name, func(t *testing.T) {
			s := newSite(t, b)
			one, two := s.startPair(t)
			r := s.newRun(t, 1<<30, one, two)
			r.rest, r.hasty = 10*time.Millisecond, 3*time.Second
			r.begin()
			r.reach(1000)
			w := newWitness(t, one, two)
			w.everywhere("maya", "found", body("name", "Watched"), 1, one, two)
			began := time.Now()
			one.signal(t, syscall.SIGSTOP)
			w.everywhere("mira", "join", nil, 2, two)
			t.Logf("all that the paused process served was taken over %v after it was paused", time.Since(began).Round(time.Millisecond))
			w.askMeanwhile(func() {
				time.Sleep(max(time.Second, session+2*time.Second-time.Since(began)))
				one.signal(t, syscall.SIGCONT)
			})
			shared(t, one, two)
			r.reach(r.settled.Load() + 500)
			r.over.Store(true)
			r.end("no answer", "503", "answered by process 0", "answered by process 1")
			r.inspect([]*program{one, two}, w.entries...)
		})
	}
}

func (p *program) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(-p.cmd.Process.Pid, s); err != nil {
		t.Fatal(err)
	}
}

// startPair starts two processes, which share the partitions.
func (s *site) startPair(t *testing.T) (one, two *program) {
	t.Helper()
	one, two = s.start(t, 0), s.start(t, 1)
	one.ready(t)
	two.ready(t)
	shared(t, one, two)
	return one, two
}

// shared waits until each of the processes serves some partitions, and together
// they serve all.
func shared(t *testing.T, all ...*program) {
	t.Helper()
	var counts []int
	for began := time.Now(); time.Since(began) < readyWithin; time.Sleep(50 * time.Millisecond) {
		counts = counts[:0]
		sum, least := 0, 1
		for _, p := range all {
			n := p.serves(t)
			counts = append(counts, n)
			sum, least = sum+n, min(least, n)
		}
		if sum == oldPartitions && least > 0 {
			t.Logf("they serve %v partitions, shared %v after the test looked", counts, time.Since(began).Round(10*time.Millisecond))
			return
		}
	}
	t.Fatalf("they serve %v partitions, want all %d, and each some", counts, oldPartitions)
}

// waitServed waits until a process serves all partitions.
func (r *run) waitServed(p *program, what string, within time.Duration) {
	r.t.Helper()
	for began := time.Now(); p.serves(r.t) < oldPartitions; time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > within {
			r.t.Fatalf("it has not taken over %s after %v: it serves %d; it wrote:\n%.4000s", what, within, p.serves(r.t), p.out)
		}
	}
}

// witness is a client of tribes that nobody else sends commands to.
type witness struct {
	t        *testing.T
	one, two *program
	tribes   []string
	mu       sync.Mutex
	entries  []entry           // as a tally has them
	joined   map[string]string // positions
}

func newWitness(t *testing.T, one, two *program) *witness {
	w := &witness{t: t, one: one, two: two, joined: make(map[string]string)}
	for n := range 3 * oldPartitions {
		w.tribes = append(w.tribes, fmt.Sprintf("watched-%d", n))
	}
	return w
}

// everywhere sends a command to each tribe, which is to make this version, until
// one of the processes accepts it.
func (w *witness) everywhere(actor, name string, content json.RawMessage, version uint64, to ...*program) {
	w.t.Helper()
	var all sync.WaitGroup
	for _, id := range w.tribes {
		all.Go(func() {
			got := w.send(w.command(id, actor, name, content), to...)
			if !got.accepted() || got.Version != version {
				w.t.Errorf("%s of %s: %+v, want version %d", name, id, got, version)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.joined[id] = got.Position
		})
	}
	all.Wait()
}

func (w *witness) command(id, actor, name string, content json.RawMessage) command {
	return command{Aggregate: "tribe", ID: id, Actor: actor, Name: name, Body: content, Key: "witness-" + name + "-" + actor, Want: 200}
}

// send sends a command, to each process in turn, until the answer is definite.
func (w *witness) send(c command, to ...*program) outcome {
	headers := []string{"User", c.Actor, "Idempotency-Key", c.Key}
	if c.IfMatch != nil {
		headers = append(headers, "If-Match", fmt.Sprintf("%q", fmt.Sprint(*c.IfMatch)))
	}
	why := ""
	for began, n := time.Now(), 0; time.Since(began) < giveUp; n++ {
		a, err := ask(w.t.Context(), http.MethodPost, fmt.Sprintf("%s/v1/%s/%s/%s", to[n%len(to)].base, c.Aggregate, c.ID, c.Name), string(c.Body), headers...)
		if err != nil || a.status == http.StatusServiceUnavailable {
			why = fmt.Sprintf("%v %d %s", err, a.status, a.body)
			time.Sleep(pause)
			continue
		}
		return w.keep(c, a)
	}
	w.t.Errorf("%s of %s: no definite answer within %v: %s", c.Name, c.ID, giveUp, why)
	return outcome{}
}

// keep notes a definite answer.
func (w *witness) keep(c command, a answer) outcome {
	got, err := outcomeOf(a)
	if err != nil {
		w.t.Errorf("%s of %s: %v", c.Name, c.ID, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	c.Seq = 1<<31 + len(w.entries)
	w.entries = append(w.entries, entry{command: c, got: []outcome{got}})
	return got
}

// askMeanwhile asks the paused process what it would answer falsely by what it
// knew when it was paused: it saw nobody join. A leave would then do nothing,
// what expects version 1 would be accepted, and the card would show no member.
func (w *witness) askMeanwhile(wake func()) {
	w.t.Helper()
	var all sync.WaitGroup
	for n, id := range w.tribes {
		switch n % 3 {
		case 0:
			all.Go(func() {
				if got := w.send(w.command(id, "mira", "leave", nil), w.one, w.two); !got.accepted() || got.Version != 3 {
					w.t.Errorf("leave of %s: %+v, want version 3", id, got)
				}
			})
		case 1:
			all.Go(func() {
				c, expected := w.command(id, "noor", "join", nil), uint64(1)
				c.IfMatch = &expected
				if got := w.send(c, w.one, w.two); got.Status != http.StatusPreconditionFailed {
					w.t.Errorf("join of %s at version 1: %+v, want 412", id, got)
				}
			})
		default:
			all.Go(func() { w.card(id) })
		}
	}
	wake()
	all.Wait()
}

// card reads a tribe's card, as of the moment that somebody had joined.
func (w *witness) card(id string) {
	for began := time.Now(); time.Since(began) < giveUp; time.Sleep(pause) {
		a, err := ask(w.t.Context(), http.MethodGet, w.one.base+"/v1/views/tribe-card/"+id, "", "Min-Position", w.joined[id])
		switch {
		case err != nil || a.status == http.StatusServiceUnavailable:
		case a.status != http.StatusOK || !sameJSON(string(a.body), tribeCard{ID: id, Name: "Watched", Members: 1}):
			w.t.Errorf("the card of %s as of %s: %d %s", id, w.joined[id], a.status, a.body)
			return
		default:
			return
		}
	}
	w.t.Errorf("the card of %s: no answer within %v", id, giveUp)
}

// TestStoresEmptiedWhileNothingHappensAreFilledAgain takes an idle application's
// keys and index away: each partition finds out by itself.
func TestStoresEmptiedWhileNothingHappensAreFilledAgain(t *testing.T) {
	for _, b := range onServers() {
		t.Run(b.name, func(t *testing.T) {
			s := newSite(t, b)
			p := s.startReady(t, 0)
			w := newWitness(t, p, p)
			w.everywhere("maya", "found", body("name", "Watched"), 1, p)
			w.everywhere("mira", "join", nil, 2, p)
			if err := s.empty(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(noticed)
			p.ready(t)
			for _, id := range w.tribes {
				w.card(id)
			}
			if got, err := readIndex(t.Context(), s.search, s.index()); err != nil || len(got.documents) != len(w.tribes) {
				t.Errorf("%d documents in the index, want %d; %v", len(got.documents), len(w.tribes), err)
			}
			stopped(t, p)
		})
	}
}

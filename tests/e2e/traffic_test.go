package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Sizes of the traffic.
const (
	clients  = 64
	users    = 200
	tribes   = 60
	nowhere  = "nowhere"        // a tribe that nobody founds
	giveUp   = 60 * time.Second // after which a command must have a definite answer, if no server is away for longer
	pause    = 20 * time.Millisecond
	maxFails = 20
)

// traffic is clients that send commands, and what they have seen.
type traffic struct {
	t        testing.TB
	ctx      context.Context
	bases    atomic.Pointer[[]string] // of the processes that run now
	tally    *tally
	seed     uint64
	setUp    []command     // sent first, each once
	total    int           // commands to send, with those
	rest     time.Duration // of a client between two commands
	hasty    time.Duration // after which every other client gives up waiting for an answer; 0: none does
	patience time.Duration // after which a command must have a definite answer
	over     atomic.Bool   // no new commands are sent
	seq      atomic.Int64
	settled  atomic.Int64 // commands with a definite answer

	mu       sync.Mutex
	posts    []string            // published, in the order of their answers
	comments map[string][]uint64 // versions of each post's comments
	versions map[string]uint64   // the last that was answered, by type/id
	took     []time.Duration     // of definite answers
	kinds    map[string]int      // of what came
	fails    []string
	away     []string // what was said to commands that were sent away, the first of it
}

func newTraffic(t testing.TB, tl *tally, total int, seed uint64, to ...*program) *traffic {
	tr := &traffic{t: t, ctx: t.Context(), tally: tl, seed: seed, total: total, patience: giveUp, comments: map[string][]uint64{},
		versions: map[string]uint64{}, kinds: map[string]int{}}
	tr.direct(to...)
	r := tr.random(clients)
	for i := range users {
		tr.setUp = append(tr.setUp, command{Aggregate: "user", ID: userID(i), Actor: userID(i), Name: "register",
			Body: body("name", sentence(r, 2)), Want: 200})
	}
	for i := range tribes {
		tr.setUp = append(tr.setUp, command{Aggregate: "tribe", ID: tribeID(i), Actor: userID(i), Name: "found",
			Body: body("name", sentence(r, 3)), Want: 200})
	}
	return tr
}

// direct sends the traffic to these processes from now on. A client stays with
// one until that does not answer, or says that it cannot.
func (tr *traffic) direct(to ...*program) {
	bases := make([]string, len(to))
	for n, p := range to {
		bases[n] = p.base
	}
	tr.bases.Store(&bases)
}

func (tr *traffic) random(stream int) *rand.Rand {
	return rand.New(rand.NewPCG(tr.seed, uint64(stream)))
}

func userID(i int) string  { return "user-" + strconv.Itoa(i) }
func tribeID(i int) string { return "tribe-" + strconv.Itoa(i) }

// body makes a JSON object of names and texts.
func body(pairs ...string) json.RawMessage {
	m := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	data, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return data
}

// sentence is n invented words, common ones more often than rare ones.
func sentence(r *rand.Rand, n int) string {
	zipf := rand.NewZipf(r, 1.2, 4, 400)
	words := make([]string, n)
	for i := range words {
		words[i] = word(int(zipf.Uint64()))
	}
	words[0] = strings.ToUpper(words[0][:1]) + words[0][1:]
	return strings.Join(words[:(n+1)/2], " ") + ", " + strings.Join(words[(n+1)/2:], " ") + "."
}

func word(n int) string {
	syllables := []string{"ba", "ko", "ti", "mu", "zo", "la", "pe", "du"}
	return syllables[n%8] + syllables[n/8%8] + syllables[n/64%8]
}

// run sends all commands and returns when each has a definite answer.
func (tr *traffic) run() {
	each := func(f func(c *caller)) {
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() { f(&caller{traffic: tr, n: i, r: tr.random(i)}) })
		}
		wg.Wait()
	}
	var next atomic.Int64
	each(func(c *caller) {
		for i := next.Add(1); int(i) <= len(tr.setUp); i = next.Add(1) {
			c.send(tr.setUp[i-1])
		}
	})
	each(func(c *caller) {
		c.openOwn()
		for int(tr.seq.Load()) < tr.total && !tr.over.Load() && tr.ctx.Err() == nil {
			c.step()
			time.Sleep(tr.rest)
		}
	})
}

func (tr *traffic) count(kind string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.kinds[kind]++
}

func (tr *traffic) failf(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.fails) < maxFails {
		tr.fails = append(tr.fails, fmt.Sprintf(format, args...))
	}
}

// caller is one client. It has a tribe and a post of its own that no other
// sends commands to, so it knows at each moment what their cards show.
type caller struct {
	*traffic
	n     int
	r     *rand.Rand
	own   world  // the own tribe and post
	since string // the position of the post, which the tribe's card counts
	sent  int
	tries int // that failed; another one goes to the next process
}

// process is the number and the base of the process that the caller talks to.
func (c *caller) process() (int, string) {
	bases := *c.bases.Load()
	n := (c.n/2 + c.tries) % len(bases)
	return n, bases[n]
}

// ask sends a request to the caller's process. What is no definite answer comes
// with the reason, and the next try goes to another process.
func (c *caller) ask(method, path, body string, headers ...string) (a answer, unknown string) {
	ctx := c.ctx
	if c.hasty > 0 && c.n%2 == 1 {
		hasty, cancel := context.WithTimeout(ctx, c.hasty)
		defer cancel()
		ctx = hasty
	}
	n, base := c.process()
	a, err := ask(ctx, method, base+path, body, headers...)
	switch {
	case err != nil:
		c.tries++
		c.count("no answer")
		return a, err.Error()
	case a.status == http.StatusServiceUnavailable, a.status == http.StatusTooManyRequests:
		c.tries++
		c.count(strconv.Itoa(a.status))
		if method == http.MethodPost {
			c.count(sentAway)
			c.noteAway(fmt.Sprintf("process %d: %s %s: %s", n, method, path, a.body))
		}
		if a.header.Get("Retry-After") == "" || a.header.Get("Content-Type") != "application/problem+json" {
			c.failf("%s %s: %d with headers %v, without Retry-After or problem: %s", method, path, a.status, a.header, a.body)
		}
		return a, strconv.Itoa(a.status) + " " + string(a.body)
	}
	c.count("answered by process " + strconv.Itoa(n))
	return a, ""
}

// sentAway is the kind of an answer that sends a command away.
const sentAway = "command sent away"

func (tr *traffic) noteAway(why string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.away) < maxFails {
		tr.away = append(tr.away, why)
	}
}

// newSeq is the number of the next command.
func (c *caller) newSeq() int { return int(c.seq.Add(1)) }

// send sends a command until its answer is definite. Now and then it is sent
// twice at once, or again afterwards, as by a client that does not trust its
// network.
func (c *caller) send(cmd command) outcome {
	cmd.Seq = c.newSeq()
	cmd.Key = fmt.Sprintf("e2e-%d-%d", c.seed, cmd.Seq)
	if err := c.tally.add(line{Seq: cmd.Seq, Sent: &cmd}); err != nil {
		c.t.Error(err)
		return outcome{}
	}
	got := c.until(cmd)
	c.settled.Add(1)
	if got.accepted() && c.r.IntN(20) == 0 {
		c.count("sent again")
		c.until(cmd)
	}
	c.learn(cmd, got)
	return got
}

// until sends cmd until its answer is definite, and notes what came.
func (c *caller) until(cmd command) outcome {
	for began, wait := time.Now(), pause; ; wait = longer(wait) {
		from := time.Now()
		got, unknown := c.once(cmd)
		took := time.Since(from)
		l := line{Seq: cmd.Seq, Got: &got}
		if unknown != "" {
			l = line{Seq: cmd.Seq, Unknown: unknown}
		}
		if err := c.tally.add(l); err != nil {
			c.t.Error(err)
			return got
		}
		if unknown == "" {
			c.note(cmd, got, took)
			return got
		}
		if time.Since(began) > c.patience || c.ctx.Err() != nil {
			c.failf("command %d had no definite answer within %v: %s", cmd.Seq, c.patience, unknown)
			return outcome{}
		}
		time.Sleep(wait)
	}
}

// longer is how long to wait after one more try: patient clients leave servers
// time to come back.
func longer(wait time.Duration) time.Duration { return min(wait*3/2, 300*time.Millisecond) }

// once sends cmd and returns its answer, or why there is no definite one.
func (c *caller) once(cmd command) (got outcome, unknown string) {
	headers := []string{"User", cmd.Actor, "Idempotency-Key", cmd.Key}
	if cmd.IfMatch != nil {
		headers = append(headers, "If-Match", strconv.Quote(strconv.FormatUint(*cmd.IfMatch, 10)))
	}
	a, unknown := c.ask(http.MethodPost, fmt.Sprintf("/v1/%s/%s/%s", cmd.Aggregate, cmd.ID, cmd.Name), string(cmd.Body), headers...)
	if unknown != "" {
		return got, unknown
	}
	got, err := outcomeOf(a)
	if err != nil {
		c.failf("command %d: %v", cmd.Seq, err)
	}
	if a.status == http.StatusOK && (a.header.Get("Position") != got.Position || a.header.Get("ETag") != strconv.Quote(strconv.FormatUint(got.Version, 10))) {
		c.failf("command %d: headers %v do not fit the answer %s", cmd.Seq, a.header, a.body)
	}
	return got, ""
}

// outcomeOf reads a definite answer.
func outcomeOf(a answer) (outcome, error) {
	var doc struct {
		outcome
		Type string `json:"type"`
	}
	err := json.Unmarshal(a.body, &doc)
	if err != nil {
		err = fmt.Errorf("%d with a body that is no JSON: %q", a.status, a.body)
	}
	doc.Status, doc.Problem = a.status, doc.Type
	return doc.outcome, err
}

// note counts an answer.
func (c *caller) note(cmd command, got outcome, took time.Duration) {
	kind := strconv.Itoa(got.Status)
	switch {
	case got.Status == 200 && len(got.Events) == 0:
		kind = "200 no-op"
	case got.Problem != "":
		kind += " " + strings.TrimPrefix(got.Problem, "/problems/")
	}
	c.count(kind)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took = append(c.took, took)
}

// learn remembers what an answer says of the world.
func (c *caller) learn(cmd command, got outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if got.Status == 200 {
		key := cmd.Aggregate + "/" + cmd.ID
		c.versions[key] = max(c.versions[key], got.Version)
	}
	switch {
	case !got.accepted() || strings.HasPrefix(cmd.ID, "own-"):
	case cmd.Name == "publish":
		c.posts = append(c.posts, cmd.ID)
	case cmd.Name == "comment":
		c.comments[cmd.ID] = append(c.comments[cmd.ID], got.Version)
	}
}

// ownID is the id of the caller's own tribe and post.
func (c *caller) ownID() string { return "own-" + strconv.Itoa(c.n) }

// openOwn makes the caller's own tribe and post.
func (c *caller) openOwn() {
	c.own = *imagine(nil)
	c.mine(command{Aggregate: "tribe", Name: "found", Body: body("name", "Own "+word(c.n))})
	c.mine(command{Aggregate: "post", Name: "publish", Body: body("tribe", c.ownID(), "text", "Own "+sentence(c.r, 6))})
}

// mine sends a command to the caller's own tribe or post, and checks at once that
// the card shows exactly what it should.
func (c *caller) mine(cmd command) {
	cmd.ID, cmd.Want = c.ownID(), 200
	if cmd.Actor == "" {
		cmd.Actor = userID(c.r.IntN(users))
	}
	got := c.send(cmd)
	if got.Status != 200 {
		return // the audit says so
	}
	if err := c.own.apply(cmd); got.accepted() != (err == nil) {
		c.failf("%s of %s/%s by %s: accepted %v, but: %v", cmd.Name, cmd.Aggregate, cmd.ID, cmd.Actor, got.accepted(), err)
	}
	if cmd.Name == "publish" && got.accepted() {
		c.since = got.Position
	}
	var want any = c.own.posts[cmd.ID]
	position := got.Position
	if cmd.Aggregate == "tribe" {
		card := *c.own.tribes[cmd.ID]
		if c.own.posts[cmd.ID] != nil {
			card.Posts = 1
			position = c.since + "," + position // it lies in another partition than the tribe, as a rule
		}
		want = card
	}
	path := fmt.Sprintf("/v1/views/%s-card/%s", cmd.Aggregate, cmd.ID)
	c.reads("own "+cmd.Aggregate, path, position, func(doc string) error {
		if !sameJSON(doc, want) {
			return fmt.Errorf("got %s, want %+v", doc, want)
		}
		return nil
	})
}

// reads gets a view as of a position, and checks that it shows what was done.
func (c *caller) reads(kind, path, position string, check func(doc string) error) {
	for began, wait := time.Now(), pause; ; wait = longer(wait) {
		a, unknown := c.ask(http.MethodGet, path, "", "Min-Position", position)
		switch {
		case unknown == "" && a.status == http.StatusOK:
			c.count("read " + kind)
			if err := check(string(a.body)); err != nil {
				c.failf("GET %s with Min-Position %s: %v", path, position, err)
			}
			return
		case unknown == "":
			c.failf("GET %s with Min-Position %s: %d %s", path, position, a.status, a.body)
			return
		case time.Since(began) > c.patience || c.ctx.Err() != nil:
			c.failf("GET %s with Min-Position %s: nothing within %v: %s", path, position, c.patience, unknown)
			return
		}
		time.Sleep(wait)
	}
}

// step sends one command of the mix.
func (c *caller) step() {
	switch p := c.r.IntN(100); {
	case p < 14:
		c.publish()
	case p < 32:
		c.comment()
	case p < 56:
		c.onPost("bump")
	case p < 64:
		c.onPost("unbump")
	case p < 76:
		c.inTribe("join")
	case p < 80:
		c.inTribe("leave")
	case p < 85:
		c.expecting()
	case p < 88:
		c.refused()
	default:
		c.inOwn()
	}
}

// anybody is a user, busy ones more often, so that they meet what they have done
// before.
func (c *caller) anybody() string { return userID(c.zipf(users)) }

// zipf is a number below n, small ones more often.
func (c *caller) zipf(n int) int {
	return int(rand.NewZipf(c.r, 1.1, 2, uint64(n-1)).Uint64())
}

// anyPost is a published post, popular ones more often; "" if there is none.
func (c *caller) anyPost() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.posts) == 0 {
		return ""
	}
	return c.posts[c.zipf(len(c.posts))]
}

func (c *caller) publish() {
	c.sent++
	id := fmt.Sprintf("post-%d-%d", c.n, c.sent)
	tribe := tribeID(c.zipf(tribes))
	if c.r.IntN(100) == 0 {
		tribe = nowhere
	}
	rare := fmt.Sprintf("unique%dx%d", c.n, c.sent)
	cmd := command{Aggregate: "post", ID: id, Actor: c.anybody(), Name: "publish", Want: 200}
	text := sentence(c.r, 3+c.r.IntN(10)) + " (" + rare + ")"
	cmd.Body = body("tribe", tribe, "text", text)
	got := c.send(cmd)
	if !got.accepted() {
		return
	}
	mentions := func(doc string) error {
		if !strings.Contains(doc, rare) {
			return fmt.Errorf("post %s is not in %.300s", id, doc)
		}
		return nil
	}
	switch c.r.IntN(5) {
	case 0:
		c.reads("post-card", "/v1/views/post-card/"+id, got.Position, mentions)
	case 1:
		c.reads("tribe-feed", "/v1/views/tribe-feed/"+tribe+"?limit=100", got.Position, mentions)
	case 2:
		c.reads("search", "/v1/views/search?q="+rare, got.Position, func(doc string) error {
			if !sameJSON(doc, map[string]any{"items": []hit{{"post", id, text}}, "total": 1, "next": ""}) {
				return fmt.Errorf("got %s", doc)
			}
			return nil
		})
	}
}

func (c *caller) comment() {
	id := c.anyPost()
	if id == "" {
		return
	}
	got := c.send(command{Aggregate: "post", ID: id, Actor: c.anybody(), Name: "comment", Body: body("text", sentence(c.r, 6)), Want: 200})
	if !got.accepted() || c.r.IntN(3) > 0 {
		return
	}
	least := c.commentsUpTo(id, got.Version)
	c.reads("comments", "/v1/views/post-card/"+id, got.Position, func(doc string) error {
		var card postCard
		if err := json.Unmarshal([]byte(doc), &card); err != nil || card.Comments < least {
			return fmt.Errorf("want at least %d comments in %s", least, doc)
		}
		return nil
	})
}

// commentsUpTo returns how many comments of a post are known that lie at or
// before a version.
func (c *caller) commentsUpTo(post string, version uint64) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.comments[post] {
		if v <= version {
			n++
		}
	}
	return n
}

func (c *caller) onPost(name string) {
	if id := c.anyPost(); id != "" {
		c.send(command{Aggregate: "post", ID: id, Actor: c.anybody(), Name: name, Want: 200})
	}
}

func (c *caller) inTribe(name string) {
	c.send(command{Aggregate: "tribe", ID: tribeID(c.zipf(tribes)), Actor: c.anybody(), Name: name, Want: 200})
}

// expecting comments on a post if it still has the version last answered.
func (c *caller) expecting() {
	id := c.anyPost()
	if id == "" {
		return
	}
	c.mu.Lock()
	version := c.versions["post/"+id]
	c.mu.Unlock()
	c.send(command{Aggregate: "post", ID: id, Actor: c.anybody(), Name: "comment", Body: body("text", sentence(c.r, 4)), IfMatch: &version, Want: 200})
}

// refused sends what must not be accepted.
func (c *caller) refused() {
	unknown := fmt.Sprintf("unknown-%d", c.r.IntN(1000))
	mix := []command{
		{Aggregate: "tribe", ID: unknown, Name: "join", Want: 422},
		{Aggregate: "tribe", ID: tribeID(c.zipf(tribes)), Name: "found", Body: body("name", "Again"), Want: 422},
		{Aggregate: "tribe", ID: unknown, Name: "leave", Want: 200},
		{Aggregate: "post", ID: unknown, Name: "bump", Want: 422},
		{Aggregate: "post", ID: unknown, Name: "comment", Body: body("text", "Hello?"), Want: 422},
		{Aggregate: "user", ID: userID(c.r.IntN(users)), Actor: "stranger", Name: "register", Body: body("name", "Not me"), Want: 403},
	}
	if id := c.anyPost(); id != "" {
		mix = append(mix, command{Aggregate: "post", ID: id, Name: "publish", Body: body("tribe", tribeID(0), "text", "Again."), Want: 422})
	}
	cmd := mix[c.r.IntN(len(mix))]
	if cmd.Actor == "" {
		cmd.Actor = c.anybody()
	}
	c.send(cmd)
}

// inOwn sends one command to the own tribe or post.
func (c *caller) inOwn() {
	cmd := []command{
		{Aggregate: "tribe", Name: "join"},
		{Aggregate: "tribe", Name: "leave"},
		{Aggregate: "post", Name: "bump"},
		{Aggregate: "post", Name: "unbump"},
		{Aggregate: "post", Name: "comment", Body: body("text", sentence(c.r, 5))},
	}[c.r.IntN(5)]
	cmd.Actor = userID(c.r.IntN(4)) // few, so that they meet again
	c.mine(cmd)
}

// percentile returns a share of the times that definite answers took.
func (tr *traffic) percentile(share float64) time.Duration {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.took) == 0 {
		return 0
	}
	slices.Sort(tr.took)
	return tr.took[min(int(share*float64(len(tr.took))), len(tr.took)-1)]
}

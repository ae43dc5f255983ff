package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/internal/waiters"
)

// board is a view with one answer, which the test changes.
type board struct {
	waiters.List
	asks    atomic.Int64
	stopped atomic.Bool

	mu     sync.Mutex
	answer framework.Answer
	err    error
	mins   []string // of Asks
}

// post makes text the answer, at an offset of partition 3; none: there is no document.
func (b *board) post(text string, offset int64, generation int) {
	b.mu.Lock()
	b.err = framework.ErrNotFound
	b.answer = framework.Answer{Generation: generation, Positions: eventlog.NewPositions(eventlog.Position{Partition: 3, Offset: offset})}
	if text != "" {
		b.answer.JSON, b.err = []byte(text), nil
	}
	b.mu.Unlock()
	b.Wake()
}

// fail makes all answers err.
func (b *board) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *board) ask(_ string, q framework.Query) (framework.Answer, error) {
	b.asks.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mins = append(b.mins, q.Min.String())
	return b.answer, b.err
}

func (b *board) notify(c chan<- struct{}) (func(), error) {
	b.Add(c)
	if b.stopped.Load() {
		return nil, &cluster.UnavailableError{Reason: "not running"}
	}
	return func() { b.Remove(c) }, nil
}

func (b *board) script() *script { return &script{ask: b.ask, notify: b.notify} }

// sent is an event as a client reads it.
type sent struct{ name, id, data, retry, comment string }

func (e sent) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s", e.name, e.id, e.data, e.comment))
}

// listener is a client of a live query.
type listener struct {
	*testing.T
	got    chan sent // closed at the end
	cancel context.CancelFunc
}

// listenTo asks for a query live.
func listenTo(t *testing.T, url string, header ...string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", eventStream)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != eventStream || res.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("status %d, headers %v", res.StatusCode, res.Header)
	}
	l := &listener{t, make(chan sent, 10_000), cancel}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer res.Body.Close()
		defer close(l.got)
		readEvents(res, l.got)
	})
	t.Cleanup(func() { cancel(); reading.Wait() })
	return l
}

// readEvents reads events until there are no more.
func readEvents(res *http.Response, to chan<- sent) {
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 32<<20)
	var e sent
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "":
			to <- e
			e = sent{}
		case field == "":
			e.comment = ":" + value
		case field == "event":
			e.name = value
		case field == "id":
			e.id = value
		case field == "data":
			e.data += value
		case field == "retry":
			e.retry = value
		}
	}
}

// next returns the next event, without what is no event.
func (l *listener) next() sent {
	l.Helper()
	for {
		select {
		case e, ok := <-l.got:
			if !ok {
				l.Fatal("the connection has ended")
			}
			if e.data != "" {
				return e
			}
		case <-time.After(10 * time.Second):
			l.Fatal("no event came within 10 s")
		}
	}
}

// gets expects an event.
func (l *listener) gets(name, data string) sent {
	l.Helper()
	e := l.next()
	if e.name != name || e.data != data {
		l.Fatalf("got %v, want %s %s", e, name, data)
	}
	return e
}

// quiet expects no event for a while.
func (l *listener) quiet() {
	l.Helper()
	for after := time.After(3 * lookEvery); ; {
		select {
		case e, ok := <-l.got:
			if !ok || e.data != "" {
				l.Fatalf("got %v, %v, and nothing was to come", e, ok)
			}
		case <-after:
			return
		}
	}
}

const cardPath = "/v1/views/tribe-card/x"

func TestALiveQueryIsAnsweredNowAndEachTimeItsAnswerHasChanged(t *testing.T) {
	b := &board{}
	b.post(`{"n":1}`, 5, 1)
	srv := startServe(t, b.script())
	l := listenTo(t, srv.public+cardPath)
	if e := <-l.got; e.retry == "" {
		t.Errorf("it began with %v, want a retry", e)
	}
	first := l.gets("", `{"n":1}`)
	if want := "1/3@5/" + digestOf([]byte(`{"n":1}`)); first.id != want {
		t.Errorf("id %s, want %s", first.id, want)
	}
	b.post(`{"n":1}`, 6, 1) // another key of the partition
	l.quiet()
	b.post("{\"n\":\r\n 2}", 7, 1)
	if e := l.gets("", `{"n":2}`); !strings.HasPrefix(e.id, "1/3@7/") {
		t.Errorf("id %s, want position 3@7", e.id)
	}
	b.post("", 8, 1)
	if e := l.gets("gone", "null"); e.id != "1/3@8/" {
		t.Errorf("id %s", e.id)
	}
	b.post(`{"n":3}`, 9, 1)
	l.gets("", `{"n":3}`)
	b.post(`{"n":3}`, 9, 2)
	if e := l.gets("generation", `{"generation":2}`); !strings.HasPrefix(e.id, "2/3@9/") {
		t.Errorf("id %s, want generation 2", e.id)
	}
	l.quiet() // the same in another generation
	b.post(`{"n":4}`, 9, 3)
	l.gets("generation", `{"generation":3}`)
	l.gets("", `{"n":4}`)
}

func TestWhoComesAgainMissesNothingAndGetsNothingTwice(t *testing.T) {
	b := &board{}
	b.post(`{"n":1}`, 5, 1)
	srv := startServe(t, b.script())
	url := srv.public + cardPath
	l := listenTo(t, url)
	id := l.gets("", `{"n":1}`).id
	l.cancel()
	for _, c := range []struct {
		about, text string
		generation  int
		want        [][2]string
	}{
		{"unchanged", `{"n":1}`, 1, nil},
		{"changed twice", `{"n":3}`, 1, [][2]string{{"", `{"n":3}`}}},
		{"gone", "", 1, [][2]string{{"gone", "null"}}},
		{"in another generation", `{"n":1}`, 2, [][2]string{{"generation", `{"generation":2}`}}},
		{"another in another generation", `{"n":2}`, 2, [][2]string{{"generation", `{"generation":2}`}, {"", `{"n":2}`}}},
	} {
		t.Run(c.about, func(t *testing.T) {
			b.post(c.text, 9, c.generation)
			l := listenTo(t, url, "Last-Event-ID", id)
			defer l.cancel()
			for _, e := range c.want {
				l.gets(e[0], e[1])
			}
			l.quiet()
			b.post(`{"n":"new"}`, 10, c.generation)
			l.gets("", `{"n":"new"}`)
		})
	}
}

func TestNoAnswerGoesBackBehindWhatAClientHasSeen(t *testing.T) {
	b := &board{}
	b.post(`{"n":1}`, 6, 1) // it has seen 7 by now, but knows of 6 only
	srv := startServe(t, b.script())
	l := listenTo(t, srv.public+cardPath, "Last-Event-ID", "1/3@7;c@2/x")
	l.gets("", `{"n":1}`)
	b.post(`{"n":2}`, 8, 2)
	l.gets("generation", `{"generation":2}`)
	l.gets("", `{"n":2}`)
	b.post(`{"n":3}`, 9, 2)
	l.gets("", `{"n":3}`)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mins[0] != "3@7;c@2" {
		t.Errorf("its first answer was to have seen %s, want 3@7;c@2", b.mins[0])
	}
	if !slices.IsSorted(b.mins) || b.mins[len(b.mins)-1] < "3@8;c@2" {
		t.Errorf("answers were to have seen %v, want what was seen before", b.mins)
	}
}

func TestWhoJoinsOthersIsShownWhatIsThereNow(t *testing.T) {
	b := &board{}
	b.post(`{"n":1}`, 5, 1)
	srv := startServe(t, b.script())
	one := listenTo(t, srv.public+cardPath)
	one.gets("", `{"n":1}`)
	b.mu.Lock()
	b.answer.JSON = []byte(`{"n":2}`) // of which nobody has heard yet
	b.mu.Unlock()
	listenTo(t, srv.public+cardPath).gets("", `{"n":2}`)
	one.gets("", `{"n":2}`)
}

func TestWhoComesAgainWaitsForWhatCannotAnswerYet(t *testing.T) {
	b := &board{}
	b.post(`{"n":1}`, 5, 1)
	b.fail(&cluster.UnavailableError{Reason: "view tribe-card is being filled", RetryAfter: time.Second})
	srv := startServe(t, b.script())
	if status, body, h := fetch(t, "GET", srv.public+cardPath, "Accept", eventStream); status != 503 || h.Get("Retry-After") == "" {
		t.Errorf("who comes first got %d %s", status, body)
	}
	l := listenTo(t, srv.public+cardPath, "Last-Event-ID", "1/3@5/"+digestOf([]byte(`{"n":1}`)))
	if e := l.next(); e.name != "unavailable" || !strings.Contains(e.data, "is being filled") || e.id != "" {
		t.Errorf("who comes again got %v", e)
	}
	b.post(`{"n":1}`, 5, 1)
	l.gets("", `{"n":1}`) // it is told that all is well, though it has it
}

func TestAClientIsToldOnceThatThereIsNoAnswerForAWhile(t *testing.T) {
	b := &board{}
	b.post(`{"n":1}`, 5, 1)
	s := b.script()
	srv := startServe(t, s)
	l := listenTo(t, srv.public+cardPath)
	l.gets("", `{"n":1}`)
	b.fail(&cluster.UnavailableError{Reason: "the store or log did not answer"})
	asked := b.asks.Load()
	b.Wake()
	l.quiet()
	for b.asks.Load() < asked+2 { // the second says that the first has been taken
		time.Sleep(time.Millisecond)
	}
	s.clock.jump(staleAfter)
	if e := l.next(); e.name != "unavailable" || !strings.Contains(e.data, "did not answer") {
		t.Errorf("got %v", e)
	}
	s.clock.jump(staleAfter)
	l.quiet()
	b.post(`{"n":1}`, 5, 1)
	l.gets("", `{"n":1}`)
	b.fail(errDisk)
	b.Wake()
	l.quiet()
	b.post(`{"n":2}`, 5, 1) // that was no while
	l.gets("", `{"n":2}`)
}

func TestCommentsKeepAQuietConnectionOpen(t *testing.T) {
	b := &board{}
	b.post(`{"n":1}`, 5, 1)
	srv := startServe(t, b.script(), ReadTimeout(500*time.Millisecond), WriteTimeout(500*time.Millisecond),
		func(s *settings) { s.beat = 100 * time.Millisecond })
	l := listenTo(t, srv.public+cardPath)
	l.gets("", `{"n":1}`)
	for range 10 {
		if e, ok := <-l.got; !ok || e.comment != ":" {
			t.Fatalf("got %v, %v, want a comment", e, ok)
		}
	}
	b.post(`{"n":2}`, 6, 1)
	l.gets("", `{"n":2}`)
}

func TestWhatIsShownLiveIsWhatIsAskedFor(t *testing.T) {
	b := &board{}
	b.post(`{"n":1}`, 5, 1)
	s := b.script()
	h := handlerOf(s, MaxStreams(1))
	for accept, live := range map[string]bool{
		eventStream: true, "TEXT/event-stream": false, "text/html, text/event-stream; q=0.5": true, "text/event-stream;q=0": false,
		"application/json, text/event-stream": false, "text/event-stream, application/json;q=0": true, "*/*": false, "": false,
	} {
		r := httptest.NewRequest("GET", cardPath, nil)
		r.Header.Set("Accept", accept)
		if wantsLive(r) != live {
			t.Errorf("Accept %q: live is %v", accept, !live)
		}
	}
	live := []string{"Accept", eventStream}
	expect(t, do(t, h, call{"GET", "/v1/views/search?q=a", "", live}), 406, notAcceptable, "a search is not shown live")
	expect(t, do(t, h, call{"GET", cardPath + "?q=a", "", live}), 422, invalid, "query.q")
	expect(t, do(t, h, call{"GET", "/v1/views/tribe-feed/x?limit=0", "", live}), 422, invalid, "query.limit")
	expect(t, do(t, h, call{"HEAD", cardPath, "", live}), 200, nil)
	for _, id := range []string{"x", "0/3@5/a", "1/3@/a", "1/3@5", "1/3@5/a/b", "1/3@5/" + strings.Repeat("a", 100), "-1//", "\xff"} {
		expect(t, do(t, h, call{"GET", cardPath, "", append(live, "Last-Event-ID", id)}), 400, malformed, "header.Last-Event-ID")
	}
	b.fail(fmt.Errorf("%w position", framework.ErrInvalid))
	expect(t, do(t, h, call{"GET", cardPath, "", append(live, "Last-Event-ID", "1/3@5/")}), 422, invalid)
	b.fail(errors.New("disk on fire"))
	expect(t, do(t, h, call{"GET", cardPath, "", live}), 500, internal)
}

func TestNoMoreAreShownSomethingLiveThanMay(t *testing.T) {
	b := &board{}
	b.post(`{"n":1}`, 5, 1)
	srv := startServe(t, b.script(), MaxStreams(2))
	url := srv.public + cardPath
	one, two := listenTo(t, url), listenTo(t, srv.public+"/v1/views/tribe-feed/y")
	status, body, h := fetch(t, "GET", url, "Accept", eventStream)
	if status != 503 || h.Get("Retry-After") != "5" || !strings.Contains(body, "2 clients") {
		t.Fatalf("a third got %d %s %v", status, body, h)
	}
	if status, body, _ := fetch(t, "GET", url); status != 200 {
		t.Errorf("who asks once got %d %s", status, body)
	}
	_, figures, _ := fetch(t, "GET", srv.admin+"/metrics")
	if !strings.Contains(figures, `drivetrain_http_live{route="/v1/views/tribe-card/{key}"} 1`) {
		t.Errorf("the figures lack how many are shown something: %s", figures)
	}
	two.gets("", `{"n":1}`)
	one.cancel()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		res, err := http.DefaultClient.Do(liveRequest(t, url))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode == 200 {
			break
		}
		if time.Since(began) > 5*time.Second {
			t.Fatal("who has left still counts")
		}
	}
}

func liveRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", eventStream)
	return req
}

// Many clients of one query cost one look at the stores, a few times a second,
// however often it changes; each ends with the latest.
func TestManyClientsShareTheLooks(t *testing.T) {
	const clients, changes = 200, 1000
	b := &board{}
	b.post(`{"n":0}`, 1, 1)
	srv := startServe(t, b.script())
	var list []*listener
	for range clients {
		list = append(list, listenTo(t, srv.public+cardPath))
	}
	for _, l := range list {
		l.gets("", `{"n":0}`)
	}
	asked, began := b.asks.Load(), time.Now()
	for n := 1; n <= changes; n++ {
		b.post(fmt.Sprintf(`{"n":%d}`, n), int64(n), 1)
		time.Sleep(time.Millisecond)
	}
	for _, l := range list {
		events := 1
		for l.next().data != fmt.Sprintf(`{"n":%d}`, changes) {
			events++
		}
		if most := int(time.Since(began)/lookEvery) + 3; events > most {
			t.Fatalf("a client got %d events in %v, at most %d were to come", events, time.Since(began), most)
		}
	}
	if looks, most := b.asks.Load()-asked, int64(time.Since(began)/lookEvery)+3; looks > most {
		t.Errorf("%d looks in %v, at most %d were to be", looks, time.Since(began), most)
	}
}

func TestASlowClientGetsTheLatestAndHoldsNobodyUp(t *testing.T) {
	const changes = 30
	pad := strings.Repeat("x", 800_000)
	b := &board{}
	b.post(`{"n":0}`, 1, 1)
	srv := startServe(t, b.script())
	slow := dialLive(t, srv.public)
	defer slow.Close()
	quick := listenTo(t, srv.public+cardPath)
	quick.gets("", `{"n":0}`)
	for n := 1; n <= changes; n++ {
		b.post(fmt.Sprintf(`{"n":%d,"pad":"%s"}`, n, pad), int64(n), 1)
		if e := quick.next(); !strings.HasPrefix(e.data, fmt.Sprintf(`{"n":%d,`, n)) {
			t.Fatalf("change %d: got %.20s", n, e.data)
		}
	}
	lines, got := bufio.NewReaderSize(slow, 1<<20), 0
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("after %d answers: %v", got, err)
		}
		if strings.HasPrefix(line, "data: ") {
			got++
		}
		if strings.HasPrefix(line, fmt.Sprintf(`data: {"n":%d,`, changes)) {
			break
		}
	}
	if got > changes/2 {
		t.Errorf("it got %d of %d answers, and was to be spared those that were old", got, changes)
	}
}

// dialLive asks for a query live on a connection of its own, of which the test reads
// what it likes behind the status.
func dialLive(t *testing.T, base string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	c.(*net.TCPConn).SetReadBuffer(16 << 10)
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n", cardPath)
	if _, err := io.ReadFull(c, make([]byte, len("HTTP/1.1 200"))); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAClientThatReadsNothingIsCutOff(t *testing.T) {
	b := &board{}
	b.post(`{"n":0}`, 1, 1)
	srv := startServe(t, b.script(), MaxStreams(1), WriteTimeout(200*time.Millisecond))
	slow := dialLive(t, srv.public)
	defer slow.Close()
	pad := strings.Repeat("x", 8<<20)
	for began, n := time.Now(), 1; ; n++ {
		b.post(fmt.Sprintf(`{"n":%d,"pad":"%s"}`, n, pad), int64(n), 1)
		res, err := http.DefaultClient.Do(liveRequest(t, srv.public+cardPath))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode == 200 {
			return
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal("it still holds its place")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestLiveQueriesEndWhenTheServerStops(t *testing.T) {
	b := &board{}
	b.post(`{"n":1}`, 5, 1)
	srv := startServe(t, b.script())
	l := listenTo(t, srv.public+cardPath)
	l.gets("", `{"n":1}`)
	slow := dialLive(t, srv.public) // reads nothing, not even the end
	defer slow.Close()
	b.post(fmt.Sprintf(`{"pad":"%s"}`, strings.Repeat("x", 16<<20)), 6, 1)
	time.Sleep(2 * lookEvery)
	began := time.Now()
	srv.stop()
	for {
		if e := l.next(); e.name == "end" {
			if e.retry == "" || e.data != "null" {
				t.Errorf("it ended with %v", e)
			}
			break
		}
	}
	if _, more := <-l.got; more {
		t.Error("something came behind the end")
	}
	if err := srv.wait(t); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("the server stopped after %v: %v", time.Since(began), err)
	}
}

func TestLiveQueriesEndWhenTheApplicationStops(t *testing.T) {
	b := &board{}
	b.post(`{"n":1}`, 5, 1)
	own := httptest.NewServer(handlerOf(b.script()))
	defer own.Close()
	l := listenTo(t, own.URL+cardPath)
	l.gets("", `{"n":1}`)
	b.stopped.Store(true)
	b.Wake()
	l.gets("end", "null")
}

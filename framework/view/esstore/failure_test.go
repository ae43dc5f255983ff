package esstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/esstore"
)

func isFenced(err error) bool { return errors.Is(err, view.ErrFenced) }
func isBehind(err error) bool { return errors.As(err, new(*view.BehindError)) }

// wantUnknown checks an error after which the outcome is unknown.
func wantUnknown(t *testing.T, err error, names ...string) {
	t.Helper()
	if err == nil || isFenced(err) || isBehind(err) {
		t.Fatalf("%v; want an error of the server", err)
	}
	for _, name := range names {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %q", err, name)
		}
	}
}

func cut(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

// TestAFailedWriteCanBeRepeated lets each call of a Write fail in each way once.
// A failure must not pass for success, nor move the mark, and the same batch
// must go through afterwards.
func TestAFailedWriteCanBeRepeated(t *testing.T) {
	status := func(status int, kind string) func(*task) http.HandlerFunc {
		return func(*task) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { refuse(w, status, kind, "not now") }
		}
	}
	for name, fault := range map[string]func(*task) http.HandlerFunc{
		"429": status(429, "es_rejected_execution_exception"),
		"500": status(500, "exception"),
		"503": status(503, "cluster_block_exception"),
		"not Elasticsearch": func(*task) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "<html>bad gateway", http.StatusBadGateway)
			}
		},
		"cut at once": func(*task) http.HandlerFunc { return func(w http.ResponseWriter, _ *http.Request) { cut(w) } },
		"cut half way": func(*task) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.CopyN(io.Discard, r.Body, 20)
				cut(w)
			}
		},
		"cut in the answer": func(*task) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "1000")
				_, _ = w.Write([]byte(`{"items":[`))
			}
		},
	} {
		for _, call := range []string{"mget", "bulk", "mark"} {
			t.Run(call+" "+name, func(t *testing.T) {
				k := newTask(t)
				k.must(k.write("a", "b"))
				k.forget()
				was := k.mark
				k.setFault(first(call, fault(k)))
				wantUnknown(t, k.write("b", "c"), "write app:posts:1, partition 0")
				k.wantMark(was)
				k.must(k.write("b", "c"))
				k.wantMark(view.Mark{Epoch: was.Epoch, Next: was.Next + 1})
				if !k.has("c") {
					t.Error("the document is not there")
				}
			})
		}
	}
}

// TestAnAnswerLostBehindTheWriteIsFoundByTheRetry lets the server do its work
// and lose the answer.
func TestAnAnswerLostBehindTheWriteIsFoundByTheRetry(t *testing.T) {
	for call, want := range map[string]func(error) bool{"bulk": func(err error) bool { return err == nil }, "mark": isBehind} {
		t.Run(call, func(t *testing.T) {
			k := newTask(t)
			k.setFault(first(call, func(w http.ResponseWriter, r *http.Request) {
				k.serve(httptest.NewRecorder(), r)
				cut(w)
			}))
			wantUnknown(t, k.write("a"))
			err := k.write("a")
			if !want(err) {
				t.Errorf("the retry: %v", err)
			}
			k.wantMark(view.Mark{Epoch: 1, Next: 1})
			var behind *view.BehindError
			if errors.As(err, &behind) && behind.Mark != (view.Mark{Epoch: 1, Next: 1}) {
				t.Errorf("told %+v", behind.Mark)
			}
		})
	}
}

func TestADocumentRefusedIsNamedAndTheMarkStays(t *testing.T) {
	k := newTask(t)
	k.setFault(first("bulk", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"items":[{"index":{"_id":"0/a","status":201}},
			{"index":{"_id":"0/b","status":429,"error":{"type":"es_rejected_execution_exception","reason":"queue full"}}},
			{"index":{"_id":"0/c","status":400,"error":{"type":"mapper_parsing_exception","reason":"odd"}}}]}`)
	}))
	err := k.write("a", "b", "c")
	wantUnknown(t, err, `document "b"`, "429", "es_rejected_execution_exception", "queue full", "1 more of 3")
	var server *esstore.ServerError
	if !errors.As(err, &server) || server.Status != 429 {
		t.Errorf("%v carries %+v", err, server)
	}
	k.wantMark(view.Mark{Epoch: 1})
	k.must(k.write("a", "b", "c"))
	k.wantMark(view.Mark{Epoch: 1, Next: 1})
}

// TestDocumentsThatThereWasNoRoomForAreSentAgain refuses every third document of any
// request, and then all.
func TestDocumentsThatThereWasNoRoomForAreSentAgain(t *testing.T) {
	k := newTask(t)
	n := 0
	k.setRoom(func() int { n++; return []int{0, 0, []int{429, 503}[n%2]}[n%3] })
	keys := strings.Split("abcdefghijklmnopqrstuvwxyz", "")
	k.must(k.write(keys...))
	k.wantMark(view.Mark{Epoch: 1, Next: 1})
	for _, key := range keys {
		if !k.has(key) {
			t.Errorf("%s is not there", key)
		}
	}
	if n <= len(keys) {
		t.Errorf("%d documents were sent, of %d: none again", n, len(keys))
	}
	k.setRoom(func() int { return 429 })
	wantUnknown(t, k.write("a", "b"), `document "a"`, "429", "1 more of 2")
	k.wantMark(view.Mark{Epoch: 1, Next: 1})
}

// TestMalformedAnswersAreErrors answers each call with what it cannot mean.
func TestMalformedAnswersAreErrors(t *testing.T) {
	for _, body := range []string{"", "null", "{}", "[]", `"x"`, "<html>", `{"items":`, `{"items":[]}`, `{"docs":[]}`,
		`{"items":[{"index":{"_id":"0/other","status":201}}]}`, `{"items":[{"index":{"_id":"0/a"}}]}`, `{"items":[{}]}`, `{"items":[null]}`,
		`{"docs":[{"_id":"other","found":true}]}`, `{"docs":[null]}`, `{"_id":"other"}`, `{"docs":[{"_id":"mark-0-uuid1","found":true,"_source":{"kind":"post"}}]}`,
		`{"docs":[{"_id":"mark-0-uuid1","found":true}]}`, `{"docs":[{"_id":"mark-0-uuid1","error":{"type":"no_shard_available_action_exception"}}]}`} {
		for call, act := range map[string]func(*task) error{
			"mget": func(k *task) error { _, err := k.s.Marks(k.Context(), posts, []int32{0}); return err },
			"bulk": func(k *task) error { return k.write("a") },
			"mark": func(k *task) error { return k.write("a") },
			"look": func(k *task) error { _, err := k.s.Open(k.Context(), posts, 0); return err },
			"refresh": func(k *task) error {
				return k.s.Refresh(k.Context(), posts)
			},
			"search": func(k *task) error {
				_, err := k.s.Find(k.Context(), posts, view.Query{Size: 1})
				return err
			},
		} {
			k := newTask(t)
			k.setFault(first(call, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
			if err := act(k); err == nil || isFenced(err) || isBehind(err) {
				t.Errorf("%s answered %q: %v", call, body, err)
			}
		}
	}
}

func TestAPartialAnswerToASearchIsAnError(t *testing.T) {
	for _, body := range []string{`{"timed_out":true,"_shards":{"failed":0},"hits":{}}`, `{"_shards":{"failed":1},"hits":{}}`} {
		k := newTask(t)
		k.setFault(first("search", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
		if _, err := k.s.Find(t.Context(), posts, view.Query{Size: 1}); err == nil || !strings.Contains(err.Error(), "not whole") {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// silent answers a part and then nothing until the test ends.
func silent(t *testing.T, part string) string {
	end := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if part != "" {
			_, _ = io.WriteString(w, part)
			w.(http.Flusher).Flush()
		}
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(end); server.Close() })
	return server.URL
}

func TestASilentServerIsGivenUp(t *testing.T) {
	for _, url := range []string{silent(t, ""), silent(t, `{"half`)} {
		s := open(t, esstore.Config{URLs: []string{url}, Timeout: 50 * time.Millisecond})
		begin := time.Now()
		err := s.Prepare(t.Context(), posts, postFields)
		if err == nil || !strings.Contains(err.Error(), "no answer within 50ms") || errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	}
}

func TestCallsToASilentServerEndWithTheirContext(t *testing.T) {
	k := newTask(t)
	k.setFault(func(_ http.ResponseWriter, r *http.Request, _ string) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		return true
	})
	why := errors.New("asked to stop")
	for name, call := range map[string]func(context.Context) error{
		"ping":    k.s.Ping,
		"prepare": func(ctx context.Context) error { return k.s.Prepare(ctx, posts, postFields) },
		"open":    func(ctx context.Context) error { _, err := k.s.Open(ctx, posts, 0); return err },
		"write":   func(ctx context.Context) error { return k.s.Write(ctx, posts, &view.Batch{Epoch: 1, Next: 1}) },
		"marks":   func(ctx context.Context) error { _, err := k.s.Marks(ctx, posts, []int32{0}); return err },
		"find":    func(ctx context.Context) error { _, err := k.s.Find(ctx, posts, view.Query{Size: 1}); return err },
		"drop":    func(ctx context.Context) error { return k.s.Drop(ctx, posts) },
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
		begin := time.Now()
		if err := call(ctx); !errors.Is(err, why) || time.Since(begin) > 5*time.Second {
			t.Errorf("%s: %v after %v, want the context's cause", name, err, time.Since(begin))
		}
	}
}

func TestARefreshGivenUpDoesNotFailTheOthers(t *testing.T) {
	k := newTask(t)
	release := make(chan struct{})
	k.setFault(func(_ http.ResponseWriter, _ *http.Request, call string) bool {
		if call == "refresh" {
			<-release
		}
		return false
	})
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	go func() { gaveUp <- k.s.Refresh(ctx, posts) }()
	waitFor(t, func() bool { return k.called("refresh") == 1 })
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("%v; want context.Canceled", err)
	}
	const callers = 50
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			if err := k.s.Refresh(t.Context(), posts); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	if n := k.called("refresh"); n != 1 {
		t.Errorf("%d refreshes run side by side", n)
	}
	close(release)
	group.Wait()
	if n := k.called("refresh"); n < 2 || n > 4 {
		t.Errorf("%d callers made %d refreshes, want them shared, and none to share what began before", callers, n-1)
	}
}

func waitFor(t *testing.T, what func() bool) {
	t.Helper()
	for range 500 {
		if what() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it did not happen within 5 s")
}

func TestAWriterFencedWhileItsDocumentsTravelDoesNotMoveTheMark(t *testing.T) {
	k := newTask(t)
	k.must(k.write("a"))
	k.setFault(first("bulk", func(w http.ResponseWriter, r *http.Request) {
		if _, err := k.s.Open(t.Context(), posts, 0); err != nil {
			t.Error(err)
		}
		k.serve(w, r)
	}))
	if err := k.write("a"); !isFenced(err) {
		t.Errorf("%v; want ErrFenced", err)
	}
	k.wantMark(view.Mark{Epoch: 2, Next: 1})
}

// TestAnIndexMadeAnewIsNotTakenForTheOldOne has the new index's mark in the very
// state, epoch and sequence number that the writer knows of the old one's.
func TestAnIndexMadeAnewIsNotTakenForTheOldOne(t *testing.T) {
	k := newTask(t)
	k.must(k.write())
	old := k.mark
	k.setFault(first("bulk", func(w http.ResponseWriter, r *http.Request) {
		k.must(k.s.Drop(t.Context(), posts))
		other := open(t, esstore.Config{URLs: []string{k.URL}})
		k.must(other.Prepare(t.Context(), posts, postFields))
		if _, err := other.Open(t.Context(), posts, 0); err != nil {
			t.Error(err)
		}
		k.must(other.Write(t.Context(), posts, &view.Batch{Epoch: 1, Next: 0}))
		k.must(k.s.Prepare(t.Context(), posts, postFields))
		k.serve(w, r)
	}))
	err := k.write("a")
	var behind *view.BehindError
	if !errors.As(err, &behind) || behind.Mark != (view.Mark{Epoch: 1}) {
		t.Errorf("a writer at %+v: %v; want a BehindError at the start", old, err)
	}
	k.wantMark(view.Mark{Epoch: 1})
}

// TestASearchDoesNotSeeAnIndexMadeAnewForTheOldOne has the new index filled to the same
// mark by the time the search has ended, whatever the search saw of it.
func TestASearchDoesNotSeeAnIndexMadeAnewForTheOldOne(t *testing.T) {
	k := newTask(t)
	k.must(k.write("a"))
	looked := k.called("mget")
	ask := view.Query{Size: 1, Least: map[int32]int64{0: 1}}
	if _, err := k.s.Find(t.Context(), posts, ask); err != nil || k.called("mget") != looked+1 {
		t.Errorf("%v, %d looks at marks; want one, behind the search", err, k.called("mget")-looked)
	}
	k.setFault(first("search", func(w http.ResponseWriter, r *http.Request) {
		k.must(k.s.Drop(t.Context(), posts))
		k.must(k.s.Prepare(t.Context(), posts, postFields))
		k.serve(w, r)
		k.mark = view.Mark{}
		k.open()
		k.must(k.write("a"))
	}))
	if _, err := k.s.Find(t.Context(), posts, ask); !isBehind(err) {
		t.Errorf("%v; want a BehindError", err)
	}
	if _, err := k.s.Find(t.Context(), posts, ask); err != nil {
		t.Errorf("once it is filled: %v", err)
	}
}

// TestAWriterKnowsTheMarkThatItHasMoved counts the looks at it: one behind each failure.
func TestAWriterKnowsTheMarkThatItHasMoved(t *testing.T) {
	k := newTask(t)
	looked := k.called("mget")
	wantLooks := func(more int) {
		t.Helper()
		if n := k.called("mget") - looked; n != more {
			t.Errorf("%d looks at the mark, want %d", n, more)
		}
		looked = k.called("mget")
	}
	for range 3 {
		k.must(k.write("a"))
	}
	wantLooks(0)
	for _, call := range []string{"bulk", "mark"} {
		k.setFault(first(call, func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, "unavailable", "not now") }))
		wantUnknown(t, k.write("b"))
		wantLooks(0)
		k.must(k.write("b"))
		wantLooks(1)
		k.must(k.write("b"))
		wantLooks(0)
	}
	other := open(t, esstore.Config{URLs: []string{k.URL}})
	k.must(other.Prepare(t.Context(), posts, postFields))
	if _, err := other.Open(t.Context(), posts, 0); err != nil {
		t.Fatal(err)
	}
	if err := k.write("late"); !isFenced(err) {
		t.Errorf("%v; want ErrFenced", err)
	}
	bulks := k.called("bulk")
	if err := k.write("later"); !isFenced(err) || k.called("bulk") != bulks {
		t.Errorf("%v; want ErrFenced before anything is sent", err)
	}
}

func TestAnIndexThatIsGoneIsNoticedAndMadeAgainByOpen(t *testing.T) {
	for _, call := range []string{"mget", "bulk", "mark"} {
		k := newTask(t)
		k.must(k.write("a"))
		if call == "mget" {
			k.forget()
		}
		k.setFault(first(call, func(w http.ResponseWriter, r *http.Request) {
			k.mu.Lock()
			delete(k.indices, index)
			k.mu.Unlock()
			k.serve(w, r)
		}))
		var behind *view.BehindError
		if err := k.write("a"); !errors.As(err, &behind) || behind.Mark != (view.Mark{}) {
			t.Errorf("gone before %s: %v; want a BehindError with the zero mark", call, err)
		}
		k.wantMark(view.Mark{})
		if k.made != 1 {
			t.Errorf("a write has made an index")
		}
		k.open()
		k.must(k.write("a"))
		if k.mark != (view.Mark{Epoch: 1, Next: 1}) || !k.has("a") {
			t.Errorf("after all at %+v", k.mark)
		}
	}
}

// TestOpenWaitsForTheShardsOfANewIndex answers as an index does that somebody
// has just made.
func TestOpenWaitsForTheShardsOfANewIndex(t *testing.T) {
	noShard := func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusServiceUnavailable, "no_shard_available_action_exception", "No shard available")
	}
	k := newTask(t)
	k.setFault(first("mget", noShard))
	k.open()
	k.must(k.write("a"))
	k.setFault(func(w http.ResponseWriter, r *http.Request, call string) bool {
		if call == "mget" {
			noShard(w, r)
		}
		return call == "mget"
	})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := k.s.Open(ctx, posts, 0)
	if wantUnknown(t, err, "no_shard_available_action_exception"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v; want that of the context", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := k.calls["mget"]; n < 4 || n > 10 {
		t.Errorf("asked %d times", n)
	}
}

func TestADocumentDeletedBySomeoneIsNotTakenForALaterOne(t *testing.T) {
	k := newTask(t)
	k.must(k.write("a"))
	k.mu.Lock()
	d := k.indices[index].docs["0/a"]
	d.gone, d.version = true, 100 // Elasticsearch remembers the version for a while
	k.mu.Unlock()
	wantUnknown(t, k.write("a"), `"a"`, "someone has deleted")
	k.wantMark(view.Mark{Epoch: 1, Next: 1})
	k.mu.Lock()
	delete(k.indices[index].docs, "0/a")
	k.mu.Unlock()
	k.must(k.write("a"))
	if !k.has("a") {
		t.Error("the document is not there")
	}
}

func TestBulkRequestsAreBounded(t *testing.T) {
	k := newTask(t)
	b := &view.Batch{Epoch: 1, Next: 1}
	value := []byte(`{"title":"` + strings.Repeat(`\"`, view.MaxValue/2-10) + `"}`)
	for i := range 8 {
		b.Puts = append(b.Puts, view.Put{Key: fmt.Sprint(i), Value: value})
	}
	k.must(k.s.Write(t.Context(), posts, b))
	if k.largest > 10<<20 || k.called("bulk") < 3 {
		t.Errorf("the largest request has %d bytes, in %d; want at most 10 MiB", k.largest, k.called("bulk"))
	}
	before := k.called("bulk")
	b = &view.Batch{Epoch: 1, From: 1, Next: 2}
	for i := range view.MaxBatch {
		b.Deletes = append(b.Deletes, view.Ref{Key: fmt.Sprint(i), Offset: 1})
	}
	k.must(k.s.Write(t.Context(), posts, b))
	if n := k.called("bulk") - before; n != 10 {
		t.Errorf("%d changes went in %d requests, want 10", view.MaxBatch, n)
	}
}

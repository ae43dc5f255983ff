package esstore_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/esstore"
)

// fake is as much of Elasticsearch as a Store needs, with versions, sequence
// numbers and uuids as the real one has them. It finds nothing by words.
type fake struct {
	*httptest.Server
	// fault, if not nil, sees each request before it is served; true: it has
	// answered. It may serve the request itself.
	fault func(w http.ResponseWriter, r *http.Request, call string) bool
	// room, if not nil, is asked before each change of a bulk request; above 0, it is
	// the status with which that is refused.
	room func() int

	mu      sync.Mutex
	made    int
	indices map[string]*fakeIndex
	calls   map[string]int // by call: bulk, mget, mark, look, create, drop, refresh, search, ping
	largest int64          // bytes of a body
}

type fakeIndex struct {
	definition map[string]any
	docs       map[string]*fakeDocument
	seq        int
}

type fakeDocument struct {
	version int64
	seq     int
	source  json.RawMessage
	gone    bool // deleted by someone, its version remembered
}

func newFake(t testing.TB) *fake {
	f := &fake{indices: make(map[string]*fakeIndex), calls: make(map[string]int)}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// nameOf tells the calls apart.
func nameOf(r *http.Request) string {
	switch path := strings.Trim(r.URL.Path, "/"); {
	case path == "":
		return "ping"
	case strings.Contains(path, "/_doc/"):
		return "mark"
	case strings.Contains(path, "/_"):
		return path[strings.LastIndex(path, "/_")+2:]
	default:
		return map[string]string{http.MethodGet: "look", http.MethodPut: "create", http.MethodDelete: "drop"}[r.Method]
	}
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := nameOf(r)
	f.mu.Lock()
	f.calls[call]++
	f.largest = max(f.largest, r.ContentLength)
	fault := f.fault
	f.mu.Unlock()
	if fault == nil || !fault(w, r, call) {
		f.serve(w, r)
	}
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := strings.TrimSuffix(strings.Split(strings.Trim(r.URL.Path, "/"), "/")[0], ".writes")
	x, call := f.indices[name], nameOf(r)
	switch {
	case call == "ping":
	case call == "create":
		f.create(w, r, name)
	case call == "mget":
		x.mget(w, r)
	case x == nil && (call == "bulk" || call == "mark") && r.URL.Query().Get("require_alias") != "true":
		f.made++ // with guessed mappings
		refuse(w, 500, "made", name)
	case x == nil:
		refuse(w, 404, "index_not_found_exception", "no such index")
	case call == "look":
		say(w, map[string]any{name: x.definition})
	case call == "drop":
		delete(f.indices, name)
		say(w, map[string]any{})
	case call == "bulk":
		x.bulk(w, r, f.room)
	case call == "mark":
		x.mark(w, r)
	case call == "refresh":
		say(w, map[string]any{"_shards": map[string]any{"failed": 0}})
	case call == "search":
		say(w, map[string]any{"_shards": map[string]any{"failed": 0}, "hits": map[string]any{}})
	default:
		refuse(w, 400, "unknown", r.URL.Path)
	}
}

func (f *fake) create(w http.ResponseWriter, r *http.Request, name string) {
	if f.indices[name] != nil {
		refuse(w, 400, "resource_already_exists_exception", name)
		return
	}
	x := &fakeIndex{docs: make(map[string]*fakeDocument)}
	if err := json.NewDecoder(r.Body).Decode(&x.definition); err != nil {
		refuse(w, 400, "parse_exception", err.Error())
		return
	}
	f.made++
	x.definition["settings"].(map[string]any)["index"].(map[string]any)["uuid"] = fmt.Sprint("uuid", f.made)
	f.indices[name] = x
	say(w, map[string]any{"acknowledged": true, "shards_acknowledged": true})
}

func (x *fakeIndex) mget(w http.ResponseWriter, r *http.Request) {
	var asked struct{ IDs []string }
	_ = json.NewDecoder(r.Body).Decode(&asked)
	docs := make([]any, len(asked.IDs))
	for i, id := range asked.IDs {
		switch {
		case x == nil:
			docs[i] = map[string]any{"_id": id, "error": map[string]any{"type": "index_not_found_exception"}}
		case x.docs[id] == nil || x.docs[id].gone:
			docs[i] = map[string]any{"_id": id, "found": false}
		default:
			d := x.docs[id]
			docs[i] = map[string]any{"_id": id, "found": true, "_version": d.version, "_seq_no": d.seq, "_primary_term": 1, "_source": d.source}
		}
	}
	say(w, map[string]any{"docs": docs})
}

func (x *fakeIndex) bulk(w http.ResponseWriter, r *http.Request, room func() int) {
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<30)
	var items []any
	for lines.Scan() {
		var action struct {
			Index struct {
				ID      string `json:"_id"`
				Version int64  `json:"version"`
			}
		}
		_ = json.Unmarshal(lines.Bytes(), &action)
		id, version := action.Index.ID, action.Index.Version
		lines.Scan()
		status := 201
		if room != nil {
			status = max(status, room())
		}
		if status > 201 {
			items = append(items, map[string]any{"index": map[string]any{"_id": id, "status": status, "error": map[string]any{"type": "no_room"}}})
			continue
		}
		if d := x.docs[id]; d != nil && version < d.version {
			status = 409
		} else {
			x.put(id, version, bytes.Clone(lines.Bytes()))
		}
		items = append(items, map[string]any{"index": map[string]any{"_id": id, "status": status}})
	}
	say(w, map[string]any{"items": items})
}

func (x *fakeIndex) put(id string, version int64, source []byte) {
	x.docs[id] = &fakeDocument{version: version, seq: x.seq, source: source}
	x.seq++
}

func (x *fakeIndex) mark(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	d, want := x.docs[id], r.URL.Query().Get("if_seq_no")
	if (d == nil) != (want == "") || d != nil && fmt.Sprint(d.seq) != want {
		refuse(w, 409, "version_conflict_engine_exception", id)
		return
	}
	var source json.RawMessage
	_ = json.NewDecoder(r.Body).Decode(&source)
	x.put(id, 1, source)
	say(w, map[string]any{"_id": id, "_seq_no": x.docs[id].seq, "_primary_term": 1})
}

func say(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, kind, reason string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"type": kind, "reason": reason}, "status": status})
}

// first returns a fault that meets the first of these calls only.
func first(call string, f http.HandlerFunc) func(http.ResponseWriter, *http.Request, string) bool {
	var once sync.Once
	return func(w http.ResponseWriter, r *http.Request, is string) (met bool) {
		if is == call {
			once.Do(func() {
				met = true
				f(w, r)
			})
		}
		return met
	}
}

// posts is the generation of tests on a fake; index is its name there.
var posts = view.Generation{App: "app", View: "posts", Number: 1}

const index = "drivetrain.app.posts.1"

var postFields = view.Fields{"title": view.Text, "tribe": view.Keyword}

// task is a writer of posts, at partition 0.
type task struct {
	*testing.T
	*fake
	s    *esstore.Store
	mark view.Mark
}

func newTask(t *testing.T) *task {
	f := newFake(t)
	k := &task{T: t, fake: f, s: open(t, esstore.Config{URLs: []string{f.URL}})}
	if err := k.s.Prepare(t.Context(), posts, postFields); err != nil {
		t.Fatal(err)
	}
	k.open()
	return k
}

// forget has another store write from now on, which must look for the mark.
func (k *task) forget() {
	k.Helper()
	k.s = open(k.T, esstore.Config{URLs: []string{k.URL}})
	k.must(k.s.Prepare(k.Context(), posts, postFields))
}

func (k *task) open() {
	k.Helper()
	var err error
	if k.mark, err = k.s.Open(k.Context(), posts, 0); err != nil {
		k.Fatal(err)
	}
}

// write writes a document for each key in a run of one record.
func (k *task) write(keys ...string) error {
	b := &view.Batch{Epoch: k.mark.Epoch, From: k.mark.Next, Next: k.mark.Next + 1}
	for _, key := range keys {
		b.Puts = append(b.Puts, view.Put{Key: key, Value: fmt.Appendf(nil, `{"title":%q}`, key), Offset: b.From})
	}
	err := k.s.Write(k.Context(), posts, b)
	if err == nil {
		k.mark.Next = b.Next
	}
	return err
}

func (k *task) must(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

// wantMark checks where the part is.
func (k *task) wantMark(want view.Mark) {
	k.Helper()
	marks, err := k.s.Marks(k.Context(), posts, []int32{0})
	if err != nil || marks[0] != want {
		k.Errorf("the mark is %+v, %v; want %+v", marks, err, want)
	}
}

// has reports whether the fake has a document for key.
func (k *task) has(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	x := k.indices[index]
	return x != nil && x.docs[esstore.DocumentID(key, 0)] != nil
}

func (k *task) setFault(fault func(http.ResponseWriter, *http.Request, string) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fault = fault
}

func (k *task) setRoom(room func() int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.room = room
}

func (k *task) called(call string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls[call]
}

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// partial stands before an Elasticsearch and, while it is on, lets bulk requests
// fail: of every tenth the answer is lost though all was written, every tenth is
// refused, and of the others each tenth document is, and written it is not.
type partial struct {
	*httputil.ReverseProxy
	on                       atomic.Bool
	requests, items          atomic.Int64
	lost, refused, documents atomic.Int64 // that failed
	before                   *url.URL
	unexpected               atomic.Pointer[string] // what went wrong with the proxy itself
}

func newPartial(t *testing.T, before string) (p *partial, address string) {
	t.Helper()
	at, err := url.Parse(before)
	if err != nil {
		t.Fatal(err)
	}
	p = &partial{before: at, ReverseProxy: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(at) }}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	return p, server.URL
}

func (p *partial) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.on.Load() || !strings.HasSuffix(r.URL.Path, "/_bulk") {
		p.ReverseProxy.ServeHTTP(w, r)
		return
	}
	switch p.requests.Add(1) % 10 {
	case 3:
		p.refused.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"error":{"type":"cluster_block_exception","reason":"as asked"},"status":503}`)
	case 7:
		p.lost.Add(1)
		p.ReverseProxy.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	default:
		p.some(w, r)
	}
}

// some passes a bulk request on without each tenth document, and puts into the answer
// that there was no room for these.
func (p *partial) some(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	lines := bytes.SplitAfter(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	var passed bytes.Buffer
	var refusals []json.RawMessage // by place; nil: it is passed on
	for i := 0; i+1 < len(lines); i += 2 {
		n := p.items.Add(1)
		if n%10 != 0 {
			passed.Write(lines[i])
			passed.Write(bytes.TrimSuffix(lines[i+1], []byte("\n")))
			passed.WriteByte('\n')
			refusals = append(refusals, nil)
			continue
		}
		p.documents.Add(1)
		var action struct {
			Index struct {
				ID string `json:"_id"`
			} `json:"index"`
		}
		_ = json.Unmarshal(lines[i], &action)
		refusals = append(refusals, fmt.Appendf(nil, `{"index":{"_id":%q,"status":%d,"error":{"type":"as_asked","reason":"no room"}}}`,
			action.Index.ID, []int{http.StatusTooManyRequests, http.StatusServiceUnavailable}[n/10%2]))
	}
	status, answer := http.StatusOK, struct {
		Items []json.RawMessage `json:"items"`
	}{}
	if passed.Len() > 0 {
		rest := r.Clone(r.Context())
		rest.Body, rest.ContentLength = io.NopCloser(&passed), int64(passed.Len())
		rest.Header.Del("Accept-Encoding")
		of := httptest.NewRecorder()
		p.ReverseProxy.ServeHTTP(of, rest)
		if status = of.Code; status != http.StatusOK || json.Unmarshal(of.Body.Bytes(), &answer) != nil {
			text := of.Body.String()
			p.unexpected.Store(&text)
		}
	}
	var items []json.RawMessage
	for _, refusal := range refusals {
		if refusal == nil && len(answer.Items) > 0 {
			refusal, answer.Items = answer.Items[0], answer.Items[1:]
		}
		items = append(items, refusal)
	}
	answer.Items = items
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// storesFailInPart lets Elasticsearch refuse each tenth document, each tenth request, and
// lose each tenth answer; lets Redis lose answers too, of what was written and what was not;
// and makes both slow.
func storesFailInPart(f *failing) {
	p, redis, search := f.partial, f.servers.proxies["redis"], f.servers.proxies["elasticsearch"]
	before := redis.seen.Load()
	p.on.Store(true)
	redis.loses.Store(50)
	redis.delay.Store(int64(10 * time.Millisecond))
	search.delay.Store(int64(20 * time.Millisecond))
	settled := f.settled.Load()
	for began := time.Now(); time.Since(began) < outage(f.t, 8*time.Second); time.Sleep(200 * time.Millisecond) {
		f.accepts()
	}
	p.on.Store(false)
	redis.loses.Store(0)
	f.servers.slow(0)
	seen := redis.seen.Load() - before
	f.t.Logf("%d commands were answered while %d documents, %d requests and %d answers of %d bulk requests failed, and Redis lost every 50th of %d answers",
		f.settled.Load()-settled, p.documents.Load(), p.refused.Load(), p.lost.Load(), p.requests.Load(), seen)
	if p.documents.Load() == 0 || p.refused.Load() == 0 || p.lost.Load() == 0 || seen < 50 {
		f.t.Error("some of it did not happen, so this run tests less than it should")
	}
	if text := p.unexpected.Load(); text != nil {
		f.t.Errorf("the proxy was answered %s", *text)
	}
}

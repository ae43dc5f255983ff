package esstore_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/esstore"
)

// onServers runs a test on each real server named, with a generation prepared.
func onServers(t *testing.T, f func(t *testing.T, s store, g view.Generation)) {
	for name, url := range servers() {
		t.Run(name, func(t *testing.T) {
			s := store{open(t, esstore.Config{URLs: []string{url}}), url}
			g := generation(t, s.Store)
			if err := s.Prepare(t.Context(), g, postFields); err != nil {
				t.Fatal(err)
			}
			f(t, s, g)
		})
	}
}

// write opens a part and writes a batch of one record's puts.
func write(t *testing.T, s store, g view.Generation, partition int32, puts ...view.Put) view.Mark {
	t.Helper()
	mark, err := s.Open(t.Context(), g, partition)
	if err != nil {
		t.Fatal(err)
	}
	b := &view.Batch{Partition: partition, Epoch: mark.Epoch, From: mark.Next, Next: mark.Next + 1, Puts: puts}
	if err := s.Write(t.Context(), g, b); err != nil {
		t.Fatal(err)
	}
	mark.Next = b.Next
	return mark
}

func find(t *testing.T, s store, g view.Generation, q view.Query) view.Hits {
	t.Helper()
	if err := s.Refresh(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if q.Size == 0 {
		q.Size = view.MaxPage
	}
	hits, err := s.Find(t.Context(), g, q)
	if err != nil {
		t.Fatal(err)
	}
	return hits
}

func TestAnyKeyAndAnyBytesComeBackInOrder(t *testing.T) {
	keys := []string{"\x00", "\x00\x00", "\t", "\n", " ", "\"", "#", "%2F", "*", "0", "0/a", "..", "/", "<a>&", "A", "\\", "_id", "a",
		"a\x00", "a\x00b", "a\nb", "aa", "mark-0", "mark-0-", "{}", "\x7f", "\x80", "\xc3", "é", "é\x00", "東京", "🏎️", "\xff", "\xff\xff",
		strings.Repeat("k", view.MaxKey), strings.Repeat("k", view.MaxKey-1) + "l", strings.Repeat("\xff", view.MaxKey)}
	values := []string{`{"title":"x","tags":[],"n":9007199254740993,"e":1e400}`, "{\n\t\"title\" : \"x\\u0000\\ud800\" }\r\n",
		"{\"title\":\"\xff\xfe\",\"other\":\"\xc3\"}", `{"title":"x","title":"y","tribe":{"a":1}}`, "{\"title\":\"\x7f\u2028\"}", `{}`, `{"title":["",null,[1]]}`}
	onServers(t, func(t *testing.T, s store, g view.Generation) {
		for p := range int32(2) {
			var puts []view.Put
			for i, key := range keys {
				puts = append(puts, view.Put{Key: key, Value: []byte(values[i%len(values)])})
			}
			write(t, s, g, p, puts...)
		}
		hits := find(t, s, g, view.Query{})
		if hits.Total != int64(2*len(keys)) || len(hits.Items) != 2*len(keys) {
			t.Fatalf("%d documents, %d hits; want %d", hits.Total, len(hits.Items), 2*len(keys))
		}
		got := make(map[string]int)
		for i, h := range hits.Items {
			got[h.Key]++
			if i > 0 && hits.Items[i-1].Key > h.Key {
				t.Errorf("%q comes before %q", hits.Items[i-1].Key, h.Key)
			}
		}
		for i, key := range keys {
			if got[key] != 2 {
				t.Errorf("key %q comes %d times", key, got[key])
			}
			for _, h := range hits.Items {
				if h.Key == key && !bytes.Equal(h.Value, []byte(values[i%len(values)])) {
					t.Errorf("%q has %q, want %q", key, h.Value, values[i%len(values)])
				}
			}
		}
	})
}

func TestLiteralsListsAndLongKeywords(t *testing.T) {
	longest, longer := strings.Repeat("東", 8191), strings.Repeat("k", 8192)
	onServers(t, func(t *testing.T, s store, g view.Generation) {
		write(t, s, g, 0, view.Put{Key: "a", Value: fmt.Appendf(nil, `{"tribe":[1984,true,["deep"],%q],"title":[12,["below"]]}`, longest)},
			view.Put{Key: "b", Value: fmt.Appendf(nil, `{"tribe":%q,"title":null}`, longer)})
		for _, is := range []string{"1984", "true", "deep", longest} {
			if hits := find(t, s, g, view.Query{Text: "below 12", Is: map[string]string{"tribe": is}}); hits.Total != 1 || hits.Items[0].Key != "a" {
				t.Errorf("%.20s finds %d documents, want a", is, hits.Total)
			}
		}
		if hits := find(t, s, g, view.Query{Is: map[string]string{"tribe": longer}}); hits.Total != 0 {
			t.Error("a keyword beyond the limit is found")
		}
	})
}

func TestPrepareRefusesAnIndexThatIsOtherwise(t *testing.T) {
	onServers(t, func(t *testing.T, s store, g view.Generation) {
		url := s.url + "/" + esstore.IndexName(g)
		wantError := func(want string, fields view.Fields) {
			t.Helper()
			other := open(t, esstore.Config{URLs: []string{s.url}, Shards: 3}) // shards do not count
			if err := other.Prepare(t.Context(), g, fields); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%v; want %q", err, want)
			}
		}
		wantError("", postFields)
		wantError("differ from the index's", view.Fields{"title": view.Text})
		wantError("start a new generation", view.Fields{"title": view.Keyword, "tribe": view.Keyword})
		wantError(`field "title" has kind 77`, view.Fields{"title": 77})
		send(t, http.MethodPut, url+"/_mapping", `{"properties":{"fields":{"properties":{"more":{"type":"keyword"}}}}}`)
		wantError("mappings", postFields)
		s.Empty(t, g)
		send(t, http.MethodPut, url+"/_doc/1", `{"title":"made up"}`)
		wantError("another program has made an index of this name", postFields)
		if _, err := s.Open(t.Context(), g, 0); err == nil || !strings.Contains(err.Error(), "another program") {
			t.Errorf("Open of a foreign index: %v", err)
		}
		s.Empty(t, g)
		wantError("", postFields)
		send(t, http.MethodDelete, url+"/_alias/"+esstore.IndexName(g)+".writes", "")
		wantError("lost its alias", postFields)
	})
}

func TestStoresPreparingTogetherMakeOneIndex(t *testing.T) {
	onServers(t, func(t *testing.T, s store, g view.Generation) {
		s.Empty(t, g)
		var group sync.WaitGroup
		for range 4 {
			other := open(t, esstore.Config{URLs: []string{s.url}})
			group.Go(func() {
				if err := other.Prepare(t.Context(), g, postFields); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	})
}

func TestAnIndexDeletedBehindOurBackRefills(t *testing.T) {
	onServers(t, func(t *testing.T, s store, g view.Generation) {
		mark := write(t, s, g, 0, view.Put{Key: "a", Value: []byte(`{"title":"alpha"}`)})
		reader := open(t, esstore.Config{URLs: []string{s.url}})
		if err := reader.Prepare(t.Context(), g, postFields); err != nil {
			t.Fatal(err)
		}
		s.Empty(t, g)
		b := &view.Batch{Epoch: mark.Epoch, From: mark.Next, Next: mark.Next + 1, Puts: []view.Put{{Key: "b", Value: []byte(`{}`)}}}
		if err := s.Write(t.Context(), g, b); !isBehind(err) {
			t.Errorf("%v; want a BehindError", err)
		}
		if send(t, http.MethodGet, s.url+"/"+esstore.IndexName(g), "") != http.StatusNotFound {
			t.Error("a write has made an index")
		}
		if _, err := s.Find(t.Context(), g, view.Query{Size: 1}); err == nil {
			t.Error("a query on an index that is gone finds nothing, and says nothing")
		}
		if mark := write(t, s, g, 0, view.Put{Key: "a", Value: []byte(`{"title":"alpha"}`)}); mark != (view.Mark{Epoch: 1, Next: 1}) {
			t.Errorf("refilled to %+v", mark)
		}
		for _, s := range []*esstore.Store{s.Store, reader} {
			if marks, err := s.Marks(t.Context(), g, []int32{0, 1}); err != nil || marks[0] != (view.Mark{Epoch: 1, Next: 1}) || marks[1] != (view.Mark{}) {
				t.Errorf("marks %+v, %v", marks, err)
			}
		}
		if hits := find(t, s, g, view.Query{Text: "alpha"}); hits.Total != 1 {
			t.Errorf("%d documents", hits.Total)
		}
	})
}

// TestDocumentsDeletedBehindOurBackRefill deletes document by document, marks
// too, after which Elasticsearch remembers their versions for a while.
func TestDocumentsDeletedBehindOurBackRefill(t *testing.T) {
	onServers(t, func(t *testing.T, s store, g view.Generation) {
		b := &view.Batch{Next: 100}
		for i := range int64(50) {
			b.Puts = append(b.Puts, view.Put{Key: fmt.Sprint(i), Value: []byte(`{"title":"alpha"}`), Offset: i})
		}
		fill := func() error {
			mark, err := s.Open(t.Context(), g, 0)
			if err != nil {
				return err
			}
			if b.Epoch = mark.Epoch; mark.Next != 0 {
				t.Fatalf("opened at %+v, want the start", mark)
			}
			return s.Write(t.Context(), g, b)
		}
		if err := fill(); err != nil {
			t.Fatal(err)
		}
		deleteAll(t, s, g, b)
		last := *b
		last.From, last.Next = 100, 101
		if err := s.Write(t.Context(), g, &last); !isBehind(err) {
			t.Errorf("%v; want a BehindError", err)
		}
		begin := time.Now()
		err := fill()
		for err != nil && strings.Contains(err.Error(), "someone has deleted") && time.Since(begin) < time.Minute {
			time.Sleep(50 * time.Millisecond)
			err = s.Write(t.Context(), g, b)
		}
		t.Logf("refilled after %v", time.Since(begin))
		if hits := find(t, s, g, view.Query{Text: "alpha"}); err != nil || hits.Total != 50 {
			t.Errorf("%d documents, %v; want 50", hits.Total, err)
		}
	})
}

// deleteAll deletes a batch's documents and the mark with a bulk request.
func deleteAll(t *testing.T, s store, g view.Generation, b *view.Batch) {
	t.Helper()
	var body strings.Builder
	for i := range b.Puts {
		fmt.Fprintf(&body, `{"delete":{"_id":%q}}`+"\n", esstore.DocumentID(b.Puts[i].Key, 0))
	}
	uuid := s.UUID(g)
	fmt.Fprintf(&body, `{"delete":{"_id":"mark-0-%s"}}`+"\n", uuid)
	if status := send(t, http.MethodPost, s.url+"/"+esstore.IndexName(g)+"/_bulk", body.String()); status != http.StatusOK {
		t.Fatalf("delete the documents: status %d", status)
	}
}

func TestPagesOverManyPartitionsHaveOneOrder(t *testing.T) {
	for name, url := range servers() {
		t.Run(name, func(t *testing.T) {
			s := store{open(t, esstore.Config{URLs: []string{url}, Shards: 3}), url}
			g := generation(t, s.Store)
			if err := s.Prepare(t.Context(), g, postFields); err != nil {
				t.Fatal(err)
			}
			for p := range int32(4) {
				var puts []view.Put
				for i := range 30 {
					title := "alpha beta"
					if i%4 < int(p) { // so that beta is not as rare in one shard as in another
						title = "alpha gamma"
					}
					puts = append(puts, view.Put{Key: fmt.Sprintf("key-%02d", i), Value: fmt.Appendf(nil, `{"title":%q}`, title)})
				}
				write(t, s, g, p, puts...)
			}
			var last string
			total := find(t, s, g, view.Query{Text: "beta"}).Total
			for skip := 0; skip < int(total); skip += 7 {
				hits := find(t, s, g, view.Query{Text: "beta", Skip: skip, Size: 7})
				for _, h := range hits.Items {
					if h.Key < last || hits.Total != total {
						t.Errorf("at %d: %q comes after %q, of %d", skip, h.Key, last, hits.Total)
					}
					last = h.Key
				}
			}
			if last != "key-29" || total != 30+22+14+7 {
				t.Errorf("the last of %d is %q", total, last)
			}
		})
	}
}

func TestAPartWithDocumentsBeyondItsMarkIsNotScanned(t *testing.T) {
	onServers(t, func(t *testing.T, s store, g view.Generation) {
		mark := write(t, s, g, 0, view.Put{Key: "late", Value: []byte(`{}`), Offset: 5})
		if _, err := s.Scan(t.Context(), g, 0, "", 10); err == nil || !strings.Contains(err.Error(), `"late" is of offset 5`) {
			t.Errorf("%v; want the document and its offset", err)
		}
		b := &view.Batch{Epoch: mark.Epoch, From: mark.Next, Next: 6}
		if err := s.Write(t.Context(), g, b); err != nil {
			t.Fatal(err)
		}
		if page, err := s.Scan(t.Context(), g, 0, "", 10); err != nil || len(page.Documents) != 1 || page.Mark.Next != 6 {
			t.Errorf("%+v, %v; want the document at mark 6", page, err)
		}
	})
}

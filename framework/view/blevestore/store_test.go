package blevestore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/blevestore"
	"github.com/drivetrain-go/drivetrain/framework/view/viewtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a Store that can lose its data.
type store struct{ *blevestore.Store }

func (s store) Empty(t *testing.T, g view.Generation) {
	t.Helper()
	if err := s.Drop(t.Context(), g); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB) *blevestore.Store {
	s := blevestore.New()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	viewtest.Search(t, func(t *testing.T) view.Search { return store{open(t)} })
}

var posts = view.Generation{App: "app", View: "posts", Number: 1}

func write(t *testing.T, s *blevestore.Store, puts ...view.Put) {
	t.Helper()
	mark, err := s.Open(t.Context(), posts, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), posts, &view.Batch{Epoch: mark.Epoch, From: mark.Next, Next: mark.Next + 1, Puts: puts}); err != nil {
		t.Fatal(err)
	}
}

func prepare(t *testing.T, s *blevestore.Store, fields view.Fields) {
	t.Helper()
	if err := s.Prepare(t.Context(), posts, fields); err != nil {
		t.Fatal(err)
	}
}

func TestNumbersAndBooleansAreSearchedByTheirLiterals(t *testing.T) {
	s := open(t)
	prepare(t, s, view.Fields{"year": view.Keyword, "won": view.Keyword, "text": view.Text})
	write(t, s, view.Put{Key: "a", Value: []byte(`{"year":1984,"won":true,"text":[12,["deep"]]}`)},
		view.Put{Key: "b", Value: []byte(`{"year":null,"won":{"true":true},"text":null}`)})
	for _, q := range []view.Query{{Is: map[string]string{"year": "1984"}}, {Is: map[string]string{"won": "true"}}, {Text: "deep 12"}} {
		q.Size = 10
		hits, err := s.Find(t.Context(), posts, q)
		if err != nil || len(hits.Items) != 1 || hits.Items[0].Key != "a" {
			t.Errorf("%+v finds %v, %v; want a", q, hits, err)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	s := open(t)
	wantError := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want an error with %q", err, want)
		}
	}
	_, err := s.Open(t.Context(), posts, 0)
	wantError(err, "Prepare first")
	wantError(s.Prepare(t.Context(), posts, view.Fields{"title": 77}), `field "title" has kind 77`)
	prepare(t, s, view.Fields{"title": view.Text})
	wantError(s.Prepare(t.Context(), posts, view.Fields{"title": view.Keyword}), "start a new generation")
	_, err = s.Find(t.Context(), posts, view.Query{Size: 1, Is: map[string]string{"title": "x"}})
	wantError(err, `field "title" is not prepared as view.Keyword`)
	var long strings.Builder
	for i := range view.MaxWords + 1 {
		fmt.Fprintf(&long, "word%d ", i)
	}
	_, err = s.Find(t.Context(), posts, view.Query{Size: 1, Text: long.String()})
	wantError(err, "at most 100")
	wantError(s.Write(t.Context(), posts, &view.Batch{Epoch: 1, Next: 1, Adds: []view.Entry{{Set: "s"}}}), "sets")
	wantError(s.Write(t.Context(), posts, &view.Batch{Epoch: 1, Next: 1, Puts: []view.Put{{Key: "k", Value: []byte("[1]")}}}), `document "k": want a JSON object`)
}

func TestAPartOfAnotherPartitionIsAnother(t *testing.T) {
	s := open(t)
	prepare(t, s, view.Fields{"title": view.Text})
	for p := range int32(2) {
		mark, err := s.Open(t.Context(), posts, p)
		if err != nil {
			t.Fatal(err)
		}
		b := &view.Batch{Partition: p, Epoch: mark.Epoch, Next: 1, Puts: []view.Put{{Key: "k", Value: fmt.Appendf(nil, `{"title":"part %d"}`, p)}}}
		if err := s.Write(t.Context(), posts, b); err != nil {
			t.Fatal(err)
		}
	}
	hits, err := s.Find(t.Context(), posts, view.Query{Text: "part", Size: 10})
	if err != nil || hits.Total != 2 || string(hits.Items[0].Value) != `{"title":"part 0"}` {
		t.Errorf("%+v, %v; want both, by partition", hits, err)
	}
}

func TestAClosedStoreSaysSo(t *testing.T) {
	s := open(t)
	prepare(t, s, view.Fields{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Find(t.Context(), posts, view.Query{Size: 1})
	for _, err := range []error{err, s.Ping(t.Context()), s.Prepare(t.Context(), posts, nil), s.Refresh(t.Context(), posts)} {
		if !errors.Is(err, blevestore.ErrClosed) {
			t.Errorf("%v; want ErrClosed", err)
		}
	}
}

// TestABatchGivenUpIsAppliedOrNot gives up batches at many moments and closes
// the store while some are under way.
func TestABatchGivenUpIsAppliedOrNot(t *testing.T) {
	s := open(t)
	prepare(t, s, view.Fields{"text": view.Text})
	mark, err := s.Open(t.Context(), posts, 0)
	if err != nil {
		t.Fatal(err)
	}
	value := []byte(`{"text":"` + strings.Repeat("many words ", 500) + `"}`)
	for i := range 30 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*200*time.Microsecond)
		b := &view.Batch{Epoch: mark.Epoch, From: mark.Next, Next: mark.Next + 1}
		for j := range 20 {
			b.Puts = append(b.Puts, view.Put{Key: fmt.Sprint(i, "-", j), Value: value})
		}
		err := s.Write(ctx, posts, b)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if mark, err = s.Open(t.Context(), posts, 0); err != nil { // waits for its turn
			t.Fatal(err)
		}
		hits, err := s.Find(t.Context(), posts, view.Query{Size: 1})
		if err != nil || hits.Total != 20*mark.Next {
			t.Fatalf("%d documents at %+v, %v; want 20 for each batch", hits.Total, mark, err)
		}
	}
}

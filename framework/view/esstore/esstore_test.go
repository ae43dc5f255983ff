package esstore_test

import (
	"context"
	"fmt"
	"hash/maphash"
	"net/http"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/esstore"
	"github.com/drivetrain-go/drivetrain/framework/view/viewtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// servers returns the real servers that the environment names: one or none.
func servers() map[string]string {
	named := make(map[string]string)
	if url := os.Getenv("ELASTICSEARCH_URL"); url != "" {
		named["elasticsearch"] = url
	}
	return named
}

// store is a Store that can lose its data behind its back.
type store struct {
	*esstore.Store
	url string
}

func (s store) Empty(t *testing.T, g view.Generation) {
	t.Helper()
	if status := send(t, http.MethodDelete, s.url+"/"+esstore.IndexName(g), ""); status != http.StatusOK {
		t.Fatalf("delete the index: status %d", status)
	}
}

func open(t testing.TB, c esstore.Config) *esstore.Store {
	t.Helper()
	s, err := esstore.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// send speaks to a server past the store and returns the status.
func send(t testing.TB, method, url, body string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

// generation returns one that no other test or run uses, dropped at the end.
func generation(t testing.TB, s *esstore.Store) view.Generation {
	g := view.Generation{App: fmt.Sprintf("esstore-%x", maphash.String(maphash.MakeSeed(), t.Name())), View: "posts", Number: 1}
	t.Cleanup(func() {
		if err := s.Drop(context.Background(), g); err != nil {
			t.Error(err)
		}
	})
	return g
}

func TestStore(t *testing.T) {
	for name, url := range servers() {
		t.Run(name, func(t *testing.T) {
			viewtest.Search(t, func(t *testing.T) view.Search {
				return store{open(t, esstore.Config{URLs: []string{url}}), url}
			})
		})
	}
}

package esstore_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/esstore"
)

// ask gets JSON past the store, nil where there is nothing.
func ask(t testing.TB, url string, into any) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNotFound {
		return
	}
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", url, answer.Status, err)
	}
}

// outside is what an outside reader is told: the generation, and how often the view has
// been switched.
func outside(t testing.TB, s store, g view.Generation) (number string, turn int) {
	t.Helper()
	var found map[string]struct{ Aliases map[string]any }
	ask(t, s.url+"/"+esstore.AliasName(g)+"*/_alias", &found)
	for index, of := range found {
		for alias := range of.Aliases {
			if alias == esstore.AliasName(g) {
				number += strings.TrimPrefix(index, alias+".")
			}
			fmt.Sscanf(alias, esstore.AliasName(g)+".read.%d", &turn)
		}
	}
	return number, turn
}

func TestOutsideReadersFindWhatIsRead(t *testing.T) {
	onServers(t, func(t *testing.T, s store, g view.Generation) {
		t.Cleanup(func() { send(t, http.MethodDelete, s.url+"/"+esstore.AliasName(g)+".read", "") })
		other := g
		other.Number = 2
		point := func(to view.Generation, turn int, want string, wantTurn int) {
			t.Helper()
			if err := s.Point(t.Context(), to, turn); err != nil {
				t.Fatal(err)
			}
			if number, now := outside(t, s, g); number != want || now != wantTurn {
				t.Errorf("after turn %d to %d the alias is on %q of turn %d, want %s of %d", turn, to.Number, number, now, want, wantTurn)
			}
		}
		if err := s.Point(t.Context(), other, 1); err == nil || !strings.Contains(err.Error(), "index_not_found") {
			t.Errorf("at a generation that is not prepared: %v", err)
		}
		point(g, 1, "1", 1)
		mark := write(t, s, g, 0, view.Put{Key: "a", Value: []byte(`{"title":"kept"}`)}, view.Put{Key: "b", Value: []byte(`{"title":"gone"}`)})
		if err := s.Write(t.Context(), g, &view.Batch{Epoch: mark.Epoch, From: 1, Next: 2, Deletes: []view.Ref{{Key: "b", Offset: 1}}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Refresh(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		var found struct {
			Hits struct {
				Hits []struct {
					Source struct{ Key, Value string } `json:"_source"`
				}
			}
		}
		if ask(t, s.url+"/"+esstore.AliasName(g)+"/_search", &found); fmt.Sprint(found.Hits.Hits) != `[{{a {"title":"kept"}}}]` {
			t.Errorf("by the alias an outside reader finds %v, want the document, and no mark or tombstone", found.Hits.Hits)
		}
		if err := s.Prepare(t.Context(), other, postFields); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Empty(t, other) })
		point(other, 2, "2", 2)
		point(other, 2, "2", 2)
		point(g, 1, "2", 2) // late
		point(g, 3, "1", 3)
		point(other, 2, "1", 3)
		s.Empty(t, g)
		if number, _ := outside(t, s, g); number != "" {
			t.Fatalf("of a lost index there is %q", number)
		}
		if err := s.Prepare(t.Context(), g, postFields); err != nil {
			t.Fatal(err)
		}
		point(g, 3, "1", 3)
		send(t, http.MethodDelete, s.url+"/"+esstore.AliasName(g)+".read", "")
		point(g, 3, "1", 3)
	})
}

// TestWhoIsLateMovesNoAliasBack lets many say at once what was read at some time, again
// and again, while a reader looks.
func TestWhoIsLateMovesNoAliasBack(t *testing.T) {
	onServers(t, func(t *testing.T, s store, g view.Generation) {
		t.Cleanup(func() { send(t, http.MethodDelete, s.url+"/"+esstore.AliasName(g)+".read", "") })
		other := g
		other.Number = 2
		if err := s.Prepare(t.Context(), other, postFields); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Empty(t, other) })
		const turns, tellers = 12, 4
		var all sync.WaitGroup
		for n := range tellers {
			all.Go(func() {
				for turn := 1; turn <= turns; turn++ {
					late := max(1, turn-(turn*7+n*5)%4)
					to := []view.Generation{g, other}[late%2]
					if err := s.Point(t.Context(), to, late); err != nil && !strings.Contains(err.Error(), "try again") {
						t.Error(err)
					}
				}
				if err := s.Point(t.Context(), g, turns); err != nil {
					t.Error(err)
				}
			})
		}
		done := make(chan struct{})
		go func() { all.Wait(); close(done) }()
		for last, running := 0, true; running; {
			select {
			case <-done:
				running = false
			case <-time.After(time.Millisecond):
			}
			number, turn := outside(t, s, g)
			if want := []string{"1", "2"}[turn%2]; turn < last || turn > 0 && number != want {
				t.Fatalf("the alias is on %q of turn %d after turn %d", number, turn, last)
			}
			last = turn
		}
		if number, turn := outside(t, s, g); number != "1" || turn != turns {
			t.Errorf("at last the alias is on %q of turn %d", number, turn)
		}
	})
}

// TestAnIndexOfTheFirstFormatIsUsedOn has an index made by a program of before there were
// other fields than texts and keywords.
func TestAnIndexOfTheFirstFormatIsUsedOn(t *testing.T) {
	golden, err := os.ReadFile("testdata/index-1.json")
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	if status := send(t, http.MethodPut, f.URL+"/"+index, string(golden)); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	s := open(t, esstore.Config{URLs: []string{f.URL}})
	if err := s.Prepare(t.Context(), posts, postFields); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find(t.Context(), posts, view.Query{Text: "oak", Size: 1}); err != nil {
		t.Error(err)
	}
	if _, err := s.Find(t.Context(), posts, view.Query{Sort: "tribe", Size: 1}); err == nil || !strings.Contains(err.Error(), "rebuild the view") {
		t.Errorf("sorted: %v", err)
	}
	if err := s.Prepare(t.Context(), posts, view.Fields{"title": view.Text, "tribe": view.Caseless}); err == nil || !strings.Contains(err.Error(), "new generation") {
		t.Errorf("with other fields: %v", err)
	}
}

// TestTheDefinitionOfAnIndexStays compares what is asked of the server with the golden
// file of the format: another definition needs another format.
func TestTheDefinitionOfAnIndexStays(t *testing.T) {
	golden, err := os.ReadFile("testdata/index-2.json")
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	s := open(t, esstore.Config{URLs: []string{f.URL}})
	if err := s.Prepare(t.Context(), posts, view.Fields{"text": view.Text, "tag": view.Keyword, "handle": view.Caseless, "members": view.Number,
		"founded": view.Time, "name": view.Prefix, "en": view.English, "de": view.German, "fr": view.French, "es": view.Spanish}); err != nil {
		t.Fatal(err)
	}
	made := f.indices[index].definition
	delete(made["settings"].(map[string]any)["index"].(map[string]any), "uuid")
	got, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if string(got)+"\n" != string(golden) {
		t.Errorf("the definition is\n%s\nwant\n%s", got, golden)
	}
}

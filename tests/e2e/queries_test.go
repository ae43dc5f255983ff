package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// marking begins each text that the version of this number makes; its scores are half a
// point more than whole. See the program in the folder versions.
const (
	marking       = "§ "
	markedVersion = 3
)

// byVersion says whether a text may be by a version.
func byVersion(text string, version int) error {
	if strings.HasPrefix(text, marking) != (version == markedVersion) {
		return fmt.Errorf("%.80q is not by version %d", text, version)
	}
	return nil
}

// reads are the kinds of read that ask for no position. Those that do are called after these.
var reads = []string{"by key", "ranking", "feed", "search"}

// asOf is behind the kind of a read that asks for a position.
const asOf = ", as of"

// look is a read of the mix: most are documents, some rankings, feeds and searches. One of
// each hundred, while nobody is killed, asks for what another process has answered, of
// searches what the last command was answered.
func (f *fire) look(n int, r *request) {
	random := rand.New(rand.NewPCG(f.past.seed, uint64(n)))
	q := f.query(random)
	if n%100 == 99 && f.calm.Load() {
		f.mu.Lock()
		q.min = f.latest[q.view+q.path]
		if last := len(f.commands); q.view == "search" && last > 0 {
			q.min = f.commands[last-1].got[0].Position
		}
		f.mu.Unlock()
		q.kind += asOf
	}
	r.ask(q)
}

func (f *fire) query(random *rand.Rand) query {
	switch p := random.IntN(100); {
	case p < 70:
		return f.card(f.past.post(random.IntN(f.past.posts)))
	case p < 85:
		return f.ranking([]string{"members", "posts"}[random.IntN(2)])
	case p < 95:
		return f.feed(f.past.tribe(random.IntN(f.past.tribes)))
	}
	return f.found(word(100+random.IntN(300)), "")
}

func (f *fire) card(id string) query {
	return query{kind: "by key", view: "post-card", path: "/" + id, check: func(doc []byte, version int) error {
		var c postCard
		if err := json.Unmarshal(doc, &c); err != nil || c.ID != id || c.Text == "" {
			return fmt.Errorf("it is %s; %v", doc, err)
		}
		return byVersion(c.Text, version)
	}}
}

// ranking is the ten first of a set.
func (f *fire) ranking(set string) query {
	return query{kind: "ranking", view: "top-tribes", path: "/" + set + "?limit=10", group: set, check: func(doc []byte, version int) error {
		items, err := ranked(doc)
		if err != nil || len(items) != 10 {
			return fmt.Errorf("it is %s; %v", doc, err)
		}
		for i, item := range items {
			half := item.Score != math.Trunc(item.Score)
			if half != (version == markedVersion) || item.Rank != i+1 || i > 0 && item.Score > items[i-1].Score || item.Item.ID != item.Key {
				return fmt.Errorf("version %d, place %d of %s", version, i+1, doc)
			}
		}
		return nil
	}}
}

// rank is an entry of a ranking.
type rank struct {
	Rank  int       `json:"rank"`
	Key   string    `json:"key"`
	Score float64   `json:"score"`
	Item  tribeCard `json:"item"`
}

func ranked(doc []byte) ([]rank, error) {
	var page struct {
		Items []rank `json:"items"`
	}
	err := json.Unmarshal(doc, &page)
	return page.Items, err
}

// feed is the first cards of a tribe's feed, all by the same version of the cards. Their
// generation may have changed, and with it how far the whole is.
func (f *fire) feed(tribe string) query {
	return query{kind: "feed", view: "tribe-feed", path: "/" + tribe + "?limit=10", group: tribe, joins: true, check: func(doc []byte, _ int) error {
		var page struct {
			Items []postCard `json:"items"`
		}
		if err := json.Unmarshal(doc, &page); err != nil {
			return err
		}
		for _, c := range page.Items {
			if c.Tribe != tribe || strings.HasPrefix(c.Text, marking) != strings.HasPrefix(page.Items[0].Text, marking) {
				return fmt.Errorf("cards of two versions or tribes: %s", doc)
			}
		}
		return nil
	}}
}

// found is a search for words, all of which each hit must hold. One of them must be what
// has this id, if it is not empty.
func (f *fire) found(words, id string) query {
	return query{kind: "search", view: "search", path: "?limit=10&q=" + url.QueryEscape(words), check: func(doc []byte, version int) error {
		var page struct {
			Items []hit `json:"items"`
		}
		if err := json.Unmarshal(doc, &page); err != nil {
			return err
		}
		for _, h := range page.Items {
			if !holds(h.Text, words) {
				return fmt.Errorf("%q does not hold %q", h.Text, words)
			}
			if err := byVersion(h.Text, version); err != nil {
				return err
			}
		}
		if id != "" && !slices.ContainsFunc(page.Items, func(h hit) bool { return h.ID == id }) {
			return fmt.Errorf("%s is not found by its words %q", id, words)
		}
		return nil
	}}
}

// act is a command of the mix; now and then what it made is read at once.
func (f *fire) act(n int, r *request) {
	random := rand.New(rand.NewPCG(^f.past.seed, uint64(n)))
	text := ""
	c := command{Aggregate: "post", ID: f.past.post(random.IntN(f.past.posts)), Actor: fmt.Sprint("fan-", n)}
	switch p := random.IntN(10); {
	case p < 3:
		c.Name, c.ID, text = "publish", fmt.Sprint("new-post-", n), fmt.Sprint(sentence(random, 6), " new", n)
		c.Body = body("tribe", f.past.tribe(random.IntN(f.past.tribes)), "text", text)
	case p < 7:
		c.Name, c.Body = "comment", body("text", sentence(random, 4))
	case p < 9:
		c.Name = "bump"
	default:
		c.Aggregate, c.ID, c.Name = "tribe", f.past.tribe(random.IntN(f.past.tribes)), "join"
	}
	got := r.send(c)
	if got.Status != http.StatusOK || c.Name != "publish" || n%5 > 0 || !f.calm.Load() {
		return
	}
	for _, own := range []query{f.card(c.ID), f.found(text, c.ID)} {
		own.kind, own.min = "own "+own.kind+asOf, got.Position
		(&request{fire: f, phase: f.phase.Load(), planned: time.Now()}).ask(own)
	}
}

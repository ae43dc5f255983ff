package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// tribeCard, postCard and hit are the documents of the views.
type tribeCard struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Members int    `json:"members"`
	Posts   int    `json:"posts"`
}

type postCard struct {
	ID       string `json:"id"`
	Tribe    string `json:"tribe"`
	Author   string `json:"author"`
	Text     string `json:"text"`
	Bumps    int    `json:"bumps"`
	Comments int    `json:"comments"`
}

type hit struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	Text string `json:"text"`
}

// world is Drivetribe as the tally knows it.
type world struct {
	users    map[string]string // names by id
	tribes   map[string]*tribeCard
	members  map[string]map[string]bool // by tribe
	posts    map[string]*postCard
	bumpers  map[string]map[string]bool // by post
	problems []string
}

// imagine makes the world of the accepted commands alone, in the order of the
// versions that were answered.
func imagine(entries []entry) *world {
	w := &world{users: map[string]string{}, tribes: map[string]*tribeCard{}, members: map[string]map[string]bool{},
		posts: map[string]*postCard{}, bumpers: map[string]map[string]bool{}}
	var done []entry
	for _, e := range entries {
		if len(e.got) > 0 && e.got[0].accepted() {
			done = append(done, e)
		}
	}
	slices.SortStableFunc(done, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.Aggregate, b.Aggregate), cmp.Compare(a.ID, b.ID), cmp.Compare(a.got[0].Version, b.got[0].Version))
	})
	for _, e := range done {
		if err := w.apply(e.command); err != nil {
			w.problems = append(w.problems, fmt.Sprintf("command %d was accepted: %v", e.Seq, err))
		}
	}
	for _, p := range w.posts {
		if t := w.tribes[p.Tribe]; t != nil {
			t.Posts++
		}
	}
	return w
}

// apply takes in an accepted command; the error says why it should not have been.
func (w *world) apply(c command) error {
	var body struct{ Name, Tribe, Text string }
	if len(c.Body) > 0 {
		if err := json.Unmarshal(c.Body, &body); err != nil {
			return err
		}
	}
	switch c.Aggregate {
	case "user":
		return w.register(c, body.Name)
	case "tribe":
		return w.inTribe(c, body.Name)
	}
	return w.onPost(c, body.Tribe, body.Text)
}

func (w *world) register(c command, name string) error {
	if w.users[c.ID] != "" || c.Actor != c.ID {
		return fmt.Errorf("%s registers %s, known as %q", c.Actor, c.ID, w.users[c.ID])
	}
	w.users[c.ID] = name
	return nil
}

func (w *world) inTribe(c command, name string) error {
	t, in := w.tribes[c.ID], w.members[c.ID][c.Actor]
	switch {
	case c.Name == "found" && t == nil:
		w.tribes[c.ID], w.members[c.ID] = &tribeCard{ID: c.ID, Name: name}, map[string]bool{}
	case c.Name == "join" && t != nil && !in:
		t.Members++
		w.members[c.ID][c.Actor] = true
	case c.Name == "leave" && t != nil && in:
		t.Members--
		delete(w.members[c.ID], c.Actor)
	default:
		return fmt.Errorf("%s of tribe %s by %s, founded %v, member %v", c.Name, c.ID, c.Actor, t != nil, in)
	}
	return nil
}

func (w *world) onPost(c command, tribe, text string) error {
	p, bumps := w.posts[c.ID], w.bumpers[c.ID][c.Actor]
	switch {
	case c.Name == "publish" && p == nil:
		w.posts[c.ID] = &postCard{ID: c.ID, Tribe: tribe, Author: c.Actor, Text: text}
		w.bumpers[c.ID] = map[string]bool{}
	case c.Name == "comment" && p != nil:
		p.Comments++
	case c.Name == "bump" && p != nil && !bumps:
		p.Bumps++
		w.bumpers[c.ID][c.Actor] = true
	case c.Name == "unbump" && p != nil && bumps:
		p.Bumps--
		delete(w.bumpers[c.ID], c.Actor)
	default:
		return fmt.Errorf("%s of post %s by %s, published %v, bumping %v", c.Name, c.ID, c.Actor, p != nil, bumps)
	}
	return nil
}

// places returns the ids of all tribes that were founded or published in.
func (w *world) places() []string {
	ids := maps.Clone(w.tribes)
	for _, p := range w.posts {
		ids[p.Tribe] = nil
	}
	return slices.Sorted(maps.Keys(ids))
}

// feed returns a tribe's posts, newest first; when each was published, and only
// that, comes from the log.
func (w *world) feed(tribe string, published map[string]int64) []postCard {
	cards := []postCard{}
	for _, p := range w.posts {
		if p.Tribe == tribe {
			cards = append(cards, *p)
		}
	}
	slices.SortFunc(cards, func(a, b postCard) int {
		return -cmp.Or(cmp.Compare(published[a.ID], published[b.ID]), cmp.Compare(a.ID, b.ID))
	})
	return cards
}

// question is a search.
type question struct{ words, kind string }

// find returns what a search should find, sorted.
func (w *world) find(q question) []hit {
	hits := []hit{}
	add := func(kind, id, text string) {
		if (q.kind == "" || q.kind == kind) && holds(text, q.words) {
			hits = append(hits, hit{kind, id, text})
		}
	}
	for id, name := range w.users {
		add("user", id, name)
	}
	for id, t := range w.tribes {
		add("tribe", id, t.Name)
	}
	for id, p := range w.posts {
		add("post", id, p.Text)
	}
	slices.SortFunc(hits, compareHits)
	return hits
}

func compareHits(a, b hit) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID)) }

// holds reports whether every one of the words is in text.
func holds(text, words string) bool {
	in := split(text)
	for _, w := range split(words) {
		if !slices.Contains(in, w) {
			return false
		}
	}
	return true
}

func split(s string) []string {
	return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// questions returns what the audit searches for: words of every frequency, two
// at once, each kind, everything, and nothing.
func (w *world) questions() []question {
	count := map[string]int{}
	for _, p := range w.posts {
		for _, word := range split(p.Text) {
			count[word]++
		}
	}
	words := slices.SortedFunc(maps.Keys(count), func(a, b string) int {
		return cmp.Or(-cmp.Compare(count[a], count[b]), cmp.Compare(a, b))
	})
	qs := []question{{}, {kind: "user"}, {kind: "tribe"}, {kind: "post"}, {words: "nowherefound"}}
	for i := 0; i < len(words); i += max(len(words)/40, 1) {
		qs = append(qs, question{words: words[i]}, question{words: words[0] + " " + strings.ToUpper(words[i]), kind: "post"})
	}
	return qs
}

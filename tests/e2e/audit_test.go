package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
)

// answers is what the views answered, each document as it came.
type answers struct {
	tribeCards map[string]string // by tribe; empty: not found
	postCards  map[string]string // by post
	feeds      map[string][]string
	searches   map[question]found
}

// found is all pages of a search.
type found struct {
	total int
	items []string
}

// audit compares a tally with the log and with the views, and returns all that
// does not fit.
type audit struct {
	entries   []entry
	log       judgement
	world     *world
	published map[string]int64 // event time of each post, from the log
	problems  []string
}

func newAudit(entries []entry, log [][]record) *audit {
	a := &audit{entries: entries, log: judge(log), world: imagine(entries), published: make(map[string]int64)}
	a.problems = append(append(a.problems, a.log.problems...), a.world.problems...)
	for _, c := range a.log.valid {
		if partitionOf(c.key, len(log)) != c.partition {
			a.problemf("%s lies in partition %d, where it does not belong", c.key, c.partition)
		}
		if c.events[0].name == "post.published" {
			a.published[c.key[len("post/"):]] = c.events[0].time
		}
	}
	a.everyCommand()
	return a
}

func (a *audit) problemf(format string, args ...any) {
	a.problems = append(a.problems, fmt.Sprintf(format, args...))
}

// everyCommand finds each accepted command as exactly one valid commit, and no
// valid commit that was not answered as accepted.
func (a *audit) everyCommand() {
	byID := make(map[string]int) // of an event, to its commit
	for n, c := range a.log.valid {
		for _, e := range c.events {
			if before, twice := byID[e.id]; twice {
				a.problemf("event %s is valid twice: at %v and at %v", e.id, where(a.log.valid[before]), where(c))
			}
			byID[e.id] = n
		}
	}
	answered := make(map[int]int) // commit to command
	for _, e := range a.entries {
		got, ok := a.definite(e)
		if !ok || !got.accepted() {
			continue
		}
		n, ok := byID[got.Events[0].ID]
		if !ok {
			a.problemf("command %d was accepted, and event %s is not in the log", e.Seq, got.Events[0].ID)
			continue
		}
		if other, twice := answered[n]; twice {
			a.problemf("commands %d and %d were answered with the same events", other, e.Seq)
		}
		answered[n] = e.Seq
		a.compare(e.command, got, a.log.valid[n])
	}
	for n, c := range a.log.valid {
		if _, ok := answered[n]; !ok {
			a.problemf("%v: %s of %s is valid, and nobody was told that it was accepted", where(c), c.events[0].name, c.key)
		}
	}
}

func where(c commit) string {
	return strconv.Itoa(c.partition) + "@" + strconv.FormatInt(c.position, 10)
}

// definite returns the one answer to a command.
func (a *audit) definite(e entry) (outcome, bool) {
	if len(e.got) == 0 {
		a.problemf("command %d was never answered", e.Seq)
		return outcome{}, false
	}
	got := e.got[0]
	for _, other := range e.got[1:] {
		if !other.equal(got) {
			a.problemf("command %d was answered %+v and, to a retry, %+v", e.Seq, got, other)
		}
	}
	if got.Status != e.Want && !(e.IfMatch != nil && got.Status == 412) {
		a.problemf("command %d, %s of %s/%s by %s, was answered %d %s, want %d",
			e.Seq, e.Name, e.Aggregate, e.ID, e.Actor, got.Status, got.Problem, e.Want)
	}
	return got, true
}

// compare says what of an accepted command is otherwise in the log.
func (a *audit) compare(c command, got outcome, have commit) {
	if key := c.Aggregate + "/" + c.ID; have.key != key {
		a.problemf("command %d for %s is in the log under %s", c.Seq, key, have.key)
	}
	if got.Position != where(have) {
		a.problemf("command %d was answered position %s and lies at %s", c.Seq, got.Position, where(have))
	}
	events := make([]stored, len(have.events))
	for i, e := range have.events {
		events[i] = stored{e.id, e.name, e.version}
		if e.actor != c.Actor {
			a.problemf("command %d by %s is in the log as by %s", c.Seq, c.Actor, e.actor)
		}
	}
	if !slices.Equal(got.Events, events) || got.Version != events[len(events)-1].Version {
		a.problemf("command %d was answered %+v, in the log is %+v", c.Seq, got.Events, events)
	}
	if c.IfMatch != nil && events[0].Version != *c.IfMatch+1 {
		a.problemf("command %d was for version %d and made version %d", c.Seq, *c.IfMatch, events[0].Version)
	}
	if name, data := effect(c); len(events) != 1 || events[0].Type != name || !sameJSON(string(have.events[0].data), data) {
		a.problemf("command %d: want one %s %v, in the log is %s %s", c.Seq, name, data, events[0].Type, have.events[0].data)
	}
}

// effect is the event that an accepted command causes.
func effect(c command) (name string, data map[string]any) {
	data = map[string]any{}
	if len(c.Body) > 0 {
		if err := json.Unmarshal(c.Body, &data); err != nil {
			return "a body that is no JSON", nil
		}
	}
	past := map[string]struct{ name, actor string }{
		"register": {"user.registered", ""}, "found": {"tribe.founded", ""},
		"join": {"tribe.joined", "member"}, "leave": {"tribe.left", "member"},
		"publish": {"post.published", "author"}, "comment": {"post.commented", "author"},
		"bump": {"post.bumped", "by"}, "unbump": {"post.unbumped", "by"},
	}[c.Name]
	if past.actor != "" {
		data[past.actor] = c.Actor
	}
	return past.name, data
}

// sameJSON compares a document with a value, field by field: none may be
// missing, none too many.
func sameJSON(doc string, want any) bool {
	data, err := json.Marshal(want)
	var x, y any
	return err == nil && json.Unmarshal(data, &y) == nil && json.Unmarshal([]byte(doc), &x) == nil && reflect.DeepEqual(x, y)
}

// views compares what the views answered with the tally's world.
func (a *audit) views(got answers) {
	for _, id := range a.world.places() {
		card := a.world.tribes[id]
		switch doc := got.tribeCards[id]; {
		case card == nil && doc != "":
			a.problemf("tribe-card %s: %s, but it was never founded", id, doc)
		case card != nil && !sameJSON(doc, card):
			a.problemf("tribe-card %s: %s, want %+v", id, doc, *card)
		}
		a.feed(id, got.feeds[id])
	}
	for _, id := range slices.Sorted(maps.Keys(a.world.posts)) {
		if !sameJSON(got.postCards[id], a.world.posts[id]) {
			a.problemf("post-card %s: %s, want %+v", id, got.postCards[id], *a.world.posts[id])
		}
	}
	for _, q := range a.world.questions() {
		a.search(q, got.searches[q])
	}
}

func (a *audit) feed(tribe string, got []string) {
	want := a.world.feed(tribe, a.published)
	if len(got) != len(want) {
		a.problemf("tribe-feed %s: %d posts, want %d", tribe, len(got), len(want))
		return
	}
	for i, card := range want {
		if !sameJSON(got[i], card) {
			a.problemf("tribe-feed %s, place %d: %s, want %+v", tribe, i, got[i], card)
		}
	}
}

func (a *audit) search(q question, got found) {
	want := a.world.find(q)
	if got.total != len(want) || len(got.items) != len(want) {
		a.problemf("search %+v: total %d and %d hits, want %d", q, got.total, len(got.items), len(want))
		return
	}
	hits := make([]hit, len(got.items))
	for i, item := range got.items {
		if err := json.Unmarshal([]byte(item), &hits[i]); err != nil || !sameJSON(item, hits[i]) {
			a.problemf("search %+v: hit %s is not {kind, id, text}", q, item)
		}
	}
	slices.SortFunc(hits, compareHits)
	if !slices.Equal(hits, want) {
		a.problemf("search %+v: %v, want %v", q, hits, want)
	}
}

package e2e

import (
	"strings"
	"testing"
)

// inServers is what the servers keep of a scene.
func (s *scene) inServers() stores {
	got := stores{newStoredView(), newStoredView(), newStoredView(), newStoredView(), newStoredView(), nil}
	for id, doc := range s.views.tribeCards {
		if doc != "" {
			got.tribeCards.documents[id] = strings.Replace(doc, `"posts":2`, `"posts":0`, 1)
		}
	}
	for id, doc := range s.views.postCards {
		got.postCards.documents[id] = doc
	}
	got.feed.sets = map[string][]string{"hikers": {"p2", "p1"}, "nowhere": {"p3"}}
	for key, text := range map[string]string{"user.maya": "Maya Bako", "tribe.hikers": "Hikers", "post.p1": "Ko ti bako.",
		"post.p2": "Muzo, bako!", "post.p3": "Lape."} {
		kind, id, _ := strings.Cut(key, ".")
		got.search.documents[key] = `{"kind":"` + kind + `","id":"` + id + `","text":"` + text + `"}`
	}
	for _, v := range []storedView{got.tribeCards, got.postCards, got.feedSource} {
		v.next[0] = int64(len(s.log[0]))
	}
	return got
}

func TestTheAuditFindsWhatIsPlantedInTheStores(t *testing.T) {
	for name, plant := range map[string]struct {
		spoil func(*stores)
		find  string // empty: nothing
	}{
		"nothing":           {func(*stores) {}, ""},
		"a card is missing": {func(s *stores) { delete(s.postCards.documents, "p2") }, "redis: post-card p2"},
		"an old card": {func(s *stores) {
			s.postCards.documents["p1"] = strings.Replace(s.postCards.documents["p1"], `"bumps":1`, `"bumps":0`, 1)
		}, "redis: post-card p1"},
		"a card too many":        {func(s *stores) { s.tribeCards.documents["bikes"] = `{}` }, "redis: tribe-card bikes"},
		"an entry is missing":    {func(s *stores) { s.feed.sets["hikers"] = []string{"p1"} }, "redis: tribe-feed hikers"},
		"an entry twice":         {func(s *stores) { s.feed.sets["nowhere"] = []string{"p3", "p3"} }, "redis: tribe-feed nowhere"},
		"a feed too many":        {func(s *stores) { s.feed.sets["bikes"] = []string{"p3"} }, "3 feeds, want 2"},
		"a hit is missing":       {func(s *stores) { delete(s.search.documents, "user.maya") }, "elasticsearch: search user.maya"},
		"a hit has another text": {func(s *stores) { s.search.documents["post.p3"] = `{"kind":"post","id":"p3","text":"Lapa."}` }, "elasticsearch: search post.p3"},
		"a hit too many":         {func(s *stores) { s.search.documents["tribe.bikes"] = `{}` }, "elasticsearch: search tribe.bikes"},
		"a mark before the end":  {func(s *stores) { s.feedSource.next[0] = 3 }, "tribe-feed.source is at 3 of partition 0"},
		"entries left behind":    {func(s *stores) { s.sets = map[int]int64{0: 4}; s.feed.next[0] = 3 }, "tribe-feed is at 3 of partition 0"},
		"no mark":                {func(s *stores) { delete(s.postCards.next, 0) }, "post-card is at 0 of partition 0"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			kept := s.inServers()
			plant.spoil(&kept)
			a := newAudit(s.entries, s.log)
			a.inStores(kept)
			got := strings.Join(a.problems, "\n")
			if plant.find == "" && got != "" || !strings.Contains(got, plant.find) {
				t.Errorf("found:\n%s\nwant %q", got, plant.find)
			}
		})
	}
}

package views_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/examples/drivetribe/post"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/tribe"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/user"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/views"
	"github.com/drivetrain-go/drivetrain/projections"
)

var at = time.Date(2026, 5, 1, 9, 0, 0, 0, time.UTC)

// fold is a document after the facts of one aggregate, as JSON.
func fold[D, E any](t *testing.T, v *projections.View[D, E], aggregate, id string, facts []E) string {
	t.Helper()
	var doc D
	for i, f := range facts {
		doc = v.Fold(doc, projections.Event[E]{Fact: f, Aggregate: aggregate, ID: id,
			Version: uint64(i + 1), Time: at.Add(time.Duration(i) * time.Second)})
	}
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestATribeCardCountsMembers(t *testing.T) {
	founded := tribe.Founded{Name: "Hikers"}
	same(t, fold(t, views.TribeCards, "tribe", "hikers", []tribe.Event{founded}),
		`{"id":"hikers","name":"Hikers","members":0,"posts":0}`)
	same(t, fold(t, views.TribeCards, "tribe", "hikers", []tribe.Event{founded,
		tribe.Joined{Member: "maya"}, tribe.Joined{Member: "tomasz"}, tribe.Left{Member: "maya"}}),
		`{"id":"hikers","name":"Hikers","members":1,"posts":0}`)
}

func TestATribeCardsPostsAreTheSizeOfItsFeed(t *testing.T) {
	var card views.TribeCard
	size := views.TribeCards.Sizes[0]
	size.Put(&card, 17)
	if size.Of != projections.Set(views.TribeFeed) || card.Posts != 17 {
		t.Errorf("posts are %d of %v, want 17 of the tribe feed", card.Posts, size.Of)
	}
}

func TestAPostCardCountsBumpsAndComments(t *testing.T) {
	published := post.Published{Tribe: "hikers", Author: "maya", Text: "The ridge is open."}
	same(t, fold(t, views.PostCards, "post", "ridge", []post.Event{published}),
		`{"id":"ridge","tribe":"hikers","author":"maya","text":"The ridge is open.","bumps":0,"comments":0}`)
	same(t, fold(t, views.PostCards, "post", "ridge", []post.Event{published,
		post.Bumped{By: "tomasz"}, post.Bumped{By: "ines"}, post.Commented{Author: "tomasz", Text: "At last."},
		post.Unbumped{By: "tomasz"}, post.Commented{Author: "ines", Text: "Who is in?"}}),
		`{"id":"ridge","tribe":"hikers","author":"maya","text":"The ridge is open.","bumps":1,"comments":2}`)
}

func TestAFeedTakesAPostOnceAtItsTime(t *testing.T) {
	place, ok := views.TribeFeed.Place(projections.Event[post.Event]{Fact: post.Published{Tribe: "hikers"}, ID: "ridge", Time: at})
	if want := (projections.Place{Set: "hikers", Key: "ridge", At: at}); !ok || place != want {
		t.Errorf("placed %v %v, want %v", place, ok, want)
	}
	for _, other := range []post.Event{post.Commented{}, post.Bumped{}, post.Unbumped{}} {
		if _, ok := views.TribeFeed.Place(projections.Event[post.Event]{Fact: other, ID: "ridge", Time: at}); ok {
			t.Errorf("%T was placed in the feed", other)
		}
	}
}

func TestAPostsReachIsDifferentPeople(t *testing.T) {
	same(t, fold(t, views.PostReach, "post", "ridge", []post.Event{post.Published{Tribe: "hikers", Author: "maya"},
		post.Bumped{By: "tomasz"}, post.Commented{Author: "tomasz"}, post.Commented{Author: "ines"}, post.Commented{Author: "tomasz"}, post.Unbumped{By: "tomasz"}}),
		`{"id":"ridge","people":2,"talkers":[{"key":"tomasz","count":2,"error":0},{"key":"ines","count":1,"error":0}]}`)
}

func TestAMembershipFollowsWhoJoinsAndLeaves(t *testing.T) {
	var m views.Membership
	for _, step := range []struct {
		tribe string
		fact  tribe.Event
		want  string
	}{
		{"hikers", tribe.Founded{Name: "Hikers"}, "[]"},
		{"hikers", tribe.Joined{Member: "maya"}, "[hikers]"},
		{"bikes", tribe.Joined{Member: "maya"}, "[bikes hikers]"},
		{"hikers", tribe.Left{Member: "maya"}, "[bikes]"},
	} {
		e := projections.Event[tribe.Event]{Fact: step.fact, ID: step.tribe}
		for _, e.Key = range views.Memberships.Key(e) {
			m = views.Memberships.Fold(m, e)
		}
		if got := fmt.Sprint(m.Tribes); got != step.want {
			t.Errorf("after %+v of %s: %s, want %s", step.fact, step.tribe, got, step.want)
		}
	}
	same(t, fmt.Sprint(m.Member), "maya")
}

func TestTribesAreRankedByMembersAndPosts(t *testing.T) {
	sums := make(map[string]float64)
	for _, e := range []projections.Event[any]{{Fact: tribe.Founded{Name: "Hikers"}, ID: "hikers"}, {Fact: tribe.Joined{Member: "maya"}, ID: "hikers"},
		{Fact: tribe.Joined{Member: "ines"}, ID: "hikers"}, {Fact: tribe.Left{Member: "maya"}, ID: "hikers"},
		{Fact: post.Published{Tribe: "hikers"}, ID: "ridge"}, {Fact: post.Bumped{By: "ines"}, ID: "ridge"}} {
		for _, s := range views.TopTribes.Scores(e) {
			if !s.Add || s.Remove {
				t.Errorf("%+v is not added", s)
			}
			sums[s.Set+" "+s.Key] += s.Score
		}
	}
	same(t, fmt.Sprint(sums), "map[members hikers:1 posts hikers:1]")
}

func TestSearchFindsUsersAndTribesByNameAndPostsByText(t *testing.T) {
	same(t, fold(t, views.Search, "user", "maya", []any{user.Registered{Name: "Maya"}}),
		`{"kind":"user","id":"maya","text":"Maya"}`)
	same(t, fold(t, views.Search, "tribe", "hikers", []any{tribe.Founded{Name: "Hikers"}, tribe.Joined{Member: "maya"}}),
		`{"kind":"tribe","id":"hikers","text":"Hikers"}`)
	same(t, fold(t, views.Search, "post", "ridge", []any{post.Published{Tribe: "hikers", Author: "maya", Text: "The ridge."},
		post.Commented{Author: "ines", Text: "Not searched."}}),
		`{"kind":"post","id":"ridge","text":"The ridge."}`)
}

func TestTribesAreFoundByNameSizeAndAge(t *testing.T) {
	same(t, fold(t, views.FindTribe, "tribe", "hikers", []tribe.Event{tribe.Founded{Name: "Hikers"}, tribe.Joined{Member: "maya"}, tribe.Joined{Member: "ines"}, tribe.Left{Member: "maya"}}),
		`{"id":"hikers","name":"Hikers","members":1,"founded":"2026-05-01T09:00:00Z"}`)
}

func TestPostsAreFoundByWhatTheySaidWhenPublished(t *testing.T) {
	same(t, fold(t, views.FindPost, "post", "ridge", []post.Event{post.Published{Tribe: "hikers", Author: "maya", Text: "The ridge."}, post.Commented{Author: "ines", Text: "Yes."}}),
		`{"id":"ridge","tribe":"hikers","author":"maya","text":"The ridge.","published":"2026-05-01T09:00:00Z"}`)
}

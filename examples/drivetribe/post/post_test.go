package post_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/post"
	"github.com/drivetrain-go/drivetrain/framework/event"
)

// given is the post ridge after these facts.
func given(facts ...post.Event) post.Post {
	var s post.Post
	for _, f := range facts {
		s = s.Evolve(f)
	}
	return s
}

func by(caller string) aggregates.Meta {
	return aggregates.Given(caller, time.Time{}, "ridge", event.ID{})
}

var (
	published = post.Published{Tribe: "hikers", Author: "maya", Text: "The ridge is open."}
	commented = post.Commented{Author: "maya", Text: "Bring water."}
	bumped    = post.Bumped{By: "maya"}
	unbumped  = post.Unbumped{By: "maya"}
)

func TestCommands(t *testing.T) {
	publish := func(s post.Post) ([]post.Event, error) {
		return s.Publish(post.Publish{Tribe: "hikers", Text: "The ridge is open.", Meta: by("maya")})
	}
	comment := func(s post.Post) ([]post.Event, error) {
		return s.Comment(post.Comment{Text: "Bring water.", Meta: by("maya")})
	}
	bump := func(s post.Post) ([]post.Event, error) { return s.Bump(post.Bump{Meta: by("maya")}) }
	unbump := func(s post.Post) ([]post.Event, error) { return s.Unbump(post.Unbump{Meta: by("maya")}) }
	type facts = []post.Event
	for _, c := range []struct {
		name     string
		given    facts
		when     func(post.Post) ([]post.Event, error)
		then     facts
		rejected bool
	}{
		{"the caller publishes as its author", nil, publish, facts{published}, false},
		{"no post is published twice", facts{published}, publish, nil, true},
		{"anybody comments, as often as one likes", facts{published, commented}, comment, facts{commented}, false},
		{"nobody comments on an unknown post", nil, comment, nil, true},
		{"the caller bumps", facts{published, post.Bumped{By: "tomasz"}}, bump, facts{bumped}, false},
		{"to bump again does nothing", facts{published, bumped}, bump, nil, false},
		{"who has unbumped may bump again", facts{published, bumped, unbumped}, bump, facts{bumped}, false},
		{"nobody bumps an unknown post", nil, bump, nil, true},
		{"who has bumped takes it back", facts{published, bumped}, unbump, facts{unbumped}, false},
		{"to unbump what one has not bumped does nothing", facts{published, post.Bumped{By: "tomasz"}}, unbump, nil, false},
		{"to unbump again does nothing", facts{published, bumped, unbumped}, unbump, nil, false},
		{"nobody unbumps an unknown post", nil, unbump, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.when(given(c.given...))
			var no *aggregates.Rejection
			if errors.As(err, &no) != c.rejected || err != nil && !c.rejected {
				t.Fatalf("error %v, want a rejection: %v", err, c.rejected)
			}
			if !reflect.DeepEqual(got, c.then) {
				t.Errorf("got %v, want %v", got, c.then)
			}
		})
	}
}

func TestABodyOfLongAgoIsReadAsTheText(t *testing.T) {
	const recorded = `{"tribe":"hikers","author":"maya","body":"The ridge is open."}`
	got, err := post.Type.Stream().Decode("post", "post.published.v0", []byte(recorded))
	if err != nil || got != post.Event(published) {
		t.Fatalf("got %+v, %v, want %+v", got, err, published)
	}
	name, data, err := post.Type.Encode(published)
	if want := `{"tribe":"hikers","author":"maya","text":"The ridge is open."}`; name != "post.published" || string(data) != want || err != nil {
		t.Fatalf("written today as %s %s, %v, want %s", name, data, err, want)
	}
}

// Package post is what people publish in tribes, comment on and bump. A post
// is an aggregate of its own, so a popular one slows no other; it does not know
// whether its tribe exists.
package post

import (
	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework/event"
)

// Event is a fact about a post. It is sealed: these are all there are.
type Event interface{ post() }

// Published says that a post exists from now on.
type Published struct {
	Tribe  string `json:"tribe"`
	Author string `json:"author"`
	Text   string `json:"text"`
}

// Commented says that somebody has answered a post.
type Commented struct {
	Author string `json:"author"`
	Text   string `json:"text"`
}

// Bumped says that a user likes a post.
type Bumped struct {
	By string `json:"by"`
}

// Unbumped says that a user takes that back.
type Unbumped struct {
	By string `json:"by"`
}

func (Published) post() {}
func (Commented) post() {}
func (Bumped) post()    {}
func (Unbumped) post()  {}

// PublishedV0 is the shape of post.published.v0, in which the text was the body.
type PublishedV0 struct {
	Tribe  string `json:"tribe"`
	Author string `json:"author"`
	Body   string `json:"body"`
}

func (p PublishedV0) up() Published { return Published{p.Tribe, p.Author, p.Body} }

// Post is what decisions need to know of a post: who bumps it, but neither its
// text nor its comments. The set is the state's own, and changed in place.
type Post struct {
	Tribe   string          `json:"tribe"`   // empty: not published
	Bumpers map[string]bool `json:"bumpers"` // a set
}

// Evolve returns the post after a fact.
func (p Post) Evolve(e Event) Post {
	switch e := e.(type) {
	case Published:
		p.Tribe, p.Bumpers = e.Tribe, make(map[string]bool)
	case Bumped:
		p.Bumpers[e.By] = true
	case Unbumped:
		delete(p.Bumpers, e.By)
	}
	return p
}

// Publish makes a post of the caller's in a tribe.
type Publish struct {
	Tribe string `json:"tribe" pattern:"^[A-Za-z0-9._~-]{1,128}$" doc:"Id of the tribe"`
	Text  string `json:"text" minLength:"1" maxLength:"5000"`
	aggregates.Meta
}

// Comment answers a post.
type Comment struct {
	Text string `json:"text" minLength:"1" maxLength:"5000"`
	aggregates.Meta
}

// Bump says that the caller likes a post.
type Bump struct{ aggregates.Meta }

// Unbump takes that back.
type Unbump struct{ aggregates.Meta }

// Publish takes an id that no post has yet.
func (p Post) Publish(c Publish) ([]Event, error) {
	if p.Tribe != "" {
		return nil, aggregates.Reject("post %s is published already", c.ID())
	}
	return []Event{Published{c.Tribe, c.By(), c.Text}}, nil
}

// Comment is open to everyone.
func (p Post) Comment(c Comment) ([]Event, error) {
	if p.Tribe == "" {
		return nil, unknown(c.ID())
	}
	return []Event{Commented{c.By(), c.Text}}, nil
}

// Bump counts once for each user; again it does nothing.
func (p Post) Bump(c Bump) ([]Event, error) {
	switch {
	case p.Tribe == "":
		return nil, unknown(c.ID())
	case p.Bumpers[c.By()]:
		return nil, nil
	}
	return []Event{Bumped{c.By()}}, nil
}

// Unbump does nothing for who has not bumped.
func (p Post) Unbump(c Unbump) ([]Event, error) {
	switch {
	case p.Tribe == "":
		return nil, unknown(c.ID())
	case !p.Bumpers[c.By()]:
		return nil, nil
	}
	return []Event{Unbumped{c.By()}}, nil
}

func unknown(id string) error { return aggregates.Reject("there is no post %s", id) }

// Type is the aggregate type. The names of its events are in the log for ever,
// and so is the first shape of a published post.
var Type = &aggregates.Type[Post, Event]{Name: "post", Evolve: Post.Evolve,
	Events: event.Types[Event]{
		"post.published":    event.As[Event, Published](),
		"post.published.v0": event.Up[Event](PublishedV0.up),
		"post.commented":    event.As[Event, Commented](),
		"post.bumped":       event.As[Event, Bumped](),
		"post.unbumped":     event.As[Event, Unbumped](),
	}}

// Package views is what Drivetribe shows: documents folded from the facts, ready
// to be read.
package views

import (
	"slices"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/post"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/tribe"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/user"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/projections"
)

// TribeCard is a tribe at a glance.
type TribeCard struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Members int    `json:"members"`
	Posts   int64  `json:"posts"` // the length of its feed, filled in when the card is read
}

// PostCard is a post at a glance.
type PostCard struct {
	ID       string `json:"id"`
	Tribe    string `json:"tribe"`
	Author   string `json:"author"`
	Text     string `json:"text"`
	Bumps    int    `json:"bumps"`
	Comments int    `json:"comments"`
}

// Membership is the tribes that a user is a member of.
type Membership struct {
	Member string   `json:"member"`
	Tribes []string `json:"tribes"` // their ids, in the order of the alphabet
}

// Hit is what a search finds: a user or a tribe by its name, a post by its text.
type Hit struct {
	Kind string `json:"kind"` // user, tribe or post
	ID   string `json:"id"`
	Text string `json:"text"`
}

// FoundTribe is a tribe as it is found while its name is being typed.
type FoundTribe struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Members int       `json:"members"`
	Founded time.Time `json:"founded"`
}

// FoundPost is a post as it is found by what it says, its tribe, its author or its age.
type FoundPost struct {
	ID        string    `json:"id"`
	Tribe     string    `json:"tribe"`
	Author    string    `json:"author"`
	Text      string    `json:"text"`
	Published time.Time `json:"published"`
}

// TribeCards is the tribes by id.
var TribeCards = &projections.View[TribeCard, tribe.Event]{
	Name:  "tribe-card",
	From:  tribe.Type.Stream(),
	Fold:  TribeCard.fold,
	Sizes: []projections.Size[TribeCard]{{Of: TribeFeed, Put: func(c *TribeCard, posts int64) { c.Posts = posts }}},
}

func (c TribeCard) fold(e projections.Event[tribe.Event]) TribeCard {
	switch fact := e.Fact.(type) {
	case tribe.Founded:
		c.ID, c.Name = e.ID, fact.Name
	case tribe.Joined:
		c.Members++
	case tribe.Left:
		c.Members--
	}
	return c
}

// PostCards is the posts by id.
var PostCards = &projections.View[PostCard, post.Event]{
	Name: "post-card",
	From: post.Type.Stream(),
	Fold: PostCard.fold,
}

func (c PostCard) fold(e projections.Event[post.Event]) PostCard {
	switch fact := e.Fact.(type) {
	case post.Published:
		c.ID, c.Tribe, c.Author, c.Text = e.ID, fact.Tribe, fact.Author, fact.Text
	case post.Commented:
		c.Comments++
	case post.Bumped:
		c.Bumps++
	case post.Unbumped:
		c.Bumps--
	}
	return c
}

// TribeFeed is the posts of each tribe, newest first.
var TribeFeed = &projections.Feed[post.Event]{
	Name:  "tribe-feed",
	From:  post.Type.Stream(),
	Place: place,
	Cards: PostCards,
}

func place(e projections.Event[post.Event]) (projections.Place, bool) {
	fact, ok := e.Fact.(post.Published)
	return projections.Place{Set: fact.Tribe, Key: e.ID, At: e.Time}, ok
}

// Memberships is the tribes of each member. It is made of the tribes' events and keyed
// by what these name.
var Memberships = &projections.View[Membership, tribe.Event]{
	Name: "membership",
	From: tribe.Type.Stream(),
	Key:  member,
	Fold: Membership.fold,
}

func member(e projections.Event[tribe.Event]) []string {
	switch fact := e.Fact.(type) {
	case tribe.Joined:
		return []string{fact.Member}
	case tribe.Left:
		return []string{fact.Member}
	}
	return nil
}

func (m Membership) fold(e projections.Event[tribe.Event]) Membership {
	m.Member = e.Key
	at, there := slices.BinarySearch(m.Tribes, e.ID)
	switch e.Fact.(type) {
	case tribe.Joined:
		if !there {
			m.Tribes = slices.Insert(m.Tribes, at, e.ID)
		}
	case tribe.Left:
		if there {
			m.Tribes = slices.Delete(m.Tribes, at, at+1)
		}
	}
	return m
}

// Reach is whom a post has moved to do something.
type Reach struct {
	ID      string             `json:"id"`
	People  projections.Unique `json:"people"`  // different ones who bumped or commented
	Talkers projections.Top    `json:"talkers"` // who commented most
}

// PostReach is the reach of each post.
var PostReach = &projections.View[Reach, post.Event]{
	Name: "post-reach",
	From: post.Type.Stream(),
	Fold: Reach.fold,
}

func (r Reach) fold(e projections.Event[post.Event]) Reach {
	switch fact := e.Fact.(type) {
	case post.Published:
		r.ID, r.Talkers = e.ID, projections.NewTop(3, 50)
	case post.Commented:
		r.People.Add(fact.Author)
		r.Talkers.Add(fact.Author)
	case post.Bumped:
		r.People.Add(fact.By)
	}
	return r
}

// TopTribes ranks the tribes, in the set "members" by how many these are, in the set
// "posts" by what was published in them: facts of two aggregate types.
var TopTribes = &projections.Ranking[any]{
	Name:   "top-tribes",
	From:   aggregates.Merge(tribe.Type.Stream().Any(), post.Type.Stream().Any()),
	Scores: scores,
	Cards:  TribeCards,
}

func scores(e projections.Event[any]) []projections.Score {
	switch fact := e.Fact.(type) {
	case tribe.Founded:
		return []projections.Score{{Set: "members", Key: e.ID, Add: true}, {Set: "posts", Key: e.ID, Add: true}}
	case tribe.Joined:
		return []projections.Score{{Set: "members", Key: e.ID, Score: 1, Add: true}}
	case tribe.Left:
		return []projections.Score{{Set: "members", Key: e.ID, Score: -1, Add: true}}
	case post.Published:
		return []projections.Score{{Set: "posts", Key: fact.Tribe, Score: 1, Add: true}}
	}
	return nil
}

// Search is users, tribes and posts by their words, and by kind.
var Search = &projections.View[Hit, any]{
	Name:   "search",
	From:   aggregates.Merge(user.Type.Stream().Any(), tribe.Type.Stream().Any(), post.Type.Stream().Any()),
	Fold:   Hit.fold,
	Search: view.Fields{"kind": view.Keyword, "text": view.Text},
}

func (h Hit) fold(e projections.Event[any]) Hit {
	h.Kind, h.ID = e.Aggregate, e.ID
	switch fact := e.Fact.(type) {
	case user.Registered:
		h.Text = fact.Name
	case tribe.Founded:
		h.Text = fact.Name
	case post.Published:
		h.Text = fact.Text
	}
	return h
}

// FindTribe is the tribes by the beginnings of the words of their names, sorted by size
// or age.
var FindTribe = &projections.View[FoundTribe, tribe.Event]{
	Name:   "find-tribe",
	From:   tribe.Type.Stream(),
	Fold:   FoundTribe.fold,
	Search: view.Fields{"name": view.Prefix, "members": view.Number, "founded": view.Time},
}

func (f FoundTribe) fold(e projections.Event[tribe.Event]) FoundTribe {
	switch fact := e.Fact.(type) {
	case tribe.Founded:
		f.ID, f.Name, f.Founded = e.ID, fact.Name, e.Time
	case tribe.Joined:
		f.Members++
	case tribe.Left:
		f.Members--
	}
	return f
}

// FindPost is the posts by the English stems of their words, sorted by age.
var FindPost = &projections.View[FoundPost, post.Event]{
	Name:   "find-post",
	From:   post.Type.Stream(),
	Fold:   FoundPost.fold,
	Search: view.Fields{"text": view.English, "tribe": view.Keyword, "author": view.Keyword, "published": view.Time},
}

func (f FoundPost) fold(e projections.Event[post.Event]) FoundPost {
	if fact, ok := e.Fact.(post.Published); ok {
		f = FoundPost{ID: e.ID, Tribe: fact.Tribe, Author: fact.Author, Text: fact.Text, Published: e.Time}
	}
	return f
}

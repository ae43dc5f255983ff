package view_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

func TestABatchAtItsLimitsPassesAndBeyondThemIsNamed(t *testing.T) {
	name := strings.Repeat("n", view.MaxKey)
	value := make([]byte, view.MaxValue)
	heavy := make([]view.Put, view.MaxBytes/view.MaxValue+1)
	for i := range heavy {
		heavy[i] = view.Put{Key: "k", Value: value}
	}
	entry := func(set, sort, member string) view.Batch {
		return view.Batch{Removes: []view.Entry{{Set: set, Sort: sort, Member: member}}}
	}
	for _, c := range []struct {
		b    view.Batch
		want string // in the error; empty: none
	}{
		{view.Batch{}, ""},
		{view.Batch{Puts: []view.Put{{Key: name, Value: value}}, Deletes: []view.Ref{{Key: name}}}, ""},
		{entry(name, name, name), ""},
		{entry("s", "", "m"), ""},
		{view.Batch{Puts: heavy[1:]}, ""},
		{view.Batch{Puts: heavy}, "at most 268435456"},
		{view.Batch{Puts: make([]view.Put, view.MaxBatch), Deletes: make([]view.Ref, 1)}, "10001 changes"},
		{view.Batch{Puts: []view.Put{{}}}, "empty key"},
		{view.Batch{Puts: []view.Put{{Key: "k", Offset: -1}}}, "offset -1"},
		{view.Batch{Puts: []view.Put{{Key: "k", Value: make([]byte, view.MaxValue+1)}}}, "921601"},
		{view.Batch{Deletes: []view.Ref{{Key: name + "n"}}}, "513 bytes"},
		{view.Batch{Deletes: []view.Ref{{Key: "k", Offset: -1}}}, "offset -1"},
		{entry("", "", "m"), "empty set"},
		{entry("s", "", ""), "empty member"},
		{entry("s", name+"n", "m"), "sort"},
		{entry("s", "a\x00", "m"), "zero byte"},
		{view.Batch{From: 3, Next: 2}, "from offset 3 to 2"},
		{view.Batch{From: -1}, "from offset -1"},
	} {
		c.b.Epoch = 1
		if err := c.b.Check(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d puts: %v; want %q", len(c.b.Puts), err, c.want)
		}
	}
	if err := (&view.Batch{}).Check(); !errors.Is(err, view.ErrFenced) {
		t.Errorf("epoch 0: %v; want ErrFenced", err)
	}
	if err := (&view.Batch{Epoch: 1, Adds: []view.Entry{{Set: "s", Member: "m"}}}).CheckSearch(); err == nil || !strings.Contains(err.Error(), "sets") {
		t.Errorf("entries for a search store: %v", err)
	}
}

func TestABatchFollowsItsOwnEpochAndOffsetAlone(t *testing.T) {
	b := &view.Batch{Epoch: 5, From: 7, Next: 9}
	for _, c := range []struct {
		at     view.Mark
		behind bool // else fenced
	}{
		{view.Mark{Epoch: 5, Next: 9}, true},
		{view.Mark{Epoch: 5, Next: 3}, true},
		{view.Mark{}, true},
		{view.Mark{Epoch: 3, Next: 2}, true}, // restored from before our Open
		{view.Mark{Epoch: 6, Next: 7}, false},
		{view.Mark{Epoch: 6, Next: 2}, false},
		{view.Mark{Epoch: 4, Next: 7}, false}, // nobody opened 5
	} {
		err := b.Follows(c.at)
		var behind *view.BehindError
		if errors.As(err, &behind) != c.behind || errors.Is(err, view.ErrFenced) == c.behind {
			t.Errorf("at %+v: %v", c.at, err)
		}
		if c.behind && (behind.Mark != c.at || behind.From != 7) {
			t.Errorf("at %+v: told %+v", c.at, behind)
		}
	}
	if err := b.Follows(view.Mark{Epoch: 5, Next: 7}); err != nil {
		t.Errorf("at its own mark: %v", err)
	}
}

func TestAQueryBeyondItsLimitsIsNamed(t *testing.T) {
	fields := view.Fields{"title": view.Text, "tribe": view.Keyword}
	for _, c := range []struct {
		q    view.Query
		want string
	}{
		{view.Query{Size: view.MaxPage, Skip: view.MaxDepth - view.MaxPage, Text: strings.Repeat("x", view.MaxText), Is: map[string]string{"tribe": "x"}}, ""},
		{view.Query{}, "want 1 to 1000"},
		{view.Query{Size: view.MaxPage + 1}, "want 1 to 1000"},
		{view.Query{Size: 1, Skip: view.MaxDepth}, "want 0 to 9999"},
		{view.Query{Size: 1, Skip: -1}, "-1 hits"},
		{view.Query{Size: 1, Text: strings.Repeat("x", view.MaxText+1)}, "at most 16384"},
		{view.Query{Size: 1, Is: map[string]string{"title": "x"}}, `"title"`},
	} {
		if err := c.q.Check(fields); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("size %d, skip %d: %v; want %q", c.q.Size, c.q.Skip, err, c.want)
		}
	}
	if view.CheckWords(view.MaxWords) != nil || view.CheckWords(view.MaxWords+1) == nil {
		t.Error("the limit of words is not where it is said to be")
	}
	if view.MaxPage > view.MaxDepth || fields.Check() != nil || (view.Fields{"x": 0}).Check() == nil {
		t.Error("pages do not fit, or a field without a kind passes")
	}
}

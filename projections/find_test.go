package projections_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/blevestore"
	"github.com/drivetrain-go/drivetrain/projections"
)

// shelved is a document with a field for each way to ask.
type shelved struct {
	Title string    `json:"title"`
	Shelf string    `json:"shelf"`
	Pages *int      `json:"pages"`
	Since time.Time `json:"since"`
}

// finder asks a view's Answer on a store that has documents, as the framework does.
type finder struct {
	*testing.T
	view  framework.View
	store *blevestore.Store
	read  int // the generation
}

func newFinder(t *testing.T, fields view.Fields) *finder {
	app := framework.New(framework.Config{Open: func(context.Context) (framework.Resources, error) { return framework.Resources{}, nil }})
	projections.Register(app, &projections.View[shelved, bookFact]{Name: "find", From: books.Stream(), Search: fields,
		Fold: func(s shelved, _ projections.Event[bookFact]) shelved { return s }})
	f := &finder{T: t, view: app.Views()[0], store: blevestore.New(), read: 1}
	t.Cleanup(func() { f.store.Close() })
	for _, number := range []int{1, 2} {
		g := f.generation(number)
		if err := f.store.Prepare(t.Context(), g, fields); err != nil {
			t.Fatal(err)
		}
		mark, err := f.store.Open(t.Context(), g, 0)
		if err != nil {
			t.Fatal(err)
		}
		b := &view.Batch{Epoch: mark.Epoch, Next: 1}
		for i := range 9 {
			b.Puts = append(b.Puts, view.Put{Key: fmt.Sprint("k", i), Value: fmt.Appendf(nil, `{"title":"oak %d","shelf":"s%d","pages":%d}`, i, i%2, i*5%9)})
		}
		if err := f.store.Write(t.Context(), g, b); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f *finder) generation(number int) view.Generation {
	return view.Generation{App: "app", View: "find", Number: number}
}

func (f *finder) ask(q framework.Query) (projections.Found[shelved], error) {
	q.Generation = func(string) view.Generation { return f.generation(f.read) }
	var out projections.Found[shelved]
	data, err := f.view.Answer(f.Context(), framework.Resources{Search: f.store}, q)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	return out, err
}

var findFields = view.Fields{"title": view.Text, "shelf": view.Keyword, "pages": view.Number, "since": view.Time}

func TestASearchGoesOnWhereItsPageHasEnded(t *testing.T) {
	f := newFinder(t, findFields)
	for _, by := range []string{"", "pages", "-pages", "shelf"} {
		for _, text := range []string{"", "oak"} {
			q := framework.Query{Sort: by, Text: text, Limit: 100, Ranges: map[string]view.Range{"pages": {From: "1"}}}
			whole, err := f.ask(q)
			if err != nil || len(whole.Items) != 8 || whole.Next != "" {
				t.Fatalf("%q: %+v, %v", by, whole, err)
			}
			var got []shelved
			for q.Limit = 3; ; {
				page, err := f.ask(q)
				if err != nil || page.Total != 8 {
					t.Fatalf("%q behind %q: %+v, %v", by, q.After, page, err)
				}
				got = append(got, page.Items...)
				if by != "" && len(got) == 3 {
					f.read = 3 - f.read // a switch: a sorted search goes on
				}
				if q.After = page.Next; q.After == "" {
					break
				}
			}
			if a, b := fmt.Sprint(titlesFound(got)), fmt.Sprint(titlesFound(whole.Items)); a != b {
				t.Errorf("%q, %q in pages: %s, want %s", by, text, a, b)
			}
		}
	}
}

func titlesFound(list []shelved) (out []string) {
	for _, s := range list {
		out = append(out, s.Title)
	}
	return out
}

func TestAPlaceOfAnotherSearchIsRefused(t *testing.T) {
	f := newFinder(t, findFields)
	next := func(q framework.Query) string {
		q.Limit = 2
		page, err := f.ask(q)
		if err != nil || page.Next == "" {
			t.Fatalf("%+v, %v", page, err)
		}
		return page.Next
	}
	best, sorted := next(framework.Query{Text: "oak"}), next(framework.Query{Sort: "pages"})
	f.read = 2
	for want, q := range map[string]framework.Query{
		"generation 1 of view find": {Text: "oak", After: best},
		"sorted otherwise":          {Sort: "-pages", After: sorted},
		"otherwise; begin":          {After: sorted},
		"by a place":                {Sort: "shelf", After: "by a place"},
		"bm8":                       {After: "bm8"},
		"e30":                       {After: base64.RawURLEncoding.EncodeToString([]byte("{}"))},
		"Skip and After":            {Sort: "pages", After: sorted, Skip: 1},
		`"title"`:                   {Sort: "title"},
	} {
		q.Limit = 2
		if _, err := f.ask(q); !errors.Is(err, framework.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want ErrInvalid with %q", q, err, want)
		}
	}
	if page, err := f.ask(framework.Query{Sort: "pages", After: sorted, Limit: 2}); err != nil || len(page.Items) != 2 {
		t.Errorf("a sorted search does not go on in another generation: %+v, %v", page, err)
	}
}

func TestFieldsThatNoDocumentHasAreRefused(t *testing.T) {
	register := func(fields view.Fields) (said string) {
		defer func() { said = fmt.Sprint(recover()) }()
		newFinder(t, fields)
		return ""
	}
	for want, fields := range map[string]view.Fields{
		`field "name": projections_test.shelved has none`:    {"name": view.Text},
		`field "since" is a time.Time, of which view.Number`: {"since": view.Number},
		`field "title" is a string, of which view.Number`:    {"title": view.Number},
		`field "pages" is a *int, of which view.Time`:        {"pages": view.Time},
		`kind 77`: {"title": 77},
	} {
		if got := register(fields); !strings.Contains(got, want) {
			t.Errorf("%v: %s, want %q", fields, got, want)
		}
	}
	for _, fields := range []view.Fields{findFields, {"title": view.Time, "pages": view.Keyword, "since": view.Keyword, "shelf": view.German}} {
		if got := register(fields); got != "<nil>" {
			t.Errorf("%v: %s", fields, got)
		}
	}
}

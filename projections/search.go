package projections

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/internal/wire"
)

func (v *View[D, E]) find(ctx context.Context, r framework.Resources, q framework.Query) ([]byte, error) {
	g := q.Generation(v.Name)
	asked, err := v.query(q, g.Number)
	if err != nil {
		return nil, err
	}
	asked.Least, asked.Shown = q.Leasts(v.Name), q.Shown
	hits, err := r.Search.Find(ctx, g, asked)
	if errors.Is(err, view.ErrQuery) {
		return nil, fmt.Errorf("%w search: %w", framework.ErrInvalid, err)
	}
	if err != nil {
		return nil, err
	}
	q.Saw(hits.Seen)
	out := Found[json.RawMessage]{Items: make([]json.RawMessage, len(hits.Items)), Total: hits.Total}
	for i, h := range hits.Items {
		out.Items[i] = h.Value
	}
	if hits.Next != nil {
		out.Next = v.spot(asked, g.Number, hits.Next).String()
	}
	return json.Marshal(out)
}

// query is q as a search store takes it.
func (v *View[D, E]) query(q framework.Query, generation int) (view.Query, error) {
	out := view.Query{Text: q.Text, Is: q.Is, Ranges: q.Ranges, Skip: q.Skip, Size: q.Limit}
	out.Sort, out.Desc = strings.CutPrefix(q.Sort, "-")
	if q.After == "" {
		return out, nil
	}
	at, err := parseSpot(q.After)
	if err != nil {
		return out, err
	}
	if want := v.spot(out, generation, &view.Place{}); at.By != want.By || at.Kind != want.Kind {
		return out, fmt.Errorf("%w: after is the next of a page that was sorted otherwise; begin again without it", framework.ErrInvalid)
	} else if at.Generation != want.Generation {
		return out, fmt.Errorf("%w: after is of generation %d of view %s, and generation %d is read, in which hits are not as good as they were there: begin again without it, or sort by a field",
			framework.ErrInvalid, at.Generation, v.Name, generation)
	}
	out.After = &view.Place{Score: at.Score, Order: at.Order, Missing: at.Missing, Key: at.Key, Partition: at.Partition}
	return out, nil
}

// spot is a place in the order of a search, as a URL has it. Places of queries that are
// sorted by a field mean the same in every generation where the field is of the same
// kind; how good a hit is, only in its own.
type spot struct {
	By         string  `json:"by,omitempty"`         // as framework.Query's Sort
	Kind       string  `json:"kind,omitempty"`       // of the field
	Generation int     `json:"generation,omitempty"` // where the best come first
	Score      float64 `json:"score,omitempty"`
	Order      string  `json:"order,omitempty"`
	Missing    bool    `json:"missing,omitempty"`
	Key        string  `json:"key"`
	Partition  int32   `json:"partition,omitempty"`
}

func (v *View[D, E]) spot(q view.Query, generation int, p *view.Place) spot {
	s := spot{By: q.Sort, Score: p.Score, Order: p.Order, Missing: p.Missing, Key: p.Key, Partition: p.Partition}
	switch {
	case q.Sort != "":
		s.Kind = v.Search[q.Sort].String()
	case q.Scored():
		s.By, s.Generation = "best", generation
	}
	if q.Desc {
		s.By = "-" + s.By
	}
	return s
}

func (s spot) String() string {
	data, _ := json.Marshal(s) // numbers are finite
	return base64.RawURLEncoding.EncodeToString(data)
}

func parseSpot(text string) (s spot, err error) {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil || s.Key == "" {
		return s, fmt.Errorf("%w: after %.80q: want the next of the page before", framework.ErrInvalid, text)
	}
	return s, nil
}

// checkFields returns an error for a field that no document of type t has, or has as what
// its kind does not index. Types that write their own JSON are taken at their word.
func checkFields(fields view.Fields, t reflect.Type) error {
	if err := fields.Check(); err != nil {
		return err
	}
	known, ok := wire.Fields(t)
	if !ok {
		return nil
	}
	for _, name := range fields.Of(func(view.FieldKind) bool { return true }) {
		of, there := known[name]
		if !there {
			return fmt.Errorf("field %q: %s has none of this json tag", name, t)
		}
		if !holds(fields[name], of) {
			return fmt.Errorf("field %q is a %s, of which view.%s indexes nothing; give it another kind", name, of, title(fields[name]))
		}
	}
	return nil
}

func title(k view.FieldKind) string { return strings.ToUpper(k.String()[:1]) + k.String()[1:] }

// holds reports whether a kind of field can index something of a t.
func holds(kind view.FieldKind, t reflect.Type) bool {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
		if wire.Marshals(t) {
			return true
		}
		t = t.Elem()
	}
	number := t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64
	switch {
	case t == reflect.TypeFor[time.Time]():
		return kind != view.Number
	case wire.Marshals(t) || t.Kind() == reflect.Interface:
		return true
	case kind == view.Number:
		return number
	case kind == view.Time:
		return t.Kind() == reflect.String
	}
	return number || t.Kind() == reflect.String || t.Kind() == reflect.Bool
}

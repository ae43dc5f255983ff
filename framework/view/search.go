package view

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Search keeps documents by key and finds them by their words. Unlike
// Documents, what is written is found only after Refresh, or some time later.
type Search interface {
	Store
	// Prepare creates the generation's index if it is missing, with exactly
	// these fields; it must come before the other calls. An index of other fields
	// is an error, which says so.
	Prepare(ctx context.Context, g Generation, fields Fields) error
	// Refresh lets Find see all that was written before the call.
	Refresh(ctx context.Context, g Generation) error
	// Find returns what matches in the order that the query asks for. A text that is
	// not blank but holds no word, such as "*", finds nothing. An error wraps ErrQuery
	// where the query is at fault, and is a *BehindError where a part is below q.Least or
	// q.Shown.
	Find(ctx context.Context, g Generation, q Query) (Hits, error)
}

// Fields says how the top-level fields of a search view's documents are
// indexed; fields not named are kept but not searched.
type Fields map[string]FieldKind

// FieldKind is how a field is indexed. Of a list each element is; null, objects and
// what does not fit the kind are kept but not found.
type FieldKind int

// The kinds of field. A text, number or boolean fits those that are not a Number or a
// Time: the latter two as JSON writes them, so that a Keyword may be "true" or "12".
const (
	Text     FieldKind = iota + 1 // words, in any case of letters
	Keyword                       // one term, as it is
	Caseless                      // one term, in any case of letters
	Number                        // a number of JSON, as a float64: whole ones are exact up to 2^53
	Time                          // a text of RFC 3339 in the years 0 to 9999 of UTC, cut to the millisecond
	Prefix                        // words, each of which is found by its first letters too, up to MaxLead
	English                       // words by their stems, in any case of letters: "drives" finds "driving"
	German
	French
	Spanish
)

var kindNames = map[FieldKind]string{Text: "text", Keyword: "keyword", Caseless: "caseless", Number: "number", Time: "time",
	Prefix: "prefix", English: "english", German: "german", French: "french", Spanish: "spanish"}

// String returns the kind's name, such as "keyword".
func (k FieldKind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return fmt.Sprintf("kind %d", int(k))
}

// Worded reports whether Query.Text looks into a field of this kind.
func (k FieldKind) Worded() bool {
	return k == Text || k >= Prefix && k <= Spanish
}

// Exact reports whether Query.Is may name a field of this kind.
func (k FieldKind) Exact() bool { return k == Keyword || k == Caseless }

// Measured reports whether Query.Ranges may name a field of this kind.
func (k FieldKind) Measured() bool { return k == Number || k == Time }

// Sorts reports whether Query.Sort may name a field of this kind.
func (k FieldKind) Sorts() bool { return k.Exact() || k.Measured() }

// Of returns the names of the fields whose kind is so, sorted.
func (f Fields) Of(so func(FieldKind) bool) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if so(f[name]) {
			names = append(names, name)
		}
	}
	return names
}

// Query asks for documents. What it says must all hold of each.
type Query struct {
	// Text is words, at most MaxWords; empty: every document. What stands between two
	// spaces must occur in some one field that is Worded.
	Text   string
	Is     map[string]string // Exact fields that must have this value
	Ranges map[string]Range  // Measured fields that must have a value within
	// Sort is a field that Sorts, by which hits come; empty: the best come first, and
	// with no Text all are equally good. Those without the field come last, equal ones by
	// key. Of a list the least value counts, or the greatest if Desc. Of a Keyword the
	// first MaxOrder bytes count.
	Sort  string
	Desc  bool   // from the greatest down; of Sort
	Skip  int    // hits to leave out, at most MaxDepth - Size; 0 with After
	After *Place // begin behind this place, the Next of the page before; nil: at the first hit
	Size  int    // hits to return, 1 to MaxPage
	// Least is, by partition, the offset that a part's mark is known to have reached; where
	// one has not, as in a store that was lost and is being filled again, all fails. Default
	// nil: no mark is looked at, nor that of a part which is not here or at 0.
	Least map[int32]int64
	// Shown is, by partition, the offset below which all that was written must be found; the
	// part's mark must have reached that, as with Least. A store for which that takes a
	// Refresh shares it with others, or spares it where one before has done it. Default nil:
	// what was written last may not be found yet.
	Shown map[int32]int64
}

// Range is what a value must lie within, both ends included; at least one is given, as
// the document would have it: a number of JSON, or a time of RFC 3339, which is cut to
// the millisecond as those of documents are.
type Range struct {
	From string // empty: any
	To   string // empty: any
}

// Place is where a hit stands in the order of its query. Pages that follow one another
// by it bring each document once that is there all the while and is not changed,
// whatever else comes and goes; but for those that come best first, whose scores change with
// what comes.
type Place struct {
	Score     float64 // where the best come first, and there is a Text
	Order     string  // of the field that the query sorts by; see Terms
	Missing   bool    // the document does not have that field
	Key       string
	Partition int32
}

// Hits is the answer to a query.
type Hits struct {
	Total int64 // all that match, wherever the page begins
	Items []Hit
	Next  *Place // for the page that follows; nil: there is none
	// Seen is, by partition, an offset below which all that was written was looked through,
	// no less than Query.Shown; nil without that.
	Seen map[int32]int64
}

// Hit is a document with its key.
type Hit struct {
	Key   string
	Value []byte
}

// ErrQuery is wrapped by what Find says of a query that it cannot take.
var ErrQuery = errors.New("query outside its limits")

// Check says what in a query is outside the limits, or asks of a field what its kind does
// not answer. Words are counted by the store, with [CheckWords].
func (q Query) Check(fields Fields) error {
	switch {
	case q.Size < 1 || q.Size > MaxPage:
		return fmt.Errorf("%w: page of %d hits; want 1 to %d", ErrQuery, q.Size, MaxPage)
	case q.Skip < 0 || q.Skip > MaxDepth-q.Size:
		return fmt.Errorf("%w: %d hits to leave out; want 0 to %d for a page of %d: narrow the query, or go on by After", ErrQuery, q.Skip, MaxDepth-q.Size, q.Size)
	case q.Skip > 0 && q.After != nil:
		return fmt.Errorf("%w: both Skip and After; want one of them", ErrQuery)
	case len(q.Text) > MaxText:
		return fmt.Errorf("%w: text of %d bytes; at most %d", ErrQuery, len(q.Text), MaxText)
	case q.Sort == "" && q.Desc:
		return fmt.Errorf("%w: Desc without Sort; name the field to sort by", ErrQuery)
	case q.Sort != "" && !fields[q.Sort].Sorts():
		return fmt.Errorf("%w: field %q is not prepared as one that sorts; there are %q", ErrQuery, q.Sort, fields.Of(FieldKind.Sorts))
	}
	for name := range q.Is {
		if !fields[name].Exact() {
			return fmt.Errorf("%w: field %q is not prepared as view.Keyword or view.Caseless", ErrQuery, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(q.Ranges)) {
		if !fields[name].Measured() {
			return fmt.Errorf("%w: field %q is not prepared as view.Number or view.Time", ErrQuery, name)
		}
		if _, _, err := q.Ranges[name].Bounds(fields[name]); err != nil {
			return fmt.Errorf("%w: field %q: %w", ErrQuery, name, err)
		}
	}
	if q.After != nil {
		return q.After.check()
	}
	return nil
}

func (p *Place) check() error {
	if err := checkName("key", p.Key); err != nil {
		return fmt.Errorf("%w: place to go on from: %w", ErrQuery, err)
	}
	if p.Partition < 0 || len(p.Order) > MaxOrder {
		return fmt.Errorf("%w: place to go on from, in partition %d with an order of %d bytes; want the Next of a page", ErrQuery, p.Partition, len(p.Order))
	}
	return nil
}

// Scored reports whether hits come by how good they are.
func (q Query) Scored() bool { return q.Sort == "" && strings.TrimSpace(q.Text) != "" }

// CheckWords says when a query has more than MaxWords different words.
func CheckWords(n int) error {
	if n > MaxWords {
		return fmt.Errorf("%w: text of %d words; at most %d", ErrQuery, n, MaxWords)
	}
	return nil
}

// Check says which field has no kind.
func (f Fields) Check() error {
	for name, kind := range f {
		if _, ok := kindNames[kind]; !ok {
			return fmt.Errorf("field %q has kind %d; want view.Text, view.Keyword or another of package view", name, int(kind))
		}
	}
	return nil
}

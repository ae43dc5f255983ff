package view

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Terms is what of one field of a document a search store indexes.
type Terms struct {
	Texts   []string  // of a field that is neither a Number nor a Time
	Numbers []float64 // of a Number, or of a Time: milliseconds since 1970; 0 is never negative
	// Least and Greatest of a field that Sorts, as texts that are ordered by their bytes as
	// the values are: of a keyword its first MaxOrder bytes, of others 16 hexadecimal digits.
	Least, Greatest string
}

// Terms returns what of a document, a JSON object, is indexed. Fields of which nothing is
// are left out; of one that is named twice the last counts.
func (f Fields) Terms(document []byte) (map[string]*Terms, error) {
	r := readers.Get().(*reader)
	r.reset(document)
	all, err := r.object(f)
	r.from.Reset(nil)
	readers.Put(r)
	if err != nil {
		return nil, fmt.Errorf("want a JSON object: %w", err)
	}
	return all, nil
}

// reader reads JSON as encoding/json does, token by token.
type reader struct {
	from bytes.Reader
	json jsontext.Decoder
}

// readers keeps readers for later.
var readers = sync.Pool{New: func() any { return new(reader) }}

func (r *reader) reset(document []byte) {
	r.from.Reset(document)
	r.json.Reset(&r.from, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// object reads a document.
func (r *reader) object(f Fields) (map[string]*Terms, error) {
	start, err := r.json.ReadToken()
	if err == nil && start.Kind() != '{' {
		err = fmt.Errorf("not %s", start.Kind())
	}
	if err != nil {
		return nil, err
	}
	all := make(map[string]*Terms, len(f))
	for r.json.PeekKind() != '}' {
		token, err := r.json.ReadToken()
		if err != nil {
			return nil, err
		}
		name := token.String()
		kind, known := f[name]
		if !known {
			if err := r.json.SkipValue(); err != nil {
				return nil, err
			}
			continue
		}
		t := &Terms{}
		if err := r.collect(kind, t); err != nil {
			return nil, fmt.Errorf("field %q: %w", name, err)
		}
		if delete(all, name); len(t.Texts)+len(t.Numbers) > 0 {
			all[name] = t
		}
	}
	if _, err := r.json.ReadToken(); err != nil {
		return nil, err
	}
	if _, err := r.json.ReadToken(); err != io.EOF {
		return nil, cmp.Or(err, errors.New("more follows behind it"))
	}
	return all, nil
}

// collect reads a value, and adds what of it fits the kind.
func (r *reader) collect(kind FieldKind, t *Terms) error {
	switch r.json.PeekKind() {
	case '{':
		return r.json.SkipValue()
	case '[':
		_, err := r.json.ReadToken()
		for err == nil && r.json.PeekKind() != ']' {
			err = r.collect(kind, t)
		}
		if err == nil {
			_, err = r.json.ReadToken()
		}
		return err
	}
	token, err := r.json.ReadToken()
	if err == nil && token.Kind() != 'n' {
		t.add(kind, token.String(), token.Kind())
	}
	return err
}

// add adds a text, or a number or boolean as JSON writes it, if that fits the kind.
func (t *Terms) add(kind FieldKind, value string, of jsontext.Kind) {
	switch {
	case kind == Time:
		if of != '"' {
			return
		}
		if ms, err := parseTime(value); err == nil {
			t.number(ms)
		}
	case kind == Number:
		if of == '"' {
			return
		}
		if n, err := parseNumber(value); err == nil {
			t.number(n)
		}
	default:
		t.text(kind, value)
	}
}

func (t *Terms) text(kind FieldKind, text string) {
	text = kind.Term(text)
	t.Texts = append(t.Texts, text)
	if kind.Sorts() {
		t.order(cut(text))
	}
}

func (t *Terms) number(n float64) {
	t.Numbers = append(t.Numbers, n)
	t.order(orderOf(n))
}

// order takes in the order of one more value.
func (t *Terms) order(o string) {
	if len(t.Texts)+len(t.Numbers) == 1 {
		t.Least, t.Greatest = o, o
	}
	t.Least, t.Greatest = min(t.Least, o), max(t.Greatest, o)
}

// Term returns how a value of a field of this kind is indexed and asked for.
func (k FieldKind) Term(value string) string {
	if k == Caseless {
		return strings.ToLower(value)
	}
	return value
}

// cut returns the first MaxOrder bytes of a text, or those of its last whole letter.
func cut(text string) string {
	if len(text) <= MaxOrder {
		return text
	}
	n := MaxOrder
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// orderOf writes a number so that texts order as numbers do.
func orderOf(n float64) string {
	bits := math.Float64bits(n)
	if bits>>63 != 0 {
		bits = ^bits
	} else {
		bits |= 1 << 63
	}
	return fmt.Sprintf("%016x", bits)
}

// Bounds returns the least and the greatest number that lie within a range of a field of
// this kind, infinite where that is open; of times, milliseconds since 1970.
func (r Range) Bounds(kind FieldKind) (from, to float64, err error) {
	from, to = math.Inf(-1), math.Inf(1)
	if r.From == "" && r.To == "" {
		return from, to, errors.New("range without ends; give From, To or both")
	}
	if r.From != "" {
		if from, err = kind.Parse(r.From); err != nil {
			return from, to, fmt.Errorf("from: %w", err)
		}
	}
	if r.To != "" {
		if to, err = kind.Parse(r.To); err != nil {
			return from, to, fmt.Errorf("to: %w", err)
		}
	}
	if from > to {
		return from, to, fmt.Errorf("range from %s to %s, which is before it", r.From, r.To)
	}
	return from, to, nil
}

// Parse reads a value of a Number or Time field; of a time it returns the milliseconds
// since 1970.
func (k FieldKind) Parse(text string) (float64, error) {
	switch k {
	case Number:
		return parseNumber(text)
	case Time:
		return parseTime(text)
	}
	return 0, fmt.Errorf("a %s has no measure", k)
}

func parseNumber(text string) (float64, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !json.Valid([]byte(text)) {
		return 0, fmt.Errorf("%.80q is no number that a float64 holds, as JSON writes it", text)
	}
	return n + 0, nil // of -0 makes 0
}

func parseTime(text string) (float64, error) {
	at, err := time.Parse(time.RFC3339, text)
	if year := at.UTC().Year(); err != nil || year < 0 || year > 9999 {
		return 0, fmt.Errorf("%.80q is no time of RFC 3339 in the years 0 to 9999 of UTC, such as 2026-01-31T09:30:00Z", text)
	}
	return float64(at.UnixMilli()), nil
}

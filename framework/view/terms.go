package view

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
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
// are left out.
func (f Fields) Terms(document []byte) (map[string]*Terms, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(document, &object); err != nil {
		return nil, fmt.Errorf("want a JSON object: %w", err)
	}
	if object == nil {
		return nil, errors.New("want a JSON object, not null")
	}
	all := make(map[string]*Terms, len(f))
	for name, kind := range f {
		t := &Terms{}
		if err := t.collect(kind, object[name]); err != nil {
			return nil, fmt.Errorf("field %q: %w", name, err)
		}
		if len(t.Texts)+len(t.Numbers) > 0 {
			all[name] = t
		}
	}
	return all, nil
}

// collect adds the values of a piece of JSON.
func (t *Terms) collect(kind FieldKind, raw json.RawMessage) error {
	if len(raw) == 0 {
		return nil
	}
	switch raw[0] {
	case '{', 'n': // object, null
		return nil
	case '[':
		var list []json.RawMessage
		err := json.Unmarshal(raw, &list)
		for i := 0; i < len(list) && err == nil; i++ {
			err = t.collect(kind, list[i])
		}
		return err
	case '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
		if kind == Time {
			if ms, err := parseTime(text); err == nil {
				t.number(ms)
			}
		} else if kind != Number {
			t.text(kind, text)
		}
	default: // number, true, false
		if kind == Number {
			if n, err := parseNumber(string(raw)); err == nil {
				t.number(n)
			}
		} else if kind != Time {
			t.text(kind, string(raw))
		}
	}
	return nil
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

package framework

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// compared returns r with what is compared of it: a text that is the same for all
// answers to q, of a view of this kind, that say the same.
func (r reply) compared(kind ViewKind, q *Query) reply {
	switch {
	case r.refused != "":
		r.same = "refused"
	case r.json == nil:
		r.same = "not found"
	default:
		r.same = canonical(r.json, func(v any) any {
			if page, ok := v.(map[string]any); ok && kind == Search {
				leaveCommon(page, bestFirst(q))
			}
			return v
		})
	}
	return r
}

// leaveCommon leaves of the answer to a search what a generation is to have in common with
// others: of the place where the next page begins, that there is one. How good a hit is depends on
// what else the index has held, so of the best hits it leaves their number, and which they are
// where the page has all.
func leaveCommon(page map[string]any, best bool) {
	page["next"] = page["next"] != ""
	items, _ := page["items"].([]any)
	total, _ := page["total"].(json.Number)
	switch {
	case !best:
	case total.String() != strconv.Itoa(len(items)):
		delete(page, "items")
	default:
		slices.SortFunc(items, func(a, b any) int {
			return bytes.Compare(appendCanonical(nil, a), appendCanonical(nil, b))
		})
	}
}

// canonical returns one text for all JSON of the same value: members by name, numbers
// in one form, no blanks. alter may change the value before. What is no JSON stays as it is.
func canonical(data []byte, alter func(any) any) string {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil || !over(d) {
		return string(data)
	}
	return string(appendCanonical(nil, alter(v)))
}

// over reports whether nothing follows.
func over(d *json.Decoder) bool {
	_, err := d.Token()
	return err == io.EOF
}

func appendCanonical(b []byte, v any) []byte {
	switch v := v.(type) {
	case map[string]any:
		b = append(b, '{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(strconv.AppendQuote(b, name), ':')
			b = appendCanonical(b, v[name])
		}
		return append(b, '}')
	case []any:
		b = append(b, '[')
		for i, one := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendCanonical(b, one)
		}
		return append(b, ']')
	case json.Number:
		return appendNumber(b, v.String())
	case string:
		return strconv.AppendQuote(b, v)
	case bool:
		return strconv.AppendBool(b, v)
	}
	return append(b, "null"...)
}

// appendNumber writes 1 for 1.0 and 10e-1, and whole numbers of any length exactly.
func appendNumber(b []byte, text string) []byte {
	if text == "-0" {
		return append(b, '0')
	}
	if !strings.ContainsAny(text, ".eE") {
		return append(b, text...)
	}
	number, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil:
		return append(b, text...)
	case number == math.Trunc(number) && math.Abs(number) < 1<<53:
		return strconv.AppendInt(b, int64(number), 10)
	}
	return strconv.AppendFloat(b, number, 'g', -1, 64)
}

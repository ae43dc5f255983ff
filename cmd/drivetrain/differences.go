package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// What is shown of differences at most.
const (
	maxFields = 10 // of a document
	maxWidth  = 44 // characters of a value
)

// comparison is what the admin listener answers.
type comparison struct {
	Equal       bool         `json:"equal"`
	Documents   [2]int64     `json:"documents"`
	Entries     [2]int64     `json:"entries"`
	Digests     [2]string    `json:"digests"`
	Parked      [2]int64     `json:"parked"`
	Position    string       `json:"position"`
	Differences []difference `json:"differences"`
}

type difference struct {
	Key   string          `json:"key"`
	Read  json.RawMessage `json:"read"`
	Other json.RawMessage `json:"other"`
}

// print says what a comparison came to, with limit differences at most.
func (c *comparison) print(out io.Writer, view string, number, limit int) error {
	at := cmp.Or(c.Position, "the beginning of the log")
	if c.Equal {
		_, err := fmt.Fprintf(out, "generation %d of %s holds the same as the one that is read, at %s: %s documents, %s entries of sets\n",
			number, view, at, grouped(c.Documents[0]), grouped(c.Entries[0]))
		return err
	}
	var b bytes.Buffer
	how := "differs from the one that is read"
	if len(c.Differences) == 0 && c.Parked[1] > 0 {
		how = "holds the same as the one that is read, but holds keys back that it cannot fold (drivetrain dead-letters list)"
	}
	fmt.Fprintf(&b, "generation %d of %s %s, at %s:\n\n", number, view, how, at)
	rows := [][3]string{{"", "READ", fmt.Sprintf("GENERATION %d", number)},
		{"documents", grouped(c.Documents[0]), grouped(c.Documents[1])},
		{"entries of sets", grouped(c.Entries[0]), grouped(c.Entries[1])},
		{"digest", c.Digests[0], c.Digests[1]}}
	if c.Parked != [2]int64{} {
		rows = append(rows, [3]string{"keys held back", grouped(c.Parked[0]), grouped(c.Parked[1])})
	}
	shown := c.Differences[:min(len(c.Differences), max(limit, 0))]
	for i := range shown {
		rows = append(rows, [3]string{})
		rows = append(rows, shown[i].rows()...)
	}
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(table, strings.Join(r[:], "\t")+"\t")
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(shown) > 0 {
		fmt.Fprintf(&b, "\nthese are the first %d differences of the parts that differ; there may be more\n", len(shown))
	}
	_, err := io.WriteString(out, trimLines(b.String()))
	return err
}

// trimLines takes the blanks from the ends of lines.
func trimLines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// rows shows a difference side by side: a line for its key, and one for each field that
// is not the same.
func (d *difference) rows() [][3]string {
	read, other := fieldsOf(d.Read), fieldsOf(d.Other)
	head := [3]string{clip(onOneLine(d.Key), maxWidth)}
	switch {
	case read == nil:
		return [][3]string{{head[0], "is not there", clip(compact(d.Other), maxWidth)}}
	case other == nil:
		return [][3]string{{head[0], clip(compact(d.Read), maxWidth), "is not there"}}
	}
	paths, same := slices.Sorted(maps.Keys(read)), 0
	for path := range other {
		if _, ok := read[path]; !ok {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	rows := [][3]string{head}
	for _, path := range paths {
		a, b := cmp.Or(read[path], "-"), cmp.Or(other[path], "-")
		if a == b {
			same++
			continue
		}
		a, b = beside(a, b)
		rows = append(rows, [3]string{"  " + clip(onOneLine(cmp.Or(path, "document")), maxWidth), a, b})
	}
	if more := len(rows) - 1 - maxFields; more > 0 {
		rows = append(rows[:1+maxFields], [3]string{fmt.Sprintf("  and %d more", more)})
	}
	switch {
	case len(rows) == 1:
		rows = append(rows, [3]string{"  document", "the same values, written otherwise"})
	case same > 0:
		rows = append(rows, [3]string{fmt.Sprintf("  the same: %d", same)})
	}
	return rows
}

// fieldsOf returns the values of a document by path, such as "members[2].name", as
// JSON; nil where there is none.
func fieldsOf(data json.RawMessage) map[string]string {
	if len(data) == 0 || string(data) == "null" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return map[string]string{"": onOneLine(string(data))}
	}
	out := make(map[string]string)
	flatten(out, "", v)
	return out
}

func flatten(out map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, below := range v {
			flatten(out, strings.TrimPrefix(path+"."+name, "."), below)
		}
		if len(v) > 0 {
			return
		}
	case []any:
		for i, below := range v {
			flatten(out, fmt.Sprintf("%s[%d]", path, i), below)
		}
		if len(v) > 0 {
			return
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // it was JSON
	out[path] = onOneLine(strings.TrimSpace(b.String()))
}

// compact is JSON on one line.
func compact(data []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, data) != nil {
		return onOneLine(string(data))
	}
	return onOneLine(b.String())
}

// beside clips two values so that where they part can be seen.
func beside(a, b string) (string, string) {
	x, y := []rune(a), []rune(b)
	common := 0
	for common < min(len(x), len(y)) && x[common] == y[common] {
		common++
	}
	if max(len(x), len(y)) > maxWidth && common > maxWidth/2 {
		from := common - maxWidth/3
		return clip("…"+string(x[from:]), maxWidth), clip("…"+string(y[from:]), maxWidth)
	}
	return clip(a, maxWidth), clip(b, maxWidth)
}

// clip shortens a text to so many characters.
func clip(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

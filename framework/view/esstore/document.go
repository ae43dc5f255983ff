package esstore

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// source is what a document of a view is in the index, but for "fields" and "order", by
// which it is found. Its value travels as a string, for Elasticsearch refuses JSON that it
// understands otherwise: a name given twice, a line break, an object where another
// document has a text.
type source struct {
	Kind      string `json:"kind"`
	Key       string `json:"key"`
	Partition int32  `json:"partition"`
	Value     string `json:"value"`
	Bytes     []byte `json:"bytes"` // the value, where it is not UTF-8
}

// value returns the document's own bytes.
func (s *source) value() []byte {
	if s.Bytes != nil {
		return s.Bytes
	}
	return []byte(s.Value)
}

// change is a put or a delete on its way.
type change struct {
	id     string
	key    string
	offset int64
	source []byte // JSON, one line
}

// writer writes the documents of a batch as the index has them.
type writer struct {
	partition int32
	fields    view.Fields
	names     []string // of fields, in order
	at        []string // what they are called in the index
	out       []byte   // what was written last
}

// changesOf reads a batch's documents, and names the first that is no JSON object.
func changesOf(b *view.Batch, fields view.Fields) ([]change, error) {
	w := &writer{partition: b.Partition, fields: fields, names: fields.Of(func(view.FieldKind) bool { return true })}
	for _, name := range w.names {
		w.at = append(w.at, fieldName(name))
	}
	changes := make([]change, 0, len(b.Puts)+len(b.Deletes))
	for i := range b.Puts {
		put := &b.Puts[i]
		terms, err := fields.Terms(put.Value)
		if err != nil {
			return nil, fmt.Errorf("document %q: %w", put.Key, err)
		}
		from := w.begin(kindDocument, put.Key, len(put.Value))
		w.terms(terms)
		w.order(terms)
		w.value(put.Value)
		changes = append(changes, w.end(from, put.Key, put.Offset))
	}
	for i := range b.Deletes {
		d := &b.Deletes[i]
		from := w.begin(kindDeleted, d.Key, 0)
		changes = append(changes, w.end(from, d.Key, d.Offset))
	}
	return changes, nil
}

// block is how much room is made at once for small documents.
const block = 256 << 10

// begin begins with a change, in a new block where the last one has little room for a
// value of so many bytes, so that what was written is seldom moved.
func (w *writer) begin(kind, key string, size int) (from int) {
	if need := 1<<10 + 2*(len(key)+size); cap(w.out)-len(w.out) < need {
		w.out = make([]byte, 0, max(need, min(block, 2*cap(w.out))))
	}
	from = len(w.out)
	w.text(`{"kind":"`+kind+`","key":`, encodeKey(key))
	w.out = strconv.AppendInt(append(w.out, `,"partition":`...), int64(w.partition), 10)
	return from
}

// end ends what begin has begun.
func (w *writer) end(from int, key string, offset int64) change {
	w.out = append(w.out, '}')
	return change{id: documentID(key, w.partition), key: key, offset: offset, source: w.out[from:len(w.out):len(w.out)]}
}

// text writes a text as JSON, behind what is JSON already.
func (w *writer) text(before, text string) {
	w.out, _ = jsontext.AppendQuote(append(w.out, before...), text) // an error says that it was not UTF-8, and has been mended
}

// number writes a number as encoding/json does: as digits, if they are not too many.
func (w *writer) number(before string, n float64) {
	format := byte('f')
	if size := math.Abs(n); size >= 1e21 || n != 0 && size < 1e-6 {
		format = 'e'
	}
	w.out = strconv.AppendFloat(append(w.out, before...), n, format, -1, 64)
}

// value writes a document's own bytes.
func (w *writer) value(value []byte) {
	if utf8.Valid(value) {
		w.out, _ = jsontext.AppendQuote(append(w.out, `,"value":`...), value)
		return
	}
	w.out = base64.StdEncoding.AppendEncode(append(w.out, `,"bytes":"`...), value)
	w.out = append(w.out, '"')
}

// terms writes what of a document is searched by.
func (w *writer) terms(all map[string]*view.Terms) {
	next := `,"fields":{"`
	for i, name := range w.names {
		t := all[name]
		if t == nil {
			continue
		}
		w.out = append(append(append(w.out, next...), w.at[i]...), `":[`...)
		for n, text := range t.Texts {
			w.text(comma(n), text)
		}
		for n, number := range t.Numbers {
			if w.fields[name] == view.Time {
				w.text(comma(n), date(number))
			} else {
				w.number(comma(n), number)
			}
		}
		w.out = append(w.out, ']')
		next = `,"`
	}
	if next == `,"` {
		w.out = append(w.out, '}')
	}
}

// order writes, of fields that sort, the least value and, if it is another, the greatest.
func (w *writer) order(all map[string]*view.Terms) {
	next := `,"order":{"`
	for i, name := range w.names {
		t := all[name]
		if t == nil || !w.fields[name].Sorts() {
			continue
		}
		w.out = append(append(append(w.out, next...), w.at[i]...), '"')
		w.text(`:[`, t.Least)
		if t.Greatest != t.Least {
			w.text(`,`, t.Greatest)
		}
		w.out = append(w.out, ']')
		next = `,"`
	}
	if next == `,"` {
		w.out = append(w.out, '}')
	}
}

// comma returns what stands before the n-th element of a list.
func comma(n int) string {
	if n == 0 {
		return ""
	}
	return ","
}

// date writes milliseconds since 1970 as Elasticsearch does.
func date(ms float64) string {
	return time.UnixMilli(int64(ms)).UTC().Format("2006-01-02T15:04:05.000Z")
}

// documentID returns the _id of a key, which no other key and no other partition
// shares: the key where it fits, else its digest. Elasticsearch takes 512 bytes.
func documentID(key string, partition int32) string {
	p := strconv.Itoa(int(partition))
	if encoded := encodeKey(key); len(encoded) <= 480 {
		return p + "/" + encoded
	}
	return fmt.Sprintf("%s#%x", p, sha256.Sum256([]byte(key)))
}

// encodeKey writes a key as text: each byte as the character of that number, so
// that any key can be written, ASCII is as it was, and the order stays.
func encodeKey(key string) string {
	if isASCII(key) {
		return key
	}
	var b strings.Builder
	for i := range len(key) {
		b.WriteRune(rune(key[i]))
	}
	return b.String()
}

// decodeKey undoes encodeKey.
func decodeKey(encoded string) string {
	if isASCII(encoded) {
		return encoded
	}
	key := make([]byte, 0, len(encoded))
	for _, r := range encoded {
		key = append(key, byte(r))
	}
	return string(key)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

package esstore

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// source is what a document of a view is in the index. Its value travels as a
// string, for Elasticsearch refuses JSON that it understands otherwise: a name
// given twice, a line break, an object where another document has a text.
type source struct {
	Kind      string              `json:"kind"`
	Key       string              `json:"key"`
	Partition int32               `json:"partition"`
	Fields    map[string]any      `json:"fields,omitempty"`
	Order     map[string][]string `json:"order,omitempty"` // of fields that sort: the least value and, if it is another, the greatest
	Value     string              `json:"value,omitempty"`
	Bytes     []byte              `json:"bytes,omitempty"` // the value, where it is not UTF-8
}

// change is a put or a delete on its way.
type change struct {
	id     string
	key    string
	offset int64
	source source
}

// changesOf reads a batch's documents, and names the first that is no JSON object.
func changesOf(b *view.Batch, fields view.Fields) ([]change, error) {
	changes := make([]change, 0, len(b.Puts)+len(b.Deletes))
	for i := range b.Puts {
		put := &b.Puts[i]
		c := newChange(kindDocument, put.Key, b.Partition, put.Offset)
		if err := c.source.index(put.Value, fields); err != nil {
			return nil, fmt.Errorf("document %q: %w", put.Key, err)
		}
		if utf8.Valid(put.Value) {
			c.source.Value = string(put.Value)
		} else {
			c.source.Bytes = put.Value
		}
		changes = append(changes, c)
	}
	for i := range b.Deletes {
		changes = append(changes, newChange(kindDeleted, b.Deletes[i].Key, b.Partition, b.Deletes[i].Offset))
	}
	return changes, nil
}

func newChange(kind, key string, partition int32, offset int64) change {
	return change{id: documentID(key, partition), key: key, offset: offset,
		source: source{Kind: kind, Key: encodeKey(key), Partition: partition}}
}

// value returns the document's own bytes.
func (s *source) value() []byte {
	if s.Bytes != nil {
		return s.Bytes
	}
	return []byte(s.Value)
}

// index fills in what of a document is searched and sorted by.
func (s *source) index(value []byte, fields view.Fields) error {
	all, err := fields.Terms(value)
	if err != nil || len(all) == 0 {
		return err
	}
	s.Fields = make(map[string]any, len(all))
	for name, t := range all {
		kind, at := fields[name], fieldName(name)
		switch {
		case kind == view.Time:
			s.Fields[at] = times(t.Numbers)
		case kind == view.Number:
			s.Fields[at] = t.Numbers
		default:
			s.Fields[at] = t.Texts
		}
		if !kind.Sorts() {
			continue
		}
		if s.Order == nil {
			s.Order = make(map[string][]string)
		}
		if s.Order[at] = []string{t.Least}; t.Greatest != t.Least {
			s.Order[at] = append(s.Order[at], t.Greatest)
		}
	}
	return nil
}

// times writes milliseconds since 1970 as Elasticsearch's dates.
func times(list []float64) []string {
	texts := make([]string, len(list))
	for i, ms := range list {
		texts[i] = time.UnixMilli(int64(ms)).UTC().Format("2006-01-02T15:04:05.000Z")
	}
	return texts
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

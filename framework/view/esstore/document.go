package esstore

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
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
	Fields    map[string][]string `json:"fields,omitempty"`
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
		var err error
		if c.source.Fields, err = terms(put.Value, fields); err != nil {
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

// terms returns what of a JSON object is indexed. Of a list each element is, of
// a number or boolean its literal; null and objects are not.
func terms(value []byte, fields view.Fields) (map[string][]string, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(value, &object); err != nil {
		return nil, fmt.Errorf("want a JSON object: %w", err)
	}
	if object == nil {
		return nil, errors.New("want a JSON object, not null")
	}
	found := make(map[string][]string, len(fields))
	for name := range fields {
		list, err := collect(nil, object[name])
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", name, err)
		}
		if len(list) > 0 {
			found[fieldName(name)] = list
		}
	}
	return found, nil
}

// collect appends the texts of a JSON value.
func collect(to []string, raw json.RawMessage) ([]string, error) {
	if len(raw) == 0 {
		return to, nil
	}
	switch raw[0] {
	case '{', 'n': // object, null
		return to, nil
	case '"':
		var text string
		err := json.Unmarshal(raw, &text)
		return append(to, text), err
	case '[':
		var list []json.RawMessage
		err := json.Unmarshal(raw, &list)
		for i := 0; i < len(list) && err == nil; i++ {
			to, err = collect(to, list[i])
		}
		return to, err
	default: // number, true, false
		return append(to, string(raw)), nil
	}
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

package blevestore

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/blevesearch/bleve/v2/analysis"
	"github.com/blevesearch/bleve/v2/analysis/token/lowercase"
	"github.com/blevesearch/bleve/v2/analysis/tokenizer/unicode"
	"github.com/blevesearch/bleve/v2/document"
	index "github.com/blevesearch/bleve_index_api"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// words splits a text, of a document or a query, into what can be found.
var words analysis.Analyzer = &analysis.DefaultAnalyzer{
	Tokenizer:    unicode.NewUnicodeTokenizer(),
	TokenFilters: []analysis.TokenFilter{lowercase.NewLowerCaseFilter()},
}

// newDocument returns the fields of a JSON object as Bleve indexes them. Of a
// list each element is indexed, of a number or boolean its literal; null and
// objects are not.
func newDocument(id string, value []byte, fields view.Fields) (*document.Document, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(value, &object); err != nil {
		return nil, fmt.Errorf("want a JSON object: %w", err)
	}
	if object == nil {
		return nil, errors.New("want a JSON object, not null")
	}
	d := document.NewDocument(id)
	for name, kind := range fields {
		if err := addField(d, name, kind, object[name]); err != nil {
			return nil, fmt.Errorf("field %q: %w", name, err)
		}
	}
	return d, nil
}

func addField(d *document.Document, name string, kind view.FieldKind, raw json.RawMessage) error {
	if len(raw) == 0 {
		return nil
	}
	switch raw[0] {
	case '{', 'n': // object, null
		return nil
	case '[':
		return addList(d, name, kind, raw)
	case '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
		addTerm(d, name, kind, []byte(text))
	default: // number, true, false
		addTerm(d, name, kind, append([]byte(nil), raw...))
	}
	return nil
}

func addList(d *document.Document, name string, kind view.FieldKind, raw json.RawMessage) error {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, element := range list {
		if err := addField(d, name, kind, element); err != nil {
			return err
		}
	}
	return nil
}

// addTerm takes value over.
func addTerm(d *document.Document, name string, kind view.FieldKind, value []byte) {
	analyzer := words
	if kind == view.Keyword {
		analyzer = nil // the value is the term
	}
	d.AddField(document.NewTextFieldCustom(name, nil, value, index.IndexField, analyzer))
}

// documentID returns Bleve's name for a key of a partition. IDs are ordered as
// keys are, by bytes, then by partition, and hold no byte 0xff, which ends a
// part of a row's key.
func documentID(key string, partition int32) string {
	id := make([]byte, 0, len(key)+9)
	for i := range len(key) {
		switch c := key[i]; c {
		case 0x00, 0x01:
			id = append(id, 0x01, c+1)
		case 0xfe, 0xff:
			id = append(id, 0xfe, c-0xfd)
		default:
			id = append(id, c)
		}
	}
	return string(fmt.Appendf(append(id, 0x00), "%08x", uint32(partition)))
}

// keyOf returns the key of a documentID.
func keyOf(id string) string {
	key := make([]byte, 0, len(id))
	for i := 0; i < len(id)-9; i++ {
		switch c := id[i]; c {
		case 0x01:
			i++
			key = append(key, id[i]-1)
		case 0xfe:
			i++
			key = append(key, id[i]+0xfd)
		default:
			key = append(key, c)
		}
	}
	return string(key)
}

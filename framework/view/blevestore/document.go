package blevestore

import (
	"fmt"
	"strconv"

	"github.com/blevesearch/bleve/v2/document"
	index "github.com/blevesearch/bleve_index_api"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// newDocument returns the fields of a JSON object as Bleve indexes them.
func newDocument(id string, value []byte, fields view.Fields) (*document.Document, error) {
	all, err := fields.Terms(value)
	if err != nil {
		return nil, err
	}
	d := document.NewDocument(id)
	for name, terms := range all {
		addField(d, name, fields[name], terms)
	}
	return d, nil
}

func addField(d *document.Document, name string, kind view.FieldKind, terms *view.Terms) {
	for _, text := range terms.Texts {
		d.AddField(document.NewTextFieldCustom(name, nil, []byte(text), index.IndexField, analysisOf[kind].indexed))
	}
	for _, n := range terms.Numbers {
		d.AddField(document.NewNumericFieldWithIndexingOptions(name, nil, n, index.IndexField))
	}
	if kind.Sorts() {
		addOrder(d, name, terms.Least)
		if terms.Greatest != terms.Least {
			addOrder(d, name, terms.Greatest)
		}
	}
}

// addOrder adds what a field is ordered by, behind a sign, for it may be empty.
func addOrder(d *document.Document, name, order string) {
	d.AddField(document.NewTextFieldCustom(orderName(name), nil, []byte(present+order), index.IndexField, nil))
}

// orderName is the name of the field that holds what another is ordered by. No
// name of JSON begins so: it is no UTF-8.
func orderName(name string) string { return "\xfe" + name }

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

// partitionOf returns the partition of a documentID.
func partitionOf(id string) int32 {
	n, _ := strconv.ParseUint(id[max(0, len(id)-8):], 16, 32) // it was written so
	return int32(uint32(n))
}

package esstore

import "github.com/drivetrain-go/drivetrain/framework/view"

// These let tests look past the store.
var (
	IndexName  = indexName
	FieldName  = fieldName
	DocumentID = documentID
	AliasName  = aliasName
)

// UUID returns that of a generation's index, as the store knows it.
func (s *Store) UUID(g view.Generation) string {
	x, err := s.generation(g)
	if err != nil {
		return ""
	}
	return x.incarnation()
}

// Lines returns what of a batch is sent.
func Lines(b *view.Batch, fields view.Fields) (string, error) {
	changes, err := changesOf(b, fields)
	body, _ := encode(changes)
	return string(body), err
}

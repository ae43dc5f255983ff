package esstore

// IndexName and DocumentID let tests look past the store.
var (
	IndexName  = indexName
	DocumentID = documentID
)

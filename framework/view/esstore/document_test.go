package esstore_test

import (
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/esstore"
)

// What readers outside find in an index is to stay as it is.
func TestDocumentsAreWrittenAsTheIndexHasThem(t *testing.T) {
	fields := view.Fields{"title": view.Text, "Tag": view.Keyword, "size": view.Number, "at": view.Time}
	lines, err := esstore.Lines(&view.Batch{Partition: 3, Puts: []view.Put{
		{Key: "a", Offset: 7, Value: []byte(`{"title":["One \"two\"\n","<3>"],"Tag":"x","size":[1500000,1e21,-0.25,1e-7],"at":"2026-01-31T10:30:00.0019+01:00","more":1}`)},
		{Key: "é", Offset: 8, Value: []byte(`{"Tag":["b","a"]}`)},
		{Key: "none", Offset: 9, Value: []byte(`{}`)},
		{Key: "bytes", Offset: 10, Value: []byte("{\"more\":\"\xff\"}")},
	}, Deletes: []view.Ref{{Partition: 3, Key: "gone", Offset: 11}}}, fields)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		`{"index":{"_id":"3/a","version":7,"version_type":"external_gte"}}`,
		`{"kind":"document","key":"a","partition":3,"fields":{"Tag":["x"],"at":["2026-01-31T09:30:00.001Z"],"size":[1500000,1e+21,-0.25,1e-07],"title":["One \"two\"\n","<3>"]},` +
			`"order":{"Tag":["x"],"at":["c279c136349c1000"],"size":["402fffffffffffff","c44b1ae4d6e2ef50"]},` +
			`"value":"{\"title\":[\"One \\\"two\\\"\\n\",\"<3>\"],\"Tag\":\"x\",\"size\":[1500000,1e21,-0.25,1e-7],\"at\":\"2026-01-31T10:30:00.0019+01:00\",\"more\":1}"}`,
		`{"index":{"_id":"3/Ã©","version":8,"version_type":"external_gte"}}`,
		`{"kind":"document","key":"Ã©","partition":3,"fields":{"Tag":["b","a"]},"order":{"Tag":["a","b"]},"value":"{\"Tag\":[\"b\",\"a\"]}"}`,
		`{"index":{"_id":"3/none","version":9,"version_type":"external_gte"}}`,
		`{"kind":"document","key":"none","partition":3,"value":"{}"}`,
		`{"index":{"_id":"3/bytes","version":10,"version_type":"external_gte"}}`,
		`{"kind":"document","key":"bytes","partition":3,"bytes":"eyJtb3JlIjoi/yJ9"}`,
		`{"index":{"_id":"3/gone","version":11,"version_type":"external_gte"}}`,
		`{"kind":"deleted","key":"gone","partition":3}`,
	}, "\n") + "\n"
	if lines != want {
		t.Errorf("sent are\n%s\nwant\n%s", lines, want)
	}
	if _, err := esstore.Lines(&view.Batch{Puts: []view.Put{{Key: "a"}}}, fields); err == nil {
		t.Error("a document of no bytes is taken")
	}
}

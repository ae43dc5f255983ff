package book_test

import (
	"reflect"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/event"

	"github.com/drivetrain-go/drivetrain/doc/start/book"
)

// LentV0 is a fact as it was written once.
type LentV0 struct {
	Name string `json:"name"`
}

var renamed = event.Types[book.Event]{
	"book.lent":    event.As[book.Event, book.Lent](),
	"book.loaned":  event.Was[book.Event, book.Lent]("book.lent"),
	"book.lent.v0": event.Up[book.Event](func(old LentV0) book.Lent { return book.Lent{Reader: old.Name} }),
}

func TestOldNamesAndShapesAreStillRead(t *testing.T) {
	catalog, err := renamed.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"book.loaned": `{"reader":"maya"}`, "book.lent.v0": `{"name":"maya"}`} {
		if got, err := catalog.Decode(event.JSON, name, []byte(data)); err != nil || !reflect.DeepEqual(got, book.Lent{Reader: "maya"}) {
			t.Errorf("%s is read as %+v, %v", name, got, err)
		}
	}
}

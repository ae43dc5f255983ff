package blevestore_test

import (
	"context"
	"fmt"
	"log"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/blevestore"
)

func Example() {
	ctx := context.Background()
	store := blevestore.New()
	defer store.Close()
	g := view.Generation{App: "drivetribe", View: "posts", Number: 1}
	if err := store.Prepare(ctx, g, view.Fields{"title": view.Text, "tribe": view.Keyword}); err != nil {
		log.Fatal(err)
	}
	mark, err := store.Open(ctx, g, 0)
	if err != nil {
		log.Fatal(err)
	}
	err = store.Write(ctx, g, &view.Batch{Epoch: mark.Epoch, From: mark.Next, Next: 2, Puts: []view.Put{
		{Key: "post-7", Value: []byte(`{"title":"Fast red cars","tribe":"racers"}`), Offset: 0},
		{Key: "post-8", Value: []byte(`{"title":"Red bicycles","tribe":"riders"}`), Offset: 1},
	}})
	if err != nil {
		log.Fatal(err)
	}
	hits, err := store.Find(ctx, g, view.Query{Text: "RED", Is: map[string]string{"tribe": "riders"}, Size: 20})
	if err != nil {
		log.Fatal(err)
	}
	for _, h := range hits.Items {
		fmt.Println(h.Key, string(h.Value))
	}
	// Output:
	// post-8 {"title":"Red bicycles","tribe":"riders"}
}

package esstore_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/esstore"
)

// A task writes its partition's part, and a query finds what is in all parts.
func Example() {
	ctx := context.Background()
	store, err := esstore.New(esstore.Config{URLs: []string{"https://es1:9200"}, User: "drivetrain", Password: os.Getenv("ELASTICSEARCH_PASSWORD")})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	g := view.Generation{App: "drivetribe", View: "posts", Number: 1}
	if err := store.Prepare(ctx, g, view.Fields{"title": view.Text, "tribe": view.Keyword}); err != nil {
		log.Fatal(err)
	}
	mark, err := store.Open(ctx, g, 3)
	if err != nil {
		log.Fatal(err)
	}
	err = store.Write(ctx, g, &view.Batch{Partition: 3, Epoch: mark.Epoch, From: mark.Next, Next: mark.Next + 1,
		Puts: []view.Put{{Key: "post-7", Value: []byte(`{"title":"Red cars","tribe":"racers"}`), Offset: mark.Next}}})
	if err != nil {
		log.Fatal(err)
	}

	if err := store.Refresh(ctx, g); err != nil {
		log.Fatal(err)
	}
	hits, err := store.Find(ctx, g, view.Query{Text: "red", Is: map[string]string{"tribe": "racers"}, Size: 20})
	if err != nil {
		log.Fatal(err)
	}
	for _, hit := range hits.Items {
		fmt.Println(hit.Key, string(hit.Value))
	}
}

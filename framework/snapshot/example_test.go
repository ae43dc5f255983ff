package snapshot_test

import (
	"context"
	"fmt"
	"io"

	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

func ExampleSeries() {
	ctx, store := context.Background(), snapshot.Memory()
	id := snapshot.Identity{App: "shop", Operator: "orders", Topic: "shop.events", Version: 1}
	series := snapshot.NewSeries(store, id, 0)
	for i, text := range []string{"all orders. ", "those since. "} {
		w := series.Begin(ctx, series.NextFull())
		fmt.Fprint(w, text)
		if err := w.Finish(ctx); err != nil { // the bytes are durable; what was sent before is awaited
			fmt.Println(err)
			return
		}
		fmt.Println("full:", w.Full(), w.Commit(ctx, int64(100+i), []byte("head")))
	}
	position, found, problems, err := snapshot.NewSeries(store, id, 0).Restore(ctx, nil, func(head []byte, blobs []io.Reader) error {
		for _, b := range blobs {
			text, err := io.ReadAll(b)
			if err != nil {
				return err
			}
			fmt.Printf("%s", text)
		}
		return nil
	})
	fmt.Println(position, found, problems, err)
	// Output:
	// full: true <nil>
	// full: false <nil>
	// all orders. those since. 101 true [] <nil>
}

package redisstore_test

import (
	"context"
	"fmt"
	"log"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/redisstore"
)

// A task writes its partition's part; a query merges the parts.
func Example() {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()

	ctx := context.Background()
	store := redisstore.New(client)
	g := view.Generation{App: "drivetribe", View: "posts", Number: 1}
	for p, post := range []string{"post-7", "post-8"} {
		mark, err := store.Open(ctx, g, int32(p))
		if err != nil {
			log.Fatal(err)
		}
		err = store.Write(ctx, g, &view.Batch{Partition: int32(p), Epoch: mark.Epoch, From: mark.Next, Next: mark.Next + 1,
			Puts: []view.Put{{Key: post, Value: []byte(`{"tags":[]}`)}},
			Adds: []view.Entry{{Set: "newest", Sort: fmt.Sprintf("2024-05-0%d", p+1), Member: post}}})
		if err != nil {
			log.Fatal(err)
		}
	}

	page, err := store.Page(ctx, g, []view.Ref{{Partition: 0, Key: "newest"}, {Partition: 1, Key: "newest"}}, nil, 10)
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range page {
		fmt.Println(e.Sort, e.Member)
	}
	values, err := store.Get(ctx, g, []view.Ref{{Partition: 1, Key: "post-8"}, {Partition: 1, Key: "post-9"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(values[0]), values[1] == nil)
	// Output:
	// 2024-05-02 post-8
	// 2024-05-01 post-7
	// {"tags":[]} true
}

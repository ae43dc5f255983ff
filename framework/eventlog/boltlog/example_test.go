package boltlog_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	log, err := boltlog.Open(filepath.Join(dir, "events.db"), boltlog.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	err = log.Ensure(ctx, eventlog.Topic{Name: "app.events", Partitions: 16})
	fmt.Println("topic:", err)
	base, err := log.Append(ctx, "app.events", 3, []eventlog.Record{{Key: []byte("tribe/a"), Value: []byte("founded")}})
	fmt.Println("appended at", base, err)
	reader, err := log.Read("app.events", 3, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reader.Close()
	run, err := reader.Next(ctx)
	fmt.Printf("%s %s %v\n", run[0].Key, run[0].Value, err)
	// Output:
	// topic: <nil>
	// appended at 0 <nil>
	// tribe/a founded <nil>
}

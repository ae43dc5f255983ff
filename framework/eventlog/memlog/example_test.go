package memlog_test

import (
	"context"
	"fmt"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
)

func ExampleLog_OnAppend() {
	ctx := context.Background()
	log := memlog.New()
	defer log.Close()
	if err := log.Ensure(ctx, eventlog.Topic{Name: "app.events", Partitions: 1}); err != nil {
		fmt.Println(err)
		return
	}
	log.OnAppend(func(string, int32, []eventlog.Record) memlog.Fault { return memlog.Late })
	_, err := log.Append(ctx, "app.events", 0, []eventlog.Record{{Value: []byte("fact")}})
	fmt.Println(err)
	end, _ := log.End(ctx, "app.events", 0)
	fmt.Println("end", end, "under way", len(log.UnderWay()))
	fmt.Println("landed at", log.Deliver(0))
	// Output:
	// append to app.events/0: no answer: the outcome is unknown
	// end 0 under way 1
	// landed at 0
}

func ExampleLog_Transact() {
	ctx := context.Background()
	log := memlog.New()
	defer log.Close()
	if err := log.Ensure(ctx, eventlog.Topic{Name: "others", Partitions: 2}); err != nil {
		fmt.Println(err)
		return
	}
	tx, err := log.Transact(ctx, "app.publish")
	if err != nil {
		fmt.Println(err)
		return
	}
	list := eventlog.AppendHeader(nil, "ce_type", []byte("book-lent"))
	outputs := []eventlog.Output{{Topic: "others", Partition: 1, Records: []eventlog.Record{{Header: list, Value: []byte("{}")}}}}
	fmt.Println(tx.Commit(ctx, outputs, "app.publish", "others", 0, 17))

	if _, err = log.Transact(ctx, "app.publish"); err != nil { // another process takes over
		fmt.Println(err)
	}
	fmt.Println(tx.Commit(ctx, outputs, "app.publish", "others", 0, 18))
	next, err := tx.Committed(ctx, "app.publish", "others", 0)
	fmt.Println(next, err)
	// Output:
	// <nil>
	// commit 1 outputs as app.publish: the transaction was not committed: another producer has taken over the transactional name
	// 17 <nil>
}

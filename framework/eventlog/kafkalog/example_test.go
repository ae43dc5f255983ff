package kafkalog_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

func Example() {
	ctx := context.Background()
	// A broker in this process; a real one has an address such as "127.0.0.1:9092".
	broker, err := kafkatest.New()
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close()

	kafka, err := kafkalog.Open(ctx, kafkalog.Config{Brokers: broker.ListenAddrs()})
	if err != nil {
		log.Fatal(err)
	}
	defer kafka.Close()
	if err := kafka.Ensure(ctx, eventlog.Topic{Name: "tribes", Partitions: 2}); err != nil {
		log.Fatal(err)
	}
	base, err := kafka.Append(ctx, "tribes", 1, []eventlog.Record{{Value: []byte("founded")}, {Value: []byte("joined")}})
	if err != nil {
		log.Fatal(err)
	}
	reader, err := kafka.Read("tribes", 1, base)
	if err != nil {
		log.Fatal(err)
	}
	defer reader.Close()
	run, err := reader.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range run {
		fmt.Printf("%d %s\n", r.Offset, r.Value)
	}
	// Output:
	// 0 founded
	// 1 joined
}

func ExampleLog_Ensure() {
	ctx := context.Background()
	broker, err := kafkatest.New(kfake.SeedTopics(2, "tribes")) // with Kafka's default: a week
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close()
	kafka, err := kafkalog.Open(ctx, kafkalog.Config{Brokers: broker.ListenAddrs()})
	if err != nil {
		log.Fatal(err)
	}
	defer kafka.Close()
	err = kafka.Ensure(ctx, eventlog.Topic{Name: "tribes", Partitions: 2})
	var unfit *eventlog.TopicError
	if errors.As(err, &unfit) {
		fmt.Println(unfit.Problem)
		_, command, _ := strings.Cut(unfit.Remedy, "--alter ")
		fmt.Println(command)
	}
	// Output:
	// its records expire (retention.ms=604800000)
	// --entity-type topics --entity-name tribes --add-config retention.ms=-1
}

func ExampleLog_Join() {
	ctx := context.Background()
	broker, err := kafkatest.New()
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close()
	kafka, err := kafkalog.Open(ctx, kafkalog.Config{Brokers: broker.ListenAddrs()})
	if err != nil {
		log.Fatal(err)
	}
	defer kafka.Close()
	if err := kafka.Ensure(ctx, eventlog.Topic{Name: "tribes", Partitions: 4}); err != nil {
		log.Fatal(err)
	}
	member, err := kafka.Join(ctx, "tribes", "tribes", "node-1")
	if err != nil {
		log.Fatal(err)
	}
	mine, err := member.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(mine)
	fmt.Println(member.Close())
	// Output:
	// [0 1 2 3]
	// <nil>
}

// Command streams is the program of doc/streams.md: page views per minute, and a
// ledger. It needs Kafka, with the topics that the page makes:
//
//	KAFKA_BROKERS=127.0.0.1:9092 go run ./doc/streams
package main

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, strings.Split(os.Getenv("KAFKA_BROKERS"), ",")); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, brokers []string) error {
	kafka, err := kafkalog.Open(ctx, kafkalog.Config{Brokers: brokers})
	if err != nil {
		return err
	}
	defer kafka.Close()
	snapshots, err := snapshot.Dir("./streams-data/snapshots")
	if err != nil {
		return err
	}
	return runAll(ctx, kafka, snapshots, pageViews(), ledger())
}

// runAll runs topologies beside each other; one that cannot run ends them all.
func runAll(ctx context.Context, kafka eventlog.Log, snapshots snapshot.BlobStore, topologies ...*stream.Topology) error {
	var runners []*stream.Runner
	for _, t := range topologies {
		runner, err := stream.NewRunner(t, stream.Config{Log: kafka, Snapshots: snapshots, Logger: slog.Default()})
		if err != nil {
			return err
		}
		runners = append(runners, runner)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(runners))
	var all sync.WaitGroup
	for i, runner := range runners {
		all.Go(func() {
			defer stop()
			errs[i] = runner.Run(ctx)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
